"""The page of a test of the activity tasks, of a masked model, a baseline or a ceiling."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuromtm.errors import UserError
from neuromtm.evaluation.amounts import difference_of_amounts
from neuromtm.evaluation.pairing import Paired, TestedRun, against_mean_rate, pair, read_run, shares_explained
from neuromtm.evaluation.references import read_baseline, read_ceiling, share_of_ceiling
from neuromtm.evaluation.results import REGIONS_FILE, WHOLE_SESSION, RegionMean, read_regions
from neuromtm.evaluation.trials import animals_of
from neuromtm.metrics.intervals import Interval, over_sessions
from neuromtm.metrics.keys import BPS_KEYS, COLUMNS, ENCODING_KEY, MEDIAN_KEYS, SHORT_TITLES, TASK_TITLES, columns_of
from neuromtm.metrics.neurons import NUMBER_COLUMNS
from neuromtm.plots.summary import Scored, summary_plot
from neuromtm.report.behavior import behavior_of
from neuromtm.report.pictures import picture, picture_of
from neuromtm.report.run import RunFolder, baseline_command
from neuromtm.report.tables import interval_notes
from neuromtm.report.texts import ENCODING, METRICS, PAGE, STATISTICS
from neuromtm.report.verdict import TaskStanding, activity_verdict, decoded_sentence, paired_standing, standing
from neuromtm.report.view import (
    ActivityPage,
    Definition,
    FoldedTable,
    Head,
    Picture,
    Regions,
    SessionPictures,
    Table,
    Training,
)

ABSENT = "-"
MOST_SESSIONS = 10
"""sessions whose pictures are put into the page; each picture takes up to a few hundred kB"""


class Held(NamedTuple):
    """The references of a run in one task."""

    chance: Paired | None
    """the run beside each neuron's mean rate; None without a neurons.csv"""
    baseline: tuple[str, Paired] | None
    """kind of the given baseline with the highest mean over sessions, and the run beside it"""
    ceiling: Paired | None


class References(NamedTuple):
    """The references of a run. Pairs are: key of metrics.json -> the run beside the reference."""

    truth: TestedRun | None
    """the ceiling itself"""
    ceiling: dict[str, Paired]
    baselines: Sequence[tuple[str, dict[str, Paired]]]
    """kind and pairs of each given baseline"""
    amounts: str | None
    """a line on the training trials if the run and the baselines were trained on different numbers; else None"""


def read_references(folder: RunFolder, run: TestedRun, ceiling: Path | None, baselines: Sequence[Path]) -> References:
    """Read the ceiling and the baselines. Refuse those that do not belong to the run.

    Raises:
        UserError: if one is no ceiling or baseline, has other sessions, or shares no scored neuron with the run.
    """
    eids = list(run.metrics["sessions"])

    def paired(path: Path, reference: TestedRun) -> dict[str, Paired]:
        if not (found := pair(reference, run)):
            raise UserError(
                f"{path}: shares no scored neuron with {folder.path}, or one of them has no neurons.csv. Make both "
                "from the same data folder, and test the run again if its neurons.csv is missing."
            )
        return found

    truth = None if ceiling is None else read_ceiling(ceiling, eids=eids, data=folder.data)
    simple = [(path, read_baseline(path, eids=eids, data=folder.data)) for path in baselines]
    amounts = {f"{one.kind} ({path})": one.run.train_trials for path, one in simple}
    return References(
        truth,
        {} if ceiling is None or truth is None else paired(ceiling, truth),
        [(one.kind, paired(path, one.run)) for path, one in simple],
        difference_of_amounts({"this run": run.train_trials, **amounts}),
    )


def hold_against(run: TestedRun, references: References) -> dict[str, Held]:
    """Key of each task that the run scores -> its references."""
    chance, held = against_mean_rate(run), {}
    for key in (key for key in BPS_KEYS if key in run.metrics["mean"]):
        scored = [(kind, paired[key]) for kind, paired in references.baselines if key in paired]
        best = max(scored, key=lambda one: one[1].means[:, 0].mean(), default=None)
        held[key] = Held(chance.get(key), best, references.ceiling.get(key))
    return held


