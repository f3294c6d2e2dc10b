"""Good files of every kind that a command reads, how they are changed, and what reads them."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from hypothesis import strategies as st

import neuromtm
from neuromtm.api.saved import CONFIG_FILE, WEIGHTS_FILE
from neuromtm.api.saved import DIGEST as CONFIG_DIGEST
from neuromtm.commands.checking import check_fit
from neuromtm.commands.scaling import seen_by
from neuromtm.commands.search_space import read_space
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import DIGEST, FILE_NAME
from neuromtm.data.seal import add_seal, is_sealed
from neuromtm.data.upgrade_journal import UPGRADE_JOURNAL, upgraded_but_unlisted
from neuromtm.errors import UserError
from neuromtm.evaluation.true_rates import read_rates
from neuromtm.files import hash_of, sha256
from neuromtm.masking.objective import Objective
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.checkpoint import CheckpointRecord, glance_at_checkpoint, to_checkpoint
from neuromtm.training.continuation import end_of_training
from neuromtm.training.run_lock import HOLDER_FILE, LOCK, RunLock
from tests.faults.changed_arrays import hdf5_changes
from tests.faults.changed_models import checkpoint_changes, safetensors_changes
from tests.faults.changes import Change, json_changes, table_changes, texts, yaml_changes
from tests.faults.what_is_read import READINGS, Good
from tests.running import SHORT, TINY, pretrain
from tests.running import neuromtm as command_of_neuromtm

ROOT = Path(__file__).resolve().parents[2]
HELDOUT = "sim-0-02"
CONSTANT = "--model.schedule=constant"
"""so that a training may go on for longer than it was begun for"""
SIMULATED = ("simulate", "--n-sessions", "3", "--n-heldout", "1", "--n-neurons", "10", "--n-trials", "30")
SIMULATED += ("--n-regions", "3", "--window-s", "-0.1", "0.3")

Read = Callable[[Path], Any]


class Said(UserError):
    """A command has refused a file, and said so."""


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    file: str
    """its path in the folder of good files"""
    changes: Callable[[Path], st.SearchStrategy[Change]]
    """of the good file"""
    readings: Mapping[str, Read]
    """name of a reader -> reads the folder, and gives what must not become another number"""
    slow: Mapping[str, Read] = field(default_factory=dict)
    """readers that only some of the cases go through"""
    mend: Callable[[Path, str], None] = lambda root, file: None
    """makes checksums right again, so that a change reaches the reader behind them"""
    named: tuple[str, ...] = ()
    """further names, one of which a sentence may say instead of the file's"""


# ---- commands


def said_by(run: Callable[[], object], root: Path) -> str:
    """What a command prints. A refusal is an error."""
    out = io.StringIO()
    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "300"
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = run()
            except SystemExit as ended:
                code = ended.code
    finally:
        os.environ.pop("COLUMNS") if width is None else os.environ.update(COLUMNS=width)
    said = out.getvalue().replace(str(root), "HERE")
    if code:
        if code not in (1, 2) or "Traceback" in said:
            raise RuntimeError(f"exit code {code}: {said[-300:]}")
        if "usage: " in said:
            raise RuntimeError(f"usage: {said[-300:]}")
        raise Said(" ".join(said.split()))
    return said


def by_neuromtm(*arguments: str) -> Read:
    """Read by a command of `neuromtm`; `HERE` stands for the folder."""
    return lambda root: said_by(lambda: command_of_neuromtm(*_placed(arguments, root)), root)


def by_preparation(*arguments: str) -> Read:
    """Read by a command of `data_prep`."""
    from data_prep.__main__ import main

    return lambda root: said_by(lambda: main(_placed(arguments, root)), root)


def in_spite_of(read: Read, *words: str) -> Read:
    """A command that goes on without what it cannot read, and says so: that is a refusal."""

    def reads(root: Path) -> Any:
        found = read(root)
        said = found[0] if isinstance(found, tuple) else found
        if refusals := [line for line in said.splitlines() if any(word in line for word in words)]:
            raise Said(" ".join(refusals))
        return found

    return reads


def _placed(arguments: Sequence[str], root: Path) -> list[str]:
    return [argument.replace("HERE", str(root)) for argument in arguments]


def left_by(read: Read, *names: str) -> Read:
    """What a command prints, and the bytes of files that it writes."""
    return lambda root: (read(root), [(root / name).read_bytes() for name in names])


# ---- good files


