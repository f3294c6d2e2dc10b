"""Any behaviour of a shard can be decoded, by its name."""

from dataclasses import replace

import numpy as np
import pytest

from neuromtm.decoding.targets import read_target, target_names, target_of
from neuromtm.errors import DataError
from tests.data.small_shards import Session, make_shard, ready, write_folder


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


def test_a_further_column_of_whole_numbers_is_classes_and_any_other_a_number_of_each_trial():
    header = make_shard(Session("a", n_trials=4)).header
    columns = {"tone": np.array([0.0, 3.0, np.nan, 3.0]), "speed": np.array([0.5, 2.0, np.nan, 1.0])}
    texts = {"stage": np.array(["a", "b", "a", "b"])}
    header = replace(header, trials=replace(header.trials, columns={**columns, **texts}))
    tone, speed = (read_target(None, header, name) for name in columns)
    assert not tone.is_trace
    np.testing.assert_array_equal(tone.classes(np.arange(4)), [0, 3])
    assert speed.is_trace
    np.testing.assert_array_equal(speed.values, columns["speed"][:, None].astype(np.float32))
    assert read_target(None, header, "stage") is None
    assert {"tone", "speed"} <= {*target_names(header)}
    assert "stage" not in target_names(header)
