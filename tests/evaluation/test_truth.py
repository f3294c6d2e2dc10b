"""The ceiling: what the true rates score where a model is tested."""

import numpy as np
import pytest
import torch

from neuromtm.batch import SessionInfo
from neuromtm.data.manifest import add_session, describe
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials, write_shard
from neuromtm.errors import DataError
from neuromtm.evaluation.psth import Conditions, task_conditions
from neuromtm.evaluation.results import metrics_of
from neuromtm.evaluation.scores import activity_means
from neuromtm.evaluation.truth import activity_ceiling, ceiling
from neuromtm.metrics.keys import BPS_KEYS, MEDIAN_KEYS
from neuromtm.metrics.spikes import BitsPerSpike

REGIONS = ("CA1", "CA1", "LP", "root")


def session(seed=0, trials=120, bins=20):
    """True rates, counts, choice and trace, (trial, bin, neuron), (trial,) and (trial, bin)."""
    generator = np.random.default_rng(seed)
    choice = generator.choice([-1, 1], trials).astype(np.int8)
    drive = generator.normal(size=(trials, bins, 1)) + 0.5 * choice[:, None, None]
    # what half precision holds is the truth
    rates = np.exp(drive * [0.5, -0.5, 1, 0.2] - 0.5).astype(np.float16).astype(np.float32)
    return rates, generator.poisson(rates).astype(np.uint8), choice, drive[..., 0].astype(np.float32)


def write(folder, eid="sim", role="heldout", truth=True, whisker=True, **options):
    rates, counts, choice, trace = session(**options)
    n, nothing = len(choice), np.full(len(choice), np.nan)
    thirds = np.array_split(np.arange(n), [int(0.6 * n), int(0.7 * n)])
    unknown = np.full(len(REGIONS), np.nan)
    header = ShardHeader(
        eid=eid,
        subject="s",
        lab="l",
        source="test",
        bin_size_s=0.1,
        window_s=(-0.5, 1.5),
        align_event="stimulus",
        created_by="test",
        neurons=Neurons(
            np.array([f"{eid}-{i}" for i in range(4)]), np.array(REGIONS), np.array(["p"] * 4), *[unknown] * 3
        ),
        trials=Trials(choice, *[nothing] * 5, index=np.arange(n)),
        splits=dict(zip(("train", "val", "test"), thirds, strict=True)),
        behaviors=(),
    )
    behavior = {"whisker_motion_energy": trace} if whisker else {}
    path = folder / f"{eid}.h5"
    write_shard(path, Shard(header, counts, behavior, rates if truth else None))
    add_session(folder, describe(path, role))
    return rates[thirds[2]], counts[thirds[2]]


def scored_alone(rates, counts):
    metric = BitsPerSpike(rates.shape[2])
    metric.update(torch.from_numpy(rates).log(), torch.from_numpy(counts))
    return metric.compute()


def means_of(rates, counts, regions=REGIONS):
    """What the rates score in each task, in one condition."""
    conditions = Conditions(("all trials",), np.zeros(len(rates), np.int64))
    info = SessionInfo("a", ("1", "2", "3", "4"), regions)
    return activity_means(ceiling_of(rates, counts, info, conditions))


def ceiling_of(rates, counts, info, conditions):
    """The scores, whose trials are numbered 2, 4, ..."""
    trials = 2 * np.arange(len(rates)) + 2
    return activity_ceiling(rates, counts, info, conditions=conditions, bin_size_s=0.1, trials=trials, subject="Mouse")


def test_each_task_scores_the_neurons_and_bins_that_a_test_scores():
    rates, counts, _, _ = session()
    bps, last = scored_alone(rates, counts), scored_alone(rates[:, -2:], counts[:, -2:])
    assert (
        means_of(rates, counts)
        == pytest.approx(
            {
                "co_smoothing_bps": float(bps.mean()),
                "forward_prediction_bps": float(last.mean()),  # a tenth of 20 bins
                "intra_region_bps": float(bps[:2].mean()),  # LP has one neuron: none is left to see
                "inter_region_bps": float(bps[:3].mean()),  # not the neuron of unknown region
            }
        )
    )


