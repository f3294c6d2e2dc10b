"""A run on one page: `report.html` with its numbers, what each means, and its figures, without outside links."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from neuromtm import __version__
from neuromtm.errors import UserError
from neuromtm.evaluation.curves import read_scalars
from neuromtm.evaluation.pairing import TestedRun, pair, read_run, shares_explained
from neuromtm.evaluation.results import (
    METRICS_FILE,
    NEURON_COLUMNS,
    REGIONS_FILE,
    WHOLE_SESSION,
    Metrics,
    RegionMean,
    read_regions,
)
from neuromtm.evaluation.statistics import bootstrap_mean
from neuromtm.metrics.keys import BPS_KEYS, COLUMNS, TASK_TITLES, columns_of
from neuromtm.plots.curves import curves_plot
from neuromtm.report.behavior import behavior_table
from neuromtm.report.texts import BEHAVIOR, FIGURES, PAGE, STATISTICS

MOST_SESSIONS = 10
"""whose figures are put into the page; each takes a few hundred kB"""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } p, dd { max-width: 48rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: .8rem 0; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .scroll { overflow-x: auto; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption, .small { color: #555; font-size: .85rem; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin: 0; }
pre { background: #f5f5f5; padding: .8rem; overflow: auto; }
.note { border-left: 4px solid #d62728; padding: .2rem 1rem; background: #fdf3f3; }
"""