def activity_page(
    folder: RunFolder, head: Head, training: Training, *, ceiling: Path | None, baselines: Sequence[Path]
) -> ActivityPage:
    """What the page shows of a test of the activity tasks.

    Raises:
        UserError: if a test did not write one of the files, or as `read_references` raises.
    """
    run = read_run(folder.path)
    references = read_references(folder, run, ceiling, baselines)
    held, mean, eids = hold_against(run, references), run.metrics["mean"], list(run.metrics["sessions"])
    figures = folder.path / "figures"
    sessions = [_session_pictures(figures, eid) for eid in eids[:MOST_SESSIONS]]
    return ActivityPage(
        head=head,
        training=training,
        verdict=activity_verdict({key.removesuffix("_bps"): _standing(run, key, one) for key, one in held.items()}),
        decoded=decoded_sentence(mean),
        summary=_summary(run, held),
        glance=_glance(run, held) if held else None,
        glance_notes=_glance_notes(held, references.amounts),
        hint=None if baselines or not held else baseline_command(folder, eids),
        tasks=[
            *(Definition(name=SHORT_TITLES[key], meaning=METRICS[key]) for key in held),
            *([Definition(name="encoding", meaning=ENCODING)] if ENCODING_KEY in mean else []),
        ],
        behavior=behavior_of(folder.path, run.metrics),
        sessions=[one for one in sessions if one.trial or one.neurons or one.connectivity],
        n_sessions=len(eids),
        neurons=[p for name in WHOLE if (p := picture_of(figures / name, PAGE[name])) is not None],
        has_pictures=figures.is_dir(),
        missing=_missing(figures, eids[:MOST_SESSIONS]),
        scores=_scores(run, held),
        absent=[column.title for column in COLUMNS if column.key not in mean],
        explained=_explained(run, references.truth),
        spread=_spread(run),
        spread_definitions=_definitions_of_spread(run),
        regions=_regions(folder.path),
    )


def _standing(run: TestedRun, key: str, held: Held) -> TaskStanding:
    mean = run.metrics["mean"][key]
    return TaskStanding(
        standing(mean, None) if held.chance is None else paired_standing(held.chance),
        None if held.baseline is None else paired_standing(held.baseline[1]),
        None if held.ceiling is None else share_of_ceiling(held.ceiling),
    )


def _values(run: TestedRun, key: str) -> np.ndarray:
    """(session,) scores."""
    return np.array([metrics[key] for metrics in run.metrics["sessions"].values() if key in metrics])


def _summary(run: TestedRun, held: Mapping[str, Held]) -> Picture | None:
    tasks = {}
    for key, (_, baseline, ceiling) in held.items():
        rows = [Scored(name="this run", role="model", bps=_values(run, key))]
        if baseline is not None:
            rows.append(Scored(name=baseline[0], role="baseline", bps=baseline[1].means[:, 0]))
        if ceiling is not None:
            rows.append(Scored(name="true rates", role="ceiling", bps=ceiling.means[:, 0]))
        tasks[key.removesuffix("_bps")] = rows
    return picture(summary_plot(tasks), "the activity tasks", PAGE["summary"]) if tasks else None


def _glance(run: TestedRun, held: Mapping[str, Held]) -> Table:
    head = ["task", "this run", "95 % interval", "sessions above 0"]
    with_baseline = any(one.baseline for one in held.values())
    with_ceiling = any(one.ceiling for one in held.values())
    head += ["best simple baseline", "difference [95 % interval]"] if with_baseline else []
    head += ["ceiling", "share of the ceiling"] if with_ceiling else []
    rows = []
    for key, one in held.items():
        values = _values(run, key)
        interval = None if one.chance is None else one.chance.interval
        cells = [f"{run.metrics['mean'][key]:.3f}", _ends(interval), f"{(values > 0).sum()} of {len(values)}"]
        if with_baseline:
            cells += [ABSENT, ABSENT] if one.baseline is None else _baseline_cells(*one.baseline)
        if with_ceiling:
            cells += [ABSENT, ABSENT] if one.ceiling is None else _ceiling_cells(one.ceiling)
        rows.append([TASK_TITLES[key.removesuffix("_bps")], *cells])
    return Table(head=head, rows=rows)


