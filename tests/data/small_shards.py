"""Folders of tiny random shards, written by the shard format alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuromtm.batch import Batch
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import Role, add_shard
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials, write_shard

N_BINS = 4


@dataclass(frozen=True)
class Session:
    """What to write."""

    eid: str
    n_trials: int = 20
    regions: Sequence[str] = ("CA1", "VISp", "CA1", "root")
    role: Role = "pretrain"
    n_bins: int = N_BINS
    behaviors: Sequence[str] = ("whisker_motion_energy",)
    largest_count: int = 5


def make_shard(session: Session) -> Shard:
    """Random content that follows from the eid; the first bin of a trace is missing, every sixth choice unknown."""
    rng = np.random.default_rng(list(session.eid.encode()))
    n_trials, n_neurons = session.n_trials, len(session.regions)
    order = rng.permutation(n_trials)
    n_train, n_val = round(0.7 * n_trials), round(0.1 * n_trials)
    unknown = np.full(n_neurons, np.nan)
    header = ShardHeader(
        eid=session.eid,
        subject=f"mouse {session.eid}",
        lab="lab",
        source="test",
        bin_size_s=0.02,
        window_s=(0.0, 0.02 * session.n_bins),
        align_event="stimOn_times",
        created_by="test",
        neurons=Neurons(
            uuid=np.array([f"{session.eid}-{i}" for i in range(n_neurons)]),
            region=np.array(session.regions),
            probe=np.repeat("probe00", n_neurons),
            firing_rate_hz=unknown,
            label=unknown,
            depth_um=unknown,
        ),
        trials=Trials(np.resize([-1, 1, 1, -1, 1, 0], n_trials), *np.zeros((5, n_trials)), index=np.arange(n_trials)),
        splits={"train": order[:n_train], "val": order[n_train : n_train + n_val], "test": order[n_train + n_val :]},
        behaviors=tuple(session.behaviors),
    )
    counts = rng.integers(0, session.largest_count + 1, (n_trials, session.n_bins, n_neurons))
    counts[0, 0, 0] = session.largest_count
    behavior = {name: rng.random((n_trials, session.n_bins)).astype(np.float32) for name in session.behaviors}
    for trace in behavior.values():
        trace[:, 0] = np.nan
    return Shard(header, counts.astype(np.uint8 if session.largest_count < 256 else np.uint16), behavior)


def write_folder(folder: Path, *sessions: Session) -> dict[str, Shard]:
    """Write shards and manifest; eid -> what was written."""
    shards = {session.eid: make_shard(session) for session in sessions}
    for number, session in enumerate(sessions):
        path = folder / f"file{number}.h5"  # any name will do: the manifest says whose it is
        write_shard(path, shards[session.eid])
        add_shard(path, session.role)
    return shards


def without_trials(shard: Shard, *splits: str) -> Shard:
    """The shard with some of its splits empty."""
    emptied = {name: np.zeros(0, np.int32) for name in splits}
    return replace(shard, header=replace(shard.header, splits=dict(shard.header.splits) | emptied))


def contents(batches: Iterable[Batch]) -> list[list[tuple]]:
    """The batches in types that compare: eid, trials, counts, choice and traces of each group."""
    return [
        [
            (
                g.eid,
                g.trial.tolist(),
                g.counts.tolist(),
                g.choice.tolist(),
                {name: values.nan_to_num(-1).tolist() for name, values in g.behavior.items()},
            )
            for g in batch.groups
        ]
        for batch in batches
    ]


def ready(root, **options) -> SessionDataModule:
    """A data module after its setup."""
    data = SessionDataModule(root=str(root), **options)
    data.setup("fit")
    return data
