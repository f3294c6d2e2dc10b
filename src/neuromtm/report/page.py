"""A run on one page: `report.html` with its verdict, plots, pictures and tables, without outside links."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from neuromtm.errors import UserError
from neuromtm.evaluation.references import BASELINE_FILE, CEILING_FILE
from neuromtm.evaluation.results import DECODING_FILE, METRICS_FILE, read_metrics
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.report.activity import activity_page
from neuromtm.report.decoder import decoder_page
from neuromtm.report.rendering import made_by, render, time_text
from neuromtm.report.run import RunFolder, open_folder, training_of
from neuromtm.report.view import Head, RunPage, UntestedPage


def report_page(run_dir: Path, *, ceiling: Path | None = None, baselines: Sequence[Path] = ()) -> str:
    """The text of report.html. It shows what is in the run's folder, and says what is missing.

    Args:
        run_dir: the run directory; tested or not.
        ceiling: folder that `neuromtm ceiling` wrote, of the same simulated sessions.
        baselines: folders that `neuromtm baseline` wrote, of the same sessions; each task shows the best of them.

    Raises:
        UserError: if there is no run, a test did not write one of its files, or the ceiling or a baseline does not
            belong to it.
    """
    return render(page_of(Path(run_dir), ceiling=ceiling, baselines=baselines))


def page_of(run_dir: Path, *, ceiling: Path | None = None, baselines: Sequence[Path] = ()) -> RunPage:
    """What the page shows. The arguments and errors are those of `report_page`."""
    if not any((run_dir / name).exists() for name in ("config.yaml", METRICS_FILE)):
        raise UserError(f"{run_dir}: no such run directory; there is neither a config.yaml nor a {METRICS_FILE} in it.")
    folder, made = open_folder(run_dir), made_by()

    def head(what: str, tested: str | None) -> Head:
        return Head(name=folder.name, what=what, made=made, tested=tested)

    training = training_of(folder)
    if not (run_dir / METRICS_FILE).exists():
        _refuse_references("it has not been tested", folder, ceiling, baselines)
        command = f"neuromtm test --config {run_dir}/config.yaml --ckpt_path {run_dir}/checkpoints/best.ckpt"
        what = "A decoder" if folder.target else "A masked model"
        return UntestedPage(head=head(what, None), training=training, command=command)
    tested = time_text(datetime.fromtimestamp((run_dir / METRICS_FILE).stat().st_mtime, UTC))
    if _is_decoder(folder):
        _refuse_references("it is a decoder's run, which has no activity tasks", folder, ceiling, baselines)
        what = f"A decoder of {folder.target}" if folder.target else "A decoder"
        return decoder_page(folder, head(what, tested), training)
    return activity_page(folder, head(_what(run_dir), tested), training, ceiling=ceiling, baselines=baselines)


def _is_decoder(folder: RunFolder) -> bool:
    scored = read_metrics(folder.path)["mean"]
    decodes = folder.target is not None or (folder.path / DECODING_FILE).exists()
    return decodes and not any(key in scored for key in BPS_KEYS)


def _what(run_dir: Path) -> str:
    if (run_dir / CEILING_FILE).exists():
        return "The true rates of simulated sessions, scored as a model is: the ceiling"
    if (run_dir / BASELINE_FILE).exists():
        return "A simple baseline, scored as a model is"
    return "A masked model"


def _refuse_references(why: str, folder: RunFolder, ceiling: Path | None, baselines: Sequence[Path]) -> None:
    given = [option for option, value in (("--ceiling", ceiling), ("--baseline", baselines)) if value]
    if given:
        raise UserError(
            f"{folder.path}: {' and '.join(given)} cannot be shown, because {why}. Leave out {' and '.join(given)}."
        )
