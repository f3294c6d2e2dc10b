"""`neuromtm compare`: tested runs side by side."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from neuromtm.errors import UserError
from neuromtm.evaluation.amounts import difference_of_amounts
from neuromtm.evaluation.pairing import Paired, TestedRun, pair, read_run
from neuromtm.evaluation.references import read_ceiling
from neuromtm.evaluation.results import Metrics
from neuromtm.evaluation.seeds import average, spread
from neuromtm.evaluation.trials import animals_of
from neuromtm.files import keep_previous, require_file, whole_file, write_whole
from neuromtm.metrics.keys import BPS_KEYS, SHORT_TITLES, columns_of
from neuromtm.report.tables import (
    comparison_table,
    median_table,
    paired_table,
    paired_text,
    print_tables,
    share_table,
    spread_table,
    spread_text,
    summary,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Print tested runs side by side and, if asked, write their means, tables and plots.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument(
        "runs",
        metavar="NAME=RUN[,RUN...]",
        nargs="+",
        help="a name, and a run directory or the metrics.json of a test; several of them, with commas between, are "
        "runs of one model with different seeds, whose scores are averaged",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="JSON file for the means of each run, by its name")
    parser.add_argument(
        "--out_dir",
        metavar="DIR",
        type=Path,
        help="folder for comparison.csv, comparison.md, sessions.png, neurons.png and, if an entry has several runs, "
        "seeds.csv",
    )
    parser.add_argument(
        "--ceiling",
        metavar="NAME",
        help="name of the run that `neuromtm ceiling` wrote; the other runs' shares of it are shown",
    )
    parser.add_argument("--balanced", action="store_true", help="show the balanced accuracy of decoded classes too")
    options = parser.parse_args(arguments)
    require_file("--out", options.out, suffix=".json")
    paths = _named_paths(options.runs)
    every = {name: [read_run(path) for path in of_entry] for name, of_entry in paths.items()}
    runs = {name: average(name, of_entry) for name, of_entry in every.items()}
    if options.ceiling is not None:
        _check_ceiling(options.ceiling, paths, runs)
    if options.out_dir is not None and len(runs) == 1:
        raise UserError("--out_dir: one run alone has nothing to be compared with. Name another run.")
    metrics = {name: run.metrics for name, run in runs.items()}
    reference, *others = runs
    pairs = {name: paired for name in others if (paired := pair(runs[reference], runs[name]))}
    shares = {}
    if options.ceiling is not None:
        against = {name: pair(runs[options.ceiling], run) for name, run in runs.items() if name != options.ceiling}
        shares = {name: paired for name, paired in against.items() if paired}
    animals = {name: _n_animals(run) for name, run in runs.items()}
    tables = [comparison_table(metrics, balanced=options.balanced, animals=animals)]
    medians = median_table(metrics)
    tables += [] if medians is None else [medians]
    spreads = {name: found for name, of_entry in every.items() if (found := spread(of_entry))}
    tables += [spread_table(spreads, balanced=options.balanced)] if spreads else []
    tables += [paired_table(pairs, reference)] if pairs else []
    tables += [share_table(shares, options.ceiling)] if shares else []
    print_tables(tables)
    amounts = difference_of_amounts({name: run.train_trials for name, run in runs.items()})
    if amounts is not None:
        print(amounts)
    for name, run in runs.items():
        if run.neurons is None and len(runs) > 1:
            print(f"{name}: no neurons.csv beside its metrics (a decoder has none), so its neurons are not paired.")
    if options.out is not None:
        keep_previous(options.out)
        write_whole(options.out, json.dumps(summary(metrics), indent=1) + "\n")
    if options.out_dir is not None:
        _write_comparison(options.out_dir, metrics, pairs, shares, options.ceiling, tables, amounts)
        if spreads:
            keep_previous(options.out_dir / "seeds.csv")
            write_whole(options.out_dir / "seeds.csv", spread_text(spreads))


def _named_paths(given: Sequence[str]) -> dict[str, list[Path]]:
    """Name of each entry -> its runs, one or several."""
    entries = {}
    for one in given:
        name, _, path = one.partition("=")
        if not (name and path):
            raise UserError(f"{one}: give each run as NAME=RUN, e.g. mtm=runs/finetune.")
        if name in entries:
            raise UserError(f"{one}: the name {name} is given twice. Choose another.")
        # a folder's own name may hold a comma
        paths = [path] if Path(path).exists() else path.split(",")
        for run in paths:
            if not run or not Path(run).exists():
                raise UserError(f"{run or one}: no such run directory or metrics file.")
        if len({Path(run).resolve() for run in paths}) < len(paths):
            raise UserError(f"{one}: a run is named twice in one entry. Name each seed's run once.")
        entries[name] = [Path(run) for run in paths]
    return entries


def _n_animals(run: TestedRun) -> int | None:
    animals = animals_of(list(run.metrics["sessions"]), run.trials)
    return None if animals is None else len(set(animals))


def _check_ceiling(name: str, paths: Mapping[str, Sequence[Path]], runs: Mapping[str, TestedRun]) -> None:
    """Refuse a run that is no ceiling, or that lacks a session of a run compared with it."""
    if name not in runs:
        raise UserError(f"--ceiling {name}: no run of that name. There are: {', '.join(runs)}.")
    if len(paths[name]) > 1:
        raise UserError(f"--ceiling {name}: names several runs. True rates have no seeds: name one folder.")
    eids = dict.fromkeys(eid for other, run in runs.items() if other != name for eid in run.metrics["sessions"])
    read_ceiling(paths[name][0], eids=eids)


def _write_comparison(
    folder: Path,
    metrics: Mapping[str, Metrics],
    pairs: Mapping[str, Mapping[str, Paired]],
    shares: Mapping[str, Mapping[str, Paired]],
    ceiling_name: str | None,
    tables: Sequence[Table],
    amounts: str | None,
) -> None:
    reference = next(iter(metrics))
    markdown = io.StringIO()
    print_tables(tables, markdown)
    if amounts is not None:
        markdown.write(f"\n{amounts}\n")
    every = {(reference, name): paired for name, paired in pairs.items()}
    if ceiling_name is not None:
        every |= {(ceiling_name, name): paired for name, paired in shares.items()}
    for name, text in (("comparison.csv", paired_text(every, ceiling_name)), ("comparison.md", markdown.getvalue())):
        keep_previous(folder / name)
        write_whole(folder / name, text)
    for name, plot in _plots(metrics, pairs, reference).items():
        keep_previous(folder / name)
        with whole_file(folder / name) as temporary:
            plot.savefig(temporary, format="png", dpi=150)
    print(f"Comparison: {folder}")


def _plots(
    metrics: Mapping[str, Metrics], pairs: Mapping[str, Mapping[str, Paired]], reference: str
) -> dict[str, Figure]:
    """File name -> plot: one point per session and, where neurons are paired, one point per neuron."""
    from neuromtm.plots.comparison import points_plot  # matplotlib is needed for files only

    columns = columns_of(key for of_run in metrics.values() for key in of_run["mean"])
    titles = {c.key: f"{c.title} (bits/spike)" if c.key in BPS_KEYS else c.title for c in columns}
    sessions = {name: _session_points(metrics[reference], of_run, titles) for name, of_run in metrics.items()}
    del sessions[reference]
    plots = {"sessions.png": points_plot(sessions, titles, reference=reference, unit="session")}
    if pairs:
        neurons = {name: {key: _neuron_points(one) for key, one in of_run.items()} for name, of_run in pairs.items()}
        titles = {key: f"{SHORT_TITLES[key]} (bits/spike)" for key in BPS_KEYS}
        plots["neurons.png"] = points_plot(neurons, titles, reference=reference, unit="neuron")
    return plots


def _session_points(reference: Metrics, run: Metrics, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Key of metrics.json -> (session, 2) values of both runs, in the sessions in which both have the metric."""
    both = [(reference["sessions"].get(eid, {}), of) for eid, of in run["sessions"].items()]
    return {key: np.array([(x[key], y[key]) for x, y in both if key in x and key in y]).reshape(-1, 2) for key in keys}


def _neuron_points(paired: Paired) -> np.ndarray:
    """(neuron, 2) values of the reference and of the run, of all sessions."""
    return np.concatenate([np.stack([one.reference, one.run], axis=1) for one in paired.sessions.values()])
