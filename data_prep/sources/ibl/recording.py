"""Read one session of the International Brain Laboratory through ONE-api.

The probes are merged, and the regions are those of the Beryl atlas.
"""

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from data_prep.recording import Recording, SortedNeurons, Trace, TrialTable
from data_prep.session_files import LARGEST_ROUNDING_S
from data_prep.sources.ibl.behaviors import DEFAULT, read_behaviors, trial_span
from data_prep.sources.ibl.pickles import refuse_pickles
from data_prep.sources.ibl.sortings import choose_sortings, sorting_attributes
from data_prep.spikes import SpikePart, lean_type
from neuromtm.errors import SourceError

TRIAL_COLUMNS = {
    "stimulus_onset_s": "stimOn_times",
    "go_cue_s": "goCue_times",
    "first_movement_s": "firstMovement_times",
    "feedback_s": "feedback_times",
    "choice": "choice",
    "feedback_type": "feedbackType",
    "contrast_left": "contrastLeft",
    "contrast_right": "contrastRight",
    "block": "probabilityLeft",
}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What is read of a session."""

    behaviors: tuple[str, ...] = DEFAULT
    """names of traces"""
    sorter: str | None = None
    """the spike sorter; None: the most preferred one that a probe has"""
    revision: str | None = None
    """the last revision of each file up to this one; None: the default revision"""

    def as_json(self) -> dict[str, object]:
        """The options in the form that a shard stores, without defaults: shards from before these options have none."""
        found = {"behaviors": sorted(self.behaviors), "sorter": self.sorter, "revision": self.revision}
        default = {"behaviors": sorted(DEFAULT), "sorter": None, "revision": None}
        return {name: value for name, value in found.items() if value != default[name]}


AS_THE_PAPER = ReadOptions()


def read_session(
    one: Any, one_eid: str, *, eid: str, subject: str, lab: str, how: ReadOptions = AS_THE_PAPER
) -> Recording:
    """Read a session from the files that it has.

    Args:
        one: an open ONE-api object, local or remote.
        one_eid: the session's name in ONE.
        eid: the session's name in the shards.
        subject: name of the animal.
        lab: name of the lab that recorded it.
        how: what is read.

    Raises:
        SourceError: if the session has no spikes, no trials or no regions, or a file cannot be read.
    """
    trials = _trials(one, one_eid)
    sortings = _sortings(one, one_eid, how.sorter)
    probes = [_Probe(one, one_eid, eid, probe, collection) for probe, collection in sortings.items()]
    offsets = np.cumsum([0] + [probe.n_neurons for probe in probes]).tolist()
    traces, notes = _behaviors(one, one_eid, how.behaviors, trials)
    with _reading("list of files"):
        attributes = sorting_attributes(sortings, one.list_datasets(one_eid, details=True), revision=how.revision)
    return Recording(
        eid=eid,
        subject=subject,
        lab=lab,
        source="ibl",
        spike_parts=tuple(
            partial(probe.spikes, first_neuron=first, n_neurons=offsets[-1])
            for probe, first in zip(probes, offsets[:-1], strict=True)
        ),
        neurons=SortedNeurons(
            uuid=np.concatenate([probe.uuid for probe in probes]),
            region=np.concatenate([probe.region for probe in probes]),
            probe=np.concatenate([np.repeat(probe.name, probe.n_neurons) for probe in probes]),
            label=np.concatenate([probe.label for probe in probes]),
            depth_um=np.concatenate([probe.depth_um for probe in probes]),
        ),
        trials=trials,
        traces=traces,
        notes=tuple(notes),
        attributes=attributes,
    )


def beryl_acronyms(location_ids: np.ndarray) -> np.ndarray:
    """Acronyms of the Beryl atlas, from ids of the Allen atlas. Negative ids are in the left hemisphere.

    Raises:
        SourceError: if an id is not in the atlas.
    """
    regions = _atlas()
    unknown = np.setdiff1d(np.abs(location_ids), regions.id)
    if len(unknown):
        raise SourceError(f"brainLocationIds_ccf_2017 has ids that are not in the Allen atlas, e.g. {unknown[0]}.")
    return regions.id2acronym(location_ids, mapping="Beryl").astype(str)


@cache
def _atlas() -> Any:
    from iblatlas.regions import BrainRegions

    return BrainRegions()


@contextmanager
def _reading(what: str) -> Generator[None]:
    """Turn every error of a missing or unreadable file into one sentence."""
    from one.alf.exceptions import ALFError, ALFWarning

    refuse_pickles()
    try:
        with warnings.catch_warnings():
            # this warning says which revision is read: the default or the newest one, as it should be
            warnings.simplefilter("ignore", ALFWarning)
            yield
    except ALFError as error:
        raise SourceError(f"no {what}.") from error
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(f"{what} cannot be read ({type(error).__name__}: {error}).") from error


def _load(one: Any, one_eid: str, name: str, collection: str, attribute: list[str] | None = None) -> dict[str, Any]:
    wanted = {} if attribute is None else {"attribute": attribute}
    with _reading(f"{name} in {collection}"):
        # a local tree belongs to the user, who may have changed files after their hashes were indexed
        found = dict(one.load_object(one_eid, name, collection=collection, check_hash=one.mode == "remote", **wanted))
    if empty := [attribute for attribute, values in found.items() if values is None]:
        raise SourceError(f"{collection}: {name}.{empty[0]} is an empty file.")
    return found


def _behaviors(
    one: Any, one_eid: str, names: tuple[str, ...], trials: TrialTable
) -> tuple[dict[str, Trace], list[str]]:
    def load(name: str, attributes: Sequence[str]) -> Mapping[str, Any]:
        return _load(one, one_eid, name, "alf", list(attributes))

    return read_behaviors(load, names, span_s=trial_span(trials))


def _sortings(one: Any, one_eid: str, sorter: str | None) -> dict[str, str]:
    with _reading("list of spike sortings"):
        collections = one.list_collections(one_eid, filename="spikes.times*")
    sortings = choose_sortings([str(collection) for collection in collections], sorter=sorter)
    if not sortings:
        raise SourceError("no spikes: no probe has spikes.times.")
    return sortings


def _numbers(found: dict[str, Any], name: str, collection: str) -> np.ndarray:
    """(spike,) values of an attribute of the spikes, which it takes out of `found`."""
    values = np.asarray(found.pop(name)).ravel()
    if values.dtype.kind not in "iuf":
        raise SourceError(f"{collection}: spikes.{name} is of the type {values.dtype}, not numbers.")
    return values


def _whole_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """(value,) int64."""
    if values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
        if (np.abs(numbers) <= LARGEST).all() and (numbers == np.round(numbers)).all():
            return numbers.astype(np.int64)
    raise SourceError(f"{what} are not all whole numbers.")


LARGEST = 2.0**53
"""number of a channel or cluster that a float holds"""


class _Probe:
    """The neurons of one probe, and the reading of its spikes."""

    def __init__(self, one: Any, one_eid: str, eid: str, name: str, collection: str):
        self._one, self._one_eid, self._collection = one, one_eid, collection
        # each attribute is named, because the waveforms in the same folder are large to download
        clusters = _load(one, one_eid, "clusters", collection, ["channels", "depths", "metrics", "uuids"])
        if "channels" not in clusters:
            raise SourceError(f"no clusters.channels in {collection}.")
        self.name = name
        channels = _whole_numbers(np.asarray(clusters["channels"]).ravel(), f"{collection}: clusters.channels")
        self.n_neurons = len(channels)
        locations = _locations(one, one_eid, name, collection)
        if len(channels) and not 0 <= channels.min() <= channels.max() < len(locations):
            raise SourceError(f"{collection}: clusters on channel {channels.max()}, but {len(locations)} channels.")
        self.region = beryl_acronyms(locations[channels])
        unnamed = [f"{eid}-{name}-{cluster}" for cluster in range(self.n_neurons)]
        self.uuid = np.asarray(clusters.get("uuids", unnamed)).astype(str).ravel()
        with _reading(f"clusters.depths in {collection}"):
            self.depth_um = np.asarray(clusters.get("depths", np.full(self.n_neurons, np.nan)), np.float64).ravel()
        self.label = np.full(self.n_neurons, np.nan)
        metrics = clusters.get("metrics")
        if metrics is not None and "label" in metrics:
            # some neurons may be missing in the table, so its rows are matched by cluster number, not by position
            what = f"{collection}: clusters.metrics"
            number = np.asarray(metrics["cluster_id"] if "cluster_id" in metrics else np.arange(len(metrics)))
            number = _whole_numbers(number, f"{what}, cluster_id")
            known = (number >= 0) & (number < self.n_neurons)
            with _reading(what):
                self.label[number[known]] = np.asarray(metrics["label"], np.float64)[known]
        sizes = {"uuids": len(self.uuid), "depths": len(self.depth_um)}
        if wrong := [f"{size} {attribute}" for attribute, size in sizes.items() if size != self.n_neurons]:
            raise SourceError(f"{collection}: {self.n_neurons} clusters, but {' and '.join(wrong)}.")

    def spikes(self, *, first_neuron: int, n_neurons: int) -> SpikePart:
        """Load the spikes.

        Args:
            first_neuron: number of the probe's first neuron among those of the session.
            n_neurons: number of neurons of the session.

        Raises:
            SourceError: if they cannot be read, or are of clusters that are not listed.
        """
        found = _load(self._one, self._one_eid, "spikes", self._collection, ["times", "clusters"])
        if missing := [f"spikes.{name}" for name in ("times", "clusters") if name not in found]:
            raise SourceError(f"no {', '.join(missing)} in {self._collection}.")
        cluster = _numbers(found, "clusters", self._collection)
        if cluster.dtype.kind == "f" and not (cluster == np.round(cluster)).all():
            raise SourceError(f"{self._collection}: spikes.clusters are not all whole numbers.")
        # the numbers of the neurons before are added: a number too large would be a neuron of another probe
        if len(cluster) and not 0 <= cluster.min() <= cluster.max() < self.n_neurons:
            raise SourceError(
                f"{self._collection}: spikes.clusters goes from {cluster.min()} to {cluster.max()}, but "
                f"{self.n_neurons} clusters are listed."
            )
        neuron = cluster.astype(lean_type(n_neurons))
        del cluster
        neuron += neuron.dtype.type(first_neuron)
        stored = _numbers(found, "times", self._collection)
        lean = len(stored) > 0 and stored.dtype.kind == "f" and stored.dtype != np.float64
        if lean and np.isfinite(stored).all() and np.spacing(np.abs(stored).max()) > LARGEST_ROUNDING_S:
            raise SourceError(f"{self._collection}: spikes.times are {stored.dtype}, which rounds them to other bins.")
        times_s = stored.astype(np.float64, copy=False)
        if len(times_s) != len(neuron):
            raise SourceError(f"{self._collection}: {len(times_s)} spikes.times, but {len(neuron)} spikes.clusters.")
        if not (times_s[1:] >= times_s[:-1]).all():
            order = np.argsort(times_s, kind="stable")
            times_s, neuron = times_s[order], neuron[order]
        return SpikePart(times_s, neuron)


def _locations(one: Any, one_eid: str, probe: str, collection: str) -> np.ndarray:
    """(channel,) ids of the Allen atlas."""
    attribute = "brainLocationIds_ccf_2017"
    for place in dict.fromkeys((collection, f"alf/{probe}")):
        try:
            channels = _load(one, one_eid, "channels", place, [attribute])
        except SourceError:
            continue
        if attribute in channels:
            return _whole_numbers(np.asarray(channels[attribute]).ravel(), f"{place}: channels.{attribute}")
    raise SourceError(f"no region file: {collection} has no channels.{attribute}.")


def _trials(one: Any, one_eid: str) -> TrialTable:
    table = _load(one, one_eid, "trials", "alf")
    if missing := [column for column in TRIAL_COLUMNS.values() if column not in table]:
        raise SourceError(f"the trial table has no {', '.join(missing)}.")
    with _reading("trial table"):
        known: dict[str, Any] = {f: np.asarray(table[name], np.float64) for f, name in TRIAL_COLUMNS.items()}
        others = {name: np.asarray(values) for name, values in table.items() if name not in TRIAL_COLUMNS.values()}
        numbers = {name: v.astype(np.float64) for name, v in others.items() if v.ndim == 1 and v.dtype.kind in "fiub"}
        return TrialTable(**known, columns=numbers)
