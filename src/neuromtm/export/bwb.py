"""`neuromtm export bwb`: write a run's predictions in the format of BrainWideBench."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import choose_sessions
from neuromtm.errors import CheckpointError, ConfigError
from neuromtm.evaluation.amounts import read_settings
from neuromtm.export.bwb_activity import ActivityTask, export_activity
from neuromtm.export.bwb_behavior import export_behavior, open_decoder
from neuromtm.export.bwb_files import Submission
from neuromtm.export.bwb_regions import export_regions
from neuromtm.export.bwb_truth import write_activity_truth, write_behavior_truth, write_regions_truth
from neuromtm.export.trained import require_same_sessions
from neuromtm.training.checkpoint import CheckpointRecord, build_model, load_checkpoint
from neuromtm.training.trained import Trained, device_of

REGION = "unit_cosmos"


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Predict what the run is a model of, and write it.

    Args:
        arguments: the command line after the kind.
        parser: an empty parser.
    """
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory of a training, with checkpoints/best.ckpt")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the predictions")
    parser.add_argument("--label", metavar="NAME", required=True, help="name of the submission, a folder of DIR")
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=(*get_args(ActivityTask), REGION),
        help="of a masked model, by default what its data were prepared for; a decoder has the task of its behaviour",
    )
    parser.add_argument("--device", default="cpu", help="where it computes, e.g. cuda")
    parser.add_argument(
        "--truth", metavar="DIR", type=Path, help="folder for what the benchmark's scorer holds the predictions against"
    )
    options = parser.parse_args(arguments)
    device = device_of(options.device)
    path = options.run / "checkpoints" / "best.ckpt"
    checkpoint = load_checkpoint(path)
    record = CheckpointRecord.from_checkpoint(checkpoint, name=str(path))
    settings = read_settings(options.run / "config.yaml")
    submission = Submission(options.out, _label(options.label), _seed(settings, options.run))
    data = _data(settings, options.run, record)
    if record.decoder is not None:
        if options.tasks:
            raise ConfigError(f"--tasks: {path} decodes {record.decoder['target']}, and its task is that one.")
        decoder = open_decoder(checkpoint, name=str(path), device=options.device)
        require_same_sessions(Trained(decoder.model, record, str(path)), data)
        written = export_behavior(decoder, data, submission)
        if options.truth is not None:
            written += write_behavior_truth(data, record.decoder["target"], options.truth)
    else:
        trained = Trained(build_model(record, checkpoint, name=str(path)).to(device), record, str(path))
        tasks = options.tasks or _tasks_of(data)
        written = [file for task in tasks for file in _export(task, trained, data, submission, options.truth)]
    for file in written:
        print(file)


def _export(
    task: str, trained: Trained, data: SessionDataModule, submission: Submission, truth: Path | None
) -> list[Path]:
    if task != REGION:
        chosen: ActivityTask = "co_smoothing" if task == "co_smoothing" else "forecasting"
        written = export_activity(trained, data, chosen, submission)
        return written + (write_activity_truth(data, chosen, truth) if truth is not None else [])
    require_same_sessions(trained, data)
    roles = {entry.eid: entry.role for entry in choose_sessions(data.root, eids=list(data.sessions), role="all")}
    written = export_regions(trained, data, roles, submission)
    asked = [eid for eid, role in roles.items() if role == "heldout"]
    return written + ([write_regions_truth(data, asked, truth)] if truth is not None else [])


def _tasks_of(data: SessionDataModule) -> tuple[str, ...]:
    suites = {header.attributes.get("suite", "") for header in data.headers.values()}
    if suites == {"ts3"}:
        return (REGION,)
    if suites == {"ts2"}:
        return get_args(ActivityTask)
    raise ConfigError(
        f"{data.root}: was not prepared for co_smoothing, forecasting or {REGION}. Prepare the sessions by "
        "python -m data_prep bwb FILE --task TASK --out DIR, and train on them."
    )


def _label(name: str) -> str:
    if not name or name in (".", "..") or "/" in name:
        raise ConfigError(f"--label {name!r}: give a name without a slash.")
    return name


def _seed(settings: dict, run: Path) -> int:
    seed = settings.get("seed_everything")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(
            f"{run / 'config.yaml'}: says no whole seed_everything, which names the file. Train with one."
        )
    return seed


def _data(settings: dict, run: Path, record: CheckpointRecord) -> SessionDataModule:
    """The sessions that the run is a model of, whole."""
    root = (settings.get("data") or {}).get("root")
    if not isinstance(root, str):
        raise CheckpointError(f"{run}: its config.yaml does not say where its data are (data.root).")
    data = SessionDataModule(root=root, sessions=[session.eid for session in record.sessions], role="all")
    data.setup()
    record.require_bin_size(data.bin_size_s, name=str(run))
    return data
