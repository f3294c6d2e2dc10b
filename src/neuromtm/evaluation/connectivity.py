"""Functional connectivity: how well each region alone predicts every other one, in bits per spike.

A model that was trained with region drop-out sees one region, and the other regions are scored. Two predictions stand
beside these scores: from nothing (the usual course of a trial, which the model has learned), and from all other regions
together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from neuromtm.batch import SessionGroup, SessionInfo
from neuromtm.evaluation.statistics import bootstrap_mean
from neuromtm.evaluation.tasks import PROMPTS, HeldOut, predict_task
from neuromtm.files import table_text
from neuromtm.masking.inter_region import show_one_region
from neuromtm.masking.objective import Objective
from neuromtm.masking.regions import known_regions
from neuromtm.metrics.intervals import Interval, over_sessions
from neuromtm.models.stitching import StitchedModel, VisibleGroup

CONNECTIVITY_FILE = "connectivity.csv"
MEAN_FILE = "connectivity_mean.csv"
PAIR_COLUMNS = (
    *("eid", "source", "target", "n_source", "n_target", "bps", "bps_low", "bps_high"),
    *("gain", "gain_low", "gain_high", "nothing_bps", "all_others_bps"),
)
MEAN_COLUMNS = ("source", "target", "n_sessions", "bps", "bps_low", "bps_high", "gain", "gain_low", "gain_high")
NOTHING, ALL_OTHERS = -2, -1
"""instead of a source's number: no neuron is visible, or every neuron outside the target is visible. A table of sources
has one row for each region, and then these two rows."""


class FromSource(NamedTuple):
    """Predictions of neurons from one source."""

    source: int
    """number of the only region visible, `NOTHING` or `ALL_OTHERS`"""
    held_out: HeldOut


def predict_from_each(model: StitchedModel, objective: Objective, group: SessionGroup) -> Iterator[FromSource]:
    """Predict the neurons of every region from each other region alone, from nothing, and from all others together.

    One pass serves all targets of a source, since the model sees the same for each of them.

    Args:
        model: in evaluation mode.
        objective: what the model was trained with; selects the prompt.
        group: some trials of one session, which has at least two known regions.
    """
    scheme = objective.stand_in(PROMPTS["inter_region"])
    for source in [*known_regions(group.region), NOTHING]:
        masked = show_one_region(group.counts, group.region.number, shown_region=None if source == NOTHING else source)
        log_rates = model([VisibleGroup(group.eid, masked.visible, masked.hidden)], scheme).log_rates[0]
        targets = masked.target[0, 0].nonzero()[:, 0]
        yield FromSource(source, HeldOut(log_rates[..., targets], group.counts[..., targets], targets))
    for held_out in predict_task("inter_region", model, objective, group):
        yield FromSource(ALL_OTHERS, held_out)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An ordered pair of regions in one session: the source alone is visible, the target is predicted."""

    eid: str
    source: str
    target: str
    n_source: int
    """neurons of the source"""
    bps: np.ndarray
    """(neuron,) bits per spike of the target's neurons that have a metric"""
    nothing_bps: np.ndarray
    """(neuron,) bits per spike of the same neurons, with nothing visible"""
    all_others_bps: np.ndarray
    """(neuron,) bits per spike of the same neurons, with everything outside the target visible"""

    @property
    def gain(self) -> np.ndarray:
        """(neuron,) gain in bits per spike over the prediction from nothing."""
        return self.bps - self.nothing_bps


def pairs_of(session: SessionInfo, bps: np.ndarray) -> list[Pair]:
    """Every ordered pair of a session's known regions, by name. A pair is left out if no target neuron has a metric.

    Args:
        session: its neurons and their regions.
        bps: (source, neuron) bits per spike from each region alone, from nothing, and from all others; NaN where
            there is none.
    """
    names, region = session.region_names, session.region_index().number.numpy()
    pairs = []
    for source, source_name in enumerate(names):
        for target, target_name in enumerate(names):
            scored = (region == target) & ~np.isnan(bps[source])
            if source != target and scored.any():
                pairs.append(
                    Pair(
                        eid=session.eid,
                        source=source_name,
                        target=target_name,
                        n_source=int((region == source).sum()),
                        bps=bps[source, scored],
                        nothing_bps=bps[NOTHING, scored],
                        all_others_bps=bps[ALL_OTHERS, scored],
                    )
                )
    return pairs


