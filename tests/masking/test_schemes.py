"""What every masking scheme hides, and what the loss scores of it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neuromtm.batch import RegionIndex, SessionInfo
from neuromtm.masking.heldout import hide_heldout
from neuromtm.masking.inter_region import hide_region, show_one_region
from neuromtm.masking.intra_region import hide_within_region
from neuromtm.masking.masked import Masked, Options, draw, hide_last_bins
from neuromtm.masking.neuron import hide_neurons
from neuromtm.masking.objective import Objective
from neuromtm.masking.random_token import hide_tokens
from neuromtm.masking.regions import regions_for
from neuromtm.masking.schemes import SCHEMES, applicable, uses_behavior
from neuromtm.masking.temporal import hide_bins

PLAIN = {"draw_unknown": False, "region_per_trial": False}
"""one region for all trials of a batch, and always a known one"""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def located(region: Sequence[int], heldout: Sequence[bool] | None = None) -> RegionIndex:
    found = RegionIndex.of(torch.tensor(region))
    return found if heldout is None else replace(found, heldout=torch.tensor(heldout))


def ones(n_trials: int, n_bins: int, n_neurons: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Counts of 1: what is 0 afterwards was hidden."""
    return torch.ones(n_trials, n_bins, n_neurons, dtype=dtype)


@st.composite
def sessions(draw_value):
    """Counts above 0 of any size and type, regions that may be unknown, and neurons that the source may hold out."""
    shape = tuple(draw_value(st.integers(1, largest)) for largest in (5, 7, 9))
    dtype = draw_value(st.sampled_from([torch.uint8, torch.int32]))
    largest = 255 if dtype == torch.uint8 else 60_000
    seed = draw_value(st.integers(0, 2**31))
    counts = torch.randint(1, largest + 1, shape, generator=seeded(seed)).to(dtype)
    region = draw_value(st.lists(st.integers(-1, 2), min_size=shape[2], max_size=shape[2]))
    heldout = draw_value(st.lists(st.booleans(), min_size=shape[2], max_size=shape[2]))
    return counts, located(region, heldout if any(heldout) and not all(heldout) else None)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(session=sessions(), seed=st.integers(0, 2**31), ratio=st.floats(0.01, 0.99))
def test_what_is_hidden_is_0_what_is_shown_is_unchanged_and_targets_are_hidden(scheme, session, seed, ratio):
    counts, region = session
    if not applicable([scheme], [region]):
        return
    names = ("temporal_ratio", "neuron_ratio", "causal_ratio", "intra_region_ratio", "token_ratio")
    objective = Objective(neurons_per_token=4, **dict.fromkeys(names, ratio))
    before = counts.clone()
    masked = objective.hide(scheme, counts, region, seeded(seed))
    assert torch.equal(counts, before)
    assert masked.visible.dtype == counts.dtype
    assert masked.visible.shape == masked.hidden.shape == masked.target.shape == counts.shape
    assert masked.hidden.dtype == masked.target.dtype == torch.bool
    assert not masked.visible[masked.hidden].any()
    assert torch.equal(masked.visible[~masked.hidden], counts[~masked.hidden])
    assert masked.target.any() != (SCHEMES[scheme].behavior == "target")
    assert not (masked.target & ~masked.hidden).any()
    if scheme != "intra_region":
        assert torch.equal(masked.target, masked.hidden)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(session=sessions(), seed=st.integers(0, 2**31))
def test_equal_generators_hide_the_same(scheme, session, seed):
    counts, region = session
    if not applicable([scheme], [region]):
        return
    first, second = (Objective().hide(scheme, counts, region, seeded(seed)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if not uses_behavior(scheme)])
def test_other_generators_hide_something_else(scheme):
    counts, region = ones(4, 20, 12), located([n % 4 for n in range(12)], [n < 3 for n in range(12)])
    objective = Objective(schemes=["heldout"], trailing_blocks=0.5) if scheme == "heldout" else Objective()
    hidden = {objective.hide(scheme, counts, region, seeded(seed)).hidden.numpy().tobytes() for seed in range(8)}
    assert len(hidden) > 1


