"""How much each scheme hides by default and by its option: MtM, NeurIPS 2024, section 3."""

import math

import pytest
import torch

from neuromtm.batch import RegionIndex
from neuromtm.masking.objective import Objective

N_TRIALS, N_BINS = 400, 25
REGION = RegionIndex.of(torch.tensor([0] * 10 + [1] * 20 + [-1] * 5))
INDEPENDENT = {
    # scheme: the axes along which each entry is drawn for itself, the share hidden by default, the option
    "neuron": ((0, 2), 0.3, "neuron_ratio"),
    "causal": ((0, 1), 0.6, "causal_ratio"),
    "temporal": ((0, 1), 0.3, "temporal_ratio"),
    "random_token": ((0, 1, 2), 0.3, "token_ratio"),
}


def hidden(objective, scheme):
    counts = torch.ones(N_TRIALS, N_BINS, REGION.n_neurons, dtype=torch.uint8)
    return objective.hide(scheme, counts, REGION, torch.Generator().manual_seed(0))


def share_of(drawn, expected):
    """The share of the entries that are True, and the largest deviation from what is expected that chance allows."""
    return drawn.double().mean().item(), 5 * math.sqrt(expected * (1 - expected) / drawn.numel())


@pytest.mark.parametrize("scheme", INDEPENDENT)
@pytest.mark.parametrize("given", [None, 0.45])
def test_a_scheme_hides_its_share_and_scores_all_of_it(scheme, given):
    axes, default, option = INDEPENDENT[scheme]
    expected = default if given is None else given
    objective = Objective(neurons_per_token=1, **({} if given is None else {option: given}))
    masked = hidden(objective, scheme)
    same = [axis for axis in range(3) if axis not in axes]
    once = masked.hidden
    for axis in reversed(same):
        assert (once == once.select(axis, 0).unsqueeze(axis)).all()
        once = once.select(axis, 0)
    share, tolerance = share_of(once, expected)
    assert share == pytest.approx(expected, abs=tolerance)
    assert torch.equal(masked.hidden, masked.target)


@pytest.mark.parametrize("given", [None, 0.45])
def test_intra_region_shows_a_part_of_one_region_and_scores_the_rest_of_it(given):
    expected = 0.3 if given is None else given
    options = {} if given is None else {"intra_region_ratio": given}
    masked = hidden(Objective(region_per_trial=True, draw_unknown=False, **options), "intra_region")
    first, second, unknown = (REGION.number == 0), (REGION.number == 1), (REGION.number < 0)
    of_first = masked.hidden[:, 0][:, second].all(dim=1)
    share, tolerance = share_of(of_first, 0.5)
    assert share == pytest.approx(0.5, abs=tolerance)
    for drawn, own, others in ((of_first, first, second), (~of_first, second, first)):
        target, gone = masked.target[drawn, 0], masked.hidden[drawn, 0]
        share, tolerance = share_of(target[:, own], expected)
        assert share == pytest.approx(expected, abs=tolerance)
        assert torch.equal(target[:, own], gone[:, own])
        assert gone[:, others | unknown].all()
        assert not target[:, others | unknown].any()


def test_inter_region_hides_one_region_whole_and_nothing_else():
    masked = hidden(Objective(region_per_trial=True, draw_unknown=False), "inter_region")
    assert torch.equal(masked.hidden, masked.target)
    of_first = masked.hidden[:, 0, 0]
    for number, drawn in ((0, of_first), (1, ~of_first)):
        assert (masked.hidden[drawn, 0] == (REGION.number == number)).all()


def test_with_region_drop_out_one_region_or_nothing_is_shown():
    masked = hidden(Objective(region_per_trial=True, draw_unknown=False, region_dropout=1.0), "inter_region")
    shown = ~masked.hidden[:, 0]
    kinds = [shown[:, REGION.number == 0].all(dim=1), shown[:, REGION.number == 1].all(dim=1), ~shown.any(dim=1)]
    assert torch.stack(kinds).sum(dim=0).eq(1).all()
    for kind in kinds:
        share, tolerance = share_of(kind, 1 / 3)
        assert share == pytest.approx(1 / 3, abs=tolerance)
    assert not masked.target[:, 0][:, REGION.number < 0].any()
    known = (REGION.number >= 0).expand(N_TRIALS, -1)
    assert torch.equal(masked.target[:, 0], masked.hidden[:, 0] & known)
