"""Every command with a command line that works, to which odd options are added, and the files that this line needs.

A command of the program that is not among `BASES` fails `test_fuzzed_options`: it needs a line here. Options need none.
"""

import argparse
import dataclasses
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import ROOT
from tests.faults.option_values import Option, options_of_argparse, options_of_class, options_of_jsonargparse
from tests.running import EIDS, SHORT, TINY

CONTRACT = ROOT / "tests" / "data_prep" / "contract"
SMALL = ("--n-sessions", "4", "--n-heldout", "1", "--n-neurons", "9", "--n-trials", "30", "--n-regions", "3")
WINDOW = ("--window-s", "-0.1", "0.3")
STEPS = (*SHORT, "--trainer.max_steps=2")
LITTLE = (*STEPS, "--figures.n_val_sessions=1")
TRAINED = ("--config", "run/config.yaml", "--ckpt_path", "run/checkpoints/best.ckpt", "--run_dir", "scored")
ONE = f"--data.sessions=[{EIDS[0]}]"


def _recipe(name: str) -> tuple[str, str]:
    return "--config", str(ROOT / "conf" / name)


PRETRAIN = ("fit", *_recipe("pretrain.yaml"), *TINY, *LITTLE, "--data.root=data")
DECODE = ("fit", *_recipe("decode_choice.yaml"), *TINY, *STEPS, "--data.root=data")


def _with_model(overlay: str) -> tuple[str, ...]:
    models = (*_recipe("pretrain.yaml"), *_recipe(f"model/{overlay}"))
    return ("fit", *models, *LITTLE, "--data.root=data", "--run_dir=new")


class Base(NamedTuple):
    """A command line that works."""

    line: tuple[str, ...]
    """it ends with its arguments that have no name"""
    needs: tuple[str, ...] = ()
    """files and folders that it reads, by their names in `MAKERS`"""
    options: Callable[[str], list[Option]] | None = None
    """reads the options; None for those of the command's parser"""
    n_positional: int = 0
    """so many arguments without a name end the line"""


# ---- options


@cache
def _lightning(command: str, *arguments: str) -> list[Option]:
    from tests.e2e.recipes import Parsed

    parser = Parsed(arguments)._subcommand_parsers[arguments[0]]
    return options_of_jsonargparse(command, parser)


def _of_fit(command: str) -> list[Option]:
    """Those of `fit`, of its objective and of the first architecture."""
    from neuromtm.masking.objective import Objective

    assert dataclasses.is_dataclass(Objective)
    own = _lightning(command, *PRETRAIN)
    return own + options_of_class(command, "--model.objective", Objective) + _backbone("ndt1.NDT1")(command)


def _of_decoding(command: str) -> list[Option]:
    there = {option.name for option in _lightning(command, *PRETRAIN)}
    return [option for option in _lightning(command, *DECODE) if option.name not in there]


def _backbone(name: str) -> Callable[[str], list[Option]]:
    def read(command: str) -> list[Option]:
        module, _, own = name.rpartition(".")
        owner = getattr(importlib.import_module(f"neuromtm.models.{module}"), own)
        return options_of_class(command, "--model.backbone", owner)

    return read


def _of_scoring(name: str) -> Callable[[str], list[Option]]:
    return lambda command: _lightning(command, name, *_recipe("pretrain.yaml"), "--data.root=data")


class _Read(Exception):
    """A parser has all its options."""


class _Reading(argparse.ArgumentParser):
    def parse_args(self, *_: Any, **__: Any) -> Any:
        raise _Read


def options_of(command: str) -> list[Option]:
    """Every option of a command, read out of its parser."""
    base = BASES[command]
    if base.options is not None:
        return base.options(command)
    program, name, *kind = command.split()
    if program == "data_prep":
        from data_prep.cli import parser_of

        return options_of_argparse(command, parser_of(name))
    from neuromtm.commands.registry import COMMANDS

    parser = _Reading(prog=f"neuromtm {name}")
    try:
        importlib.import_module(COMMANDS[name].module).run(kind, parser)
    except _Read:
        return options_of_argparse(command, parser)
    raise AssertionError(f"{command}: its options were not read.")


# ---- files that the lines need; every path is relative to the folder in which all of them lie


def prepare(*arguments: str) -> None:
    """Run a command of the preparation."""
    from data_prep.__main__ import main

    assert main(arguments) == 0, arguments


