"""Rasters stand region by region, and alike neurons side by side, by what many trials say."""

import importlib.util
import logging
import sys
from types import ModuleType

import numpy as np
import pytest
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromtm.plots import ordering
from neuromtm.plots.ordering import leaf_order, neuron_order
from neuromtm.plots.style import SMOOTHING_S
from neuromtm.smoothing import smooth

BIN_SIZE_S = 0.02


def smoothed(counts, bin_size_s):
    """As the order is made from."""
    return smooth(counts, width_s=SMOOTHING_S, bin_size_s=bin_size_s)


def phases(n_neurons=12, n_trials=30, n_bins=50, seed=0):
    """(trial, bin, neuron) counts of neurons that follow each other in phase around a cycle, one a trial."""
    generator = np.random.default_rng(seed)
    start = generator.uniform(0, 2 * np.pi, (n_trials, 1, 1))
    phase = 2 * np.pi * np.arange(n_neurons) / n_neurons
    rates = np.exp(2 * np.cos(start + 2 * np.pi * np.arange(n_bins)[:, None] / n_bins + phase))
    return generator.poisson(rates / 5)


@given(seed=st.integers(0, 1000), n_neurons=st.integers(1, 20))
def test_the_order_names_every_neuron_once_region_by_region(seed, n_neurons):
    generator = np.random.default_rng(seed)
    regions = generator.choice(["CA1", "LP", "VISp"], n_neurons).tolist()
    order = neuron_order(generator.poisson(0.02, (3, 15, n_neurons)), regions, bin_size_s=BIN_SIZE_S)
    assert sorted(order.places) == list(range(n_neurons))
    assert [regions[i] for i in order.places] == sorted(regions)


@given(shuffle=st.permutations(range(12)))
@settings(max_examples=20)
def test_neurons_that_follow_each_other_in_phase_stand_side_by_side(shuffle):
    order = neuron_order(phases()[..., shuffle], ["LP"] * 12, bin_size_s=BIN_SIZE_S)
    steps = np.diff(np.asarray(shuffle)[order.places]) % 12
    assert np.isin(steps, (1, 11)).sum() >= 9  # the cycle is cut, and a branch of the tree cannot be


def test_the_order_comes_from_all_trials_not_from_the_first():
    counts = phases()
    counts[0] = np.random.default_rng(1).permutation(counts[0], axis=1)
    steps = np.diff(neuron_order(counts, ["LP"] * 12, bin_size_s=BIN_SIZE_S).places) % 12
    assert np.isin(steps, (1, 11)).sum() >= 9
    assert "30 trials" in neuron_order(counts, ["LP"] * 12, bin_size_s=BIN_SIZE_S).how


def test_neurons_that_never_vary_stand_last_in_their_region():
    counts = phases(n_neurons=6)
    counts[..., [0, 4]] = 0
    order = neuron_order(counts, ["CA1", "CA1", "CA1", "LP", "LP", "LP"], bin_size_s=BIN_SIZE_S)
    assert order.places[2] == 0
    assert order.places[5] == 4


def test_a_large_region_is_ordered_without_turning_its_branches(monkeypatch):
    monkeypatch.setattr(ordering, "MOST_TO_TURN", 5)
    monkeypatch.setattr(ordering, "optimal_leaf_ordering", lambda *_: pytest.fail("takes the cube of their number"))
    assert sorted(leaf_order(np.random.default_rng(0).normal(size=(50, 9)))) == list(range(9))


def test_smoothing_keeps_a_constant_and_spreads_a_spike_by_its_width():
    np.testing.assert_allclose(smoothed(np.full((3, 30, 2), 0.7), 0.02), 0.7)
    spike = np.zeros((101, 1))
    spike[50] = 1
    spread = smoothed(spike, 0.005)[:, 0]
    time_s = 0.005 * (np.arange(101) - 50)
    assert spread.sum() == pytest.approx(1, rel=1e-3)
    assert np.sqrt((spread * time_s**2).sum()) == pytest.approx(SMOOTHING_S, rel=1e-2)


# ---- Rastermap ----


@pytest.fixture
def stand_in(monkeypatch):
    """A package of that name whose order is the reverse of the neurons given; what it was given."""
    given_to = []

    class Rastermap:
        def __init__(self, **options):
            logging.basicConfig(level=logging.CRITICAL)
            given_to.append(options)

        def fit(self, data):
            given_to.append(data)
            self.isort = np.arange(len(data))[::-1]
            return self

    module = ModuleType("rastermap")
    module.Rastermap, module.__spec__ = Rastermap, importlib.util.spec_from_loader("rastermap", None)
    monkeypatch.setitem(sys.modules, "rastermap", module)
    return given_to


REGIONS = ["LP", "CA1"] * 6


def test_rastermap_orders_the_session_at_once_and_each_region_keeps_its_part(stand_in):
    order = neuron_order(phases(), REGIONS, bin_size_s=BIN_SIZE_S, rastermap=True)
    assert order.places.tolist() == [11, 9, 7, 5, 3, 1, 10, 8, 6, 4, 2, 0]
    assert order.how == "ordered by Rastermap over 30 trials"
    (options, data) = stand_in
    assert options["n_clusters"] == options["n_PCs"] == 11
    activity = rearrange(smoothed(phases().astype(float), BIN_SIZE_S), "trial bin neuron -> neuron (trial bin)")
    np.testing.assert_allclose(np.corrcoef(data), np.corrcoef(activity), atol=1e-5)


def test_rastermap_is_not_asked_while_training_nor_of_few_neurons(stand_in):
    assert "a clustering of" in neuron_order(phases(), REGIONS, bin_size_s=BIN_SIZE_S).how
    assert "a clustering of" in neuron_order(phases(4), REGIONS[:4], bin_size_s=BIN_SIZE_S, rastermap=True).how
    assert not stand_in


def test_without_the_package_the_order_is_that_of_the_leaves(monkeypatch):
    monkeypatch.setattr(ordering, "find_spec", lambda name: None)
    order = neuron_order(phases(), REGIONS, bin_size_s=BIN_SIZE_S, rastermap=True)
    assert order.places.tolist() == neuron_order(phases(), REGIONS, bin_size_s=BIN_SIZE_S).places.tolist()


def test_rastermap_leaves_the_logging_of_the_process_alone(stand_in, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logging.getLogger().level
    neuron_order(phases(), REGIONS, bin_size_s=BIN_SIZE_S, rastermap=True)
    assert (logging.getLogger().handlers, logging.getLogger().level) == ([], level)


def test_the_package_itself_puts_neighbours_in_phase_side_by_side():
    pytest.importorskip("rastermap", reason="rastermap is not installed (the extra `figures`)")
    order = neuron_order(phases(20), ["LP"] * 20, bin_size_s=BIN_SIZE_S, rastermap=True)
    assert "Rastermap" in order.how
    assert np.isin(np.diff(order.places) % 20, (1, 2, 18, 19)).mean() > 0.7
