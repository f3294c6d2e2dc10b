"""`neuromtm scaling`: what it writes and says of a sweep, whole or half finished."""

import matplotlib.image
import pytest
import torch

from neuromtm.commands.scaling import seen_by
from neuromtm.data.manifest import read_manifest
from neuromtm.files import read_table
from tests.evaluation.sweeps import write_sweep
from tests.running import EIDS, neuromtm, refusal
from tests.test_imports import modules_after


def test_a_sweep_is_written_as_tables_and_plots_and_printed(tmp_path, capsys):
    write_sweep(tmp_path, objectives=("mtm", "temporal"), sd=0.01)
    neuromtm("scaling", tmp_path)
    printed = capsys.readouterr().out
    assert "| mtm, 8 sessions " in printed
    assert "| temporal, from scratch " in printed
    assert "It also holds the differences between seeds" in printed
    assert "are not finished" not in printed
    rows = read_table(tmp_path / "scaling" / "scaling.csv")
    (row,) = [
        row
        for row in rows
        if (row["stage"], row["objective"], row["n_sessions"], row["metric"])
        == ("finetune", "mtm", "8", "co_smoothing_bps")
    ]
    assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    assert float(row["mean"]) == pytest.approx(0.43, abs=0.02)
    assert (row["interval_over"], row["n_seeds"], row["n_animals"]) == ("trials", "2", "2")
    assert float(row["over_scratch_low"]) > 0
    curves = read_table(tmp_path / "scaling" / "curves.csv")
    assert {(c["objective"], c["metric"]) for c in curves if c["c"]} == {
        (objective, f"{task}_bps")
        for objective in ("mtm", "temporal")
        for task in ("co_smoothing", "forward_prediction")
    }
    height, width, _ = matplotlib.image.imread(tmp_path / "scaling" / "scaling.png").shape
    assert min(height, width) > 300
    assert (tmp_path / "scaling" / "scaling.pdf").read_bytes().startswith(b"%PDF")
    neuromtm("scaling", tmp_path)
    assert len(list((tmp_path / "scaling").iterdir())) == 8  # the former four are kept


def test_what_is_unfinished_is_named_and_the_rest_is_shown(tmp_path, capsys):
    write_sweep(tmp_path, counts=(1, 2, 4))
    for name in ("mtm-n4-s0-Ann", "mtm-n4-s1-Ann", "mtm-n2-s1-Bob"):
        (tmp_path / "finetune" / name / "metrics.json").unlink()
    neuromtm("scaling", tmp_path)
    printed = capsys.readouterr().out
    assert "mtm, 4 sessions: no results of Ann, so its means are not of the same animals." in printed
    assert "mtm, 2 sessions: 1 of 2 seeds have results of all its animals." in printed
    assert "3 of 24 runs are not finished" in printed
    assert "finetune/mtm-n2-s1-Bob: in training, or failed before its first checkpoint" in printed
    assert "points that are means over different test sessions" in " ".join(printed.split())


def test_a_sweep_without_results_or_grid_is_refused(tmp_path, capsys):
    write_sweep(tmp_path, counts=(1, 2))
    for path in tmp_path.glob("finetune/*/metrics.json"):
        path.unlink()
    assert "no fine-tuned run of this sweep has results yet. 8 of 18 runs" in refusal(capsys, "scaling", tmp_path)
    assert "no grid.csv in it" in refusal(capsys, "scaling", tmp_path / "finetune")
    assert not (tmp_path / "scaling").exists()


def test_what_a_pretraining_saw_is_read_from_its_checkpoint_and_manifest(pretrained, sessions_dir, tmp_path):
    seen = seen_by(pretrained)
    entries = [entry for entry in read_manifest(sessions_dir) if entry.eid in EIDS]
    checkpoint = torch.load(pretrained / "checkpoints" / "best.ckpt", weights_only=True)
    assert seen == (
        sum(entry.n_neurons for entry in entries),
        sum(entry.splits["train"] for entry in entries),
        checkpoint["global_step"],
        torch.load(pretrained / "checkpoints" / "last.ckpt", weights_only=True)["global_step"],
    )
    assert seen_by(tmp_path) == (None, None, None, None)


def test_a_curve_against_neurons_needs_the_pretrainings_checkpoints(tmp_path, pretrained, capsys):
    write_sweep(tmp_path, counts=(1,))
    assert "not known of mtm, 1 session" in refusal(capsys, "scaling", tmp_path, "--against", "neurons")
    for folder in tmp_path.glob("pretrain/*"):
        (folder / "checkpoints" / "best.ckpt").write_bytes((pretrained / "checkpoints" / "best.ckpt").read_bytes())
    neuromtm("scaling", tmp_path, "--against", "neurons")
    row = read_table(tmp_path / "scaling" / "scaling.csv")[0]
    assert (float(row["n_neurons"]), row["n_trials"]) == (seen_by(pretrained).n_neurons, "")


def test_the_command_starts_without_torch():
    assert not modules_after("import neuromtm.commands.scaling") & {"torch", "lightning", "matplotlib"}
