"""The masks of validation depend on seed, session, scheme and trial alone."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from neuromtm.batch import Scheme
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import uses_behavior
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.fixed_masks import FixedMasks
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import N_BINS, make_group, make_session
from tests.trainers import quiet_trainer
from tests.training.test_host_reads import HostReads

SESSION = make_session("a", ["CA1"] * 3 + ["VISp"] * 2 + ["root"], n_heldout=2)
TRIALS = np.array([3, 4, 7, 11, 12, 20])
EVERY_SCHEME = Objective(schemes=get_args(Scheme), neurons_per_token=2, trailing_blocks=0.5)
CPU = torch.device("cpu")


def masks(*, seed=0, objective=EVERY_SCHEME):
    fixed = FixedMasks(objective, seed=seed, device=CPU)
    fixed.add(SESSION, TRIALS, n_bins=N_BINS)
    return fixed


def group_of(*trials):
    """Some of the trials, whose counts say which trial they are of."""
    group = make_group(SESSION, n_trials=len(trials))
    number = torch.tensor(trials)
    return replace(group, trial=number, counts=(number[:, None, None] + torch.zeros(1, N_BINS, 6)).to(torch.uint8))


def test_masks_do_not_depend_on_which_trials_come_together_or_in_which_order():
    fixed, whole = masks(), group_of(*TRIALS)
    together = fixed.of(whole)
    assert set(together) == set(get_args(Scheme))
    for places in ([0], [5, 2], [4, 3, 1]):
        some = masks().of(group_of(*TRIALS[places]))
        for scheme, masked in some.items():
            for part, of_all in zip(masked, together[scheme], strict=True):
                assert torch.equal(part, of_all[places])


@pytest.mark.parametrize("scheme", [s for s in get_args(Scheme) if not uses_behavior(s)])
def test_every_trial_has_a_mask_of_its_own_and_another_seed_gives_others(scheme):
    whole = group_of(*TRIALS)
    masked, other = masks().of(whole)[scheme], masks(seed=1).of(whole)[scheme]
    assert torch.equal(masked.visible, whole.counts.masked_fill(masked.hidden, 0))
    assert not (masked.target & ~masked.hidden).any()
    assert masked.target.any()
    assert len(torch.unique(masked.hidden.flatten(1), dim=0)) > 1
    assert not torch.equal(masked.hidden, other.hidden)


def test_a_session_gets_only_the_schemes_that_its_regions_allow():
    alone = make_session("b", ["CA1"] * 4)
    fixed = FixedMasks(EVERY_SCHEME, seed=0, device=CPU)
    fixed.add(alone, [0, 1], n_bins=N_BINS)
    group = replace(make_group(alone, n_trials=2), trial=torch.tensor([1, 0]))
    assert set(fixed.of(group)) == set(get_args(Scheme)) - {"inter_region", "heldout"}


def test_a_session_without_behaviour_has_no_masks_of_the_schemes_that_need_it():
    fixed = FixedMasks(EVERY_SCHEME, seed=0, device=CPU)
    fixed.add(SESSION, TRIALS, n_bins=N_BINS, with_behavior=False)
    assert set(fixed.of(group_of(*TRIALS))) == {s for s in get_args(Scheme) if not uses_behavior(s)}


def test_masks_that_repeat_along_an_axis_are_kept_once():
    kept = masks()._drawn["a"]
    assert kept["neuron"].hidden.shape == kept["intra_region"].target.shape == (6, 1, 6)
    assert kept["causal"].hidden.shape == (6, N_BINS, 1)
    assert kept["random_token"].hidden.shape == (6, N_BINS, 6)
    assert kept["neuron"].target is kept["neuron"].hidden


def test_nothing_is_read_from_the_device_or_drawn_after_the_first_time(monkeypatch):
    fixed, group = masks(), group_of(*TRIALS)
    monkeypatch.setattr(Objective, "hide", None)
    with HostReads() as reads:
        fixed.add(SESSION, TRIALS, n_bins=N_BINS)
        fixed.of(group)
    assert not reads.found


def validated(module, sessions_dir, **options):
    data = SessionDataModule(root=str(sessions_dir), **options)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, data)
    return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/loss")}


def make_module():
    torch.manual_seed(0)
    # a rate so low that the weights stay: only the masks and the data decide on the loss
    return MaskedModeling(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=64), lr=1e-30)


def test_the_loss_of_validation_depends_on_no_batch_size_and_every_fit_draws_anew(sessions_dir):
    module = make_module()
    losses, drawn = validated(module, sessions_dir, eval_batch_size=64), module._fixed
    assert len(losses) == 5  # four schemes and their mean
    assert validated(module, sessions_dir, eval_batch_size=3) == pytest.approx(losses, rel=1e-6)
    assert module._fixed is not drawn  # the data of another fit may be others
