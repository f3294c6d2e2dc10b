"""The scores of a decoder beside chance levels that know the training trials alone."""

import numpy as np
import pytest

from neuromtm.decoding.end_to_end import score_decoded
from neuromtm.decoding.linear import project
from neuromtm.decoding.targets import Target

TRAIN, TEST = np.arange(10), np.arange(10, 15)


def test_chance_is_the_class_that_is_frequent_in_training_not_in_the_test():
    choice = np.array([-1] * 7 + [1] * 3 + [1, 1, 1, -1, np.nan], np.float32)
    found = score_decoded(Target("choice", choice), np.array([1, 1, -1, -1, 1.0]), TEST, TRAIN)
    assert found.metrics["choice_chance"] == pytest.approx(1 / 4)
    assert found.metrics["choice_accuracy"] == pytest.approx(3 / 4)
    assert (found.n_trials, found.n_trials_left_out) == (4, 1)


def test_chance_of_a_trace_is_the_training_trials_average():
    generator = np.random.default_rng(0)
    trace = generator.normal(size=(15, 6)).astype(np.float32) + np.arange(6, dtype=np.float32)
    predicted = generator.normal(size=(5, 6))
    found = score_decoded(Target("whisker_motion_energy", trace), predicted, TEST, TRAIN)
    true, average = trace[TEST].astype(float), trace[TRAIN].astype(float).mean(axis=0)
    spread = sum((value - true.mean()) ** 2 for value in true.ravel())
    missed = sum((true[t, b] - average[b]) ** 2 for t in range(5) for b in range(6))
    assert found.metrics["whisker_chance"] == pytest.approx(1 - missed / spread, rel=1e-6)
    missed = sum((true[t, b] - predicted[t, b]) ** 2 for t in range(5) for b in range(6))
    assert found.metrics["whisker_r2"] == pytest.approx(1 - missed / spread, rel=1e-6)


def test_a_direction_in_which_features_hardly_vary_is_not_lost():
    generator = np.random.default_rng(0)
    common, own = generator.normal(size=(2, 30))
    features = np.stack((common, common + 0.01 * own), axis=1)[:, None]
    projection = project(features)
    assert projection.train.shape[1] == 2
    read = np.linalg.lstsq(projection.train, own - own.mean(), rcond=None)[0]
    np.testing.assert_allclose(projection.train @ read, own - own.mean(), atol=1e-2)
