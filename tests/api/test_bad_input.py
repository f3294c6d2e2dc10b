"""What a user can hand in wrongly is refused in one sentence that names the session and the numbers."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import neuromtm
from neuromtm.api.hidden import predict_hidden
from neuromtm.errors import CheckpointError, ConfigError, DataError, UserError
from tests.running import EIDS

EID = EIDS[0]


@pytest.fixture(scope="module")
def model(pretrained):
    return neuromtm.load(pretrained)


@pytest.fixture(scope="module")
def session(sessions_dir):
    return neuromtm.Sessions(sessions_dir)[EID]


def counts(n_trials=3, n_bins=20, n_neurons=15):
    return np.ones((n_trials, n_bins, n_neurons))


def with_one(value):
    changed = counts()
    changed[1, 2, 3] = value
    return changed


def every_method(model, *arguments, **options):
    """The sentence of each method's refusal."""
    said = []
    for call in (model.predict, model.embed, lambda *a, **o: model.score(*a, task="co_smoothing", **o)):
        with pytest.raises(UserError) as error:
            call(*arguments, **options)
        said.append((type(error.value), str(error.value)))
    assert len(set(said)) == 1
    assert "\n" not in said[0][1]
    return said[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            with_one(-1),
            f"{EID}: counts: 1 of 900 entries are negative, the first at (trial, bin, neuron) (1, 2, 3): -1",
        ),
        (with_one(0.5), "1 of 900 entries are not whole numbers, the first at (trial, bin, neuron) (1, 2, 3): 0.5"),
        (with_one(np.nan), "1 of 900 entries are NaN or infinite"),
        (with_one(np.inf), "1 of 900 entries are NaN or infinite"),
        (with_one(1e6), "1 of 900 entries are above 65535"),
        (-np.ones((3, 20, 15), np.int8), "900 of 900 entries are negative"),
        (torch.from_numpy(with_one(0.5)), "1 of 900 entries are not whole numbers"),
        (counts()[0], "has 2 axes, (20, 15), not the three of (trial, bin, neuron). A single trial is counts[None]."),
        (counts()[None], "has 4 axes"),
        (counts(n_trials=0), "is empty: 0 trials of 20 bins and 15 neurons"),
        (counts(n_bins=0), "is empty"),
        (counts(n_neurons=0), "is empty: 3 trials of 20 bins and 0 neurons"),
        (counts() > 0, "entries of the type bool, not numbers of spikes"),
        (torch.from_numpy(counts()) > 0, "entries of the type torch.bool, not numbers of spikes"),
        (counts().astype(str), "entries of the type <U"),
        (counts().astype(object), "entries of the type object"),
        (counts() * 1j, "entries of the type complex128"),
        (np.ma.masked_equal(with_one(7), 7), "has masked entries"),
        (torch.from_numpy(counts()).to_sparse(), "a tensor that is sparse, nested or quantized"),
        (torch.ones(3, 20, 15, device="meta"), "a tensor that is without values (meta)"),
        (counts().tolist(), "a list, not a NumPy array or a tensor"),
        (counts(n_neurons=14), f"{EID}: counts has 14 neurons, but "),
        (counts(n_bins=21), f"{EID}: counts has 21 bins a trial, but "),
    ],
)
def test_what_are_no_counts_of_the_session_is_refused(model, given, sentence):
    error, said = every_method(model, given, eid=EID)
    assert error is DataError
    assert sentence in said


def test_fewer_bins_than_in_training_are_taken(model):
    assert model.predict(counts(n_bins=5), eid=EID).shape == (3, 5, 15)


def test_a_session_must_be_named_and_known(model):
    for options in ({}, {"eid": "sim-9"}):
        error, said = every_method(model, counts(), **options)
        assert error is DataError
        assert ", ".join(EIDS) in said
    assert "does not know the session 'sim-9'" in said
    assert "Model.adapt" in said


def test_bins_of_another_width_are_refused(model, session, tmp_path):
    error, said = every_method(model, counts(), eid=EID, bin_size_s=0.04)
    assert error is CheckpointError
    assert "trained on bins of 0.02 s, but the data have bins of 0.04 s" in said
    written = neuromtm.Sessions.write(tmp_path, eid=EID, counts=session.counts, bin_size_s=0.04)
    assert every_method(model, written[EID]) == (error, said)
    assert model.predict(counts(), eid=EID, bin_size_s=0.02).shape == (3, 20, 15)


