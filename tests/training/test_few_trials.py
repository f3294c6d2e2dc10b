"""A new session's stitcher from twenty trials: what it gains, what it reads and what it leaves as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import read_shard, write_shard
from neuromtm.errors import CheckpointError
from neuromtm.evaluation.tasks import TASKS, predict_task
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import BitsPerSpike, mean_over_neurons
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.models.stitching import StitchedModel, module_key
from neuromtm.training.checkpoint import CheckpointRecord
from neuromtm.training.few_trials import adapt_in_closed_form, hidden_in_turn, states_without
from neuromtm.training.masked_modeling import MaskedModeling
from tests.science.small_brain import N_BINS, REGIONS, small_brain, trained

OLD, NEW = ["brain-1", "brain-2", "brain-3"], "brain-4"
N_TRIALS = 20
SIZES = {"width": 32, "n_layers": 2, "n_heads": 2, "mlp_width": 64, "dropout": 0.1, "embedding_dropout": 0.0}


def ready(folder, eids, **options):
    data = SessionDataModule(root=str(folder), sessions=eids, **options)
    data.setup()
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    for seed, eid in enumerate([*OLD, NEW], start=1):
        small_brain(folder, seed, eid)
    return folder


@pytest.fixture(scope="module")
def pretrained(folder, tmp_path_factory):
    """A model of three brains and its record."""
    torch.manual_seed(0)
    module = MaskedModeling(NDT1(**SIZES, max_bins=32, rope=True), objective=Objective(), lr=4e-3)
    data = ready(folder, OLD, batch_size=32)
    return trained(module, data, tmp_path_factory.mktemp("run"), n_steps=500), record_of(module.built_model, data)


def record_of(model, data):
    return CheckpointRecord.of(
        model,
        n_bins=data.n_bins,
        bin_size_s=data.bin_size_s,
        objective=Objective(),
        trials={},
        batches={},
        subjects=dict.fromkeys(data.sessions, "mouse"),
    )


def adapt(model, record, folder):
    return adapt_in_closed_form(model, record, ready(folder, [NEW], n_train_trials=N_TRIALS), name="M")


@torch.no_grad()
def scores(model, folder):
    """Bits per spike of the four tasks on the new brain's test trials."""
    found = []
    for task in TASKS:
        metric = BitsPerSpike(len(REGIONS))
        for group in ready(folder, [NEW]).groups(NEW, "test"):
            for held_out in predict_task(task, model, Objective(), group):
                metric.update(held_out.log_rates, held_out.counts, neurons=held_out.neurons)
        found.append(mean_over_neurons(metric.compute()))
    return np.array(found)


def test_twenty_trials_give_more_than_mean_rates_and_than_states_of_an_untrained_model(pretrained, folder):
    adapted = adapt(*pretrained, folder).model
    found = scores(adapted, folder)
    assert all(found > [0.25, 0.1, 0.2, 0.25]), found
    stitcher = adapted.stitchers[module_key(NEW)]
    data = ready(folder, [NEW], n_train_trials=N_TRIALS)
    with torch.no_grad():
        stitcher.read_out.weight.zero_()
        stitcher.read_out.bias.copy_(data.mean_counts(NEW).log())
    assert all(scores(adapted, folder) < 0.02)
    torch.manual_seed(1)
    untrained = StitchedModel(NDT1(**SIZES, max_bins=32, rope=True))
    for eid, session in ready(folder, OLD).sessions.items():
        untrained.add_session(session)
        torch.nn.init.normal_(untrained.stitchers[module_key(eid)].read_out.weight)
    of_untrained = scores(adapt(untrained.eval(), pretrained[1], folder).model, folder)
    assert all(found > of_untrained + 0.05), (found, of_untrained)


