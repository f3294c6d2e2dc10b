"""The sessions of a folder as arrays and tables, and a user's own recording as a session."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from neuromtm.api.given import checked_folder, checked_names, checked_path, failures_named, require_flag
from neuromtm.api.recording import recording_shard
from neuromtm.data.manifest import FILE_NAME, Role, SessionEntry, add_shard, choose_sessions, find_entry
from neuromtm.data.shards import SPLITS, Shard, read_shard, shard_name, write_shard
from neuromtm.errors import ConfigError, DataError, ManifestError

Split = Literal["train", "val", "test"]


class UnknownSessionError(DataError, KeyError):
    """The folder holds no such session. This is also a `KeyError`, as in any mapping."""

    __str__ = Exception.__str__  # KeyError would show the sentence in quotes


@dataclass(frozen=True, kw_only=True)
class Session:
    """A recording of one animal, in memory."""

    eid: str
    subject: str
    role: Role
    bin_size_s: float
    window_s: tuple[float, float]
    """start and end of a trial relative to its event"""
    counts: np.ndarray
    """(trial, bin, neuron) spikes per bin"""
    neurons: Mapping[str, np.ndarray]
    """`uuid`, `region`, `probe`, `firing_rate_hz`, `label`, `depth_um` -> (neuron,), and what else its shard holds"""
    trials: Mapping[str, np.ndarray]
    """`choice`, `contrast`, `block`, `reward`, `reaction_time_s`, `stimulus_onset_s`, `start_s`, `event_s`, `index`,
    and every further column of the source -> (trial,)"""
    behavior: Mapping[str, np.ndarray]
    """name of a trace -> (trial, bin), NaN where missing"""
    splits: Mapping[str, np.ndarray]
    """`train`, `val`, `test` -> numbers of its trials"""

    def __repr__(self) -> str:
        n_trials, n_bins, n_neurons = self.counts.shape
        return (
            f"Session({self.eid!r}: {n_trials} trials of {n_bins} bins of {self.bin_size_s:g} s, {n_neurons} neurons)"
        )

    def select(self, *, split: Split | None = None, neurons: Sequence[str] | None = None) -> "Session":
        """Choose some of its trials, some of its neurons, or both.

        Args:
            split: choose the trials of this split; by default all trials.
            neurons: uuids, in the order wanted; by default all neurons. If a model was trained on some of the neurons
                only, give it `session.select(neurons=model.sessions[session.eid].neurons)`.

        Raises:
            DataError: if there is no such split or neuron.
        """
        return self._of_trials(split)._of_neurons(neurons)

    def _of_trials(self, split: str | None) -> "Session":
        if split is None:
            return self
        if split not in SPLITS:
            raise DataError(f"{self.eid}: no split {split!r}. There are: {', '.join(SPLITS)}.")
        number = self.splits[split]
        return replace(
            self,
            counts=self.counts[number],
            trials={name: values[number] for name, values in self.trials.items()},
            behavior={name: values[number] for name, values in self.behavior.items()},
            splits={name: np.arange(len(number) if name == split else 0, dtype=np.int32) for name in SPLITS},
        )

    def _of_neurons(self, neurons: Sequence[str] | None) -> "Session":
        if neurons is None:
            return self
        try:
            neurons = checked_names(neurons, what=f"{self.eid}: neurons")
        except DataError as error:
            raise DataError(f'{error} A mask or numbers choose them by session.neurons["uuid"][...].') from error
        if not neurons:
            raise DataError(f"{self.eid}: neurons names no neuron.")
        if len(set(neurons)) != len(neurons):
            raise DataError(f"{self.eid}: neurons names a neuron twice: {len(set(neurons))} uuids in {len(neurons)}.")
        place = {uuid: i for i, uuid in enumerate(self.neurons["uuid"].tolist())}
        unknown = [uuid for uuid in neurons if uuid not in place]
        if unknown:
            raise DataError(
                f"{self.eid}: no neuron {', '.join(map(repr, unknown[:3]))}; {len(unknown)} of the {len(neurons)} "
                f"named are not among its {len(place)} neurons."
            )
        chosen = np.array([place[uuid] for uuid in neurons], dtype=np.int64)
        return replace(
            self,
            counts=self.counts[..., chosen],
            neurons={name: values[chosen] for name, values in self.neurons.items()},
        )


class Sessions(Mapping[str, Session]):
    """The sessions of a folder of shards: eid -> `Session`, read from disk when it is asked for.

    Args:
        folder: folder with manifest.json and one shard per session.
        role: which sessions to take: those for pretraining, those held out, or all.
        eids: the sessions by name, whatever their role.

    Raises:
        ManifestError: if the folder holds no data.
        DataError: if an eid is not there, or no session has the role.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        role: Literal["pretrain", "heldout", "all"] = "all",
        eids: Sequence[str] | None = None,
    ):
        self.folder = checked_path(folder, what="folder")
        if role not in ("pretrain", "heldout", "all"):
            raise ConfigError(f"role is {role!r}, not one of pretrain, heldout, all.")
        named = [eids] if isinstance(eids, str) else eids
        if named is not None:
            named = checked_names(named, what="eids")
        self._entries = {entry.eid: entry for entry in choose_sessions(self.folder, eids=named, role=role)}

    def __getitem__(self, eid: str) -> Session:
        """Read a session.

        Raises:
            UnknownSessionError: if it is not among these.
            ShardError: if its shard is missing or damaged.
        """
        if eid not in self._entries:
            raise UnknownSessionError(f"{self.folder}: no session {eid!r}. There are: {', '.join(self._entries)}.")
        entry = self._entries[eid]
        shard = read_shard(self.folder / entry.file)
        if shard.header.eid != eid:
            raise ManifestError(
                f"{self.folder}: {entry.file} holds {shard.header.eid!r} and not {eid!r}. Prepare it again."
            )
        return _session(shard, entry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, eid: object) -> bool:
        return eid in self._entries

    def __repr__(self) -> str:
        return f"Sessions({str(self.folder)!r}: {', '.join(self._entries)})"

    def table(self) -> dict[str, np.ndarray]:
        """The manifest as a table: column -> (session,) values. `pandas.DataFrame` takes it as it is."""
        names = ("eid", "subject", "lab", "role", "n_trials", "n_bins", "n_neurons", "bin_size_s")
        entries = self._entries.values()
        columns = {name: np.array([getattr(entry, name) for entry in entries]) for name in names}
        columns["n_regions"] = np.array([len(entry.regions) for entry in entries])
        return columns | {f"n_{split}": np.array([entry.splits[split] for entry in entries]) for split in SPLITS}

    @classmethod
    def write(
        cls,
        folder: Path | str,
        *,
        eid: str,
        counts: np.ndarray,
        bin_size_s: float,
        window_start_s: float = 0.0,
        subject: str = "unknown",
        lab: str = "unknown",
        role: Role = "heldout",
        region: Sequence[str] | None = None,
        uuid: Sequence[str] | None = None,
        choice: Sequence[float] | None = None,
        behavior: Mapping[str, np.ndarray] | None = None,
        splits: Mapping[str, Sequence[int]] | None = None,
        fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
        seed: int = 0,
        overwrite: bool = False,
    ) -> "Sessions":
        """Write a recording of your own as a session, so that models can be trained and adapted on it.

        Args:
            folder: folder of shards; it is made if it is missing. Its other sessions stay.
            eid: a name for the session: letters, digits and `._-`.
            counts: (trial, bin, neuron) spikes per bin.
            bin_size_s: width of a bin. A pretrained model needs the width it was trained on, see `Model.bin_size_s`.
            window_start_s: start of a trial relative to its event.
            subject: name of the animal.
            lab: where it was recorded.
            role: `heldout` for sessions to adapt to, `pretrain` for those to train a new model on.
            region: (neuron,) acronym of each neuron; by default `root`, unknown. Without regions there is no
                intra-region and no inter-region task.
            uuid: (neuron,) name of each neuron; by default the eid and a number.
            choice: (trial,) -1 or +1, 0 or NaN where unknown.
            behavior: name -> (trial, bin) trace, NaN where missing.
            splits: `train`, `val`, `test` -> trial numbers; by default drawn at random by `fractions` and `seed`.
            fractions: parts of the trials for train, val, test.
            seed: seed of the draw.
            overwrite: replace a session of this eid.

        Returns:
            This session alone; `Sessions(folder)` has all sessions.

        Raises:
            DataError: if the arrays are not what they should be, or the session is there already.
            ConfigError: if the eid cannot name a file, or the folder cannot be written to.
        """
        path = checked_folder(folder, what="folder") / shard_name(eid)
        if role not in get_args(Role) or not isinstance(role, str):
            raise ConfigError(f"role is {role!r}, not one of {', '.join(get_args(Role))}.")
        require_flag(overwrite, what="overwrite")
        shard = recording_shard(
            eid=eid,
            counts=counts,
            bin_size_s=bin_size_s,
            window_start_s=window_start_s,
            subject=subject,
            lab=lab,
            region=region,
            uuid=uuid,
            choice=choice,
            behavior={} if behavior is None else behavior,
            splits=splits,
            fractions=fractions,
            seed=seed,
        )
        with failures_named():
            _require_free(path, eid, overwrite=overwrite)
            replaces = path.exists()
            write_shard(path, shard)
            try:
                add_shard(path, role)
            except BaseException:
                if not replaces:  # a shard that is not listed would be in the way of a second try
                    path.unlink(missing_ok=True)
                raise
        return cls(folder, eids=[eid])


