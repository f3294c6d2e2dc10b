"""`neuromtm table`: one row per tested run of a folder."""

import pytest

from neuromtm.files import read_table
from tests.evaluation.sweeps import as_tested, write_sweep
from tests.running import neuromtm, refusal
from tests.test_imports import modules_after


@pytest.fixture
def folder(tmp_path):
    """Two tested runs that differ in the learning rate and in a name, and one that is not tested."""
    for number, (name, lr) in enumerate((("a", 0.001), ("deep/b", 0.01))):
        as_tested(tmp_path / name, {"co_smoothing_bps": 0.1 + number}, eid="s", subject="Ann")
        text = f"run_dir: runs/{name}\nmodel: {{lr: {lr}, compile: false}}\ndata: {{root: '=1+{number}'}}\n"
        (tmp_path / name / "config.yaml").write_text(text)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.yaml").write_text("model: {lr: 3}\n")
    return tmp_path


def test_a_row_is_a_run_with_what_differs_and_its_metrics(folder, capsys):
    neuromtm("table", folder)
    assert "deep/b" in capsys.readouterr().out
    rows = read_table(folder / "table.csv")
    assert list(rows[0]) == ["run", "model.lr", "data.root", "n_test_sessions", "co_smoothing_bps"]
    assert [(row["run"], row["model.lr"], row["data.root"]) for row in rows] == [
        ("a", "0.001", "=1+0"),
        ("deep/b", "0.01", "=1+1"),
    ]
    assert ",'=1+0," in (folder / "table.csv").read_text()  # a spreadsheet does not run it
    assert float(rows[1]["co_smoothing_bps"]) == pytest.approx(1.1, abs=0.01)
    neuromtm("table", folder, "--out", folder / "other.csv")
    assert (folder / "other.csv").read_text() == (folder / "table.csv").read_text()
    neuromtm("table", folder)
    assert len(list(folder.glob("table*.csv"))) == 2  # the former one is kept


def test_of_many_options_that_differ_some_are_printed_and_all_written(folder, capsys):
    for number, name in enumerate(("a", "deep/b")):
        text = "".join(f"o{place}: {number}\n" for place in range(10))
        (folder / name / "config.yaml").write_text(text)
    neuromtm("table", folder)
    assert "2 more options differ: o8, o9." in capsys.readouterr().out
    assert [name for name in read_table(folder / "table.csv")[0] if name.startswith("o")] == [
        f"o{i}" for i in range(10)
    ]


def test_an_option_with_long_values_is_written_and_not_printed(folder, capsys):
    for number, name in enumerate(("a", "deep/b")):
        (folder / name / "config.yaml").write_text(f"long: [{number}, {'x' * 50}]\nshort: {number}\n")
    neuromtm("table", folder)
    printed = capsys.readouterr().out
    assert "xxx" not in printed
    assert "1 more options differ: long." in printed
    assert "x" * 50 in read_table(folder / "table.csv")[0]["long"]


def test_results_that_cannot_be_read_are_named(folder, capsys):
    (folder / "a" / "metrics.json").write_text("{")
    neuromtm("table", folder)
    assert "Not in the table:" in capsys.readouterr().out
    assert [row["run"] for row in read_table(folder / "table.csv")] == ["deep/b"]


def test_a_sweep_s_table_begins_with_its_grid(tmp_path, capsys):
    write_sweep(tmp_path, counts=(1, 2), seeds=(0,))
    (tmp_path / "finetune" / "mtm-n1-s0-Ann" / "metrics.json").unlink()
    neuromtm("table", tmp_path)
    assert "1 of 10 runs of grid.csv are not tested yet, e.g. finetune/mtm-n1-s0-Ann." in capsys.readouterr().out
    rows = read_table(tmp_path / "table.csv")
    assert list(rows[0])[:6] == ["run", "stage", "objective", "n_sessions", "seed", "animal"]
    (row,) = [row for row in rows if row["run"] == "finetune/mtm-n2-s0-Bob"]
    assert [row[name] for name in ("stage", "n_sessions", "animal")] == ["finetune", "2", "Bob"]


def test_a_folder_without_tested_runs_is_refused(tmp_path, capsys):
    assert "no tested run in it" in refusal(capsys, "table", tmp_path)
    assert "no such folder" in refusal(capsys, "table", tmp_path / "none")
    assert "must end in .csv" in refusal(capsys, "table", tmp_path, "--out", tmp_path / "a.txt")


def test_the_command_of_the_table_starts_without_torch():
    assert not modules_after("import neuromtm.commands.table") & {"torch", "lightning", "matplotlib"}
