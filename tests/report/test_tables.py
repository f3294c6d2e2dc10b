"""Runs side by side: readable in a log file, honest about what is missing."""

import csv
import io

from rich.console import Console

from neuromtm.evaluation.pairing import pair
from neuromtm.report.tables import (
    PAIRED_COLUMNS,
    comparison_table,
    paired_table,
    paired_text,
    print_comparison,
    print_tables,
    share_table,
    summary,
)
from tests.evaluation.test_pairing import KEY, of_sessions

FIGURES = {
    "co_smoothing_bps": 0.987,
    "forward_prediction_bps": -0.012,
    "intra_region_bps": 0.43,
    "inter_region_bps": 0.84,
    "choice_accuracy": 0.871,
    "choice_chance": 0.62,
    "whisker_r2": 0.67,
    "whisker_chance": 0.44,
}


def metrics(mean=FIGURES, eids=("a",)):
    return {"sessions": dict.fromkeys(eids, mean), "mean": mean}


def printed(runs):
    file = io.StringIO()
    print_comparison(runs, file)
    return file.getvalue()


def test_a_log_file_gets_plain_lines_of_markdown_within_110_columns():
    text = printed({"temporal": metrics(), "mtm": metrics()})
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 110
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4  # heading, rule, two runs
    assert len({len(row) for row in rows}) == 1


def test_a_row_shows_every_figure_with_its_chance_level():
    (row,) = (line for line in printed({"mtm": metrics()}).splitlines() if line.startswith("| mtm"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["mtm", "1", "0.99", "-0.01", "0.43", "0.84", "0.87 (0.62)", "0.67 (0.44)"]


def test_a_figure_that_a_run_lacks_is_a_dash():
    (row,) = (line for line in printed({"x": metrics({"co_smoothing_bps": 1.0})}).splitlines() if "| x" in line)
    assert row.count(" - ") == 5


def test_a_behaviour_that_one_run_has_decoded_is_a_column_of_all():
    more = FIGURES | {
        "block_accuracy": 0.51,
        "block_balanced_accuracy": 0.34,
        "block_chance": 0.5,
        "block_accuracy_rrr": 1,
    }
    lines = printed({"plain": metrics(), "more": metrics(more)}).splitlines()
    head, _, plain, row = (line.strip("|").split("|") for line in lines if line.startswith("|"))
    assert [cell.strip() for cell in head[8:]] == ["block accuracy"]
    assert (plain[8].strip(), row[8].strip()) == ("-", "0.51 (0.50)")


def test_balanced_accuracy_is_shown_where_it_is_asked_for():
    file = io.StringIO()
    runs = {"mtm": metrics(FIGURES | {"choice_balanced_accuracy": 0.77, "reward_r2": 0.1})}
    print_comparison(runs, file, balanced=True)
    assert "choice balanced" in file.getvalue()
    assert " 0.77 " in file.getvalue()
    assert "choice balanced" not in printed(runs)


def test_a_long_or_bracketed_name_is_shown_whole():
    name = "runs/2026-11-21/[heldout]/finetuned_from_34_sessions_with_a_long_name_" + "x" * 60
    assert name in printed({name: metrics()})


def test_runs_of_different_sessions_are_said_not_to_compare():
    assert "do not compare" in printed({"a": metrics(), "b": metrics(eids=("other",))})
    assert "do not compare" not in printed({"a": metrics(), "b": metrics()})


def test_a_terminal_of_100_columns_shows_the_table_unfolded():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    console.print(comparison_table({"temporal": metrics()}))
    assert "0.67 (0.44)" in console.file.getvalue()


def test_the_summary_is_the_means_by_run():
    assert summary({"temporal": metrics(), "mtm": metrics({"whisker_r2": 0.5})}) == {
        "temporal": FIGURES,
        "mtm": {"whisker_r2": 0.5},
    }


# ---- pairs of runs ----


def printed_tables(*tables):
    file = io.StringIO()
    print_tables(tables, file)
    return file.getvalue()


def test_the_table_shows_difference_interval_and_sessions_won_and_says_what_it_is_over():
    found = pair(of_sessions([0.0] * 6, [0.0] * 6), of_sessions([1.0] * 6, [0.5] * 6))
    text = printed_tables(paired_table({"mtm[x]": found}, "base[y]"))
    (row,) = (line for line in text.splitlines() if line.startswith("| mtm[x]"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["mtm[x]", "2", "-", "+0.75 [+0.75, +0.75] 2-0", "-", "-", "-"]
    words = " ".join(text.split())
    assert "Minus base[y]" in words
    assert "a run has no trials.h5" in words
    assert "over neurons as if they were independent" in words


def test_shares_are_in_percent_and_a_dash_where_undefined():
    found = pair(of_sessions([2.0]), of_sessions([1.0]))
    text = printed_tables(share_table({"mtm": found}, "ceiling"))
    (row,) = (line for line in text.splitlines() if line.startswith("| mtm"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["mtm", "50 %", "-", "-", "-"]


def test_the_table_for_programs_says_the_same():
    found = pair(of_sessions([2.0, 4.0]), of_sessions([1.0, 2.0]))
    (row,) = csv.DictReader(paired_text({("base", "mtm"): found}, ceiling="base").splitlines())
    assert tuple(row) == PAIRED_COLUMNS
    assert (row["reference"], row["run"], row["metric"]) == ("base", "mtm", KEY)
    assert (row["n_sessions"], row["n_neurons"], row["difference"], row["share"]) == ("1", "2", "-1.5", "0.5")
    assert (row["low"], row["high"]) == ("", "")  # of two neurons
    assert (row["sessions_won"], row["sessions_lost"], row["interval_over"]) == ("0", "1", "neurons")
    (row,) = csv.DictReader(paired_text({("base", "mtm"): found}).splitlines())
    assert row["share"] == ""  # of a run that is no ceiling