def _ends(interval: Interval | None) -> str:
    return ABSENT if interval is None else "{:.3f} to {:.3f}".format(*interval)


def _baseline_cells(kind: str, paired: Paired) -> list[str]:
    ends = "" if paired.interval is None else " [{:+.3f}, {:+.3f}]".format(*paired.interval)
    return [f"{kind} {paired.means[:, 0].mean():.3f}", f"{paired.difference:+.3f}{ends}"]


def _ceiling_cells(paired: Paired) -> list[str]:
    share = share_of_ceiling(paired)
    return [f"{paired.means[:, 0].mean():.3f}", ABSENT if share is None else f"{100 * share:.0f} %"]


def _glance_notes(held: Mapping[str, Held], amounts: str | None) -> list[str]:
    pairs = [*(one.chance for one in held.values()), *(one.baseline[1] for one in held.values() if one.baseline)]
    notes = interval_notes(paired for paired in pairs if paired is not None)
    notes += [PAGE["baseline"]] if any(one.baseline for one in held.values()) else []
    notes += [] if amounts is None else [amounts]
    notes += [PAGE["ceiling"]] if any(one.ceiling for one in held.values()) else []
    return notes


def _scores(run: TestedRun, held: Mapping[str, Held]) -> Table:
    columns = [column for column in columns_of(run.metrics["mean"]) if column.key in run.metrics["mean"]]

    def cell(metrics: Mapping[str, float], key: str, chance: str | None) -> str:
        beside = f" ({metrics[chance]:.2f})" if chance is not None and chance in metrics else ""
        return f"{metrics[key]:.3f}{beside}" if key in metrics else ABSENT

    def interval(key: str) -> Interval | None:
        chance = held[key].chance if key in held else None
        if chance is not None and chance.over in ("animals", "sessions"):
            return chance.interval  # the same as in the table above
        scored = [eid for eid, metrics in run.metrics["sessions"].items() if key in metrics]
        return over_sessions(_values(run, key), animals_of(scored, run.trials))

    lines = {**run.metrics["sessions"], "mean over sessions": run.metrics["mean"]}
    rows = [[name, *(cell(metrics, one.key, one.chance) for one in columns)] for name, metrics in lines.items()]
    if any(key in run.metrics["mean"] for key in MEDIAN_KEYS):
        medians = [run.metrics["mean"].get(f"{column.key}_median") for column in columns]
        rows.append(["median over neurons", *(ABSENT if value is None else f"{value:.3f}" for value in medians)])
    intervals = [_ends(interval(column.key)) for column in columns]
    if any(ends != ABSENT for ends in intervals):
        rows.append(["95 % interval", *intervals])
    return Table(head=["session", *(column.title for column in columns)], rows=rows)


def _explained(run: TestedRun, ceiling: TestedRun | None) -> Table | None:
    """Each session's share of the co-smoothing deviance that is explained, beside its bits per spike."""
    shares = shares_explained(run.neurons)
    if not shares:
        return None
    best = {} if ceiling is None else shares_explained(ceiling.neurons)
    rows = []
    for eid, share in shares.items():
        bps = run.metrics["sessions"][eid].get("co_smoothing_bps")
        rows.append([eid, ABSENT if bps is None else f"{bps:.3f}", f"{100 * share:.1f} %"])
        if best:
            rows[-1].append(f"{100 * best[eid]:.1f} %" if eid in best else ABSENT)
    head = ["session", "co-smooth (bits/spike)", "share of the spikes explained"]
    return Table(head=[*head, "by the true rates"] if best else head, rows=rows)