def make_good(root: Path, *, trained: bool = True) -> None:
    """Simulate sessions, score baselines and the truth on them, and lay out a run, a sweep and a saved model.

    Args:
        root: an empty folder.
        trained: whether the model is trained for an epoch; it takes some seconds.
    """
    from neuromtm.data.shards import read_shard

    by_preparation(*SIMULATED, "--out", "HERE/data")(root)
    for kind, name in (("psth", "run"), ("ridge", "other")):
        by_neuromtm("baseline", "--kind", kind, "--data", "HERE/data", "--out", f"HERE/{name}")(root)
    by_neuromtm("ceiling", "--data", "HERE/data", "--out", "HERE/ceiling")(root)
    run = root / "run"
    (run / "config.yaml").write_text(_short_config(root), encoding="utf-8")
    _make_models(root, trained=trained)
    header = (shard := read_shard(root / "data" / f"{HELDOUT}.h5")).header
    (run / "predictions").mkdir()
    with h5py.File(run / "predictions" / f"{HELDOUT}.h5", "w") as file:
        file.attrs.update(eid=HELDOUT, split="test", bin_size_s=header.bin_size_s, window_s=header.window_s)
        trials = np.sort(header.splits["test"]).astype(np.int64)
        assert shard.true_rates is not None
        file.create_dataset("rates", data=shard.true_rates[trials].astype(np.float32) + 0.01)
        file["trial"] = trials
        for name in ("uuid", "region"):
            texts_ = getattr(header.neurons, name).tolist()
            file.create_dataset(f"neurons/{name}", data=texts_, dtype=h5py.string_dtype())
    _make_sweep(root)
    (root / "space.yaml").write_text("model.lr: {low: 0.001, high: 0.01, log: true}\nmodel.loss_per: [entry, spike]\n")
    (root / "eids.txt").write_text(f"# sessions\n{HELDOUT}\nsim-0-01  # good\n\n")
    note = {"file": f"{HELDOUT}.h5", "sha256": sha256(root / "data" / f"{HELDOUT}.h5")}
    (root / "upgraded").mkdir()
    (root / "upgraded" / UPGRADE_JOURNAL).write_text(json.dumps(note) + "\n")
    (root / "busy").mkdir()
    with contextlib.closing(_Held(root / "busy")) as held:
        shutil.copytree(held.folder / LOCK, root / "busy_copy" / LOCK)
    shutil.rmtree(root / "busy", ignore_errors=True)


class _Held:
    """A run directory that a training holds."""

    def __init__(self, folder: Path):
        self.folder, self.lock = folder, RunLock(folder)
        self.lock.acquire()

    def close(self) -> None:
        self.lock.release()


def _short_config(root: Path) -> str:
    recipe = ("--config", str(ROOT / "conf" / "pretrain.yaml"), "--data.root", str(root / "data"))
    whole = yaml.safe_load(check_fit([*recipe, *TINY, *SHORT]))
    return yaml.safe_dump({name: whole[name] for name in ("seed_everything", "model", "data")}, sort_keys=False)


def _make_models(root: Path, *, trained: bool) -> None:
    if trained:
        command_of_neuromtm(*pretrain(ROOT, root / "data", "--run_dir", root / "trained", CONSTANT))
        shutil.copy(root / "trained" / "checkpoints" / "last.ckpt", root / "last.ckpt")
    else:
        data = SessionDataModule(root=str(root / "data"))
        data.setup()
        model = StitchedModel(NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=20))
        for session in data.sessions.values():
            model.add_session(session)
        about = {"n_bins": data.n_bins, "bin_size_s": data.bin_size_s, "objective": Objective()}
        record = CheckpointRecord.of(model, **about, trials={}, batches={}, subjects={})
        torch.save(to_checkpoint(model, record) | {"epoch": 0, "global_step": 0, "callbacks": {}}, root / "last.ckpt")
    neuromtm.load(root / "last.ckpt").save(root / "saved")


def _make_sweep(root: Path) -> None:
    rows = ["run,stage,objective,n_sessions,seed,animal,pretrained"]
    for n in (1, 2, 4):
        (root / "sweep" / f"pre{n}" / "checkpoints").mkdir(parents=True)
        shutil.copy(root / "last.ckpt", root / "sweep" / f"pre{n}" / "checkpoints" / "best.ckpt")
        rows.append(f"pre{n},pretrain,mtm,{n},0,,")
        rows.append(f"fine{n},finetune,mtm,{n},0,mouse,pre{n}")
        shutil.copytree(root / ("other" if n == 2 else "run"), root / "sweep" / f"fine{n}")
    rows.append("psth,baseline,psth,0,,mouse,")
    shutil.copytree(root / "run", root / "sweep" / "psth")
    (root / "sweep" / "grid.csv").write_text("\n".join(rows) + "\n")