def report_page(run_dir: Path, *, ceiling: Path | None = None) -> str:
    """The text of report.html: what is in the run's folder, and what is not is said.

    Args:
        run_dir: the run directory; tested or not.
        ceiling: what `neuromtm ceiling` wrote, of the same simulated sessions.

    Raises:
        UserError: if there is no run, or a file of it is not one that a test writes.
    """
    run_dir = Path(run_dir)
    if not any((run_dir / name).exists() for name in ("config.yaml", METRICS_FILE)):
        raise UserError(f"{run_dir}: no such run directory; there is neither a config.yaml nor a {METRICS_FILE} in it.")
    if (run_dir / METRICS_FILE).exists():
        body = _tested(run_dir, ceiling)
    else:
        how = f"neuromtm test --config {run_dir}/config.yaml --ckpt_path {run_dir}/checkpoints/best.ckpt"
        body = [_note("This run has not been tested: it has no metrics.json, so there are no scores to show. Test it:")]
        body += [f"<pre>{escape(how)}</pre>"]
    body += _training(run_dir)
    name = escape(run_dir.resolve().name)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = f'<meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
    body = [f"<h1>{name}</h1>", f'<p class="small">{escape(f"neuromtm {__version__}, page of {now}")}</p>', *body]
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _tested(run_dir: Path, ceiling: Path | None) -> list[str]:
    run = read_run(run_dir)
    written = datetime.fromtimestamp((run_dir / METRICS_FILE).stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = ["<h2>Scores on the test trials</h2>"]
    parts += [f"<p>{PAGE['scores']} Test of {written}.</p>", _scores_table(run.metrics)]
    parts += _share_of_ceiling(run, ceiling)
    parts += [_explained(FIGURES, [key for key in FIGURES if key in run.metrics["mean"]])]
    parts += _share_explained(run, ceiling)
    absent = [column.title for column in COLUMNS if column.key not in run.metrics["mean"]]
    if absent:
        parts.append(f"<p>{escape(PAGE['absent'].format(names=', '.join(absent)))}</p>")
    parts += ["<h2>Behaviour</h2>", *_behavior(run_dir, run.metrics)]
    parts += ["<h2>Neurons</h2>", *_neurons(run), "<h2>Regions</h2>", *_regions(run_dir)]
    return [*parts, "<h2>Figures</h2>", *_figures(run_dir / "figures", list(run.metrics["sessions"]))]


def _scores_table(metrics: Metrics) -> str:
    columns = columns_of(metrics["mean"])
    keys = [column.key for column in columns if column.key in metrics["mean"]]
    chance = {column.key: column.chance for column in columns}
    titles = {column.key: column.title for column in columns}

    def cell(figures: Mapping[str, float], key: str) -> str:
        of_chance = chance[key]
        beside = f" ({figures[of_chance]:.2f})" if of_chance is not None and of_chance in figures else ""
        return f"{figures[key]:.3f}{beside}" if key in figures else "-"

    rows = [[eid, *(cell(figures, key) for key in keys)] for eid, figures in metrics["sessions"].items()]
    rows.append(["mean over sessions", *(cell(metrics["mean"], key) for key in keys)])
    intervals = []
    for key in keys:
        values = np.array([figures[key] for figures in metrics["sessions"].values() if key in figures])
        ends = bootstrap_mean(values, "report", key)
        intervals.append("-" if ends is None else "{:.3f} to {:.3f}".format(*ends))
    rows.append(["95 % interval over sessions", *intervals])
    return _table(["session", *(titles[key] for key in keys)], rows)


def _share_of_ceiling(run: TestedRun, ceiling: Path | None) -> list[str]:
    if ceiling is None:
        return []
    paired = pair(read_run(ceiling), run)
    if not paired:
        raise UserError(f"{ceiling}: shares no scored neuron with the run, or a neurons.csv is absent.")
    row = ["share", *("-" if p.share is None else f"{100 * p.share:.0f} %" for p in paired.values())]
    titles = {column.key: column.title for column in COLUMNS}
    return [f"<p>{PAGE['ceiling']}</p>", _table(["of the ceiling", *(titles[key] for key in paired)], [row])]


def _share_explained(run: TestedRun, ceiling: Path | None) -> list[str]:
    """Each session's share of the co-smoothing deviance that is explained, beside its bits per spike."""
    shares = shares_explained(run.neurons)
    if not shares:
        return []
    best = {} if ceiling is None else shares_explained(read_run(ceiling).neurons)
    head, rows = ["session", "co-smooth (bits/spike)", "share of the spikes explained"], []
    for eid, share in shares.items():
        bps = run.metrics["sessions"][eid].get("co_smoothing_bps")
        rows.append([eid, "-" if bps is None else f"{bps:.3f}", f"{100 * share:.1f} %"])
        if best:
            there = eid in best and best[eid] > 0
            rows[-1] += [f"{100 * best[eid]:.1f} %", f"{100 * share / best[eid]:.0f} %"] if there else ["-", "-"]
    head += ["of the true rates", "share of the ceiling"] if best else []
    texts = [PAGE["share"], *([PAGE["share_of_ceiling"]] if best else [])]
    return [*(f"<p>{escape(text)}</p>" for text in texts), _table(head, rows)]


def _behavior(run_dir: Path, metrics: Metrics) -> list[str]:
    table = behavior_table(run_dir, metrics)
    if table is None:
        return ["<p>No behaviour was decoded: the data has none, or none that could be learned.</p>"]
    explained = {f"<behaviour>_{figure}": BEHAVIOR[figure] for figure in table.figures}
    return [f"<p>{PAGE['behaviour']}</p>", _table(table.head, table.rows), _explained(explained, list(explained))]


def _neurons(run: TestedRun) -> list[str]:
    if run.neurons is None:
        return [_note("There is no neurons.csv beside metrics.json.")]
    rows, neurons = [], [figures for session in run.neurons.values() for figures in session.values()]
    names = [name for name in NEURON_COLUMNS[3:] if any(name in figures for figures in neurons)]
    for name in names:
        values = np.array([figures[name] for figures in neurons if name in figures])
        quantiles = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        positive = f"{100 * (values > 0).mean():.0f} %"
        rows.append([name, str(len(values)), f"{values.mean():.3f}", *(f"{v:.3f}" for v in quantiles), positive])
    head = ["column of neurons.csv", "neurons", "mean", "5 %", "25 %", "median", "75 %", "95 %", "above 0"]
    others = [name for name in names if name not in FIGURES]
    return [f"<p>{PAGE['neurons']}</p>", _table(head, rows), _explained(STATISTICS, others)]


def _regions(run_dir: Path) -> list[str]:
    path = run_dir / REGIONS_FILE
    if not path.exists():
        return [_note("There is no regions.csv: the test was of an earlier version. Test the run again.")]
    rows = read_regions(path)
    titles = {column.key: column.title for column in COLUMNS}
    whole = [row for row in rows if row.region == WHOLE_SESSION]
    cells = [
        [row.eid, str(row.n_neurons), *(_mean_and_interval(row.means.get(key)) for key in BPS_KEYS)] for row in whole
    ]
    parts = [f"<p>{PAGE['regions']}</p>", _table(["session", "neurons", *(titles[key] for key in BPS_KEYS)], cells)]
    others = [row for row in rows if row.region != WHOLE_SESSION]
    for key in BPS_KEYS:
        if not (scored := [(row, row.means[key]) for row in others if key in row.means]):
            continue
        cells = [
            [row.region, row.eid, str(row.n_neurons), str(mean.n), _mean_and_interval(mean), f"{mean.median:.2f}"]
            for row, mean in sorted(scored, key=lambda one: (one[0].region, one[0].eid))
        ]
        head = ["region", "session", "neurons", "scored", "mean [95 % interval]", "median"]
        title = f"{titles[key]}: {len({row.region for row, _ in scored})} regions"
        parts.append(f"<details><summary>{escape(title)}</summary>{_table(head, cells)}</details>")
    return parts


def _mean_and_interval(mean: RegionMean | None) -> str:
    if mean is None:
        return "-"
    return f"{mean.mean:.2f}" if mean.low is None else f"{mean.mean:.2f} [{mean.low:.2f}, {mean.high:.2f}]"


def _figures(folder: Path, eids: Sequence[str]) -> list[str]:
    wanted = {name: PAGE[name] for name in ("scores.png", "regions.png", "rates.png")}
    for eid in eids[:MOST_SESSIONS]:
        wanted |= {f"{eid}.png": PAGE["session.png"]}
        wanted |= {
            f"{eid}.{task}.png": PAGE["session.task.png"].format(task=title) for task, title in TASK_TITLES.items()
        }
    missing = [name for name in wanted if not (folder / name).exists()]
    wanted["behavior.png"] = PAGE["behavior.png"]  # only where there is behaviour
    # only models that were trained with region drop-out have these
    wanted["connectivity.png"] = PAGE["connectivity.png"]
    wanted |= {f"{eid}.connectivity.png": PAGE["session.connectivity.png"] for eid in eids[:MOST_SESSIONS]}
    there = {name: text for name, text in wanted.items() if (folder / name).exists()}
    parts = [_image((folder / name).read_bytes(), f"{name}. {text}") for name, text in there.items()]
    if missing:
        parts.append(_note(f"Not in figures/: {', '.join(missing)}."))
    if len(eids) > MOST_SESSIONS:
        parts.append(f"<p>Of {len(eids)} sessions the first {MOST_SESSIONS} are shown; figures/ has the others.</p>")
    return parts


def _training(run_dir: Path) -> list[str]:
    figure = curves_plot(read_scalars(run_dir))
    parts = ["<h2>Training</h2>"]
    if figure is None:
        parts.append("<p>There are no TensorBoard curves of a training in this folder.</p>")
    else:
        parts.append(_image(_png(figure), PAGE["curves"]))
    config = run_dir / "config.yaml"
    if config.exists():
        text = escape(config.read_text(encoding="utf-8", errors="replace"))
        parts.append(f"<details><summary>config.yaml</summary><pre>{text}</pre></details>")
    return parts


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _image(png: bytes, caption: str) -> str:
    source, text = base64.b64encode(png).decode(), escape(caption)
    return f'<figure><img src="data:image/png;base64,{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="scroll"><table><thead>{row(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def _explained(texts: Mapping[str, str], names: Sequence[str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(texts[name])}</dd>" for name in names) + "</dl>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
