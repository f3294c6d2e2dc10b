"""Two processes on the CPU train together, and score as one does."""

import json

import numpy as np
import pytest

from neuromtm.evaluation.pairing import read_run
from tests.running import neuromtm, neuromtm_process, pretrain, scalars

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.enable_progress_bar", "false")


@pytest.fixture(scope="module")
def trained_by_two(root, sessions_dir, tmp_path_factory):
    """Run directory of a training by two processes, with what it said."""
    run_dir = tmp_path_factory.mktemp("ranks") / "run"
    result = neuromtm_process(*pretrain(root, sessions_dir, "--run_dir", run_dir, *TWO))
    return run_dir, result


def test_two_processes_train(trained_by_two):
    run_dir, result = trained_by_two
    assert (run_dir / "checkpoints" / "best.ckpt").exists()
    assert (run_dir / "checkpoints" / "last.ckpt").exists()
    assert "GLOBAL_RANK: 1" in result.stderr
    assert "sync_dist" not in result.stderr
    speed = {f"throughput/{name}" for name in ("trials_per_s", "model_flops_utilization", "data_wait_share")}
    assert {"train/loss", "val/loss", *speed} <= set(scalars(run_dir))


@pytest.fixture(scope="module")
def scored(trained_by_two, tmp_path_factory):
    """Folders of validation and test, by one process and by two, of one checkpoint."""
    run_dir, _ = trained_by_two
    folder = tmp_path_factory.mktemp("scored")
    # forked processes gather as those of `ddp` do, and start at once
    for name, options in (("one", ("--trainer.strategy", "auto")), ("two", (*TWO, "--trainer.strategy", "ddp_fork"))):
        for command in ("validate", "test"):
            neuromtm(
                *(command, "--config", run_dir / "config.yaml", "--trainer.devices", "1"),
                *("--ckpt_path", run_dir / "checkpoints" / "best.ckpt", "--run_dir", folder / command / name),
                # pieces of 3 trials: their number is no multiple of two, so that the ranks' shares differ
                *("--data.eval_batch_size", "3", "--data.n_sessions", "2", "--figures.n_val_sessions", "0", *options),
            )
    return folder


def test_validation_by_two_processes_gives_the_figures_of_one(scored):
    one, two = scalars(scored / "validate" / "one"), scalars(scored / "validate" / "two")
    figures = {tag for tag in one if tag.startswith("val/")}
    assert {"val/loss", "val/loss/causal", "val/co_smoothing_bps", "val/choice_chance", "val/whisker_r2"} <= figures
    assert figures == {tag for tag in two if tag.startswith("val/")}
    for tag in figures:
        assert two[tag] == pytest.approx(one[tag], abs=1e-4), tag


def test_a_test_by_two_processes_gives_the_figures_of_one(scored):
    one, two = (json.loads((scored / "test" / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["sessions"].keys() == two["sessions"].keys()
    for eid, figures in one["sessions"].items():
        assert two["sessions"][eid] == pytest.approx(figures, abs=1e-4)
    assert len((scored / "test" / "two" / "neurons.csv").read_text().splitlines()) == len(
        (scored / "test" / "one" / "neurons.csv").read_text().splitlines()
    )
    trials = [read_run(scored / "test" / name).trials for name in ("one", "two")]  # which holds them to neurons.csv
    assert trials[0].keys() == trials[1].keys() == one["sessions"].keys()
    for first, second in zip(*(run.values() for run in trials), strict=True):
        assert (first.subject, first.uuid, first.trial.tolist()) == (second.subject, second.uuid, second.trial.tolist())
        for key, task in first.tasks.items():
            np.testing.assert_array_equal(task.spikes, second.tasks[key].spikes)
            np.testing.assert_allclose(task.model_nll, second.tasks[key].model_nll, rtol=1e-3, atol=1e-3)