def neuromtm(*arguments: str) -> None:
    """Run a command of the program."""
    from neuromtm.commands.main import main

    main(arguments)


def _source(name: str, folder: str) -> list[str]:
    """The command of a source of recordings, all but `--out`; its files are written if there are none."""
    if str(CONTRACT) not in sys.path:
        sys.path.append(str(CONTRACT))
    from spoiling import write_good

    return write_good(name, Path(folder))


def _make_run() -> None:
    neuromtm(*PRETRAIN, "--run_dir=run")
    neuromtm("test", "--config=run/config.yaml", "--ckpt_path=run/checkpoints/best.ckpt", "--run_dir=run", ONE)
    neuromtm("predict", "--config=run/config.yaml", "--ckpt_path=run/checkpoints/best.ckpt", "--run_dir=run", ONE)


def _make_rates() -> None:
    from neuromtm.data.shards import read_shard
    from tests.lorenz import EID, lorenz_folder, predict, true_rates

    shard = read_shard(lorenz_folder(Path("lorenz")) / f"{EID}.h5")
    predict(Path("rates"), shard, true_rates(shard))


def _make_sweep() -> None:
    from tests.evaluation.sweeps import write_sweep

    write_sweep(Path("sweep"), counts=(1, 2))


def _make_benchmark(name: str) -> None:
    argv = _source(name, f"{name}_again")
    prepare(*argv, "--out", f"{name}_data")


def _fit_benchmark(name: str, recipe: str, *more: str) -> None:
    neuromtm("fit", *_recipe(recipe), *TINY, *STEPS, f"--data.root={name}_data", f"--run_dir={name}_run", *more)


def _make_search() -> None:
    Path("space.yaml").write_text("model.lr: {low: 0.0001, high: 0.01, log: true}\n")


MAKERS: dict[str, Callable[[], object]] = {
    "data": lambda: prepare("simulate", "--out", "data", *SMALL, *WINDOW),
    "run": _make_run,
    "ceiling": lambda: neuromtm("ceiling", "--data", "data", "--sessions", EIDS[0], "--out", "ceiling"),
    "psth": lambda: neuromtm("baseline", "--data", "data", "--kind", "psth", "--out", "psth"),
    "lorenz": _make_rates,
    "rates": lambda: None,  # made with lorenz
    "sweep": _make_sweep,
    "space.yaml": _make_search,
    "alf": lambda: prepare("simulate", "--format", "alf", "--out", "alf", *SMALL[2:], "--n-sessions", "1"),
    "arrays": lambda: _source("arrays", "arrays"),
    "phy": lambda: _source("phy", "phy"),
    "nwb": lambda: _source("nwb", "nwb"),
    "nlb_files": lambda: _source("nlb", "nlb_files"),
    "nlb_data": lambda: _make_benchmark("nlb"),
    "nlb_run": lambda: _fit_benchmark("nlb", "nlb.yaml", "--model.backbone.max_bins=512"),
    "bwb_files": lambda: _source("bwb", "bwb_files"),
    "bwb_data": lambda: _make_benchmark("bwb"),
    "bwb_run": lambda: _fit_benchmark("bwb", "bwb/choice.yaml", "--data.role=all", "--model.backbone.max_bins=128"),
}
"""name of a file or folder -> what makes it, after what it is made of"""
MADE_OF = {
    "run": "data",
    "ceiling": "data",
    "psth": "data",
    "rates": "lorenz",
    "nlb_run": "nlb_data",
    "bwb_run": "bwb_data",
}


def make(names: Sequence[str]) -> None:
    """Make some files in this folder, and those that they are made of. What is there stays."""
    needed = {*names, *(MADE_OF[name] for name in names if name in MADE_OF)}
    for name in MAKERS:
        if name in needed and not Path(name).exists():
            MAKERS[name]()


def lay_out(names: Sequence[str], good: Path, folder: Path) -> None:
    """Put copies of files into a folder; as long as nobody writes into one, it takes no room."""
    for name in names:
        place = good / name
        if place.is_dir():
            shutil.copytree(place, folder / name, copy_function=os.link)
        else:
            os.link(place, folder / name)


# ---- the commands

