"""`neuromtm adapt`: stitchers of new sessions from few trials, without a training."""

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import __version__ as lightning_version

from neuromtm.callbacks.provenance import PROVENANCE_KEY
from neuromtm.commands.selection import selected, selection_options
from neuromtm.commands.starting import require_unused, require_writable
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.files import write_whole
from neuromtm.provenance import add_start, describe_start
from neuromtm.training.checkpoint import CheckpointRecord, build_model, load_checkpoint, to_checkpoint, write_checkpoint
from neuromtm.training.few_trials import Adapted, adapt_in_closed_form


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Make a model of new sessions from a pretrained one, and write it as a run directory.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of shards")
    parser.add_argument(
        "--pretrained",
        metavar="CKPT",
        type=Path,
        required=True,
        help="checkpoint of the pretrained model, whose shared weights stay as they are",
    )
    parser.add_argument(
        "--out", metavar="RUN", type=Path, required=True, help="new run directory: checkpoints and config.yaml"
    )
    selection_options(parser, to_do="adapt to")
    options = parser.parse_args(arguments)
    require_writable(options.out, option="--out")
    require_unused(options.out)
    checkpoint = load_checkpoint(options.pretrained)
    name = str(options.pretrained)
    record = CheckpointRecord.from_checkpoint(checkpoint, name=name)
    record.require_masked_model(name=name)
    chosen = selected(options)
    data = SessionDataModule(**chosen)
    data.setup()
    adapted = adapt_in_closed_form(
        build_model(record, checkpoint, name=name),
        record,
        data,
        name=name,
        done=lambda eid: print(f"{eid}: {len(data.trials('train')[eid])} trials", flush=True),
    )
    write_run(options.out, adapted, pretrained=options.pretrained, data=chosen, command=["adapt", *arguments])
    config, best = options.out / "config.yaml", options.out / "checkpoints" / "best.ckpt"
    print("Test it:", shlex.join(["neuromtm", "test", "--config", str(config), "--ckpt_path", str(best)]))


def write_run(
    run_dir: Path, adapted: Adapted, *, pretrained: Path, data: Mapping[str, Any], command: Sequence[str]
) -> None:
    """Write a model as a run directory, as a training leaves it.

    Args:
        run_dir: its folder.
        adapted: the model.
        pretrained: where it comes from.
        data: options of the data.
        command: that made it, without the program's name.
    """
    starts = add_start(run_dir, describe_start(command, data=Path(data["root"]), seed=None))
    # what Lightning asks of any checkpoint that it opens
    checkpoint = to_checkpoint(*adapted) | {"pytorch-lightning_version": lightning_version}
    checkpoint |= {"epoch": 0, "global_step": 0, "callbacks": {}, PROVENANCE_KEY: {"starts": starts}}
    groups = {
        "model": {"pretrained": str(pretrained)},
        "data": data,
        "trainer": {"devices": 1, "precision": "auto", "use_distributed_sampler": False},
    }
    lines = ["seed_everything: 0", f"run_dir: {json.dumps(str(run_dir))}"]
    for group, options in groups.items():
        # JSON is YAML, and an eid such as 1e5 stays text in it
        lines += [f"{group}:", *(f"  {name}: {json.dumps(value)}" for name, value in options.items())]
    write_whole(run_dir / "config.yaml", "\n".join(lines) + "\n")
    for name in ("best.ckpt", "last.ckpt"):
        write_checkpoint(run_dir / "checkpoints" / name, checkpoint)
