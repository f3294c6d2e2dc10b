"""Any behaviour of a shard can be decoded, by its name."""

import numpy as np
import pytest

from neuromtm.decoding.targets import target_of
from neuromtm.errors import DataError
from tests.data.small_shards import Session, ready, write_folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of two sessions and what was written to it; not to be changed."""
    folder = tmp_path_factory.mktemp("targets")
    sessions = Session("a"), Session("b", n_trials=30, regions=["MOs", "CA1"], behaviors=["paw"])
    return folder, write_folder(folder, *sessions)


def test_any_behavior_of_a_shard_is_a_target_by_name(written):
    folder, shards = written
    data = ready(folder, role="all")
    trials = shards["b"].header.trials
    choice, block, paw = (target_of(data, "b", name) for name in ("choice", "block", "paw"))
    np.testing.assert_array_equal(choice.values, np.where(trials.choice == 0, np.nan, trials.choice))
    np.testing.assert_array_equal(choice.classes(np.arange(30)), [-1, 1])
    np.testing.assert_array_equal(block.values, trials.block)
    np.testing.assert_array_equal(paw.values, shards["b"].behavior["paw"])
    assert (choice.is_trace, block.is_trace, paw.is_trace) == (False, False, True)
    reaction = target_of(data, "b", "reaction_time_s")
    assert reaction.is_trace
    assert reaction.values.shape == (30, 1)
    assert target_of(data, "a", "paw") is None  # of another session


def test_a_behavior_that_no_session_has_is_refused_with_those_there_are(written):
    folder, _ = written
    with pytest.raises(DataError, match=r"no behaviour 'wheel'.*block, choice, .*whisker_motion_energy"):
        target_of(ready(folder, role="all"), "a", "wheel")
