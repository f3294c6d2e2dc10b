"""Files are whole, earlier ones are kept, and tables are read back as they were written."""

import csv
import io
import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuromtm.errors import UserError
from neuromtm.files import FORMULA_SIGNS, keep_previous, read_table, require_file, table_text, whole_file, write_whole

# ---- whole or absent ----


def test_a_file_that_cannot_be_finished_leaves_the_earlier_one_and_nothing_beside_it(tmp_path):
    path = tmp_path / "made" / "metrics.json"
    write_whole(path, "first")

    def fail():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_the_place_of_a_file_is_refused_by_the_option_that_names_it(tmp_path):
    with pytest.raises(UserError, match=r"--out .*: a folder\. Name a file to write"):
        require_file("--out", tmp_path, suffix=".json")
    require_file("--out", tmp_path / "new.json", suffix=".json")
    require_file("--out", None, suffix=".json")


# ---- earlier results are kept ----


def test_two_results_of_one_second_are_both_kept(tmp_path):
    path, kept = tmp_path / "metrics.json", []
    for text in ("first", "second", "third"):
        path.write_text(text)
        os.utime(path, (1795246812, 1795246812))
        kept.append(keep_previous(path))
    assert [one.read_text() for one in kept] == ["first", "second", "third"]
    assert not path.exists()


def test_without_an_earlier_result_there_is_nothing_to_keep(tmp_path):
    assert keep_previous(tmp_path / "metrics.json") is None


def test_a_folder_is_not_renamed_aside(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(UserError, match="run: a folder"):
        keep_previous(folder)
    assert list(tmp_path.iterdir()) == [folder]


# ---- tables ----

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
SPICED = st.tuples(st.sampled_from([*FORMULA_SIGNS, "'", '"', ",", "\n", ""]), TEXT).map("".join)


def written(path, columns, rows):
    write_whole(path, table_text(columns, rows))
    return read_table(path)


@pytest.fixture(scope="module")
def table_path(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "table.csv"


@given(rows=st.lists(st.tuples(SPICED, st.text("=+-@'\t\r\nx", max_size=5)), max_size=6))
@example(rows=[("'", "''"), ("'=1", "''=1"), ("\r", "\t")])
def test_text_is_read_back_as_it_was_written(table_path, rows):
    assert [tuple(row.values()) for row in written(table_path, ("eid", "region"), rows)] == rows


def test_a_column_is_named_likewise(tmp_path):
    assert written(tmp_path / "table.csv", ["=pupil_r2", "'+"], [[1, 2]]) == [{"=pupil_r2": "1", "'+": "2"}]
    assert (tmp_path / "table.csv").read_text().startswith("'=pupil_r2,''+\n")


@given(text=SPICED)
def test_no_cell_of_text_begins_as_a_formula(text):
    (_, (cell,)) = csv.reader(io.StringIO(table_text(["eid"], [[text or "x"]]), newline=""))
    assert not cell.startswith(FORMULA_SIGNS)
    assert cell.lstrip("'") == (text or "x").lstrip("'")


@given(value=st.floats(allow_infinity=False))
def test_numbers_have_six_digits_and_none_is_an_empty_field(table_path, value):
    (row,) = written(table_path, "abcd", [[value, None, 17, np.float64(value)]])
    assert row == {"a": "" if np.isnan(value) else f"{value:.6g}", "b": "", "c": "17", "d": row["a"]}


def test_a_negative_number_stays_a_number():
    assert table_text(["bps"], [[-0.25], [-3]]) == "bps\n-0.25\n-3\n"


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", 'a,b\n"1,2\n'])
def test_a_table_cut_short_is_none(tmp_path, text):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(csv.Error):
        read_table(tmp_path / "table.csv")
