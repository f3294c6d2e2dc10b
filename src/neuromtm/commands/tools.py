"""The commands beside Lightning's: `neuromtm ceiling`, `compare`, `rates` and `report`."""

import argparse
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.table import Table

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import Role
from neuromtm.errors import UserError
from neuromtm.evaluation.baselines.choice import Kind
from neuromtm.evaluation.baselines.session import baseline_text, notes, score_baseline
from neuromtm.evaluation.comparison import (
    comparison_table,
    paired_table,
    paired_text,
    print_comparison,
    print_tables,
    share_table,
    summary,
)
from neuromtm.evaluation.comparison_figures import neurons_figure, sessions_figure
from neuromtm.evaluation.page import report_page
from neuromtm.evaluation.pairing import Paired, TestedRun, pair, read_run
from neuromtm.evaluation.rates import run_rates
from neuromtm.evaluation.report import METRICS_FILE, Metrics, keep_previous, write_report
from neuromtm.evaluation.truth import ceiling
from neuromtm.files import whole_file, write_whole


@dataclass(frozen=True)
class Tool:
    """A command."""

    summary: str
    run: Callable[[Sequence[str]], None]
    """takes the command line behind the command's name"""


def run_baseline(arguments: Sequence[str]) -> None:
    """Fit a baseline to each session, score it as a test does and write the tables of a test."""
    parser = _parser("baseline")
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of shards")
    parser.add_argument(
        "--kind", choices=get_args(Kind), required=True, help="which baseline; docs/baselines.md has their formulas"
    )
    parser.add_argument(
        "--out", metavar="RUN", type=Path, required=True, help="folder for metrics.json, the tables and baseline.json"
    )
    parser.add_argument("--sessions", metavar="EID", nargs="+", help="sessions to score; by default all of the role")
    parser.add_argument(
        "--role", choices=get_args(Role), default="heldout", help="role of the sessions scored (default: heldout)"
    )
    parser.add_argument(
        "--min_firing_rate_hz",
        metavar="HZ",
        type=float,
        default=0.0,
        help="leaves out neurons that fire less, as data.min_firing_rate_hz of the model beside it (default: 0)",
    )
    parser.add_argument("--regions", metavar="REGION", nargs="+", help="likewise, as data.regions (default: all)")
    options = parser.parse_args(arguments)
    data = SessionDataModule(
        root=str(options.data),
        sessions=options.sessions,
        role=options.role,
        min_firing_rate_hz=options.min_firing_rate_hz,
        regions=options.regions,
    )
    scores = []
    for one in score_baseline(data, options.kind):
        scores.append(one)
        print("\n".join(notes(one)), flush=True)
    keep_previous(options.out / "baseline.json")
    write_whole(options.out / "baseline.json", baseline_text(options.kind, data, scores))
    metrics = write_report(options.out, [one.session for one in scores], [one.neurons for one in scores])
    print_comparison({options.kind: metrics})
    print(f"Results: {options.out / METRICS_FILE}")


def run_ceiling(arguments: Sequence[str]) -> None:
    """Score the true rates of simulated sessions and write the tables of a test."""
    parser = _parser("ceiling")
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of simulated shards")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for metrics.json and the tables")
    parser.add_argument("--sessions", metavar="EID", nargs="+", help="sessions to score; by default all of the role")
    parser.add_argument(
        "--role", choices=get_args(Role), default="heldout", help="role of the sessions scored (default: heldout)"
    )
    options = parser.parse_args(arguments)
    scores = ceiling(options.data, sessions=options.sessions, role=options.role)
    decoded = [of_one for one in scores for of_one in one.behavior]
    metrics = write_report(options.out, [one.session for one in scores], [one.neurons for one in scores], decoded)
    print_comparison({"ceiling": metrics})
    print(f"Results: {options.out / METRICS_FILE}")