def test_no_validation_or_test_trial_is_read_and_twice_is_the_same_bit_by_bit(pretrained, folder, tmp_path):
    poisoned = tmp_path / "poisoned"
    small_brain(poisoned, 4, NEW)
    shard = read_shard(poisoned / f"{NEW}.h5")
    used = ready(folder, [NEW], n_train_trials=N_TRIALS).trials("train")[NEW]
    counts = np.full_like(shard.counts, 200)
    counts[used] = shard.counts[used]
    (poisoned / f"{NEW}.h5").unlink()
    (poisoned / "manifest.json").unlink()
    write_shard(poisoned / f"{NEW}.h5", replace(shard, counts=counts))
    add_shard(poisoned / f"{NEW}.h5", "heldout")
    torch.manual_seed(5)
    first = adapt(*pretrained, folder).model.state_dict()
    torch.manual_seed(6)
    second = adapt(*pretrained, poisoned).model.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_shared_weights_and_the_pretrained_model_stay_as_they_are(pretrained, folder):
    model, record = pretrained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    new = adapt(model, record, folder)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, new.model.backbone.state_dict()[name])
    assert list(new.model.sessions) == [NEW]
    assert dict(new.record.subjects) == dict.fromkeys([*OLD, NEW], "mouse")
    stitcher = new.model.stitchers[module_key(NEW)]
    tokens = torch.stack([one.token for one in model.stitchers.values()])
    torch.testing.assert_close(stitcher.token, tokens.mean(0))
    assert torch.linalg.matrix_rank(stitcher.read_in.weight) == 8


def test_every_neuron_is_hidden_as_the_tasks_hide_it(folder):
    region = ready(folder, [NEW]).sessions[NEW].region_index()
    n = region.n_neurons
    times = {task: np.zeros(n, int) for task in TASKS}
    for hidden in hidden_in_turn(region, n_bins=N_BINS, eid=NEW):
        times[hidden.task][hidden.neurons] += 1
        assert hidden.entries[hidden.bins, hidden.neurons].all()  # evidence is never of what was seen
        same = region.number == region.number[hidden.neurons[0]]
        shown = ~hidden.entries.any(dim=0)
        if hidden.task == "forward_prediction":
            assert hidden.entries[hidden.bins.start :].all()
            assert not hidden.entries[: hidden.bins.start].any()
        elif hidden.task == "intra_region":
            assert not shown[~same].any()
            assert shown[same].sum() == 6
            assert len(hidden.neurons) == 2
        elif hidden.task == "inter_region":
            assert torch.equal(shown, ~same)
        else:
            assert shown.sum() == n - len(hidden.neurons)
    assert {task: set(found) for task, found in times.items()} == {
        "co_smoothing": {1},
        "forward_prediction": {4},
        "intra_region": {1},
        "inter_region": {1},
    }


@torch.no_grad()
def test_states_do_not_depend_on_what_is_hidden(pretrained, folder):
    model, data = pretrained[0], ready(folder, OLD[:1])
    (counts,) = (group.counts[:3] for group in data.groups(OLD[0], "test", 3))
    region = data.sessions[OLD[0]].region_index()
    for hidden in hidden_in_turn(region, n_bins=N_BINS, eid=OLD[0]):
        hidden_is_other = torch.where(hidden.entries, counts + 7, counts)
        shown_is_other = torch.where(hidden.entries, counts, counts + 7)
        states, same, other = (
            states_without(model, Objective(), OLD[0], given, hidden)
            for given in (counts, hidden_is_other, shown_is_other)
        )
        assert torch.equal(states, same)
        assert not torch.equal(states, other)


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (lambda: NDT2(width=16, n_layers=1, n_heads=2, mlp_width=16), "only for NDT1 with principal_axes"),
        (lambda: NDT1(**SIZES, principal_axes=False), "only for NDT1 with principal_axes"),
        (lambda: NDT1(**SIZES, mask_input=True), "without mask_input"),
        (lambda: NDT1(**SIZES), "untrained"),
    ],
)
def test_a_model_that_it_does_not_fit_is_refused(backbone, words, pretrained, folder):
    model = StitchedModel(backbone())
    for session in ready(folder, OLD).sessions.values():
        model.add_session(session)
    with pytest.raises(CheckpointError, match=words):
        adapt(model, pretrained[1], folder)


def test_a_session_of_the_pretraining_is_refused(pretrained, folder):
    with pytest.raises(CheckpointError, match="trained on brain-2 already"):
        adapt_in_closed_form(*pretrained, ready(folder, OLD[1:2]), name="M")
