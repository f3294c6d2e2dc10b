"""Each rank, epoch and batch draws its own masks, scheme and dropout, and always the same ones."""

from collections import Counter

import pytest
import torch

from neuromtm.models.ndt1 import NDT1
from neuromtm.training.decoding import BehaviorDecoding
from tests.science.steps import Step, batch_of

PLACES = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]
"""epoch, rank, batch"""


@pytest.fixture
def step():
    return Step(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32, dropout=0.5), "causal")


def drawn(step, epoch, rank, batch_idx):
    """What a step hides of each session, the seed of its dropout, and its loss."""
    step.epoch, step.rank = epoch, rank
    loss = step.take(batch_of(), batch_idx)
    return step.hidden, step.seed_of_dropout, loss.item()


def test_the_same_data_are_hidden_otherwise_on_another_rank_in_another_epoch_and_in_another_batch(step):
    found = [drawn(step, *place) for place in PLACES]
    for first in range(len(PLACES)):
        for second in range(first):
            (hidden, seed, _), (other_hidden, other_seed, _) = found[first], found[second]
            assert seed != other_seed
            for own, other in zip(hidden, other_hidden, strict=True):
                assert not torch.equal(own, other)


def test_the_same_place_hides_and_drops_the_same(step):
    for place in PLACES:
        (hidden, seed, loss), (again, same_seed, same_loss) = drawn(step, *place), drawn(step, *place)
        assert all(torch.equal(own, other) for own, other in zip(hidden, again, strict=True))
        assert (seed, loss) == (same_seed, same_loss)


def test_two_sessions_of_a_batch_have_masks_of_their_own(step):
    first, second = drawn(step, 0, 0, 0)[0]
    assert not torch.equal(first[..., 0], second[..., 0])


def test_ranks_draw_their_schemes_apart():
    step = Step(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32))
    schemes = []
    for batch_idx in range(40):
        pair = []
        for step.rank in (0, 1):
            step.take(batch_of(1), batch_idx)
            pair.append(step.scheme)
        schemes.append(tuple(pair))
    times = Counter(first == second for first, second in schemes)
    assert 2 <= times[True] <= 22  # a quarter on average; 40 if both drew alike


def test_a_decoder_drops_otherwise_on_another_rank(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed))
    monkeypatch.setattr(BehaviorDecoding, "global_rank", property(lambda module: module.rank))
    monkeypatch.setattr(BehaviorDecoding, "current_epoch", property(lambda module: module.epoch))
    monkeypatch.setattr(BehaviorDecoding, "_cost", lambda *_: (torch.ones(()), torch.ones(())))
    monkeypatch.setattr(BehaviorDecoding, "watch_loss", lambda *_: None)
    monkeypatch.setattr(BehaviorDecoding, "log", lambda *_, **__: None)
    module = BehaviorDecoding("choice", NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32))
    seeds.clear()
    for module.epoch, module.rank, batch_idx in PLACES:
        module.training_step(batch_of(), batch_idx)
    assert len(set(seeds)) == len(PLACES)
