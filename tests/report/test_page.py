"""A run on one page: the verdict first, everything inside it, everything explained, and nothing guessed."""

import csv
import json
import re

import matplotlib.image
import numpy as np
import pytest
from markupsafe import escape

from neuromtm.commands.main import main
from neuromtm.errors import UserError
from neuromtm.evaluation.results import WHOLE_SESSION, read_regions
from neuromtm.metrics.keys import BEHAVIOR_METRICS, BPS_KEYS
from neuromtm.metrics.neurons import NUMBER_COLUMNS
from neuromtm.report.page import page_of, report_page
from neuromtm.report.texts import BEHAVIOR, DECODER, METRICS, PAGE, STATISTICS
from tests.report.shown import HOSTILE, Tags, n_pictures, row
from tests.report.tested import add_read_outs, as_baseline, as_ceiling, as_decoder, as_scored, log
from tests.running import refusal

ATTRIBUTE = '"><img src=x onerror=alert(1)>'


def draw(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        matplotlib.image.imsave(folder / f"{name}.png", np.random.default_rng(0).random((8, 8)))


def neuron_rows(run_dir):
    return list(csv.DictReader((run_dir / "neurons.csv").read_text().splitlines()))


@pytest.fixture
def run_dir(tmp_path):
    """A tested run with curves and pictures."""
    folder = as_scored(tmp_path / "run <b>")
    draw(folder / "figures", "scores", "rates", "s0", "s0.co_smoothing")
    (folder / "config.yaml").write_text(f"model:\n  lr: 0.001 # {HOSTILE}\ndata:\n  root: my data\n  role: heldout\n")
    log(folder, train_loss=[3.0, 2.0], val_loss=[2.5], val_co_smoothing_bps=[0.1])
    return folder


def test_every_number_and_column_has_its_explanation():
    assert tuple(METRICS) == BPS_KEYS
    assert set(BEHAVIOR) == set(BEHAVIOR_METRICS)
    assert {*METRICS, *STATISTICS} >= set(NUMBER_COLUMNS)
    assert set(DECODER) >= {"accuracy", "balanced_accuracy", "r2", "chance"}


def test_the_page_is_whole_and_needs_nothing_outside_itself(run_dir):
    text = report_page(run_dir)
    tags = Tags(text)
    assert tags.open == []
    assert not re.search(r"https?://|url\(|@import", text)
    for tag, attributes in tags.all:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or "src" not in attributes
        assert tag != "img" or attributes["alt"]
    assert n_pictures(text) == 6  # four files, the plot of the tasks and the curves
    assert not tags.names() & {"script", "b"}  # what the run is called or holds is text


def test_the_page_answers_first_whether_the_model_is_any_good_then_shows_it_then_gives_tables(run_dir, tmp_path):
    add_read_outs(run_dir)
    text = report_page(run_dir, baselines=[as_baseline(tmp_path / "ridge", better_by=-0.5)])
    places = [
        text.index(part)
        for part in (
            "<strong>Better than a simple baseline:</strong> it predicts hidden spikes better than each neuron&#39;s",
            "Behaviour: choice accuracy 0.80 (chance 0.50, best of raw counts 0.90).",
            'alt="the activity tasks',
            'alt="behaviour: ',
            "<th>best simple baseline</th>",
            "<h2>Trials and neurons</h2>",
            'alt="s0.png: ',
            'alt="scores.png: ',
            "<h2>Scores on the test trials</h2>",
            "<h2>Training</h2>",
        )
    ]
    assert places == sorted(places)


def test_definitions_are_folded_and_the_first_session_is_open(run_dir):
    draw(run_dir / "figures", "s1")
    text = report_page(run_dir)
    folded = [attributes for tag, attributes in Tags(text).all if tag == "details"]
    definitions = [attributes for attributes in folded if attributes.get("class") == "definitions"]
    assert len(definitions) >= 3
    assert all("open" not in attributes for attributes in definitions)
    assert re.search(r"<details open><summary class=\"session\">session s0<", text)
    assert re.search(r"<details><summary class=\"session\">session s1<", text)


@pytest.mark.parametrize("hostile", [HOSTILE, ATTRIBUTE, "$x^{$", "../../s0"])
def test_whatever_a_session_region_or_neuron_is_called_is_shown_as_text(tmp_path, hostile):
    folder = as_scored(tmp_path / "run", eids=(hostile, "s1"), region=hostile)
    add_read_outs(folder, hostile)
    draw(tmp_path, "s0")  # outside figures/: no session's name leads there
    (folder / "figures").mkdir()
    text = report_page(
        folder,
        ceiling=as_ceiling(tmp_path / "ceiling", eids=(hostile, "s1")),
        baselines=[as_baseline(tmp_path / "base", kind=hostile, eids=(hostile, "s1"))],
    )
    assert HOSTILE not in text
    assert ATTRIBUTE not in text
    tags = Tags(text)
    assert tags.open == []
    assert "script" not in tags.names()
    assert not any("onerror" in attributes for _, attributes in tags.all)
    assert n_pictures(text) == 2  # of the tasks, of behaviour
    assert row(hostile) in text


@pytest.mark.parametrize("hostile", [HOSTILE, ATTRIBUTE])
def test_a_name_in_an_attribute_or_a_caption_is_text_too(tmp_path, hostile):
    eid = hostile.replace("/", "")  # so that a file can be called so
    folder = as_scored(tmp_path / "run", eids=(eid, "s1"))
    draw(folder / "figures", eid)
    text = report_page(folder)
    (shown,) = (one for tag, one in Tags(text).all if tag == "img" and one["alt"].startswith(eid))
    assert shown["alt"] == f"{eid}.png: {PAGE['session.png']}"
    assert f"<figcaption>{escape(eid)}.png. " in text


def test_the_page_shows_every_session_its_scores_and_what_is_missing(run_dir):
    text = report_page(run_dir)
    assert "<td>s0</td>" in text
    assert "<td>s1</td>" in text
    assert "mean over sessions" in text
    assert "Not in figures/: regions.png, s0.forward_prediction.png" in text
    assert "s1.png, s1.co_smoothing.png" in text
    assert "Not scored, because the data has no such label" in text
    assert escape(METRICS["co_smoothing_bps"]) in text
    assert "No behaviour was decoded" in text
    assert escape(BEHAVIOR["r2"]) not in text


def test_a_folder_without_pictures_says_so(tmp_path):
    text = report_page(as_scored(tmp_path / "run"))
    assert escape(PAGE["no_pictures"]) in text
    assert "Not in figures/" not in text


def test_a_picture_that_is_none_is_one_sentence_with_its_name(run_dir):
    (run_dir / "figures" / "s0.png").write_text("half of a picture")
    with pytest.raises(UserError, match=r"s0\.png: not a PNG"):
        report_page(run_dir)


def test_the_page_shows_what_was_decoded_beside_counts_and_chance_and_what_was_left_out(run_dir):
    add_read_outs(run_dir)
    text = report_page(run_dir)
    assert "No behaviour was decoded" not in text
    cells = ("choice", "s0", "accuracy", "0.800", "0.750", "0.600", "0.900", "0.500")
    assert row(*cells, "states, causal", "3", "2 trials, 0 bins") in text
    assert "<td>mean of 1</td>" in text
    for metric in ("accuracy", "balanced_accuracy", "accuracy_counts", "accuracy_rrr", "chance"):
        assert escape(BEHAVIOR[metric]) in text
    assert escape(BEHAVIOR["r2"]) not in text


def test_a_damaged_table_of_read_outs_is_one_sentence_with_its_name(run_dir):
    add_read_outs(run_dir)
    (run_dir / "behavior.csv").write_text("eid,chosen\ns0,1\n")
    with pytest.raises(UserError, match=r"behavior\.csv: not a table of read-outs"):
        report_page(run_dir)


def test_behaviour_without_a_table_of_read_outs_shows_its_scores(run_dir):
    add_read_outs(run_dir)
    (run_dir / "behavior.csv").unlink()
    assert "<td>0.750</td>" in report_page(run_dir)


def test_both_configurations_are_on_the_page(tmp_path, run_dir):
    text = report_page(as_decoder(tmp_path / "decoder"))
    assert "# config.yaml" in text
    assert "# config.test.yaml" in text
    (run_dir / "config.test.yaml").write_text("activity:\n  prompt: of the test\n")
    assert "prompt: of the test" in report_page(run_dir)
    assert escape(HOSTILE) in report_page(run_dir)


def test_a_configuration_that_is_no_yaml_is_shown_as_it_is(run_dir):
    (run_dir / "config.yaml").write_text("model: [")
    assert "<pre>model: [</pre>" in report_page(run_dir)


def test_the_share_of_the_spikes_explained_stands_beside_the_bits_per_spike(run_dir, tmp_path):
    shares = [float(one["deviance_explained"]) for one in neuron_rows(run_dir) if one["eid"] == "s0"]
    share, best = np.mean(shares), np.mean(shares) + 1.0
    assert f"<td>{100 * share:.1f} %</td></tr>" in report_page(run_dir)
    assert "by the true rates" not in report_page(run_dir)
    text = report_page(run_dir, ceiling=as_ceiling(tmp_path / "ceiling"))
    assert row(f"{100 * share:.1f} %", f"{100 * best:.1f} %") in text


def test_the_one_share_of_the_ceiling_is_mean_over_mean(run_dir, tmp_path):
    assert "of the ceiling" not in report_page(run_dir)
    text = report_page(run_dir, ceiling=as_ceiling(tmp_path / "ceiling"))
    assert text.count("<th>share of the ceiling</th>") == 1
    means = [
        np.mean([float(one["co_smoothing_bps"]) for one in neuron_rows(run_dir) if one["eid"] == eid])
        for eid in ("s0", "s1")
    ]
    share = 100 * np.mean(means) / (np.mean(means) + 1)
    assert f"<td>{np.mean(means) + 1:.3f}</td><td>{share:.0f} %</td>" in text
    assert f"it reaches {share:.0f} % of the ceiling in co-smoothing" in text


def test_of_several_baselines_the_best_is_shown_and_named(run_dir, tmp_path):
    given = {"psth": -0.5, "glm": 0.25, "ridge": -0.25}
    folders = [as_baseline(tmp_path / kind, kind=kind, better_by=by) for kind, by in given.items()]
    page = page_of(run_dir, baselines=folders)
    assert page.hint is None
    kinds = [cells[page.glance.head.index("best simple baseline")].split()[0] for cells in page.glance.rows]
    assert kinds == ["glm"] * 4
    assert [cells[5].split()[0] for cells in page.glance.rows] == ["-0.250"] * 4
    assert page.verdict.short == "Better than chance, but worse than a simple baseline"


def test_without_a_baseline_one_line_says_how_to_make_one(run_dir):
    command = page_of(run_dir).hint
    assert command.startswith("neuromtm baseline --data 'my data' --kind ridge --role heldout --out ")
    assert f"&& neuromtm report '{run_dir}' --baseline '{run_dir}-ridge'" in command
    assert escape(command) in report_page(run_dir)
    (run_dir / "config.test.yaml").write_text("data:\n  sessions: [s0, s1]\n  root: other\n  min_firing_rate_hz: 0.5\n")
    start = "neuromtm baseline --data other --kind ridge --sessions s0 s1 --min_firing_rate_hz 0.5 --out "
    assert page_of(run_dir).hint.startswith(start)
    (run_dir / "config.test.yaml").write_text("data:\n  root: other\n  n_train_trials: 20\n")
    assert "--n_train_trials 20 --out " in page_of(run_dir).hint


def test_a_baseline_of_another_number_of_training_trials_is_named(run_dir, tmp_path):
    base = as_baseline(tmp_path / "base")
    record = json.loads((base / "baseline.json").read_text())
    (run_dir / "config.test.yaml").write_text("data:\n  n_train_trials: 20\n")
    line = f"Trained on different numbers of training trials of each session: this run 20, ridge ({base}) all."
    for number, there in ((None, True), (20, False)):
        (base / "baseline.json").write_text(json.dumps({**record, "n_train_trials": number}))
        assert (line in page_of(run_dir, baselines=[base]).glance_notes) == there
        assert (line in report_page(run_dir, baselines=[base])) == there


def test_connectivity_is_shown_where_there_is_one_and_is_not_missed_elsewhere(run_dir):
    assert "connectivity.png" not in report_page(run_dir)
    draw(run_dir / "figures", "connectivity", "s0.connectivity")
    text = report_page(run_dir)
    assert n_pictures(text) == 8
    assert escape(PAGE["session.connectivity.png"]) in text
    assert "s1.connectivity" not in text


def test_the_page_has_a_table_of_regions_for_each_task_that_was_scored(run_dir):
    text = report_page(run_dir)
    rows = read_regions(run_dir / "regions.csv")
    one = next(one for one in rows if one.region != WHOLE_SESSION and "intra_region_bps" in one.means)
    mean = one.means["intra_region_bps"]
    table = text[text.index("<summary>intra-region: 2 regions") :].split("</details>")[0]
    assert row(one.region, one.eid, str(one.n_neurons), str(mean.n)) + f"<td>{mean.mean:.2f}" in table
    assert table.count("<tr>") == 1 + sum(
        "intra_region_bps" in one.means for one in rows if one.region != WHOLE_SESSION
    )


def test_a_run_without_a_test_has_no_scores_and_the_page_says_how_to_get_them(run_dir, tmp_path):
    (run_dir / "metrics.json").unlink()
    text = report_page(run_dir)
    assert "this run has no metrics.json" in text
    assert "neuromtm test --config" in text
    assert "Scores on the test trials" not in text
    assert "<h2>Training</h2>" in text
    assert "<img" in text
    with pytest.raises(UserError, match="--baseline cannot be shown, because it has not been tested"):
        report_page(run_dir, baselines=[as_baseline(tmp_path / "base")])


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
    assert "Better than chance" in text


def test_a_damaged_table_of_regions_is_one_sentence_with_its_name(run_dir):
    (run_dir / "regions.csv").write_text("eid,region\na,b\n")
    with pytest.raises(UserError, match=r"regions\.csv: not a table of regions"):
        report_page(run_dir)


def test_the_command_writes_the_page_and_keeps_the_one_before(run_dir, tmp_path, capsys):
    given = [str(as_baseline(tmp_path / kind, kind=kind)) for kind in ("psth", "glm")]
    ceiling = str(as_ceiling(tmp_path / "ceiling"))
    for _ in range(2):
        main(["report", str(run_dir), "--baseline", *given, "--ceiling", ceiling])
    assert "report.html" in capsys.readouterr().out
    assert len(list(run_dir.glob("report*.html"))) == 2
    assert "share of the ceiling" in (run_dir / "report.html").read_text()


def test_the_command_refuses_a_ceiling_and_a_baseline_that_are_none(run_dir, tmp_path, capsys):
    other = as_scored(tmp_path / "other")
    said = refusal(capsys, "report", run_dir, "--ceiling", other)
    assert "no ceiling.json in it, so this is not what `neuromtm ceiling` writes" in said
    assert f"neuromtm ceiling --data 'my data' --sessions s0 s1 --out {other}" in said
    said = refusal(capsys, "report", run_dir, "--baseline", other)
    assert "no baseline.json in it, so this is not what `neuromtm baseline` writes" in said
    assert not list(run_dir.glob("report*"))


def test_a_ceiling_that_shares_no_neuron_is_refused(run_dir, tmp_path):
    ceiling = as_ceiling(tmp_path / "ceiling")
    text = (ceiling / "neurons.csv").read_text()
    (ceiling / "neurons.csv").write_text(re.sub(r",u(\d)", r",of another data folder \1", text))
    with pytest.raises(UserError, match="shares no scored neuron"):
        report_page(run_dir, ceiling=ceiling)


def test_a_run_that_is_not_there_is_refused(tmp_path, capsys):
    assert "no such run directory" in refusal(capsys, "report", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_no_run_has_no_page(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="no such run directory"):
        report_page(tmp_path)


def test_a_ceiling_and_a_baseline_have_pages_that_say_what_they_are(tmp_path):
    assert "The true rates of simulated sessions" in report_page(as_ceiling(tmp_path / "ceiling"))
    assert "A simple baseline, scored as a model is" in report_page(as_baseline(tmp_path / "base"))