class Matrices(NamedTuple):
    """Means over sessions of means over neurons. NaN on the diagonal, and where no session has both regions."""

    names: tuple[str, ...]
    """the regions of both axes"""
    n_source: np.ndarray
    """(source,) neurons of the source, mean over sessions"""
    bps: np.ndarray
    """(source, target) bits per spike of the target from the source alone"""
    gain: np.ndarray
    """(source, target) gain of `bps` over the prediction from nothing"""
    nothing_bps: np.ndarray
    """(target,) bits per spike from nothing"""
    all_others_bps: np.ndarray
    """(target,) bits per spike from all other regions together"""


def matrices_of(pairs: Sequence[Pair]) -> Matrices:
    """The pairs of one session, or of several, as matrices."""
    names = tuple(sorted({name for pair in pairs for name in (pair.source, pair.target)}))
    place = {name: i for i, name in enumerate(names)}

    def mean(metric: str) -> np.ndarray:
        sums, n = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
        for pair in pairs:
            at = place[pair.source], place[pair.target]
            sums[at] += getattr(pair, metric).mean()
            n[at] += 1
        return np.divide(sums, n, out=np.full_like(sums, np.nan), where=n > 0)

    def mean_by_region(values: Iterable[tuple[str, str, float]]) -> np.ndarray:
        # a region is in several pairs of a session, with the same metric each time
        by_session = {(region, eid): value for region, eid, value in values}
        found = [[value for (region, _), value in by_session.items() if region == name] for name in names]
        return np.array([np.mean(of_region) if of_region else np.nan for of_region in found])

    return Matrices(
        names,
        mean_by_region((pair.source, pair.eid, pair.n_source) for pair in pairs),
        mean("bps"),
        mean("gain"),
        mean_by_region((pair.target, pair.eid, pair.nothing_bps.mean()) for pair in pairs),
        mean_by_region((pair.target, pair.eid, pair.all_others_bps.mean()) for pair in pairs),
    )


def connectivity_text(pairs: Sequence[Pair]) -> str:
    """The text of connectivity.csv: one row per session and ordered pair of regions.

    Means and bootstrap intervals are over the target's neurons that have a metric (`n_target`). An interval is empty if
    the neurons are too few.
    """
    rows = []
    for pair in pairs:
        name = (pair.eid, pair.source, pair.target)
        cells = [cell for metric in ("bps", "gain") for cell in _mean_cells(getattr(pair, metric), metric, *name)]
        beside = [pair.nothing_bps.mean(), pair.all_others_bps.mean()]
        rows.append([*name, pair.n_source, len(pair.bps), *cells, *beside])
    return table_text(PAIR_COLUMNS, rows)


def mean_text(pairs: Sequence[Pair]) -> str:
    """The text of connectivity_mean.csv: one row per ordered pair of regions that any session has.

    Means and their t intervals are over the sessions that have both regions. An interval is empty if the sessions are
    too few.
    """
    together: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        together.setdefault((pair.source, pair.target), []).append(pair)
    rows = []
    for name, found in sorted(together.items()):
        cells = []
        for metric in ("bps", "gain"):
            means = np.array([getattr(pair, metric).mean() for pair in found])
            cells += _cells(means, partial(over_sessions, means))
        rows.append([*name, len(found), *cells])
    return table_text(MEAN_COLUMNS, rows)


def _mean_cells(values: np.ndarray, *name: str) -> list[float | None]:
    return _cells(values, lambda: bootstrap_mean(values, "connectivity", *name))


def _cells(values: np.ndarray, interval: Callable[[], Interval | None]) -> list[float | None]:
    # rates that diverged score minus infinity, which has no interval
    ends = interval() if np.isfinite(values).all() else None
    return [values.mean(), *((None, None) if ends is None else ends)]
