"""What a model predicts while it is hidden is what is scored, and the regions' table is that of a test."""

import csv
from dataclasses import replace

import numpy as np
import pytest

import neuromtm
from neuromtm.api.hidden import connectivity, predict_hidden
from neuromtm.errors import ConfigError, DataError
from neuromtm.evaluation.tasks import TASKS, n_forward_bins
from tests.running import EIDS, HELDOUT
from tests.running import neuromtm as command

EID = EIDS[0]


@pytest.fixture(scope="module")
def model(pretrained):
    return neuromtm.load(pretrained)


@pytest.fixture(scope="module")
def unseen(sessions_dir):
    return neuromtm.Sessions(sessions_dir)[EID].select(split="test")


def bits_per_spike(rates, counts):
    """(neuron,) of the entries that are predicted, by the definition."""
    scored = ~np.isnan(rates)
    gained = []
    for own, spikes, of in zip(rates.T, counts.T.astype(float), scored.T, strict=True):
        predicted, seen = own[of].astype(float), spikes[of]
        if not seen.sum():
            gained.append(np.nan)
            continue
        null = seen.mean()
        likelier = (seen * np.log(predicted) - predicted).sum() - (seen * np.log(null) - null).sum()
        gained.append(likelier / seen.sum() / np.log(2))
    return np.array(gained)


@pytest.mark.parametrize("task", TASKS)
def test_hidden_predictions_are_what_the_score_is_of(model, unseen, task):
    rates = predict_hidden(model, unseen, task=task, batch_size=3)
    assert rates.shape == unseen.counts.shape
    assert np.isfinite(rates).any()
    np.testing.assert_allclose(bits_per_spike(rates, unseen.counts), model.score(unseen, task=task).bps, atol=1e-5)


def test_forward_prediction_predicts_the_end_alone(model, unseen):
    predicted = np.isfinite(predict_hidden(model, unseen, task="forward_prediction"))
    n_hidden = n_forward_bins(unseen.counts.shape[1])
    assert predicted[:, -n_hidden:].all()
    assert not predicted[:, :-n_hidden].any()


def test_a_hidden_neuron_s_own_spikes_do_not_matter(model, unseen):
    changed = unseen.counts.copy()
    changed[..., 2] += 3
    other = predict_hidden(model, replace(unseen, counts=changed), task="co_smoothing")
    same = predict_hidden(model, unseen, task="co_smoothing")
    np.testing.assert_allclose(other[..., 2], same[..., 2], rtol=1e-5)
    assert not np.allclose(other[..., 3], same[..., 3], rtol=1e-5)


def test_no_such_task(model, unseen):
    with pytest.raises(ConfigError, match="no such task"):
        predict_hidden(model, unseen, task="past")


@pytest.fixture(scope="module")
def with_dropout(model, sessions_dir, tmp_path_factory):
    """The run directory of a model that has learned to see one region alone."""
    folder = tmp_path_factory.mktemp("runs") / "connectivity"
    sessions = neuromtm.Sessions(sessions_dir, role="heldout")
    model.adapt(
        sessions, run_dir=folder, overlays=["connectivity.yaml"], max_epochs=1, accelerator="cpu", progress=False
    )
    return folder


def test_the_connectivity_is_that_of_a_test(with_dropout, sessions_dir):
    checkpoint = ("--config", with_dropout / "config.yaml", "--ckpt_path", with_dropout / "checkpoints" / "best.ckpt")
    command("test", *checkpoint)
    adapted = neuromtm.load(with_dropout)
    test = neuromtm.Sessions(sessions_dir)[HELDOUT].select(split="test")
    matrices = connectivity(adapted, test, batch_size=3)
    with (with_dropout / "connectivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == np.isfinite(matrices.bps).sum()
    for row in rows:
        source, target = matrices.names.index(row["source"]), matrices.names.index(row["target"])
        assert matrices.n_source[source] == float(row["n_source"])
        for name, value in (
            ("bps", matrices.bps[source, target]),
            ("gain", matrices.gain[source, target]),
            ("nothing_bps", matrices.nothing_bps[target]),
            ("all_others_bps", matrices.all_others_bps[target]),
        ):
            assert value == pytest.approx(float(row[name]), abs=1e-5)


def test_a_model_that_never_saw_a_region_alone_has_no_connectivity(model, unseen):
    with pytest.raises(ConfigError, match=r"connectivity\.yaml"):
        connectivity(model, unseen)


def test_silent_regions_have_no_connectivity(with_dropout, sessions_dir):
    test = neuromtm.Sessions(sessions_dir)[HELDOUT].select(split="test")
    with pytest.raises(DataError, match="no two known regions"):
        connectivity(neuromtm.load(with_dropout), replace(test, counts=0 * test.counts))
