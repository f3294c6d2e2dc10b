"""What a test of a real run writes is what slow hands compute from its checkpoint and its data."""

import csv

import numpy as np
import pytest
import torch
from sklearn.metrics import d2_tweedie_score

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.evaluation.tasks import TASKS, predict_task
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS, neuromtm


def score(pretrained, folder, *more):
    """Test one session, whose trials come in three batches."""
    checkpoint = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    small = ("--data.sessions", f"['{EIDS[0]}']", "--data.eval_batch_size", "3", "--run_dir", folder)
    neuromtm("test", *checkpoint, *small, *more)
    return folder


@pytest.fixture(scope="module")
def run_dir(pretrained, tmp_path_factory):
    """A tested run."""
    return score(pretrained, tmp_path_factory.mktemp("tested") / "run")


@pytest.fixture(scope="module")
def rows(run_dir):
    with (run_dir / "neurons.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def by_hand(pretrained, sessions_dir):
    """Counts, expected counts (trial, bin, neuron) and the choice and contrast of the test trials."""
    data = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]])
    data.setup()
    module = MaskedModeling.load_from_checkpoint(pretrained / "checkpoints" / "best.ckpt").eval()
    (group,) = data.groups(EIDS[0], "test")
    expected = []
    with torch.no_grad():
        for neuron in range(group.counts.shape[2]):  # one at a time
            (held_out,) = predict_task("co_smoothing", module.model, module.objective, group, torch.tensor([neuron]))
            expected.append(held_out.log_rates.exp().double().numpy())
    trials = data.headers[EIDS[0]].trials
    number = group.trial.numpy()
    return (
        group.counts.numpy().astype(float),
        np.concatenate(expected, axis=2),
        trials.choice[number],
        trials.contrast[number],
    )


def column(rows, name):
    return [float(row[name]) if row[name] else np.nan for row in rows]


def test_deviance_explained_is_that_of_scikit_learn(rows, by_hand):
    counts, expected, *_ = by_hand
    theirs = [
        d2_tweedie_score(counts[..., i].ravel(), expected[..., i].ravel(), power=1) if counts[..., i].any() else np.nan
        for i in range(counts.shape[2])
    ]
    assert column(rows, "deviance_explained") == pytest.approx(theirs, rel=1e-3, abs=1e-5, nan_ok=True)


def test_psth_r2_is_of_averages_over_trials_of_one_choice_and_one_side(rows, by_hand):
    counts, expected, choice, contrast = by_hand
    kinds = list(zip(choice.tolist(), np.sign(contrast).tolist(), strict=True))
    assert len(set(kinds)) > 2
    # every trial replaced by the average of its condition: the trials' weights come of themselves
    observed, predicted = (
        np.array([np.mean([x[j] for j in range(len(x)) if kinds[j] == kind], axis=0) for kind in kinds])
        for x in (counts, expected)
    )
    variation = np.square(observed - observed.mean(axis=(0, 1))).sum(axis=(0, 1))
    theirs = 1 - np.square(observed - predicted).sum(axis=(0, 1)) / np.where(variation > 0, variation, np.nan)
    assert column(rows, "psth_r2") == pytest.approx(theirs.tolist(), rel=1e-3, abs=1e-5, nan_ok=True)


def test_the_firing_rate_is_that_of_the_test_trials(rows, by_hand):
    counts = by_hand[0]
    assert column(rows, "firing_rate_hz") == pytest.approx((counts.mean(axis=(0, 1)) / 0.02).tolist(), rel=1e-4)


def test_a_test_draws_neurons_and_the_page_of_the_run_shows_them(run_dir):
    assert {path.name for path in (run_dir / "figures").iterdir()} == {
        f"{EIDS[0]}.png",
        *(f"{EIDS[0]}.{task}.png" for task in TASKS),
        *("scores.png", "regions.png", "rates.png", "behavior.png"),
    }
    neuromtm("report", run_dir)
    text = (run_dir / "report.html").read_text()
    assert text.count("<img") == 10  # those of the folder, and the summary of the tasks
    assert "Not in figures/" not in text
    assert "no TensorBoard curves of a training" in text  # only a test ran in this folder


def test_two_processes_write_the_tables_of_one(pretrained, run_dir, tmp_path):
    two = score(pretrained, tmp_path / "two", "--trainer.devices", "2", "--trainer.strategy", "ddp_fork")
    for name in ("neurons.csv", "regions.csv"):
        rows, theirs = (list(csv.reader((folder / name).open())) for folder in (run_dir, two))
        assert len(rows) == len(theirs)
        for row, other in zip(rows, theirs, strict=True):
            for cell, also in zip(row, other, strict=True):
                try:
                    assert float(also) == pytest.approx(float(cell), rel=1e-3, abs=1e-4)
                except ValueError:  # text
                    assert also == cell