def run_compare(arguments: Sequence[str]) -> None:
    """Print tested runs side by side and, if asked, write their means, tables and figures."""
    parser = _parser("compare")
    parser.add_argument(
        "runs", metavar="NAME=RUN", nargs="+", help="run directory, or the metrics.json of a test, and a name for it"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="JSON file for the means of each run, by its name")
    parser.add_argument(
        "--out_dir",
        metavar="DIR",
        type=Path,
        help="folder for comparison.csv, comparison.md, sessions.png and neurons.png",
    )
    parser.add_argument("--ceiling", metavar="NAME", help="the run whose bits per spike the others' are a share of")
    parser.add_argument("--balanced", action="store_true", help="show the balanced accuracy of decoded classes too")
    options = parser.parse_args(arguments)
    _require_file(options.out)
    runs = _named_runs(options.runs)
    if options.ceiling is not None and options.ceiling not in runs:
        raise UserError(f"--ceiling {options.ceiling}: no run of that name. There are: {', '.join(runs)}.")
    if options.out_dir is not None and len(runs) == 1:
        raise UserError("--out_dir: one run alone has nothing to be compared with. Name another.")
    metrics = {name: run.metrics for name, run in runs.items()}
    reference, *others = runs
    pairs = {name: paired for name in others if (paired := pair(runs[reference], runs[name]))}
    shares = {}
    if options.ceiling is not None:
        against = {name: pair(runs[options.ceiling], run) for name, run in runs.items() if name != options.ceiling}
        shares = {name: paired for name, paired in against.items() if paired}
    tables = [comparison_table(metrics, balanced=options.balanced)]
    tables += [paired_table(pairs, reference)] if pairs else []
    tables += [share_table(shares, options.ceiling)] if shares else []
    print_tables(tables)
    for name, run in runs.items():
        if run.neurons is None and len(runs) > 1:
            print(f"{name}: no neurons.csv beside its metrics (a decoder has none), so its neurons are not paired.")
    if options.out is not None:
        keep_previous(options.out)
        write_whole(options.out, json.dumps(summary(metrics), indent=1) + "\n")
    if options.out_dir is not None:
        _write_comparison(options.out_dir, metrics, pairs, shares, options.ceiling, tables)


def _require_file(out: Path | None) -> None:
    if out is not None and out.is_dir():
        raise UserError(f"--out {out}: a folder. Name a file to write, e.g. {out / 'NAME'}.")


def _named_runs(given: Sequence[str]) -> dict[str, TestedRun]:
    runs = {}
    for one in given:
        name, _, path = one.partition("=")
        if not (name and path):
            raise UserError(f"{one}: give each run as NAME=RUN, e.g. mtm=runs/finetune.")
        if name in runs:
            raise UserError(f"{one}: the name {name} is given twice. Choose another.")
        if not Path(path).exists():
            raise UserError(f"{path}: no such run directory or metrics file.")
        runs[name] = read_run(Path(path))
    return runs


def _write_comparison(
    folder: Path,
    metrics: Mapping[str, Metrics],
    pairs: Mapping[str, Mapping[str, Paired]],
    shares: Mapping[str, Mapping[str, Paired]],
    ceiling_name: str | None,
    tables: Sequence[Table],
) -> None:
    reference = next(iter(metrics))
    markdown = io.StringIO()
    print_tables(tables, markdown)
    every = {(reference, name): paired for name, paired in pairs.items()}
    every |= {(ceiling_name, name): paired for name, paired in shares.items()}
    for name, text in (("comparison.csv", paired_text(every)), ("comparison.md", markdown.getvalue())):
        keep_previous(folder / name)
        write_whole(folder / name, text)
    figures = {"sessions.png": sessions_figure(metrics, reference)}
    if pairs:
        figures["neurons.png"] = neurons_figure(pairs, reference)
    for name, figure in figures.items():
        keep_previous(folder / name)
        with whole_file(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=150)
    print(f"Comparison: {folder}")


def run_report(arguments: Sequence[str]) -> None:
    """Write a run's numbers and figures as one page."""
    parser = _parser("report")
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory, tested or not")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write the page (default: report.html in the run directory)"
    )
    parser.add_argument(
        "--ceiling", metavar="DIR", type=Path, help="what `neuromtm ceiling` wrote, of the same simulated sessions"
    )
    options = parser.parse_args(arguments)
    _require_file(options.out)
    text = report_page(options.run, ceiling=options.ceiling)
    path = options.out or options.run / "report.html"
    keep_previous(path)
    write_whole(path, text)
    print(f"Report: {path}")


TOOLS = {
    "baseline": Tool(
        "which scores a simple prediction (PSTH, ridge, Poisson regression ...) on the entries of a model's test",
        run_baseline,
    ),
    "ceiling": Tool(
        "which scores the true rates of simulated sessions, the bound of what a model can reach", run_ceiling
    ),
    "compare": Tool(
        "which holds tested runs against each other: means, differences paired over neurons and sessions", run_compare
    ),
    "rates": Tool(
        "which holds the predicted rates of simulated sessions against the true ones: R2, and a figure",
        lambda arguments: run_rates(arguments, _parser("rates")),
    ),
    "report": Tool("which writes a run's numbers and figures, each explained, as one HTML page", run_report),
}


def _parser(name: str) -> argparse.ArgumentParser:
    text = TOOLS[name].summary.removeprefix("which ")
    return argparse.ArgumentParser(prog=f"neuromtm {name}", description=f"{text.capitalize()}.", allow_abbrev=False)
