"""The commands beside Lightning's: what they write, what they keep, what they refuse."""

import csv
import json

import matplotlib.image
import pytest
import torch

from neuromtm.commands.main import main
from neuromtm.evaluation.references import BASELINE_FILE, CEILING_FILE, ceiling_text
from neuromtm.evaluation.results import write_results
from neuromtm.evaluation.scores import NeuronScores, SessionScores, activity_means
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.neurons import NUMBER_COLUMNS
from tests.running import refusal


def as_tested(folder, *, better_by=0.0, n_sessions=2):
    """A folder as a test leaves it, of sessions with 8 neurons."""
    tables = []
    for number in range(n_sessions):
        generator = torch.Generator().manual_seed(number)
        figures = {name: torch.rand(8, generator=generator).double() + better_by for name in NUMBER_COLUMNS}
        uuid = tuple(f"u{i}" for i in range(8))
        tables.append(NeuronScores(eid=f"s{number}", uuid=uuid, region=("LP", "CA1") * 4, columns=figures))
    write_results(folder, [SessionScores(eid=t.eid, **activity_means(t)) for t in tables], tables)
    return folder


@pytest.fixture
def runs(tmp_path):
    """Three runs, the last of which scores highest, and the arguments that name them."""
    shifts = {"base": 0.0, "mtm": 0.5, "ceiling": 1.0}
    (tmp_path / "ceiling").mkdir()
    (tmp_path / "ceiling" / CEILING_FILE).write_text(ceiling_text(tmp_path, ["s0", "s1"]))
    return [f"{name}={as_tested(tmp_path / name, better_by=by)}" for name, by in shifts.items()]


def test_compare_pairs_every_run_with_the_first(runs, capsys):
    main(["compare", *runs])
    printed = capsys.readouterr().out
    assert "Minus base" in printed
    assert printed.count("+0.50 [+0.50, +0.50] 2-0") == 4
    assert printed.count("+1.00 [+1.00, +1.00] 2-0") == 4
    assert "Share" not in printed


def test_compare_gives_shares_of_the_run_that_is_named_the_ceiling(runs, capsys):
    main(["compare", *runs, "--ceiling", "ceiling"])
    printed = capsys.readouterr().out
    rows = printed[printed.index("Share of the bits per spike of ceiling") :].splitlines()
    names = [row.split("|")[1].strip() for row in rows if row.startswith("| ")]
    assert names == ["run", "base", "mtm"]


