"""A run on one page: everything inside it, everything explained, and nothing guessed."""

import csv
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from neuromtm.commands.main import main
from neuromtm.decoding.selection import Decoded, Tried, behavior_text, labels_of
from neuromtm.decoding.targets import Target
from neuromtm.errors import UserError
from neuromtm.evaluation.curves import read_scalars
from neuromtm.evaluation.results import (
    BPS_KEYS,
    NEURON_COLUMNS,
    WHOLE_SESSION,
    metrics_text,
    read_metrics,
    read_regions,
)
from neuromtm.metrics.keys import BEHAVIOR_FIGURES
from neuromtm.plots.curves import curves_plot
from neuromtm.report.page import report_page
from neuromtm.report.texts import BEHAVIOR, FIGURES, PAGE, STATISTICS
from tests.commands.test_compare import as_tested
from tests.running import refusal


class Tags(HTMLParser):
    """The tags that are open at the end, and all that were opened, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.all = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def log(folder, wall_time=1.0, **values):
    """An event file with curves: tag -> values at steps 0, 1, ..."""
    writer = EventFileWriter(str(folder))
    for tag, curve in values.items():
        for step, value in enumerate(curve):
            summary = Summary(value=[Summary.Value(tag=tag.replace("_loss", "/loss"), simple_value=value)])
            writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))
    writer.close()


@pytest.fixture
def run_dir(tmp_path):
    """A tested run with curves and a figure."""
    folder = as_tested(tmp_path / "run <b>")
    (folder / "figures").mkdir()
    for name in ("scores", "rates", "s0", "s0.co_smoothing"):
        matplotlib.image.imsave(folder / "figures" / f"{name}.png", np.random.default_rng(0).random((8, 8)))
    (folder / "config.yaml").write_text("model:\n  lr: 0.001 # <script>alert(1)</script>\n")
    log(folder, train_loss=[3.0, 2.0], val_loss=[2.5])
    return folder


def test_every_number_and_column_has_its_explanation():
    assert tuple(FIGURES) == BPS_KEYS
    assert set(BEHAVIOR) == set(BEHAVIOR_FIGURES)
    assert {*FIGURES, *STATISTICS} >= set(NEURON_COLUMNS[3:])


def test_the_page_is_whole_and_needs_nothing_outside_itself(run_dir):
    text = report_page(run_dir)
    tags = Tags(text)
    assert tags.open == []
    assert not re.search(r"https?://|url\(|@import", text)
    for _, attributes in tags.all:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or "src" not in attributes
    assert sum(tag == "img" for tag, _ in tags.all) == 5  # four figures and the curves
    assert not any(tag in ("script", "b") for tag, _ in tags.all)  # what the run is called or holds is text


def test_the_page_shows_every_session_its_figures_and_what_is_missing(run_dir):
    text = report_page(run_dir)
    assert "<td>s0</td>" in text
    assert "<td>s1</td>" in text
    assert "mean over sessions" in text
    assert "Not in figures/: regions.png, s0.forward_prediction.png" in text
    assert "s1.png, s1.co_smoothing.png" in text
    assert "Not scored, because the data has no such label" in text
    assert escape(FIGURES["co_smoothing_bps"]) in text
    assert "No behaviour was decoded" in text
    assert escape(BEHAVIOR["r2"]) not in text


def test_the_page_shows_what_was_decoded_beside_counts_and_chance_and_what_was_left_out(run_dir):
    as_decoded(run_dir)
    text = report_page(run_dir)
    assert "No behaviour was decoded" not in text
    cells = ("choice", "s0", "accuracy", "0.800", "0.750", "0.600", "0.900", "0.500")
    row = "".join(f"<td>{cell}</td>" for cell in (*cells, "states, causal", "3", "2 trials, 0 bins"))
    assert row in text
    assert "<td>mean of 1</td>" in text
    for figure in ("accuracy", "balanced_accuracy", "accuracy_counts", "accuracy_rrr", "chance"):
        assert escape(BEHAVIOR[figure]) in text
    assert escape(BEHAVIOR["r2"]) not in text


def test_a_damaged_table_of_readouts_is_one_sentence_with_its_name(run_dir):
    as_decoded(run_dir)
    (run_dir / "behavior.csv").write_text("eid,chosen\ns0,1\n")
    with pytest.raises(UserError, match=r"behavior\.csv: not a table of read-outs"):
        report_page(run_dir)


def test_a_decoders_page_which_has_no_table_of_readouts_shows_its_scores(run_dir):
    as_decoded(run_dir)
    (run_dir / "behavior.csv").unlink()
    assert "<td>0.750</td>" in report_page(run_dir)


def test_the_share_of_the_spikes_explained_stands_beside_the_bits_per_spike(run_dir, tmp_path):
    shares = [float(row["deviance_explained"]) for row in neuron_rows(run_dir) if row["eid"] == "s0"]
    share, best = np.mean(shares), np.mean(shares) + 1.0
    assert f"<td>{100 * share:.1f} %</td></tr>" in report_page(run_dir)
    assert "share of the ceiling" not in report_page(run_dir)
    text = report_page(run_dir, ceiling=as_tested(tmp_path / "ceiling", better_by=1.0))
    row = (f"{100 * share:.1f} %", f"{100 * best:.1f} %", f"{100 * share / best:.0f} %")
    assert "".join(f"<td>{cell}</td>" for cell in row) in text


def neuron_rows(run_dir):
    return list(csv.DictReader((run_dir / "neurons.csv").read_text().splitlines()))


def as_decoded(run_dir):
    """Let the run have decoded the choice of one of its sessions."""
    numbers = [np.arange(20), np.arange(20, 24), np.arange(24, 28)]
    values = np.array([-1, 1] * 14, np.float32)
    values[[0, 24]] = np.nan
    tried = [
        Tried(features="rates", prompt="neuron", strength=1.0, validation=0.7, test=0.9, balanced_accuracy=0.9),
        Tried(features="states", prompt="causal", strength=1.0, validation=0.8, test=0.8, balanced_accuracy=0.75),
        Tried(features="counts", strength=1.0, validation=0.8, test=0.6, balanced_accuracy=0.6),
        Tried(features="counts_rrr", rank=2, strength=0.5, validation=0.8, test=0.9, balanced_accuracy=0.9),
    ]
    decoded = Decoded(eid="s0", labels=labels_of(Target("choice", values), numbers), tried=tuple(tried))
    metrics = read_metrics(run_dir)
    figures = decoded.figures() | {"choice_chance": 0.5}
    metrics["sessions"]["s0"] |= figures
    metrics["mean"] |= figures
    (run_dir / "metrics.json").write_text(metrics_text(metrics))
    (run_dir / "behavior.csv").write_text(behavior_text([decoded]))


def test_connectivity_is_shown_where_there_is_one_and_is_not_missed_elsewhere(run_dir):
    assert "connectivity" not in report_page(run_dir)
    for name in ("connectivity", "s0.connectivity"):
        matplotlib.image.imsave(run_dir / "figures" / f"{name}.png", np.random.default_rng(0).random((8, 8)))
    text = report_page(run_dir)
    assert sum(tag == "img" for tag, _ in Tags(text).all) == 7
    assert escape(PAGE["session.connectivity.png"]) in text
    assert "s1.connectivity" not in text


def test_the_page_has_a_table_of_regions_for_each_task_that_was_scored(run_dir):
    text = report_page(run_dir)
    rows = read_regions(run_dir / "regions.csv")
    row = next(row for row in rows if row.region != WHOLE_SESSION and "intra_region_bps" in row.means)
    mean = row.means["intra_region_bps"]
    table = text[text.index("<summary>intra") :].split("</details>")[0]
    assert (
        f"<td>{row.region}</td><td>{row.eid}</td><td>{row.n_neurons}</td><td>{mean.n}</td><td>{mean.mean:.2f}" in table
    )
    assert table.count("<tr>") == 1 + sum(
        "intra_region_bps" in row.means for row in rows if row.region != WHOLE_SESSION
    )


def test_a_run_without_a_test_has_no_scores_and_the_page_says_how_to_get_them(run_dir):
    (run_dir / "metrics.json").unlink()
    text = report_page(run_dir)
    assert "This run has not been tested" in text
    assert "neuromtm test --config" in text
    assert "Scores on the test trials" not in text
    assert "<h2>Training</h2>" in text
    assert "<img" in text


def test_a_run_without_curves_says_so(run_dir):
    for path in run_dir.glob("events*"):
        path.unlink()
    assert "no TensorBoard curves" in report_page(run_dir)


def test_tables_that_an_earlier_version_did_not_write_are_said_to_be_missing(run_dir):
    (run_dir / "regions.csv").unlink()
    (run_dir / "neurons.csv").unlink()
    text = report_page(run_dir)
    assert "There is no regions.csv" in text
    assert "There is no neurons.csv" in text


def test_a_damaged_table_of_regions_is_one_sentence_with_its_name(run_dir):
    (run_dir / "regions.csv").write_text("eid,region\na,b\n")
    with pytest.raises(UserError, match=r"regions\.csv: not a table of regions"):
        report_page(run_dir)


def test_the_share_of_the_ceiling_is_shown_where_a_ceiling_is_given(run_dir, tmp_path):
    ceiling = as_tested(tmp_path / "ceiling", better_by=1.0)
    assert "of the ceiling" not in report_page(run_dir)
    assert re.search(r"of the ceiling.*<td>share</td><td>\d+ %</td>", report_page(run_dir, ceiling=ceiling))


def test_the_command_writes_the_page_and_keeps_the_one_before(run_dir, capsys):
    for _ in range(2):
        main(["report", str(run_dir)])
    assert "report.html" in capsys.readouterr().out
    assert len(list(run_dir.glob("report*.html"))) == 2


def test_a_run_that_is_not_there_is_refused(tmp_path, capsys):
    assert "no such run directory" in refusal(capsys, "report", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_step_that_was_logged_twice_has_its_later_value(tmp_path):
    log(tmp_path, wall_time=2.0, train_loss=[5.0, 4.0])
    log(tmp_path / "moved", wall_time=1.0, train_loss=[9.0, 8.0, 7.0])
    for path in (tmp_path / "moved").iterdir():
        path.rename(tmp_path / f"{path.name}.earlier")
    assert read_scalars(tmp_path)["train/loss"].tolist() == [[0, 5.0], [1, 4.0], [2, 7.0]]


def test_curves_of_a_test_alone_are_no_curves_of_a_training():
    assert curves_plot({"test/co_smoothing_bps": np.array([[3.0, 0.2]])}) is None
    figure = curves_plot({"val/loss": np.array([[3.0, 0.2], [4.0, 0.1]])})
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.2, 0.1]


def test_a_browser_shows_the_page(run_dir, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs chromium on the PATH to draw the page")
    matplotlib.image.imsave(run_dir / "figures" / "s0.png", np.tile([0.0, 1.0, 0.0], (100, 100, 1)))
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(report_page(run_dir))
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}")
    subprocess.run(
        [browser, *options, "--window-size=1000,3000", f"--screenshot={picture}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    shown = matplotlib.image.imread(picture)[..., :3]
    rows = (shown.std(axis=(1, 2)) > 0).nonzero()[0]  # rows of pixels with something on them
    assert len(rows) > 500
    assert rows[0] < 200
    green = np.abs(shown - (0, 1, 0)).max(axis=2) < 0.02
    assert green.sum() > 1000  # the figure of the first session


def test_a_folder_that_is_no_run_has_no_page(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="no such run directory"):
        report_page(tmp_path)