@pytest.mark.parametrize("scheme", ["temporal", "neuron", "causal", "random_token"])
def test_one_trial_of_one_neuron_and_one_bin_still_has_a_target(scheme):
    for seed in range(20):
        assert Objective().hide(scheme, ones(1, 1, 1), located([-1]), seeded(seed)).target.all()


def test_a_draw_is_never_empty_and_its_one_place_is_drawn():
    drawn = torch.stack([draw((2, 3), ratio=1e-9, generator=seeded(seed)) for seed in range(200)])
    assert (drawn.sum((1, 2)) == 1).all()
    assert drawn.any(0).all()


def hidden_share(masked: Masked) -> float:
    return masked.hidden.double().mean().item()


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
def test_the_ratio_is_the_share_hidden(ratio):
    generator = seeded()
    counts = ones(100, 100, 100)
    n_draws = 100 * 100
    tolerance = 5 * (ratio * (1 - ratio) / n_draws) ** 0.5
    for masked in (
        hide_bins(counts, ratio=ratio, generator=generator),
        hide_neurons(counts, ratio=ratio, generator=generator),
        hide_tokens(counts, ratio=ratio, neurons_per_token=25, generator=generator),
    ):
        assert hidden_share(masked) == pytest.approx(ratio, abs=tolerance)
    region = torch.arange(100) % 2
    masked = hide_within_region(counts, region, drawn_region=torch.tensor([0]), ratio=ratio, generator=generator)
    assert masked.target[..., region == 0].double().mean().item() == pytest.approx(ratio, abs=2 * tolerance)


def test_each_scheme_of_an_objective_has_its_own_ratio():
    objective = Objective(
        temporal_ratio=0.1, neuron_ratio=0.3, causal_ratio=0.5, intra_region_ratio=0.7, token_ratio=0.9
    )
    counts, region = ones(60, 60, 60), located([0] * 60)
    expected = {"temporal": 0.1, "neuron": 0.3, "causal": 0.5, "intra_region": 0.7, "random_token": 0.9}
    found = {scheme: hidden_share(objective.hide(scheme, counts, region, seeded())) for scheme in expected}
    assert found == pytest.approx(expected, abs=0.05)


def is_constant(mask: Tensor, axis: int) -> bool:
    return bool((mask == mask.narrow(axis, 0, 1)).all())


def test_hidden_bins_hide_all_neurons_and_differ_between_trials():
    hidden = hide_bins(ones(8, 30, 5), ratio=0.5, generator=seeded()).hidden
    assert is_constant(hidden, 2)
    assert not is_constant(hidden, 0)
    assert not is_constant(hidden, 1)


def test_hidden_neurons_are_hidden_in_all_bins_and_differ_between_trials():
    hidden = hide_neurons(ones(8, 5, 30), ratio=0.5, generator=seeded()).hidden
    assert is_constant(hidden, 1)
    assert not is_constant(hidden, 0)
    assert not is_constant(hidden, 2)


@given(n_neurons=st.integers(1, 12), neurons_per_token=st.integers(1, 14))
def test_hidden_tokens_hide_whole_groups_of_neighbours_in_one_bin(n_neurons, neurons_per_token):
    hidden = hide_tokens(
        ones(20, 10, n_neurons), ratio=0.5, neurons_per_token=neurons_per_token, generator=seeded()
    ).hidden
    groups = hidden.split(neurons_per_token, dim=2)
    assert all(is_constant(group, 2) for group in groups)
    assert not is_constant(hidden, 1)
    assert not is_constant(hidden, 0)
    for one, other in pairwise(groups):
        assert (one[..., 0] != other[..., 0]).any()


def test_intra_region_shows_one_region_only_and_scores_hidden_neurons_of_it():
    region = torch.tensor([0, 1, 1, -1, 1, 2, 1, 1])
    masked = hide_within_region(ones(50, 4, 8), region, drawn_region=torch.tensor([1]), ratio=0.3, generator=seeded())
    inside = region == 1
    assert masked.hidden[..., ~inside].all()
    assert not masked.target[..., ~inside].any()
    assert torch.equal(masked.hidden[..., inside], masked.target[..., inside])
    assert is_constant(masked.target, 1)
    assert not is_constant(masked.target, 0)
    assert (masked.visible[..., inside].sum((1, 2)) > 0).any()