def _require_free(path: Path, eid: str, *, overwrite: bool) -> None:
    """Refuse a name that is taken, and a folder whose manifest cannot take another session."""
    listed = find_entry(path.parent, eid) is not None
    if not overwrite and (listed or path.exists()):
        raise DataError(f"{path}: the session {eid!r} is there already. Give overwrite=True to replace it.")
    if path.name == f"{FILE_NAME}.h5":
        raise ConfigError(f"eid {eid!r}: the name of the list of sessions. Rename the session.")
    # where a file system does not tell upper from lower case, one would replace the other
    there = [other.stem for other in path.parent.glob("*.h5")]
    if alike := [other for other in there if other != eid and other.lower() == eid.lower()]:
        raise ConfigError(f"eid {eid!r}: differs from {alike[0]!r} in upper and lower case only. Rename the session.")


def _session(shard: Shard, entry: SessionEntry) -> Session:
    header = shard.header
    return Session(
        eid=header.eid,
        subject=str(header.subject),
        role=entry.role,
        bin_size_s=header.bin_size_s,
        window_s=header.window_s,
        counts=shard.counts,
        neurons={
            field.name: values
            for field in fields(header.neurons)
            if (values := getattr(header.neurons, field.name)) is not None
        },
        trials={
            **{
                field.name: getattr(header.trials, field.name)
                for field in fields(header.trials)
                if field.name != "columns"
            },
            **header.trials.columns,
        },
        behavior=shard.behavior,
        splits=header.splits,
    )