NLB = "nlb_files/Maus äöü desc-{}.nwb"
OF_SOURCE = ("--window-s", "-0.25", "0.75", "--bin-size-s", "0.05", "--align-event", "tone_time")
BASES: dict[str, Base] = {
    "neuromtm fit": Base((*PRETRAIN, "--run_dir=new"), ("data",), _of_fit),
    "neuromtm fit, decoding": Base((*DECODE, "--run_dir=new"), ("data",), _of_decoding),
    "neuromtm fit, LFADS": Base(_with_model("lfads_tiny.yaml"), ("data",), _backbone("lfads.LFADS")),
    "neuromtm fit, NDT2": Base(_with_model("ndt2_tiny.yaml"), ("data",), _backbone("ndt2.NDT2")),
    "neuromtm fit, spike tokens": Base(
        _with_model("spike_tokens_tiny.yaml"), ("data",), _backbone("spike_tokens.SpikeTokens")
    ),
    "neuromtm validate": Base(("validate", *TRAINED), ("data", "run"), _of_scoring("validate")),
    "neuromtm test": Base(("test", *TRAINED, ONE), ("data", "run"), _of_scoring("test")),
    "neuromtm predict": Base(("predict", *TRAINED, ONE), ("data", "run"), _of_scoring("predict")),
    "neuromtm adapt": Base(
        ("adapt", "--data=data", "--pretrained=run/checkpoints/best.ckpt", "--out=new"), ("data", "run")
    ),
    "neuromtm average": Base(
        ("average", "--data=data", f"--sessions={EIDS[0]}", "--baseline=psth", "--out=new", "run"),
        ("data", "run"),
        n_positional=1,
    ),
    "neuromtm baseline": Base(("baseline", "--data=data", "--kind=psth", "--out=new"), ("data",)),
    "neuromtm ceiling": Base(("ceiling", "--data=data", "--out=new"), ("data",)),
    "neuromtm compare": Base(
        ("compare", "--ceiling=top", "ours=run", "top=ceiling"), ("run", "ceiling", "data"), n_positional=2
    ),
    "neuromtm export nlb": Base(
        ("export", "nlb", "--data=nlb_data", "--out=new.h5", "nlb_run"), ("nlb_run", "nlb_data"), n_positional=1
    ),
    "neuromtm export bwb": Base(
        ("export", "bwb", "--out=new", "--label=ours", "bwb_run"), ("bwb_run", "bwb_data"), n_positional=1
    ),
    "neuromtm rates": Base(("rates", "--data=lorenz", "rates"), ("lorenz", "rates"), n_positional=1),
    "neuromtm recipes": Base(("recipes", "new"), n_positional=1),
    "neuromtm report": Base(("report", "run"), ("run", "data", "ceiling", "psth"), n_positional=1),
    "neuromtm scaling": Base(("scaling", "sweep"), ("sweep",), n_positional=1),
    "neuromtm search": Base(("search", "--space=space.yaml", "new"), ("data", "space.yaml"), n_positional=1),
    "neuromtm table": Base(("table", "run"), ("run",), n_positional=1),
    "data_prep simulate": Base(("simulate", "--out=new", *SMALL, *WINDOW)),
    "data_prep lorenz": Base(
        ("lorenz", "--out=new", "--n-neurons=6", "--n-conditions=5", "--n-trials=6", "--duration-s=0.4")
    ),
    "data_prep ibl": Base(("ibl", "--mode=local", "--cache-dir=alf", "--out=new"), ("alf",)),
    "data_prep arrays": Base(("arrays", "--folder=arrays", "--out=new", *OF_SOURCE), ("arrays",)),
    "data_prep phy": Base(("phy", "--folder=phy", "--out=new", *OF_SOURCE), ("phy",)),
    "data_prep nwb": Base(("nwb", "--path=nwb", "--out=new", *OF_SOURCE), ("nwb",)),
    "data_prep nlb": Base(
        ("nlb", "--dataset=mc_maze", f"--train={NLB.format('train')}", f"--test={NLB.format('test')}", "--out=new"),
        ("nlb_files",),
    ),
    "data_prep bwb": Base(("bwb", "--task=choice", "--out=new", "bwb_files"), ("bwb_files",), n_positional=1),
    "data_prep check": Base(("check", "data"), ("data",), n_positional=1),
    "data_prep describe": Base(("describe", "data"), ("data",), n_positional=1),
    "data_prep upgrade": Base(("upgrade", "data"), ("data",), n_positional=1),
}
"""command, perhaps with what is special of it after a comma -> a line that works"""
