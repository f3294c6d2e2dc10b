"""Folders as a test, `neuromtm ceiling`, `neuromtm baseline` and a decoder's test leave them."""

import json
from pathlib import Path

import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from neuromtm.decoding.end_to_end import decoded_text, score_decoded
from neuromtm.decoding.selection import Decoded, Tried, behavior_text, labels_of
from neuromtm.decoding.targets import Target
from neuromtm.evaluation.references import BASELINE_FILE, CEILING_FILE, ceiling_text
from neuromtm.evaluation.results import Metrics, metrics_text, read_metrics, write_results
from neuromtm.evaluation.scores import NeuronScores, SessionScores, activity_means
from neuromtm.metrics.neurons import NUMBER_COLUMNS

EIDS = ("s0", "s1")


def as_scored(folder: Path, *, better_by: float = 0.0, eids: tuple[str, ...] = EIDS, region: str = "CA1") -> Path:
    """The tables of a test, of sessions with 8 neurons."""
    tables = []
    for number, eid in enumerate(eids):
        generator = torch.Generator().manual_seed(number)
        columns = {name: torch.rand(8, generator=generator).double() + better_by for name in NUMBER_COLUMNS}
        uuid = tuple(f"u{i}" for i in range(8))
        tables.append(NeuronScores(eid=eid, uuid=uuid, region=("LP", region) * 4, columns=columns))
    write_results(folder, [SessionScores(eid=t.eid, **activity_means(t)) for t in tables], tables)
    return folder


def as_ceiling(folder: Path, *, better_by: float = 1.0, eids: tuple[str, ...] = EIDS) -> Path:
    as_scored(folder, better_by=better_by, eids=eids)
    (folder / CEILING_FILE).write_text(ceiling_text(Path("data"), eids))
    return folder


def as_baseline(folder: Path, *, kind: str = "ridge", better_by: float = 0.0, eids: tuple[str, ...] = EIDS) -> Path:
    as_scored(folder, better_by=better_by, eids=eids)
    (folder / BASELINE_FILE).write_text(json.dumps({"kind": kind, "chosen": {eid: {} for eid in eids}}))
    return folder


def balanced(accuracy: float) -> dict[str, float]:
    """The further metrics of classes."""
    return {"balanced_accuracy": accuracy}


def add_read_outs(run_dir: Path, eid: str = "s0") -> None:
    """Let the run have decoded the choice of one of its sessions."""
    numbers = [np.arange(20), np.arange(20, 24), np.arange(24, 28)]
    values = np.array([-1, 1] * 14, np.float32)
    values[[0, 24]] = np.nan
    tried = [
        Tried(features="rates", prompt="neuron", strength=1.0, validation=0.7, test=0.9, further=balanced(0.9)),
        Tried(features="states", prompt="causal", strength=1.0, validation=0.8, test=0.8, further=balanced(0.75)),
        Tried(features="counts", strength=1.0, validation=0.8, test=0.6, further=balanced(0.6)),
        Tried(features="counts_rrr", rank=2, strength=0.5, validation=0.8, test=0.9, further=balanced(0.9)),
    ]
    decoded = Decoded(eid=eid, labels=labels_of(Target("choice", values), numbers), tried=tuple(tried))
    metrics = read_metrics(run_dir)
    found = decoded.metrics() | {"choice_chance": 0.5}
    metrics["sessions"][eid] |= found
    metrics["mean"] |= found
    (run_dir / "metrics.json").write_text(metrics_text(metrics))
    (run_dir / "behavior.csv").write_text(behavior_text([decoded]))


def as_decoder(folder: Path, *, target: str = "choice", eid: str = "s0") -> Path:
    """What a decoder's test leaves: 10 trials of a behaviour, of which one is not known."""
    folder.mkdir(parents=True)
    known = np.array([1, 0] * 10, np.float32)
    values = np.stack([known, 1 - known], axis=1) if target == "whisker_motion_energy" else known
    values[10] = np.nan
    scores = {eid: score_decoded(Target(target, values), values[10:].copy(), np.arange(10, 20), np.arange(10))}
    found = {key: value for key, value in scores[eid].metrics.items() if value is not None}
    (folder / "metrics.json").write_text(metrics_text(Metrics(sessions={eid: found}, mean=found)))
    (folder / "decoding.csv").write_text(decoded_text(target, scores))
    for name in ("config.yaml", "config.test.yaml"):
        (folder / name).write_text(f"# {name}\nmodel:\n  target: {target}\n  pretrained: mtm.ckpt\n  frozen: true\n")
    return folder


def log(folder: Path, wall_time: float = 1.0, **values: list[float]) -> None:
    """An event file with curves: tag -> values at steps 0, 1, ...; the first underscore of a tag is its slash."""
    writer = EventFileWriter(str(folder))
    for tag, curve in values.items():
        for step, value in enumerate(curve):
            summary = Summary(value=[Summary.Value(tag=tag.replace("_", "/", 1), simple_value=value)])
            writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))
    writer.close()