def test_compare_writes_tables_and_plots_and_keeps_those_of_before(runs, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        main(["compare", *runs, "--ceiling", "ceiling", "--out_dir", str(out)])
    names = {path.name for path in out.iterdir()}
    assert {"comparison.csv", "comparison.md", "sessions.png", "neurons.png"} <= names
    assert len(names) == 8  # each of them twice
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    assert [(row["reference"], row["run"]) for row in rows[::4]] == [
        ("base", "mtm"),
        ("base", "ceiling"),
        ("ceiling", "base"),
        ("ceiling", "mtm"),
    ]
    assert tuple(row["metric"] for row in rows[:4]) == BPS_KEYS
    text = (out / "comparison.md").read_text()
    assert all(title in text for title in ("Test trials", "Minus base", "Share"))
    assert matplotlib.image.imread(out / "sessions.png").std() > 0


def test_compare_without_tables_of_neurons_says_so_and_shows_the_means(runs, tmp_path, capsys):
    (tmp_path / "mtm" / "neurons.csv").unlink()
    main(["compare", *runs[:2], "--out_dir", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "mtm: no neurons.csv beside its metrics" in printed
    assert "Minus" not in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"comparison.csv", "comparison.md", "sessions.png"}


def test_the_summary_is_what_it_was_whatever_else_is_asked_for(runs, tmp_path):
    main(["compare", *runs, "--out", str(tmp_path / "plain.json")])
    extra = ("--ceiling", "ceiling", "--out_dir", str(tmp_path / "out"))
    main(["compare", *runs, *extra, "--out", str(tmp_path / "more.json")])
    summary = json.loads((tmp_path / "plain.json").read_text())
    assert (tmp_path / "more.json").read_text() == (tmp_path / "plain.json").read_text()
    assert summary == {
        name: json.loads((tmp_path / name / "metrics.json").read_text())["mean"] for name in ("base", "mtm", "ceiling")
    }


def test_compare_refuses_a_ceiling_that_is_no_run_and_a_folder_for_one_run(runs, tmp_path, capsys):
    assert "no run of that name. There are: base, mtm, ceiling" in refusal(capsys, "compare", *runs, "--ceiling", "top")
    assert "nothing to be compared with" in refusal(capsys, "compare", runs[0], "--out_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compare_refuses_a_run_in_the_place_of_the_ceiling_and_a_ceiling_of_other_sessions(runs, tmp_path, capsys):
    said = refusal(capsys, "compare", *runs, "--ceiling", "mtm")
    assert f"{tmp_path / 'mtm'}: no ceiling.json in it" in said
    assert f"neuromtm ceiling --data DATA --sessions s0 s1 --out {tmp_path / 'mtm'}" in said
    more = as_tested(tmp_path / "more", n_sessions=3)
    said = refusal(capsys, "compare", *runs, f"more={more}", "--ceiling", "ceiling")
    assert "a ceiling of other sessions: it has s0, s1, but the run also has s2" in said


def test_compare_averages_the_seeds_of_an_entry_and_shows_their_spread(runs, tmp_path, capsys):
    seeds = [as_tested(tmp_path / f"seed{i}", better_by=by) for i, by in enumerate((0.4, 0.5, 0.6))]
    named = f"mtm={','.join(map(str, seeds))}"
    main(["compare", runs[0], named, "--out", str(tmp_path / "means.json"), "--out_dir", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert printed.count("+0.50 [+0.50, +0.50] 2-0") == 4
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in printed.splitlines() if row.startswith("| mtm")]
    assert rows[1][:6] == ["mtm", "3", "0.100", "0.100", "0.100", "0.100"]
    means = json.loads((tmp_path / "means.json").read_text())
    assert means["mtm"]["co_smoothing_bps"] == pytest.approx(means["base"]["co_smoothing_bps"] + 0.5)
    first, *_ = csv.DictReader((tmp_path / "out" / "seeds.csv").open())
    assert (first["run"], first["metric"], first["n_runs"]) == ("mtm", "co_smoothing_bps", "3")
    assert float(first["highest"]) - float(first["lowest"]) == pytest.approx(0.2, abs=1e-5)
    assert "seeds" not in (tmp_path / "out" / "comparison.csv").read_text()


def test_compare_refuses_an_entry_whose_seeds_are_not_there_or_named_twice(runs, tmp_path, capsys):
    first = tmp_path / "base"
    assert "no such run directory" in refusal(capsys, "compare", f"mtm={first},{tmp_path / 'absent'}")
    assert "no such run directory" in refusal(capsys, "compare", f"mtm={first},")
    assert "named twice in one entry" in refusal(capsys, "compare", f"mtm={first},{first}")
    said = refusal(capsys, "compare", runs[0], f"top={tmp_path / 'ceiling'},{first}", "--ceiling", "top")
    assert "True rates have no seeds" in said


def trained_on(folder, number, *, file="config.yaml"):
    """A folder as a training with so many training trials, and its test, leave it."""
    as_tested(folder)
    (folder / file).write_text(f"data:\n  n_train_trials: {'null' if number is None else number}\n")
    return folder


def baseline_on(folder, number):
    as_tested(folder)
    record = {"kind": "ridge", "n_train_trials": number, "chosen": {"s0": {}, "s1": {}}}
    (folder / BASELINE_FILE).write_text(json.dumps(record))
    return folder


def test_entries_of_different_numbers_of_training_trials_are_named_below_the_tables(tmp_path, capsys):
    fa, every = baseline_on(tmp_path / "fa", 2), trained_on(tmp_path / "every", None)
    five, silent = trained_on(tmp_path / "five", 5, file="config.test.yaml"), as_tested(tmp_path / "silent")
    line = "Trained on different numbers of training trials of each session: fa 2, s all, five 5.\n"
    named = [f"fa={fa}", f"s={every}", f"five={five}", f"x={silent}"]
    main(["compare", *named, "--out_dir", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert printed.index(line) > printed.rindex("| ")
    assert (tmp_path / "out" / "comparison.md").read_text().endswith(line)


def test_nothing_is_said_of_training_trials_that_are_the_same_or_unknown(tmp_path, capsys):
    five, same = trained_on(tmp_path / "five", 5), baseline_on(tmp_path / "same", 5)
    unknown, broken = as_tested(tmp_path / "unknown"), as_tested(tmp_path / "broken")
    (broken / "config.yaml").write_text("data: [")
    alone = as_tested(tmp_path / "alone") / "metrics.json"
    main(["compare", f"five={five}", f"same={same}", f"x={unknown}", f"b={broken}", f"alone={alone}"])
    assert "training trials" not in capsys.readouterr().out


def test_an_earlier_baseline_in_the_folder_is_not_taken_for_the_latest_one(tmp_path, capsys):
    folder = baseline_on(tmp_path / "fa", 2)
    (folder / "metrics.json").rename(folder / "metrics.2026-11-21T07-40-12.json")
    earlier, other = folder / "metrics.2026-11-21T07-40-12.json", trained_on(tmp_path / "other", 5)
    main(["compare", f"fa={earlier}", f"other={other}"])
    assert "training trials" not in capsys.readouterr().out
    (folder / "baseline.json").rename(folder / "baseline.2026-11-21T07-40-12.json")
    main(["compare", f"fa={earlier}", f"other={other}"])
    assert "fa 2, other 5." in capsys.readouterr().out


def test_seeds_of_different_numbers_of_training_trials_are_refused(tmp_path, capsys):
    every, five, same = (trained_on(tmp_path / str(i), number) for i, number in enumerate((None, 5, 5)))
    said = refusal(capsys, "compare", f"s={every},{five}")
    assert "s: its runs were trained on different numbers of training trials of each session (all, 5;" in said
    main(["compare", f"s={five},{same}", f"all={every}"])
    assert "s 5, all all." in capsys.readouterr().out


def test_a_run_whose_name_holds_a_comma_is_one_run(tmp_path, capsys):
    main(["compare", f"mtm={as_tested(tmp_path / 'lr 1,5')}"])
    assert "seeds" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["compare", "report"])
def test_a_folder_in_the_place_of_the_file_stays_where_it_is(runs, tmp_path, capsys, command):
    folder = tmp_path / "mtm"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    named = runs if command == "compare" else [tmp_path / "base"]
    assert "mtm: a folder" in refusal(capsys, command, *named, "--out", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(("command", "suffix"), [("compare", ".json"), ("report", ".html")])
def test_a_file_of_another_kind_is_not_renamed_aside(runs, tmp_path, capsys, command, suffix):
    mine = tmp_path / "mine.py"
    mine.write_text("mine")
    named = runs if command == "compare" else [tmp_path / "mtm"]
    assert f"must end in {suffix}" in refusal(capsys, command, *named, "--out", mine)
    assert mine.read_text() == "mine"
    assert not list(tmp_path.glob("mine.*-*"))


@pytest.mark.parametrize("text", ["x", "x\n1\n", "eid,uuid\na,b\n", "eid,uuid,region\na,b\n"])
def test_a_damaged_table_of_neurons_is_not_taken_for_an_empty_one(runs, tmp_path, capsys, text):
    (tmp_path / "mtm" / "neurons.csv").write_text(text)
    said = refusal(capsys, "report", tmp_path / "mtm")
    assert "neurons.csv: not a table of neurons of a test" in said
    assert "Error(" not in said, "Python's own words"