def test_the_trials_of_each_task_add_up_to_what_its_neurons_score():
    rates, counts, _, _ = session()
    conditions = Conditions(("all trials",), np.zeros(len(rates), np.int64))
    found = ceiling_of(rates, counts, SessionInfo("a", ("1", "2", "3", "4"), REGIONS), conditions)
    trials = found.trials
    assert (trials.subject, trials.uuid, trials.trial[:2].tolist()) == ("Mouse", ("1", "2", "3", "4"), [2, 4])
    assert {key: task.n_bins for key, task in trials.tasks.items()} == {
        key: 2 if key == "forward_prediction_bps" else 20 for key in BPS_KEYS
    }
    for key, task in trials.tasks.items():
        assert task.scored.tolist() == found.columns[key].isfinite().tolist()
        nats, spikes = task.null_gains
        bits = nats.sum(axis=0)[task.scored] / spikes.sum(axis=0)[task.scored] / np.log(2)
        np.testing.assert_allclose(bits, found.columns[key][torch.from_numpy(task.scored)], atol=1e-5)


def test_a_session_of_unknown_regions_has_no_region_tasks():
    rates, counts, _, _ = session()
    found = means_of(rates, counts, regions=("root",) * 4)
    assert (found["intra_region_bps"], found["inter_region_bps"]) == (None, None)
    assert found["co_smoothing_bps"] is not None


def test_no_distorted_rate_scores_above_the_truth():
    rates, counts, _, _ = session(trials=300)
    best = means_of(rates, counts)["co_smoothing_bps"]
    for distorted in (rates**0.7, rates**1.3, rates * 1.2, np.roll(rates, 1, axis=1)):
        assert means_of(distorted, counts)["co_smoothing_bps"] < best


def test_a_rate_that_half_precision_rounds_to_zero_stays_finite():
    rates, counts, _, _ = session()
    rates[counts == 0] = 0
    assert np.isfinite(means_of(rates, counts)["co_smoothing_bps"])


def test_true_rates_explain_averages_better_than_single_trials_and_all_of_neither():
    rates, counts, choice, _ = session(trials=300)
    conditions = task_conditions(choice, np.full(300, np.nan), np.arange(300))
    info = SessionInfo("a", ("1", "2", "3", "4"), REGIONS)
    found = ceiling_of(rates, counts, info, conditions)
    assert conditions.names == ("choice +1", "choice -1")
    found = found.columns
    assert (found["psth_r2"] > found["r2"]).all()
    assert ((found["deviance_explained"] > 0) & (found["deviance_explained"] < 1) & (found["psth_r2"] < 1)).all()
    np.testing.assert_allclose(found["firing_rate_hz"], counts.mean(axis=(0, 1)) / 0.1)


def test_the_ceiling_has_the_shape_of_metrics_over_the_heldout_test_trials(tmp_path):
    rates, counts = write(tmp_path, "one", seed=1)
    write(tmp_path, "two", seed=2)
    write(tmp_path, "other", role="pretrain", truth=False)
    found = metrics_of([one.session for one in ceiling(tmp_path)])
    assert list(found["sessions"]) == ["one", "two"]
    choice, whisker = ("choice_accuracy", "choice_balanced_accuracy", "choice_chance"), ("whisker_r2", "whisker_chance")
    assert tuple(found["mean"]) == tuple(found["sessions"]["one"]) == (*BPS_KEYS, *MEDIAN_KEYS, *choice, *whisker)
    assert found["sessions"]["one"]["co_smoothing_bps"] == pytest.approx(float(scored_alone(rates, counts).mean()))
    assert found["sessions"]["one"]["whisker_r2"] > found["sessions"]["one"]["whisker_chance"]
    assert found["mean"]["whisker_r2"] == pytest.approx(
        np.mean([session["whisker_r2"] for session in found["sessions"].values()])
    )


def test_sessions_can_be_named_whatever_their_role(tmp_path):
    write(tmp_path, "one", role="pretrain", whisker=False)
    write(tmp_path, "two")
    found = metrics_of([one.session for one in ceiling(tmp_path, sessions=["one"])])
    assert list(found["sessions"]) == ["one"]
    assert "whisker_r2" not in found["mean"]
    assert "whisker_chance" not in found["mean"]
    assert "choice_accuracy" in found["mean"]


def test_a_session_that_was_recorded_not_simulated_is_refused(tmp_path):
    write(tmp_path, truth=False)
    with pytest.raises(DataError, match=r"sim\.h5: holds no true rates.*data_prep simulate"):
        ceiling(tmp_path)


def test_sessions_that_are_not_there_are_named(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match="no session 'nobody'"):
        ceiling(tmp_path, sessions=["sim", "nobody"])
    with pytest.raises(DataError, match="role 'pretrain'"):
        ceiling(tmp_path, role="pretrain")