def test_neurons_in_another_order_or_others_are_refused(model, session):
    uuid = list(model.sessions[EID].neurons)
    assert np.array_equal(model.predict(counts(), eid=EID, uuid=uuid), model.predict(counts(), eid=EID))
    swapped = [uuid[1], uuid[0], *uuid[2:]]
    for arguments, options in (((counts(),), {"uuid": swapped}), ((session.select(neurons=swapped),), {})):
        error, said = every_method(model, *arguments, eid=EID, **options)
        assert error is DataError
        assert "the order and so the neurons of counts differ from the model's: 2 of 15 places" in said
        assert f"The first is 0: {uuid[1]!r} in counts, {uuid[0]!r} in the model" in said
    _, said = every_method(model, counts(), eid=EID, uuid=[*uuid[:-1], "stranger"])
    assert (
        "the neurons of counts differ from the model's: 1 of 15 places. The first is 14: 'stranger' in counts" in said
    )
    _, said = every_method(model, counts(), eid=EID, uuid=uuid[:3])
    assert "uuid names 3 neurons, but counts has 15" in said


def test_a_session_with_more_neurons_than_the_model_says_which_to_select(model, session):
    chosen = session.neurons["uuid"][:10].tolist()
    _, said = every_method(model, session.select(neurons=chosen))
    assert "counts has 10 neurons" in said
    assert "model.sessions[eid].neurons" in said


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "all"])
def test_a_batch_is_a_number_of_trials(model, batch_size):
    error, said = every_method(model, counts(), eid=EID, batch_size=batch_size)
    assert error is ConfigError
    assert "batch_size" in said


def test_a_prompt_that_was_not_learned_is_refused(model):
    for prompt in ("temporal", "neurons"):
        error, said = every_method(model, counts(), eid=EID, prompt=prompt)
        assert error is ConfigError
        assert (
            f"prompt is {prompt}, but the model is trained with neuron, causal, intra_region, inter_region only" in said
        )


def test_a_task_that_there_is_not_is_refused(model):
    with pytest.raises(ConfigError, match=r"task 'co_bps': no such task. There are: co_smoothing, forward_prediction"):
        model.score(counts(), eid=EID, task="co_bps")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eid": EID, "uuid": 7}, "uuid is 7, not a list of names"),
        ({"eid": EID, "uuid": "x" * 15}, "not a list of names"),
        ({"eid": EID, "uuid": [1] * 15}, "uuid has an entry that is no text: 1"),
        ({"eid": [EID]}, f"eid is ['{EID}'], not the name of a session"),
        ({"eid": 3}, "eid is 3, not the name of a session"),
        ({"eid": EID, "bin_size_s": "0.02"}, "bin_size_s is '0.02', not a number of seconds"),
        ({"eid": EID, "bin_size_s": [0.02]}, "not a number of seconds"),
    ],
)
def test_arguments_of_another_type_are_refused(model, options, sentence):
    error, said = every_method(model, counts(), **options)
    assert error is DataError
    assert sentence in said


def test_what_contradicts_a_session_is_refused(model, session):
    uuid = session.neurons["uuid"].tolist()
    for options in ({"uuid": uuid[::-1]}, {"bin_size_s": 0.5}, {"uuid": uuid, "bin_size_s": 0.5}):
        error, said = every_method(model, session, **options)
        assert error is DataError
        assert "a Session brings its own uuids and bins of 0.02 s" in said
    same = model.predict(session, uuid=uuid, bin_size_s=0.02)
    assert np.array_equal(same, model.predict(session))


def test_a_trial_of_one_bin_has_no_forward_prediction(model, session):
    short = replace(session, counts=session.counts[:, :1])
    for call in (model.score, partial(predict_hidden, model)):
        with pytest.raises(DataError, match=f"{EID}: a trial of one bin has no past"):
            call(short, task="forward_prediction")
    assert model.score(short, task="co_smoothing").bps.shape == (15,)