def _columns(run: TestedRun) -> dict[str, np.ndarray]:
    """Column of neurons.csv -> (neuron,) its values in all sessions; columns without a value are left out."""
    neurons = [metrics for session in (run.neurons or {}).values() for metrics in session.values()]
    columns = {name: [one[name] for one in neurons if name in one] for name in NUMBER_COLUMNS}
    return {name: np.array(values) for name, values in columns.items() if values}


def _spread(run: TestedRun) -> Table | None:
    if run.neurons is None:
        return None
    rows = []
    for name, values in _columns(run).items():
        quantiles = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        positive = f"{100 * (values > 0).mean():.0f} %"
        rows.append([name, str(len(values)), f"{values.mean():.3f}", *(f"{v:.3f}" for v in quantiles), positive])
    head = ["column of neurons.csv", "neurons", "mean", "5 %", "25 %", "median", "75 %", "95 %", "above 0"]
    return Table(head=head, rows=rows)


def _definitions_of_spread(run: TestedRun) -> list[Definition]:
    return [Definition(name=name, meaning=STATISTICS[name]) for name in _columns(run) if name in STATISTICS]


def _regions(run_dir: Path) -> Regions | None:
    if not (run_dir / REGIONS_FILE).exists():
        return None
    rows = read_regions(run_dir / REGIONS_FILE)
    whole = [
        [row.eid, str(row.n_neurons), *(_mean_and_interval(row.means.get(key)) for key in BPS_KEYS)]
        for row in rows
        if row.region == WHOLE_SESSION
    ]
    tasks = []
    for key in BPS_KEYS:
        scored = [(row, row.means[key]) for row in rows if row.region != WHOLE_SESSION and key in row.means]
        if not scored:
            continue
        cells = [
            [row.region, row.eid, str(row.n_neurons), str(mean.n), _mean_and_interval(mean), f"{mean.median:.2f}"]
            for row, mean in sorted(scored, key=lambda one: (one[0].region, one[0].eid))
        ]
        n_regions = len({row.region for row, _ in scored})
        title = f"{TASK_TITLES[key.removesuffix('_bps')]}: {n_regions} region{'s' * (n_regions != 1)}"
        head = ["region", "session", "neurons", "scored", "mean [95 % interval]", "median"]
        tasks.append(FoldedTable(title=title, table=Table(head=head, rows=cells)))
    return Regions(
        sessions=Table(head=["session", "neurons", *(SHORT_TITLES[key] for key in BPS_KEYS)], rows=whole), tasks=tasks
    )


def _mean_and_interval(mean: RegionMean | None) -> str:
    if mean is None:
        return ABSENT
    return f"{mean.mean:.2f}" if mean.low is None else f"{mean.mean:.2f} [{mean.low:.2f}, {mean.high:.2f}]"


WHOLE = ("scores.png", "rates.png", "regions.png", "connectivity.png")
"""pictures of all sessions; only models that were trained with region drop-out have the last one"""


def _session_pictures(figures: Path, eid: str) -> SessionPictures:
    def found(name: str, caption: str) -> Picture | None:
        # a session's name must not act as a path
        return picture_of(figures / name, caption) if Path(name).name == name else None

    neurons = {
        title: found(f"{eid}.{task}.png", PAGE["session.task.png"].format(task=title))
        for task, title in TASK_TITLES.items()
    }
    return SessionPictures(
        eid=eid,
        trial=found(f"{eid}.png", PAGE["session.png"]),
        neurons={title: one for title, one in neurons.items() if one is not None},
        connectivity=found(f"{eid}.connectivity.png", PAGE["session.connectivity.png"]),
    )


def _missing(figures: Path, eids: Sequence[str]) -> list[str]:
    wanted = list(WHOLE[:-1])
    for eid in eids:
        wanted += [f"{eid}.png", *(f"{eid}.{task}.png" for task in TASK_TITLES)]
    return [name for name in wanted if not (figures / name).is_file()]
