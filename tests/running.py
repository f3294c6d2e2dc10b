"""Small simulated sessions and small runs on them, for the tests of training, callbacks and commands."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EIDS = ("sim-0-00", "sim-0-01", "sim-0-02")
HELDOUT = "sim-0-03"
SIMULATE = ("--n-sessions", "4", "--n-heldout", "1", "--n-neurons", "14", "--n-trials", "40", "--n-regions", "3")
WINDOW = ("--window-s", "-0.1", "0.3")
TINY = (
    "--model.backbone=neuromtm.models.ndt1.NDT1",
    "--model.backbone.width=16",
    "--model.backbone.n_layers=1",
    "--model.backbone.n_heads=2",
    "--model.backbone.mlp_width=32",
    "--model.backbone.max_bins=32",
)
SHORT = (
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


def neuromtm(*arguments: object) -> None:
    """Run a command in this process."""
    from neuromtm.commands.main import main

    main([str(argument) for argument in arguments])


def neuromtm_process(*arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; options as of `subprocess.run`. It may name callbacks of the tests."""
    program = Path(sys.executable).parent / "neuromtm"
    command = [str(program), *map(str, arguments)]
    folders = [*filter(None, [os.environ.get("PYTHONPATH")]), str(Path(__file__).parents[1])]
    options.setdefault("env", {**os.environ, "PYTHONPATH": os.pathsep.join(folders)})
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that a user's error ends with exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        neuromtm(*arguments)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("neuromtm: ")]
    assert len(lines) == 1
    return lines[0]


def pretrain(root: Path, data: Path, *more: object) -> tuple[object, ...]:
    """A short pretraining's command line."""
    return ("fit", "--config", root / "conf" / "pretrain.yaml", *TINY, *SHORT, "--data.root", data, *more)


def finetune(root: Path, data: Path, checkpoint: Path, *more: object) -> tuple[object, ...]:
    """A short fine-tuning's command line."""
    recipe = root / "conf" / "finetune.yaml"
    return ("fit", "--config", recipe, *SHORT, "--data.root", data, "--model.pretrained", checkpoint, *more)


def scalars(run_dir: Path) -> dict[str, list[float]]:
    """TensorBoard tag -> its values, of all event files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    values: dict[str, list[float]] = {}
    for path in sorted(run_dir.glob("events.out.*")):
        events = EventAccumulator(str(path))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            values.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
    return values


@pytest.fixture(scope="session")
def sessions_dir(tmp_path_factory) -> Path:
    """Three sessions for pretraining and one held out, 20 bins a trial; not to be changed."""
    from data_prep.__main__ import main

    out = tmp_path_factory.mktemp("sessions") / "data"
    assert main(["simulate", "--out", str(out), *SIMULATE, *WINDOW]) == 0
    return out


@pytest.fixture(scope="session")
def pretrained(root, sessions_dir, tmp_path_factory) -> Path:
    """Run directory of a short pretraining; not to be changed."""
    run_dir = tmp_path_factory.mktemp("runs") / "pretrained"
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir))
    return run_dir
