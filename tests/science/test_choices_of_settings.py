"""Settings are chosen on validation trials: what the test trials hold decides nothing."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from neuromtm.baselines import search
from neuromtm.baselines import session as session_module
from neuromtm.baselines.choice import fit_baseline
from neuromtm.baselines.kind import BESIDE_WIDTHS_S, SessionCounts
from neuromtm.baselines.session import score_baseline
from neuromtm.batch import SessionInfo
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import write_shard
from neuromtm.decoding.linear import CLASS_STRENGTHS, fit_classes
from tests.data.small_shards import Session, make_shard

SESSION = Session("a", n_trials=40, n_bins=10)


def folder_with(folder, *, changed=None, seed=0):
    """One session on disk, with other counts in the trials of one split."""
    shard = make_shard(SESSION)
    counts = np.array(shard.counts)
    generator = np.random.default_rng(0)
    drift = generator.poisson(np.exp(np.cumsum(generator.normal(scale=0.4, size=(40, 10, 1)), axis=1)), (40, 10, 4))
    counts = np.minimum(drift, 200).astype(np.uint8)
    if changed is not None:
        places = shard.header.splits[changed]
        counts[places] = np.random.default_rng(seed).integers(0, 9, (len(places), 10, 4))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a.h5"
    write_shard(path, replace(shard, counts=counts))
    add_shard(path, "pretrain")
    return SessionDataModule(root=str(folder), role="pretrain")


@pytest.mark.parametrize("kind", ["smoothed", "rrr", "factor_analysis"])
def test_other_test_trials_choose_no_other_setting_of_a_baseline(tmp_path, kind):
    chosen = {}
    for name, changed in (("as it is", None), ("other test", "test"), ("other validation", "val")):
        (scores,) = score_baseline(folder_with(tmp_path / name, changed=changed), kind)
        chosen[name] = scores.chosen
    assert chosen["other test"] == chosen["as it is"]
    assert chosen["other validation"] != chosen["as it is"]


def test_a_baseline_is_fitted_to_train_chosen_on_validation_and_scored_on_test(tmp_path, monkeypatch):
    given = {}
    fit, score = session_module.fit_baseline, session_module.score_tasks

    def watched_fit(kind, session):
        given.update(train=session.train, val=session.val)
        return fit(kind, session)

    def watched_score(fitted, counts, info, **options):
        given.update(test=counts)
        return score(fitted, counts, info, **options)

    monkeypatch.setattr(session_module, "fit_baseline", watched_fit)
    monkeypatch.setattr(session_module, "score_tasks", watched_score)
    data = folder_with(tmp_path)
    list(score_baseline(data, "psth"))
    splits = data.headers["a"].splits
    for split in ("train", "val", "test"):
        expected = np.concatenate([group.counts.numpy() for group in data.groups("a", split)])
        assert len(expected) == len(splits[split])
        np.testing.assert_array_equal(given[split], expected)


def test_the_width_of_least_cost_on_validation_trials_is_taken(monkeypatch):
    generator = np.random.default_rng(0)
    drift = np.cumsum(generator.normal(scale=0.4, size=(120, 30, 2)), axis=1) @ generator.normal(size=(2, 12))
    counts = generator.poisson(np.exp(np.clip(drift, -3, 1.5) - 0.5)).astype(np.float32)
    info = SessionInfo("a", tuple(map(str, range(12))), ("CA1",) * 12)
    session = SessionCounts(info, counts[:90], counts[90:], 0.02)

    def cost_on_validation(predictor):
        (held_out,) = predictor.predict(session.val)
        rates, counts = held_out.log_rates.exp().numpy(), held_out.counts.numpy()
        return float(predictor.average.cost(rates, counts, neurons=np.arange(12)).mean())

    chosen = fit_baseline("ridge", session)["co_smoothing"]
    costs = {}
    for width_s in BESIDE_WIDTHS_S:
        monkeypatch.setattr(search, "BESIDE_WIDTHS_S", (width_s,))
        costs[width_s] = cost_on_validation(fit_baseline("ridge", session)["co_smoothing"])
    best = min(costs, key=costs.get)
    assert best not in (BESIDE_WIDTHS_S[0], BESIDE_WIDTHS_S[-1])
    assert chosen.setting["width_s"] == best


@pytest.mark.parametrize("seed", range(4))
def test_the_strength_of_a_read_out_of_classes_is_that_of_least_log_loss_on_folds_left_out(seed):
    generator = np.random.default_rng(seed)
    components = generator.normal(size=(60, 8))
    choice = np.where(generator.random(60) < 1 / (1 + np.exp(-2 * components[:, 0])), 1.0, -1.0)
    found = fit_classes(components, choice)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(components, choice))
    losses = {}
    for strength in CLASS_STRENGTHS:
        of_folds = []
        for train, rest in folds:
            model = LogisticRegression(C=strength, tol=1e-6, max_iter=5000).fit(components[train], choice[train])
            shares = model.predict_proba(components[rest])
            of_folds.append(-np.mean([np.log(shares[i, int(choice[trial] > 0)]) for i, trial in enumerate(rest)]))
        losses[strength] = np.mean(of_folds)
    assert found.strength == min(losses, key=losses.get)


def test_a_class_that_the_features_tell_is_read_with_a_weaker_penalty_than_chance():
    generator = np.random.default_rng(0)
    components = generator.normal(size=(200, 8))
    told = fit_classes(components, np.where(components[:, 0] > 0, 1.0, -1.0))
    chance = fit_classes(components, generator.permutation(np.resize([1.0, -1.0], 200)))
    assert chance.strength < told.strength
