"""The tables of a folder of shards, printed and on its page."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.table import Table as Printed
from rich.text import Text

from data_prep.description.facts import DUPLICATE_CORRELATION, VANISHED, SessionFacts
from neuromtm.data.shards import SPLITS
from neuromtm.report.view import Definition, Table

NONE = "-"
COLUMNS = {
    "session": "The name of the session, its eid.",
    "animal": "The animal's name.",
    "role": "pretrain, or heldout: kept out of pretraining.",
    "trials": "Trials, or windows of continuous time.",
    "train/val/test": "Trials of each split.",
    "neurons": "Neurons; in brackets those that the source holds out, if it does.",
    "regions": "Different regions, those of unknown place left out.",
    "rate Hz": "Quartiles over the neurons of their mean rates over all trials: 25, 50 and 75 %.",
    "silent": "Neurons without a spike in any trial.",
    "alike": f"Pairs of neurons whose counts correlate by more than {DUPLICATE_CORRELATION:g} once each neuron's "
    "average trial is taken off: two clusters of one neuron, or one neuron on two probes.",
    "drift": "Change of the mean rate of all neurons from the first quarter of the trials to the last.",
    "come/go": "Neurons that fire less than "
    f"{VANISHED:g} times as often in one of these quarters as in the other, with 20 spikes or more there.",
    "overlap": "Windows that share time with another window of the session.",
    "shared": "Windows that share time with a window of another split: it should be 0.",
    "choice -1/0/+1": "Trials with each choice; 0 is unknown or none.",
}
"""column of the table of sessions -> its meaning"""


def sessions_table(sessions: Sequence[SessionFacts]) -> Table:
    """One row a session."""
    return Table(head=tuple(COLUMNS), rows=[_session(one) for one in sessions])


def _session(one: SessionFacts) -> list[str]:
    header, choice = one.header, one.header.trials.choice
    heldout = header.neurons.heldout
    n_neurons = f"{header.n_neurons}" + (f" ({int(heldout.sum())})" if heldout is not None else "")
    quartiles = np.quantile(one.rate_hz, (0.25, 0.5, 0.75))
    return [
        header.eid,
        header.subject or NONE,
        one.role,
        str(header.n_trials),
        "/".join(str(len(header.splits[name])) for name in SPLITS),
        n_neurons,
        str(len({*header.neurons.region} - {"root", "void"})),
        " ".join(f"{value:.2f}" for value in quartiles),
        str(int(one.silent.sum())),
        str(len(one.duplicates)),
        NONE if np.isnan(one.drift) else f"{one.drift:+.0%}",
        str(int(one.comes_or_goes.sum())),
        str(one.n_overlapping) if one.has_times else NONE,
        str(sum(one.shared.values())) if one.has_times else NONE,
        "/".join(str(int((choice == kind).sum())) for kind in (-1, 0, 1)),
    ]


def totals_table(sessions: Sequence[SessionFacts]) -> Table:
    """One row a role: sessions, animals, trials, neurons."""
    rows = []
    for role in ("pretrain", "heldout"):
        of_role = [one for one in sessions if one.role == role]
        if of_role:
            n_trials = sum(one.header.n_trials for one in of_role)
            splits = "/".join(str(sum(len(one.header.splits[name]) for one in of_role)) for name in SPLITS)
            n_animals = len({(one.header.lab, one.header.subject) for one in of_role})
            n_neurons = sum(one.header.n_neurons for one in of_role)
            rows.append([role, *map(str, (len(of_role), n_animals, n_trials)), splits, str(n_neurons)])
    return Table(head=("role", "sessions", "animals", "trials", "train/val/test", "neurons"), rows=rows)


def regions_table(sessions: Sequence[SessionFacts]) -> Table:
    """One row a region, the one with most neurons first."""
    rows, found = [], Counter(str(name) for one in sessions for name in np.unique(one.header.neurons.region))
    for name, rates_hz in rates_by_region(sessions).items():
        n_sessions = found[name]
        quartiles = " ".join(f"{value:.2f}" for value in np.quantile(rates_hz, (0.25, 0.5, 0.75)))
        rows.append([name, str(len(rates_hz)), str(n_sessions), quartiles])
    return Table(head=("region", "neurons", "sessions", "rate Hz"), rows=rows)


def rates_by_region(sessions: Sequence[SessionFacts]) -> dict[str, np.ndarray]:
    """Region -> (neuron,) mean rates of its neurons, the region with most neurons first."""
    region = np.concatenate([one.header.neurons.region for one in sessions])
    rate_hz = np.concatenate([one.rate_hz for one in sessions])
    names, place, times = np.unique(region, return_inverse=True, return_counts=True)
    parts = np.split(rate_hz[np.argsort(place, kind="stable")], np.cumsum(times)[:-1])
    return {str(names[i]): parts[i] for i in np.argsort(-times, kind="stable")}


def behaviors_table(sessions: Sequence[SessionFacts]) -> Table:
    """One row a behaviour trace."""
    rows = []
    for name in sorted({name for one in sessions for name in one.behaviors}):
        found = [one.behaviors[name] for one in sessions if name in one.behaviors]
        missing = np.mean([behavior.missing for behavior in found])
        rows.append([name, str(len(found)), f"{missing:.1%}"])
    return Table(head=("behaviour", "sessions", "missing"), rows=rows)


def alike_table(sessions: Sequence[SessionFacts], *, most: int = 50) -> Table:
    """The pairs of neurons that may be one, the most alike first."""
    pairs = [(one.header.eid, pair) for one in sessions for pair in one.duplicates]
    pairs.sort(key=lambda named: -named[1].correlation)
    rows = [
        [eid, *pair.uuids, "/".join(dict.fromkeys(pair.regions)), f"{pair.correlation:.2f}"]
        for eid, pair in pairs[:most]
    ]
    return Table(head=("session", "neuron", "other neuron", "region", "correlation"), rows=rows)


def printed(table: Table, title: str) -> Printed:
    """A table for the terminal."""
    found = Printed(title=Text(title), title_justify="left")
    for place, name in enumerate(table.head):
        found.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in table.rows:
        found.add_row(*map(Text, row))
    return found


def definitions() -> list[Definition]:
    """What the columns of the table of sessions mean."""
    return [Definition(name=name, meaning=meaning) for name, meaning in COLUMNS.items()]
