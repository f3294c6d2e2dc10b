"""What a new session's stitcher starts from is of its training trials, and of these alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neuromtm.batch import NeuronStatistics
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import write_shard
from neuromtm.models import standardising
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, module_key
from neuromtm.training.first_weights import add_new_sessions
from tests.data.small_shards import Session, make_shard, ready

SIZES = {"width": 16, "n_layers": 1, "n_heads": 2, "mlp_width": 16, "max_bins": 16}


def stitcher_of(folder, *, changed=None):
    """The stitcher of a session before training, and the session's counts and splits."""
    shard = make_shard(Session("a", n_trials=40, n_bins=10))
    counts, splits = np.array(shard.counts), shard.header.splits
    if changed is not None:
        places = splits[changed]
        counts[places] = np.random.default_rng(0).poisson(2.0, counts[places].shape)
    folder.mkdir()
    write_shard(folder / "a.h5", replace(shard, counts=counts))
    add_shard(folder / "a.h5", "pretrain")
    model = StitchedModel(NDT1(**SIZES))
    torch.manual_seed(0)
    add_new_sessions(model, ready(folder))
    return model.stitchers[module_key("a")], counts, splits


def test_counts_are_standardised_by_the_training_trials(tmp_path):
    stitcher, counts, splits = stitcher_of(tmp_path / "data")
    train = [counts[trial, bin_].astype(float) for trial in splits["train"] for bin_ in range(counts.shape[1])]
    mean = (sum(train) + 0.5) / len(train)  # half a spike is added, so that a silent neuron has a rate
    deviation = np.sqrt(sum((values - sum(train) / len(train)) ** 2 for values in train) / len(train) + 0.02)
    shown = torch.tensor([[[3.0, 0.0, 1.0, 2.0]]])
    found = stitcher.shown(shown, torch.tensor([[[False, False, True, False]]]))[0, 0].numpy()
    expected = (np.array([3.0, 0.0, 1.0, 2.0]) - mean) / deviation
    assert found[2] == 0
    np.testing.assert_allclose(found[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-5)
    assert stitcher.read_out.bias.detach().numpy() == pytest.approx(np.log(mean), rel=1e-5)


@pytest.mark.parametrize("split", ["val", "test", "train"])
def test_no_first_weight_depends_on_trials_that_are_not_trained_on(tmp_path, split):
    before, _, _ = stitcher_of(tmp_path / "before")
    after, _, _ = stitcher_of(tmp_path / "after", changed=split)
    same = {name: torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items()}
    if split == "train":
        assert not any(same[name] for name in ("read_in.weight", "read_out.bias", "standardise.center"))
    else:
        assert all(same.values())


def read_in_of(axes, width):
    """First weights along axes: (neuron, width)."""
    unknown = torch.ones(axes.shape[1])
    standardising._rotation.cache_clear()
    return standardising.along_principal_axes(NeuronStatistics(unknown, unknown, axes), width)


def test_each_axis_is_spread_over_the_width_of_the_model_and_keeps_its_length():
    weight = read_in_of(torch.eye(6), 16)
    assert weight.norm(dim=1).numpy() == pytest.approx(np.ones(6), rel=1e-5)
    assert weight.abs().max() < 0.9


def test_every_run_spreads_the_axes_alike():
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(read_in_of(torch.eye(6), 16))
    assert torch.equal(*found)