def test_inter_region_hides_a_region_whole_and_nothing_else():
    region = torch.tensor([0, 1, 1, -1, 1, 2])
    masked = hide_region(ones(3, 4, 6), region, drawn_region=1)
    assert torch.equal(masked.hidden, (region == 1).expand(3, 4, 6))


def test_one_region_is_shown_whole_and_nothing_else_and_all_other_known_ones_are_the_target():
    region = torch.tensor([0, 1, 1, -1, 1, 2])
    masked = show_one_region(ones(3, 4, 6), region, shown_region=1)
    assert torch.equal(masked.hidden, (region != 1).expand(3, 4, 6))
    assert torch.equal(masked.target, ((region == 0) | (region == 2)).expand(3, 4, 6))
    nothing = show_one_region(ones(3, 4, 6), region, shown_region=None)
    assert nothing.hidden.all()
    assert torch.equal(nothing.target, (region >= 0).expand(3, 4, 6))


@given(session=sessions(), seed=st.integers(0, 2**31))
def test_region_dropout_shows_one_known_region_or_none_and_scores_the_other_known_ones(session, seed):
    counts, region = session
    if not applicable(["inter_region"], [region]):
        return
    masked = Objective(region_dropout=1.0, **PLAIN).hide("inter_region", counts, region, seeded(seed))
    assert torch.equal(masked.visible, counts.masked_fill(masked.hidden, 0))
    number = region.number
    known = set(number.tolist()) - {-1}
    if len(known) == 1:  # nothing would be left to score, or to see
        plain = Objective(**PLAIN).hide("inter_region", counts, region, seeded(seed))
        assert torch.equal(masked.hidden, plain.hidden)
        return
    shown = set(number[~masked.hidden[0, 0]].tolist())
    assert len(shown) <= 1
    assert shown <= known
    assert torch.equal(masked.hidden, torch.tensor([r not in shown for r in number.tolist()]).expand_as(counts))
    assert torch.equal(masked.target, masked.hidden & (number >= 0))
    assert masked.target.any()


def test_region_dropout_draws_each_region_and_none_alike_and_drops_with_its_probability():
    region, generator = located([-1] * 9 + [0] * 2 + [1] * 40 + [2] * 3), seeded()
    times = dict.fromkeys([(0,), (1,), (2,), (), (-1, 0, 1), (-1, 0, 2), (-1, 1, 2)], 0)
    for _ in range(2000):
        hidden = Objective(region_dropout=0.6, **PLAIN).hide("inter_region", ones(1, 1, 54), region, generator).hidden
        times[tuple(region.number[~hidden[0, 0]].unique().tolist())] += 1
    dropped, plain = list(times.values())[:4], list(times.values())[4:]
    assert dropped == pytest.approx([2000 * 0.6 / 4] * 4, abs=5 * (2000 * 0.15 * 0.85) ** 0.5)
    assert plain == pytest.approx([2000 * 0.4 / 3] * 3, abs=5 * (2000 * 0.13 * 0.87) ** 0.5)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "inter_region"])
def test_region_dropout_changes_no_other_scheme(scheme):
    counts, region = ones(4, 20, 12), located([n % 4 for n in range(12)], [n < 3 for n in range(12)])
    plain, dropped = (Objective(region_dropout=p).hide(scheme, counts, region, seeded()) for p in (0.0, 1.0))
    assert torch.equal(plain.hidden, dropped.hidden)


def test_without_region_dropout_nothing_is_drawn_for_it_so_that_runs_keep_their_masks():
    used, left = seeded(), seeded()
    Objective().hide("inter_region", ones(1, 1, 4), located([0, 0, 1, 2]), used)
    torch.rand(1, 3, generator=left)  # the region
    assert torch.equal(used.get_state(), left.get_state())


@given(n_bins=st.integers(1, 10), data=st.data())
def test_the_last_bins_are_hidden_of_all_neurons(n_bins, data):
    n_hidden = data.draw(st.integers(1, n_bins))
    masked = hide_last_bins(ones(2, n_bins, 3), n_bins=n_hidden)
    assert masked.hidden[:, n_bins - n_hidden :].all()
    assert not masked.hidden[:, : n_bins - n_hidden].any()


