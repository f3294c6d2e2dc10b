"""The Lorenz simulation: the equations, the rates that they give, and the shard that holds both."""

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.sources.lorenz import (
    BETA,
    LATENTS,
    RHO,
    UNITS_PER_S,
    LorenzOptions,
    integrate,
    lorenz_session,
    trajectories,
    velocity,
)
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_shard, write_shard
from neuromtm.errors import ConfigError

OPTIONS = PrepareOptions(window_s=(0.0, 1.0), bin_size_s=0.01)
SMALL = LorenzOptions(n_neurons=12, n_conditions=6, n_trials=5)


@pytest.fixture(scope="module")
def shard():
    return prepare(lorenz_session(0, simulation=SMALL, options=OPTIONS), options=OPTIONS, preparation={}).shard


def test_the_three_known_fixed_points_do_not_move():
    wing = np.sqrt(BETA * (RHO - 1))
    fixed = np.array([[0, 0, 0], [wing, wing, RHO - 1], [-wing, -wing, RHO - 1]])
    np.testing.assert_allclose(velocity(fixed), 0, atol=1e-12)


def test_integration_is_of_fourth_order_and_follows_an_independent_solver():
    from scipy.integrate import solve_ivp

    start = np.array([[1.0, 2.0, 20.0], [-5.0, -4.0, 30.0]])
    for one, own in zip(start, integrate(start, 1.0), strict=True):
        exact = solve_ivp(lambda _, s: velocity(s[None])[0], (0, 1), one, rtol=1e-10, atol=1e-10).y[:, -1]
        np.testing.assert_allclose(own, exact, atol=1e-4)


def test_variables_are_standardised_over_all_conditions():
    latents = trajectories(40, 100, 0.01, seed=0)
    np.testing.assert_allclose(latents.mean((0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(latents.std((0, 1)), 1)
    assert len(np.unique(latents[:, 0, 0])) == 40


def test_a_bin_follows_from_the_one_before():
    """Bins of 10 ms and of 20 ms follow the same course."""
    fine, coarse = (trajectories(8, n_bins, s, seed=1) for n_bins, s in ((100, 0.01), (50, 0.02)))
    # the centre of a bin of 20 ms lies half-way between the centres of two bins of 10 ms
    between = (fine[:, 0::2] + fine[:, 1::2]) / 2
    assert np.corrcoef(between.ravel(), coarse.ravel())[0, 1] > 0.999
    assert UNITS_PER_S * 0.01 < 0.05


def test_log_rates_are_linear_in_the_variables_that_the_shard_holds(shard):
    latents = np.stack([shard.behavior[name] for name in LATENTS], axis=-1).reshape(-1, 3)
    log_rates = np.log(shard.true_rates.astype(float)).reshape(len(latents), -1)
    design = np.c_[latents, np.ones(len(latents))]
    weights, *_ = np.linalg.lstsq(design, log_rates, rcond=None)
    np.testing.assert_allclose(design @ weights, log_rates, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(weights[:3], axis=0), 1, atol=1e-2)
    np.testing.assert_allclose(weights[3], np.log(5 * 0.01), atol=1e-2)


def test_counts_are_poisson_about_the_stored_truth(shard):
    counts, rates = shard.counts.astype(float), shard.true_rates.astype(float)
    assert abs(counts.sum() - rates.sum()) < 4 * np.sqrt(rates.sum())
    assert ((counts - rates) ** 2 / rates).mean() == pytest.approx(1, abs=0.05)


def test_trials_of_a_condition_share_their_rates_but_not_their_spikes(shard):
    courses = np.unique(shard.true_rates.reshape(shard.header.n_trials, -1), axis=0)
    assert len(courses) == SMALL.n_conditions
    assert len(np.unique(shard.counts.reshape(shard.header.n_trials, -1), axis=0)) == shard.header.n_trials


def test_sessions_share_the_system_and_have_other_neurons():
    two = LorenzOptions(n_sessions=2, n_neurons=5, n_conditions=4, n_trials=2)
    one, other = (lorenz_session(n, simulation=two, options=OPTIONS) for n in range(2))

    def states(recording):
        return np.unique(recording.traces[LATENTS[0]].values.reshape(8, -1), axis=0)

    np.testing.assert_array_equal(states(one), states(other))
    assert one.eid != other.eid
    assert not set(one.neurons.uuid) & set(other.neurons.uuid)
    assert not np.isin(one.true_rates[:, 0], other.true_rates[:, 0]).all()


def test_the_command_fills_a_folder_that_is_whole(tmp_path, capsys):
    options = ["--n-sessions", "2", "--n-neurons", "4", "--n-conditions", "3", "--n-trials", "4"]
    assert main(["lorenz", "--out", str(tmp_path), *options, "--duration-s", "0.3"]) == 0
    assert main(["check", str(tmp_path)]) == 0
    entries = read_manifest(tmp_path)
    assert [(e.eid, e.n_trials, e.n_bins, e.role) for e in entries] == [
        (f"lorenz-0-0{n}", 12, 30, "pretrain") for n in range(2)
    ]
    assert main(["lorenz", "--out", str(tmp_path), *options, "--duration-s", "0.4"]) == 2
    assert "window_s" in capsys.readouterr().err


def test_the_truth_survives_the_file(shard, tmp_path):
    write_shard(tmp_path / "a.h5", shard)
    np.testing.assert_array_equal(read_shard(tmp_path / "a.h5").true_rates, shard.true_rates)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_neurons": 0}, "--n-neurons 0"),
        ({"n_conditions": 0, "n_trials": -1}, "--n-conditions 0.*--n-trials -1"),
        ({"n_conditions": 1, "n_trials": 2}, "at least 3 trials"),
        ({"base_rate_hz": 0.0}, "--base-rate-hz 0"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        LorenzOptions(**options)
