"""What stands out in a folder of shards, one sentence each: what to look at before a training."""

from collections.abc import Callable, Sequence

import numpy as np

from data_prep.description.facts import DUPLICATE_CORRELATION, VANISHED, SessionFacts
from neuromtm.data.shards import SPLITS

MOST_NAMED = 3
"""sessions that a sentence names"""
FAST_HZ = 200.0
"""a faster mean rate is not one neuron's"""
DRIFT = 0.3
"""change of a session's mean rate that stands out"""
MANY = 0.1
"""part of a session's neurons that may come or go, of its values that may be missing, of its choices of one side"""
FEW_TRIALS = 10
"""fewer trials of a split say little"""
FEW_CHOICES = 20
FOLLOWS = 0.98
"""part of the choices on one side of the contrast at which a decoder of choice cannot be told from one of contrast"""
UNKNOWN = ("root", "void")


def remarks_of(sessions: Sequence[SessionFacts]) -> list[str]:
    """The sentences, the most serious first.

    Args:
        sessions: of one folder.
    """
    return [
        *_named(sessions, "windows of two splits share time, so a test trial is known from training", _shared),
        *_both_roles(sessions),
        *_unequal(sessions),
        *_named(sessions, f"a split has fewer than {FEW_TRIALS} trials", _few),
        *_named(sessions, "hardly any choice of one side", _one_sided),
        *_named(sessions, "the choice follows from the contrast alone, as far as it is known", _follows_contrast),
        *_named(sessions, "neurons without a spike in the training trials", _silent),
        *_named(
            sessions,
            f"pairs of neurons correlate by more than {DUPLICATE_CORRELATION:g} and may be one neuron each",
            lambda one: f"{len(one.duplicates)}" if one.duplicates else "",
        ),
        *_named(sessions, f"the mean rate changes by more than {DRIFT:.0%} over the session", _drift),
        *_named(
            sessions,
            f"more than {MANY:.0%} of the neurons come or go: they fire less than {VANISHED:g} times as often in the "
            "first quarter of the trials as in the last, or the reverse",
            _comes_or_goes,
        ),
        *_named(sessions, f"neurons fire at more than {FAST_HZ:g} Hz on average", _fast),
        *_named(sessions, "windows overlap within a split, so their spikes are there more than once", _overlap),
        *_named(sessions, "most regions are unknown", _unplaced),
        *_named(sessions, f"more than {MANY:.0%} of a behaviour is missing", _missing),
        *_behaviors(sessions),
    ]


def _named(sessions: Sequence[SessionFacts], what: str, found: Callable[[SessionFacts], str]) -> list[str]:
    """One sentence about all sessions in which something was found; the words that were found stand in brackets."""
    named = [(one.header.eid, words) for one in sessions if (words := found(one))]
    if not named:
        return []
    shown = ", ".join(f"{eid} ({words})" for eid, words in named[:MOST_NAMED])
    more = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return [f"In {len(named)} of {len(sessions)} sessions {what}: {shown}{more}."]


def _shared(one: SessionFacts) -> str:
    return ", ".join(f"{n} {other} with {split}" for (split, other), n in one.shared.items())


def _few(one: SessionFacts) -> str:
    few = {name: len(one.header.splits[name]) for name in SPLITS if len(one.header.splits[name]) < FEW_TRIALS}
    return ", ".join(f"{name} {n}" for name, n in few.items())


def _one_sided(one: SessionFacts) -> str:
    choice = one.header.trials.choice
    minus, plus = int((choice == -1).sum()), int((choice == 1).sum())
    known = minus + plus
    return f"{minus} of -1, {plus} of +1" if known and min(minus, plus) < MANY * known else ""


def _follows_contrast(one: SessionFacts) -> str:
    contrast, choice = one.header.trials.contrast, one.header.trials.choice
    known = np.isfinite(contrast) & (contrast != 0) & (choice != 0)
    agree = np.sign(contrast[known]) == choice[known]
    n, most = len(agree), max(agree.sum(), (~agree).sum())
    return f"{most} of {n} choices" if n >= FEW_CHOICES and most >= FOLLOWS * n else ""


def _silent(one: SessionFacts) -> str:
    mean = one.header.neurons.firing_rate_hz
    silent = int((mean == 0).sum())
    return f"{silent} of {len(mean)}" if silent else ""


def _drift(one: SessionFacts) -> str:
    return f"{one.drift:+.0%}" if abs(one.drift) > DRIFT else ""


def _comes_or_goes(one: SessionFacts) -> str:
    n = int(one.comes_or_goes.sum())
    return f"{n} of {len(one.rate_hz)}" if n > MANY * len(one.rate_hz) else ""


def _fast(one: SessionFacts) -> str:
    n = int((one.rate_hz > FAST_HZ).sum())
    return f"{n}, the fastest at {one.rate_hz.max():.0f} Hz" if n else ""


def _overlap(one: SessionFacts) -> str:
    return f"{one.n_overlapping} of {one.header.n_trials}" if one.n_overlapping else ""


def _unplaced(one: SessionFacts) -> str:
    unknown = int(np.isin(one.header.neurons.region, UNKNOWN).sum())
    return f"{unknown} of {len(one.rate_hz)} neurons" if 2 * unknown > len(one.rate_hz) else ""


def _missing(one: SessionFacts) -> str:
    return ", ".join(f"{name} {found.missing:.0%}" for name, found in one.behaviors.items() if found.missing > MANY)


def _both_roles(sessions: Sequence[SessionFacts]) -> list[str]:
    roles: dict[str, set[str]] = {}
    for one in sessions:
        roles.setdefault(one.header.subject, set()).add(one.role)
    both = sorted(name for name, found in roles.items() if len(found) > 1)
    if not both:
        return []
    shown = ", ".join(both[:MOST_NAMED]) + (f", and {len(both) - MOST_NAMED} more" if len(both) > MOST_NAMED else "")
    return [f"Sessions of the same animal are pretrained on and held out: {shown}."]


def _unequal(sessions: Sequence[SessionFacts]) -> list[str]:
    sentences = []
    kinds = {
        "windows": {"{:g} to {:g} s".format(*one.header.window_s) for one in sessions},
        "bin sizes": {f"{one.header.bin_size_s:g} s" for one in sessions},
        "events": {one.header.align_event for one in sessions},
    }
    for what, found in kinds.items():
        if len(found) > 1:
            sentences.append(f"The sessions have different {what}: {', '.join(sorted(found))}.")
    return sentences


def _behaviors(sessions: Sequence[SessionFacts]) -> list[str]:
    names = sorted({name for one in sessions for name in one.behaviors})
    sentences = []
    for name in names:
        n = sum(name in one.behaviors for one in sessions)
        if n < len(sessions):
            sentences.append(f"Only {n} of {len(sessions)} sessions have the behaviour {name}.")
    return sentences