def drawn_regions(scheme: str, region: RegionIndex, n_draws: int) -> Tensor:
    """(region,) how often each was drawn."""
    generator, found = seeded(), []
    for _ in range(n_draws):
        target = Objective(**PLAIN).hide(scheme, ones(1, 1, region.n_neurons), region, generator).target
        of_target = region.number[target[0, 0]].unique()
        assert len(of_target) == 1
        found.append(of_target)
    return torch.bincount(torch.cat(found), minlength=len(region.sizes))


@pytest.mark.parametrize("scheme", ["intra_region", "inter_region"])
def test_regions_are_drawn_alike_whatever_their_size_and_unknown_ones_never(scheme):
    region = located([-1] * 30 + [0] * 2 + [1] * 40 + [2] * 3)
    times = drawn_regions(scheme, region, 600)  # bincount refuses -1
    assert times.sum() == 600
    assert ((times - 200).abs() < 5 * (600 * 1 / 3 * 2 / 3) ** 0.5).all()


def test_a_neuron_alone_in_its_region_is_never_a_target_within_it():
    region = located([0, 1, 1, 2])
    assert regions_for("intra_region", region) == [1]
    assert drawn_regions("intra_region", region, 50).tolist() == [0, 50, 0]


def test_the_only_region_can_be_hidden_only_where_something_else_is_seen():
    assert regions_for("inter_region", located([0, 0, 0])) == []
    assert regions_for("inter_region", located([0, 0, -1])) == [0]
    assert regions_for("inter_region", located([-1, -1])) == []


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=12))
def test_regions_are_offered_just_where_a_target_and_an_input_remain(numbers):
    region = located(numbers)
    known = sorted(set(numbers) - {-1})
    assert regions_for("intra_region", region) == [r for r in known if numbers.count(r) > 1]
    assert regions_for("inter_region", region) == [r for r in known if set(numbers) != {r}]


def test_a_scheme_is_applicable_only_if_every_session_of_the_batch_allows_it():
    numbers = ([0, 0], [0, 1], [0, 0, 1], [-1, -1])
    one_region, singles, both, unknown = (located(own, [True, *[False] * (len(own) - 1)]) for own in numbers)
    assert applicable(SCHEMES, [both]) == list(SCHEMES)
    assert applicable(SCHEMES, [both, located([0, 0, 1])]) == [s for s in SCHEMES if s != "heldout"]
    assert applicable(SCHEMES, [both, one_region]) == [s for s in SCHEMES if s != "inter_region"]
    assert applicable(SCHEMES, [singles, both]) == [s for s in SCHEMES if s != "intra_region"]
    assert applicable(SCHEMES, [both, unknown]) == [s for s in SCHEMES if "region" not in s]
    assert applicable(["inter_region"], [one_region, both]) == []


def test_encoding_hides_and_scores_every_neuron_and_decoding_hides_none():
    counts, region = ones(2, 3, 4), located([0, 0, 1, -1])
    encoding, decoding = (Objective().hide(s, counts, region, seeded()) for s in ("encoding", "decoding"))
    assert encoding.hidden.all()
    assert encoding.target.all()
    assert not encoding.visible.any()
    assert torch.equal(decoding.visible, counts)
    assert not decoding.hidden.any()
    assert not decoding.target.any()
    assert {s: SCHEMES[s].behavior for s in SCHEMES if uses_behavior(s)} == {"encoding": "shown", "decoding": "target"}


def test_schemes_of_behaviour_need_a_trace_in_every_session():
    region = [located([0, 0, 1], [True, False, False])]
    without = applicable(SCHEMES, region, with_behavior=False)
    assert without == [s for s in SCHEMES if s not in ("encoding", "decoding")]


@pytest.mark.parametrize("scheme", ["intra_region", "inter_region"])
def test_a_region_drawn_for_each_trial_differs_between_trials_and_each_is_drawn_alike(scheme):
    region = located([-1] * 5 + [0] * 2 + [1] * 9 + [2] * 3)
    options = {"intra_region_ratio": 0.999}
    masked = Objective(**options).hide(scheme, ones(600, 2, 19), region, seeded(), region_per_trial=True)
    number = region.number.expand(600, 19).masked_fill(~masked.target[:, 0], -1)
    drawn = number.max(dim=1).values
    assert ((number == drawn[:, None]) | (number == -1)).all()  # one region a trial
    times = torch.bincount(drawn[drawn >= 0], minlength=3)
    assert ((times - 200).abs() < 5 * (600 * 1 / 3 * 2 / 3) ** 0.5).all()


