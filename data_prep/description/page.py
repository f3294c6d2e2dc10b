"""The page of a folder of shards: its tables, and plots of what a scientist looks at before a training."""

from collections.abc import Sequence

import numpy as np

from data_prep.description.facts import SessionFacts
from data_prep.description.remarks import remarks_of
from data_prep.description.tables import (
    alike_table,
    behaviors_table,
    definitions,
    rates_by_region,
    regions_table,
    sessions_table,
    totals_table,
)
from neuromtm.data.shards import SPLITS
from neuromtm.plots.recordings import (
    MOST_NAMED,
    MOST_PANELS,
    Decisions,
    Stretch,
    choices_plot,
    drift_plot,
    places_plot,
    rates_plot,
    sizes_plot,
    traces_plot,
)
from neuromtm.report.pictures import picture
from neuromtm.report.rendering import made_by, render
from neuromtm.report.view import DataPage, Head, Picture, Section


def description_page(name: str, sessions: Sequence[SessionFacts]) -> str:
    """The page of a folder as HTML.

    Args:
        name: of the folder.
        sessions: one or more.
    """
    kinds = {
        f"windows from {one.header.window_s[0]:g} to {one.header.window_s[1]:g} s of {one.header.align_event} in bins "
        f"of {1000 * one.header.bin_size_s:g} ms"
        for one in sessions
    }
    n_kinds = len(kinds)
    what = f"{len(sessions)} prepared sessions, " + (kinds.pop() if n_kinds == 1 else f"{n_kinds} kinds of windows")
    page = DataPage(
        head=Head(name=name, what=what, made=made_by(), tested=None),
        remarks=remarks_of(sessions),
        sections=[
            Section(
                title="Sessions",
                text="One row for each session, and below them all sessions of a role together.",
                pictures=[_sizes(sessions)],
                tables=[sessions_table(sessions), totals_table(sessions)],
            ),
            Section(
                title="Firing rates",
                text="Rates are means over the windows of all trials. A neuron that never fires gives a model nothing "
                "to learn; --min-firing-rate-hz of the preparation leaves it out.",
                pictures=[_rates(sessions)],
            ),
            _drift(sessions),
            *_alike(sessions),
            _regions(sessions),
            *_choices(sessions),
            *_behaviors(sessions),
        ],
        definitions=definitions(),
    )
    return render(page)


def _names(sessions: Sequence[SessionFacts]) -> list[str]:
    return [one.header.eid for one in sessions]


def _sizes(sessions: Sequence[SessionFacts]) -> Picture:
    plot = sizes_plot(
        _names(sessions),
        roles=[one.role for one in sessions],
        trials={name: np.array([len(one.header.splits[name]) for one in sessions]) for name in SPLITS},
        neurons=np.array([one.header.n_neurons for one in sessions]),
    )
    return picture(plot, "sizes", "Trials of each split, and neurons, coloured by the role of the session.")


def _rates(sessions: Sequence[SessionFacts]) -> Picture:
    plot = rates_plot(_names(sessions), [one.rate_hz for one in sessions], roles=[one.role for one in sessions])
    return picture(plot, "rates", "Left: the spread of the neurons' rates in each session. Right: all neurons.")


def _drift(sessions: Sequence[SessionFacts]) -> Section:
    drifts = np.array([abs(one.drift) for one in sessions])
    # the sessions that drift most, in the order of the table
    shown = sorted(np.argsort(-np.nan_to_num(drifts), kind="stable")[:MOST_PANELS])
    stretches = []
    for one in (sessions[number] for number in shown):
        split = np.full(one.header.n_trials, "", "<U5")
        for name in SPLITS:
            split[one.header.splits[name]] = name
        stretches.append(Stretch(one.header.eid, one.time_s, one.population_hz, split, one.has_times))
    which = "" if len(shown) == len(sessions) else f" The {len(shown)} of {len(sessions)} that change most are shown."
    return Section(
        title="Over the session",
        text="A jump or a steep slope is a moving probe, or neurons that the sorting lost; a model that is tested late "
        "in such a session is tested on other neurons than it was trained on. The splits should lie mixed over the "
        f"session.{which}",
        pictures=[picture(drift_plot(stretches), "drift", "Each point is a trial, the line is their running mean.")],
    )


def _alike(sessions: Sequence[SessionFacts]) -> list[Section]:
    table = alike_table(sessions)
    if not table.rows:
        return []
    n_pairs = sum(len(one.duplicates) for one in sessions)
    shown = f" The {len(table.rows)} most alike of {n_pairs} pairs are listed." if n_pairs > len(table.rows) else ""
    text = (
        "Two neurons whose counts rise and fall together beyond their average trial may be two clusters of one neuron. "
        f"Co-smoothing would then predict a neuron from itself.{shown}"
    )
    return [Section(title="Neurons that are much alike", text=text, tables=[table])]


def _regions(sessions: Sequence[SessionFacts]) -> Section:
    rates_hz = dict(list(rates_by_region(sessions).items())[:MOST_NAMED])
    roles = [role for role in ("pretrain", "heldout") if any(one.role == role for one in sessions)]
    neurons = {
        role: np.array(
            [
                sum(int((one.header.neurons.region == name).sum()) for one in sessions if one.role == role)
                for name in rates_hz
            ]
        )
        for role in roles
    }
    plot = places_plot(list(rates_hz), neurons=neurons, rates_hz=list(rates_hz.values()))
    table = regions_table(sessions)
    more = len(table.rows) - len(rates_hz)
    caption = f"The {len(rates_hz)} regions with most neurons; {more} more are in the table." if more else ""
    return Section(
        title="Regions",
        text="A region that only held-out sessions have was never seen by a pretraining.",
        pictures=[picture(plot, "regions", caption or "Neurons of each region, and their mean rates.")],
        tables=[table],
    )


def _choices(sessions: Sequence[SessionFacts]) -> list[Section]:
    plot = choices_plot([Decisions(one.header.trials.contrast, one.header.trials.choice) for one in sessions])
    if plot is None:
        return []
    caption = "Left: share of the choice +1 among the known ones. Right: number of trials."
    text = "If choice follows contrast, a decoder of choice may read the stimulus instead."
    return [Section(title="Choice and contrast", text=text, pictures=[picture(plot, "choices", caption)])]


def _behaviors(sessions: Sequence[SessionFacts]) -> list[Section]:
    traces: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for one in sessions:
        header = one.header
        time_s = header.window_s[0] + (np.arange(header.n_bins) + 0.5) * header.bin_size_s
        for name, behavior in one.behaviors.items():
            traces.setdefault(name, []).append((time_s, behavior.mean))
    if not traces:
        return []
    plot = traces_plot(dict(sorted(traces.items())))
    caption = "Means over all trials with a value; each session in its own unit."
    text = "A trace that no event moves is flat here; a trace in another unit stands apart."
    return [
        Section(
            title="Behaviours",
            text=text,
            pictures=[picture(plot, "behaviours", caption)],
            tables=[behaviors_table(sessions)],
        )
    ]
