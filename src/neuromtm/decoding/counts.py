"""Behaviour read from raw spike counts, for comparison with a pretrained model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from neuromtm.decoding.linear import Splits
from neuromtm.decoding.reduced_rank import fit_reduced_rank
from neuromtm.decoding.selection import Candidate, Decoded, Features, score_readout
from neuromtm.metrics.absent import Absent
from neuromtm.smoothing import smooth

SMOOTHING_S = (0.0, 0.04, 0.1)
"""standard deviations of the Gaussian that smooths counts over time; the one that is best on validation is used"""

POOLED_S = 0.04
"""width of the bins of reduced-rank read-outs, which learn the rest of the smoothing themselves"""


def smoothed_counts(counts: Splits, bin_size_s: float) -> Iterator[Candidate]:
    """Counts at each smoothing, for the full linear read-out.

    Args:
        counts: (trial, bin, neuron) spikes per bin of each split.
        bin_size_s: width of a bin.
    """
    for smoothing_s in SMOOTHING_S:
        parts = (
            smooth(part.astype(np.float32), width_s=smoothing_s, bin_size_s=bin_size_s, edges="repeat")
            for part in counts
        )
        yield Candidate("counts", Splits(*parts), smoothing_s=smoothing_s)


def in_wider_bins(counts: np.ndarray, bin_size_s: float) -> np.ndarray:
    """Counts in bins of about `POOLED_S`, for the reduced-rank read-outs.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        bin_size_s: width of a bin.

    Returns:
        (trial, bin', neuron) float32; the last bin is shorter if their number does not divide.
    """
    starts = np.arange(0, counts.shape[1], max(1, round(POOLED_S / bin_size_s)))
    return np.add.reduceat(counts.astype(np.float32), starts, axis=1)


def add_reduced_rank(
    decoded: Mapping[str, Sequence[Decoded]], counts: Mapping[str, Splits], *, name: Features
) -> dict[str, list[Decoded]]:
    """Fit one reduced-rank read-out of each behaviour to these sessions together, and add its scores.

    Args:
        decoded: eid -> the read-outs that were tried, one entry per behaviour.
        counts: eid -> (trial, bin, neuron) counts of each split, all in bins of one width.
        name: name of the features; it says whether one session or several are fitted.
    """
    added = {eid: [*of_session] for eid, of_session in decoded.items()}
    for target in dict.fromkeys(one.labels.name for of_session in decoded.values() for one in of_session):
        labels = {eid: one.labels for eid, own in decoded.items() for one in own if one.labels.name == target}
        for eid, found in fit_reduced_rank({eid: counts[eid] for eid in labels}, labels).items():
            if not isinstance(found, Absent):
                about = {"features": name, "rank": found.rank, "strength": found.share, "smoothing_s": None}
                found = score_readout(labels[eid], validation=found.validation, test=found.test, **about)
            place = next(i for i, one in enumerate(added[eid]) if one.labels.name == target)
            added[eid][place] = replace(added[eid][place], tried=(*added[eid][place].tried, found))
    return added