# ---- trailing blocks in causal masking


def hidden_bins(share: float, n_trials: int = 4000, n_bins: int = 10) -> Tensor:
    """(trial, bin) bool."""
    objective = Objective(trailing_blocks=share)
    masked = objective.hide("causal", ones(n_trials, n_bins, 3), located([0, 0, 1]), seeded())
    assert is_constant(masked.hidden, 2)
    assert torch.equal(masked.hidden, masked.target)
    return masked.hidden[:, :, 0]


def test_trailing_blocks_are_the_last_bins_of_any_length_up_to_half():
    hidden = hidden_bins(1.0)
    n_hidden = hidden.sum(1)
    assert torch.equal(hidden, torch.arange(10) >= 10 - n_hidden[:, None])
    times = torch.bincount(n_hidden, minlength=11)
    assert (times > 0).nonzero()[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert ((times[1:6] - 800).abs() < 5 * (4000 * 0.2 * 0.8) ** 0.5).all()


def test_a_share_of_the_trials_has_trailing_blocks_and_the_rest_bins_here_and_there():
    hidden, scattered = hidden_bins(0.25), hidden_bins(0.0)
    as_before = (hidden == scattered).all(1)
    n_blocks = (~as_before).sum().item()
    assert n_blocks == pytest.approx(1000, abs=5 * (4000 * 0.25 * 0.75) ** 0.5)
    is_block = (hidden[:, 1:] >= hidden[:, :-1]).all(1) & hidden[:, -1]
    assert is_block[~as_before].all()


def test_without_trailing_blocks_nothing_is_drawn_for_them():
    assert torch.equal(
        hidden_bins(0.0),
        SCHEMES["temporal"].hide(ones(4000, 10, 3), located([0, 0, 1]), Options(0.6, 1, 0.0), seeded()).hidden[:, :, 0],
    )


def test_a_trial_of_one_bin_has_a_target_in_a_trailing_block():
    assert hidden_bins(1.0, n_trials=3, n_bins=1).all()


HELDOUT = [False, True, False, True, False]


def test_heldout_hides_exactly_the_neurons_that_the_source_holds_out():
    counts, region = ones(6, 8, 5), located([0, 1, 0, 1, -1], HELDOUT)
    masked = Objective(schemes=["heldout"]).hide("heldout", counts, region, seeded())
    assert torch.equal(masked.hidden, torch.tensor(HELDOUT).expand_as(counts))
    assert torch.equal(masked.target, masked.hidden)


def test_heldout_hides_the_last_bins_of_all_neurons_in_a_share_of_the_trials():
    counts, region = ones(4000, 8, 5), located([0] * 5, HELDOUT)
    masked = Objective(schemes=["heldout"], trailing_blocks=0.25).hide("heldout", counts, region, seeded())
    assert masked.hidden[..., torch.tensor(HELDOUT)].all()
    of_others = masked.hidden[..., 0]
    assert torch.equal(of_others, masked.hidden[..., 2])
    assert not (of_others[:, :-1] & ~of_others[:, 1:]).any(), "once hidden, hidden to the end"
    assert of_others[:, -1].double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert of_others.sum(1).max() == 4


def test_heldout_is_not_for_sessions_whose_source_holds_out_no_neuron_or_all():
    def allowed(*heldout):
        names = tuple(f"{n}" for n in range(3))
        return applicable(["heldout"], [SessionInfo("a", names, ("CA1",) * 3, heldout).region_index()])

    assert allowed(True, False, False) == ["heldout"]
    assert allowed() == allowed(True, True, True) == allowed(False, False, False) == []


def test_what_the_benchmark_predicts_is_hidden():
    masked = hide_heldout(ones(2, 6, 5), torch.tensor(HELDOUT), n_last_bins=2)
    assert masked.hidden[:, 4:].all()
    assert torch.equal(masked.hidden[0, 0], torch.tensor(HELDOUT))
    assert not hide_heldout(ones(2, 6, 5), torch.tensor(HELDOUT)).hidden[:, :, 0].any()
