"""A sweep is read whole: its grid row by row, its finished runs, and what is not finished with the reason."""

import pytest

from neuromtm.errors import UserError
from neuromtm.evaluation.sweep import GRID_COLUMNS, read_grid, read_sweep
from neuromtm.files import table_text
from tests.evaluation.sweeps import write_grid, write_sweep

PRETRAIN = ["pretrain/a", "pretrain", "mtm", 2, 0, "", ""]
FINETUNE = ["finetune/a", "finetune", "mtm", 2, 0, "Ann", "pretrain/a"]


def changed(row, **cells):
    return [cells.get(name, value) for name, value in zip(GRID_COLUMNS, row, strict=True)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no run in it"),
        ([changed(PRETRAIN, stage="train")], r"row 2: the stage is 'train', not one of pretrain, finetune"),
        ([changed(PRETRAIN, n_sessions="many")], "row 2: n_sessions is 'many'"),
        ([changed(PRETRAIN, n_sessions=0)], "row 2: n_sessions is 0, but the stage is pretrain"),
        ([changed(PRETRAIN, seed="")], "row 2: seed is ''"),
        ([changed(PRETRAIN, run="")], "row 2: run is empty"),
        ([PRETRAIN, changed(FINETUNE, animal="")], "row 3: animal is empty"),
        ([PRETRAIN, PRETRAIN], "pretrain/a stands in several rows"),
        ([PRETRAIN, changed(FINETUNE, pretrained="pretrain/b")], "starts from pretrain/b, which is no pretraining"),
    ],
)
def test_a_damaged_grid_is_refused_with_its_row(rows, said, tmp_path):
    write_grid(tmp_path, rows)
    with pytest.raises(UserError, match=said):
        read_grid(tmp_path)


def test_a_folder_without_a_grid_and_a_grid_that_is_no_table_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no grid\.csv in it, so it is no sweep"):
        read_grid(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_grid(tmp_path / "none")
    (tmp_path / "grid.csv").write_text("run,stage\na,pretrain\n")
    with pytest.raises(UserError, match="no column objective"):
        read_grid(tmp_path)
    (tmp_path / "grid.csv").write_text(table_text(GRID_COLUMNS, [PRETRAIN])[:-3])
    with pytest.raises(UserError, match="row 2 has"):
        read_grid(tmp_path)


def test_runs_of_one_kind_make_one_entry_of_all_animals_averaged_over_seeds(tmp_path):
    write_sweep(tmp_path, counts=(1, 4), sd=0.1)
    entries, unfinished = read_sweep(tmp_path, read_grid(tmp_path))
    assert unfinished == []
    assert [entry.name for entry in entries] == ["mtm, 1 session", "mtm, 4 sessions", "mtm, from scratch", "psth"]
    first = entries[0]
    assert first.of_session == {"session-of-Ann": "Ann", "session-of-Bob": "Bob"}
    assert set(first.seeds) == {0, 1}
    assert first.pretrained == ("pretrain/mtm-n1-s0", "pretrain/mtm-n1-s1")
    means = [run.metrics["mean"]["co_smoothing_bps"] for run in first.seeds.values()]
    assert first.run.metrics["mean"]["co_smoothing_bps"] == pytest.approx(sum(means) / 2)
    assert means[1] - means[0] == pytest.approx(0.1, abs=0.01)


def test_what_is_not_finished_is_listed_with_its_state(tmp_path):
    rows = write_sweep(tmp_path, counts=(1, 2))
    write_grid(tmp_path, [*rows, changed(PRETRAIN, run="pretrain/never")])
    folder = tmp_path / "finetune"
    (folder / "mtm-n1-s0-Ann" / "metrics.json").unlink()
    (folder / "mtm-n1-s1-Ann" / "metrics.json").unlink()
    (folder / "mtm-n1-s1-Ann" / "checkpoints").mkdir()
    (folder / "mtm-n1-s1-Ann" / "checkpoints" / "best.ckpt").touch()
    (folder / "mtm-n2-s0-Bob" / "metrics.json").write_text("{")
    (tmp_path / "pretrain" / "mtm-n2-s0" / "checkpoints" / "best.ckpt").unlink()
    entries, unfinished = read_sweep(tmp_path, read_grid(tmp_path))
    reasons = dict(unfinished)
    assert reasons["finetune/mtm-n1-s0-Ann"] == "in training, or failed before its first checkpoint"
    assert reasons["finetune/mtm-n1-s1-Ann"] == "in training, or not tested"
    assert "its results cannot be read: " in reasons["finetune/mtm-n2-s0-Bob"]
    assert reasons["pretrain/mtm-n2-s0"] == "in training, or failed before its first checkpoint"
    assert reasons["pretrain/never"] == "not started"
    assert len(reasons) == 5
    one, two, *_ = entries
    assert (one.animals, one.absent, set(one.seeds)) == (("Bob",), ("Ann",), {0, 1})
    assert (two.animals, two.absent, set(two.seeds)) == (("Ann", "Bob"), (), {1})