# ---- checksums that are made right again


def mend_manifest(root: Path, file: str) -> None:
    """Make the checksum of a manifest's entries that of the changed ones."""
    path = root / file
    with contextlib.suppress(ValueError, TypeError, KeyError):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest[DIGEST] = hash_of(manifest["sessions"])
        path.write_text(json.dumps(manifest), encoding="utf-8")


def mend_shard(root: Path, file: str) -> None:
    """Seal a changed shard anew, and list its checksum."""
    path = root / file
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if not is_sealed(path):
            add_seal(path)
    manifest = json.loads((path.parent / FILE_NAME).read_text())
    for entry in manifest["sessions"]:
        if entry["file"] == path.name:
            entry["sha256"] = sha256(path)
    (path.parent / FILE_NAME).unlink()  # it is the good one, by another name
    (path.parent / FILE_NAME).write_text(json.dumps(manifest))
    mend_manifest(root, f"{path.parent.name}/{FILE_NAME}")


def mend_saved(root: Path, file: str) -> None:
    """Make the checksums of a saved model's config.json those of the changed content."""
    path = root / "saved" / CONFIG_FILE
    with contextlib.suppress(ValueError, TypeError, KeyError):
        config = json.loads(path.read_text(encoding="utf-8"))
        config["weights_sha256"] = sha256(root / "saved" / WEIGHTS_FILE)
        config[CONFIG_DIGEST] = hash_of({name: value for name, value in config.items() if name != CONFIG_DIGEST})
        path.unlink()
        path.write_text(json.dumps(config), encoding="utf-8")


def eids_changes(_: Path) -> st.SearchStrategy[Change]:
    """Changes of a list of sessions."""
    return texts()


# ---- what reads them


def _good(root: Path) -> Good:
    return Good(root / "data", root / "last.ckpt", root / "saved")


def _reading(name: str) -> Read:
    read = READINGS[name][1]
    return lambda root: read(_good(root))


def _predict(path: Path) -> Any:
    model = neuromtm.load(path)
    counts = {eid: np.ones((2, 20, len(own.neurons)), np.float32) for eid, own in model.sessions.items()}
    found = {eid: model.predict(own, eid=eid) for eid, own in counts.items()}
    if not all(np.isfinite(rates).all() for rates in found.values()):
        raise ValueError("rates that are not finite were given")
    return found


def _page(root: Path) -> Any:
    from neuromtm.report.page import page_of
    from neuromtm.report.rendering import render

    page = page_of(root / "run", ceiling=root / "ceiling", baselines=[root / "other"])
    text = render(page)
    if "<b>a</b>" in text:
        raise ValueError("markup of a file is markup of the page")
    return replace(page, head=replace(page.head, made="", tested=None))


def _lock(root: Path) -> Any:
    lock = RunLock(root / "busy_copy")
    lock.acquire()  # that process has ended, as far as the file can say
    lock.release()


def _fit_of(root: Path) -> Any:
    return check_fit(["--config", str(root / "run" / "config.yaml")])


def _end(path: Path) -> Any:
    checkpoint = glance_at_checkpoint(path)
    return end_of_training(checkpoint, max_epochs=1, max_steps=-1, name=str(path)), checkpoint.get("global_step")


def _seen(root: Path) -> Any:
    (root / "of_sweep" / "checkpoints").mkdir(parents=True)
    shutil.copy(root / "last.ckpt", root / "of_sweep" / "checkpoints" / "best.ckpt")
    seen = seen_by(root / "of_sweep")
    if not any(seen):
        raise Said("what last.ckpt was trained on is not known, which the table shows")
    return list(seen)


def _tests(root: Path) -> Any:
    recipe = ("--config", str(root / "trained" / "config.yaml"), "--data.root", str(root / "data"))
    command = ("test", *recipe, "--run_dir", str(root / "tested"), "--ckpt_path", str(root / "last.ckpt"))
    said_by(lambda: command_of_neuromtm(*command), root)
    return (root / "tested" / "metrics.json").read_text(), (root / "tested" / "neurons.csv").read_text()


def _goes_on(root: Path) -> Any:
    (folder := root / "trained_on" / "checkpoints").mkdir(parents=True)
    shutil.copy(root / "last.ckpt", folder / "last.ckpt")
    recipe = pretrain(ROOT, root / "data", "--run_dir", root / "trained_on", "--trainer.max_epochs=2", CONSTANT)
    return said_by(lambda: command_of_neuromtm(*recipe, "--ckpt_path", folder / "last.ckpt"), root) and None


def _eids(root: Path) -> Any:
    from data_prep.sources.ibl.sessions import read_eids_file

    return read_eids_file(root / "eids.txt")


DATA: dict[str, Read] = {
    "check": by_preparation("check", "HERE/data"),
    "fit, test, predict": _reading("fit, test, predict"),
    "the same from the files": _reading("the same from the files"),
    "Sessions": _reading("Sessions"),
}
DATA_SLOW: dict[str, Read] = {
    "describe": by_preparation("describe", "HERE/data", "--out", "HERE/page"),
    "baseline": by_neuromtm("baseline", "--kind", "psth", "--data", "HERE/data", "--out", "HERE/new"),
    "ceiling": by_neuromtm("ceiling", "--data", "HERE/data", "--out", "HERE/new_ceiling"),
}
RESULTS: dict[str, Read] = {
    "compare": left_by(
        by_neuromtm("compare", "other=HERE/other", "run=HERE/run", "ceiling=HERE/ceiling", "--ceiling", "ceiling",
                    "--out", "HERE/means.json"), "means.json"),
    "table": in_spite_of(
        left_by(by_neuromtm("table", "HERE", "--out", "HERE/table.csv"), "table.csv"), "Not in the table: "),
}  # fmt: skip
SWEEP: dict[str, Read] = {
    "table": left_by(by_neuromtm("table", "HERE/sweep", "--out", "HERE/table.csv"), "table.csv"),
}
SWEEP_SLOW: dict[str, Read] = {"scaling": in_spite_of(by_neuromtm("scaling", "HERE/sweep"), "cannot be read")}
MODEL: dict[str, Read] = {
    "load": _reading("load of a checkpoint"),
    "predict": lambda root: _predict(root / "last.ckpt"),
    "whether it is finished": lambda root: _end(root / "last.ckpt"),
    "scaling": _seen,
}
SAVED: dict[str, Read] = {
    "load": _reading("load of a saved model"),
    "predict": lambda root: _predict(root / "saved"),
}


def _of_run(file: str, changes: Callable[[Path], st.SearchStrategy[Change]], *named: str, folder: str = "run") -> Kind:
    return Kind(f"{folder}/{file}", changes, RESULTS, {"report": _page}, named=named)


KINDS: dict[str, Kind] = {
    "manifest": Kind(f"data/{FILE_NAME}", json_changes, DATA, DATA_SLOW, mend_manifest, ("data/",)),
    "shard": Kind("data/sim-0-01.h5", hdf5_changes, DATA, DATA_SLOW, mend_shard, (FILE_NAME, "sim-0-01")),
    "metrics.json": _of_run("metrics.json", json_changes, "neurons.csv", "trials.h5", "HERE/run", "HERE/ceiling"),
    "neurons.csv": _of_run("neurons.csv", table_changes, "trials.h5"),
    "regions.csv": _of_run("regions.csv", table_changes),
    "behavior.csv": _of_run("behavior.csv", table_changes),
    "trials.h5": _of_run("trials.h5", hdf5_changes),
    "baseline.json": _of_run("baseline.json", json_changes, "other", folder="other"),
    "ceiling.json": _of_run("ceiling.json", json_changes, "ceiling", folder="ceiling"),
    "predictions": Kind(
        f"run/predictions/{HELDOUT}.h5",
        hdf5_changes,
        {"read_rates": lambda root: [one._asdict() for one in read_rates(root / "run", root / "data")]},
        {"rates": by_neuromtm("rates", "HERE/run", "--data", "HERE/data")},
    ),
    "grid.csv": Kind("sweep/grid.csv", table_changes, SWEEP, SWEEP_SLOW, named=("HERE/sweep",)),
    "checkpoint": Kind("last.ckpt", checkpoint_changes, MODEL, {"going on": _goes_on, "test": _tests}),
    "saved config": Kind(f"saved/{CONFIG_FILE}", json_changes, SAVED, {}, mend_saved, ("saved",)),
    "saved weights": Kind(f"saved/{WEIGHTS_FILE}", safetensors_changes, SAVED, {}, mend_saved, ("saved",)),
    "space.yaml": Kind("space.yaml", yaml_changes, {"search": lambda root: read_space(root / "space.yaml")}),
    "list of sessions": Kind("eids.txt", eids_changes, {"ibl": _eids}),
    "upgrade journal": Kind(
        f"upgraded/{UPGRADE_JOURNAL}", json_changes, {"check": lambda root: upgraded_but_unlisted(root / "upgraded")}
    ),
    "lock of a run": Kind(f"busy_copy/{LOCK}/{HOLDER_FILE}", json_changes, {"fit": _lock}, named=(LOCK,)),
}
