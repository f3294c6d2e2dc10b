"""Leaving out one neuron at a time: what is silent takes no pass of its own and gives what one would."""

from collections.abc import Sequence

import pytest
import torch
from small_models import BACKBONES, N_BINS, every_pair, make_group, make_model, make_session
from torch import Tensor, nn

from neuromtm.batch import Scheme
from neuromtm.models import stitching
from neuromtm.models.group_stitching import GroupStitcher
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.stitching import LinearStitcher, StitchedModel, VisibleGroup

architectures = pytest.mark.parametrize("backbone", BACKBONES)
SCHEMES = ("neuron", "causal", "intra_region")
SILENT = 4
"""neuron that never fires"""


def sparse_group() -> VisibleGroup:
    """5 trials in which about half of the neurons are silent.

    Silent are trial 2 as a whole and neuron 4 in all; neuron 0 is in no other. Of neuron 5 the first half is hidden.
    """
    group = make_group(make_session("a"), n_trials=5)
    generator = torch.Generator().manual_seed(1)
    fires = torch.rand(5, 1, 7, generator=generator) < 0.5
    fires[..., 0] = True
    fires[..., SILENT : SILENT + 1] = False
    fires[2] = False
    visible = group.counts * fires * (torch.rand(group.counts.shape, generator=generator) < 0.4)
    visible[[0, 1, 3, 4], 3, 0] = 2
    hidden = torch.zeros_like(visible, dtype=torch.bool)
    hidden[:, : N_BINS // 2, 5] = True
    return VisibleGroup("a", visible.masked_fill(hidden, 0), hidden)


def one_at_a_time(model: StitchedModel, group: VisibleGroup, scheme: Scheme, neurons: Tensor) -> Tensor:
    """(trial, bin, left_out) log-rates by a pass over all trials and outputs for each neuron: the slow twin."""
    predicted = []
    for neuron in neurons.tolist():
        visible, hidden = group.visible.clone(), torch.zeros_like(group.visible, dtype=torch.bool)
        hidden |= False if group.hidden is None else group.hidden
        visible[..., neuron], hidden[..., neuron] = 0, True
        predicted.append(model([VisibleGroup("a", visible, hidden)], scheme).log_rates[0][..., neuron])
    return torch.stack(predicted, dim=-1)


class Watched:
    """A backbone's forward passes and rows.

    Attributes:
        n_trials: of each forward pass.
        pairs: (trial, neuron) of each row that `left_out` was asked for.
    """

    def __init__(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch):
        self.n_trials: list[int] = []
        self.pairs: list[tuple[int, int]] = []
        forward, left_out = backbone.forward, backbone.left_out

        def seen_forward(inputs: Sequence[SessionInput], scheme: Scheme) -> Output:
            self.n_trials.append(sum(len(session.visible) for session in inputs))
            return forward(inputs, scheme)

        def seen_left_out(session: SessionInput, scheme: Scheme, trials: Tensor, neurons: Tensor) -> Tensor:
            self.pairs += zip(trials.tolist(), neurons.tolist(), strict=True)
            return left_out(session, scheme, trials, neurons)

        monkeypatch.setattr(backbone, "forward", seen_forward)
        monkeypatch.setattr(backbone, "left_out", seen_left_out)


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_silent_pairs_give_what_a_pass_of_their_own_gives(backbone, scheme):
    model, group, neurons = make_model(backbone=backbone), sparse_group(), torch.tensor([6, 0, 4, 1, 5, 2, 3])
    with torch.no_grad():
        quick = model.left_out(group, scheme, neurons)
        torch.testing.assert_close(quick, one_at_a_time(model, group, scheme, neurons), rtol=1e-10, atol=1e-12)
        nothing_hidden = group._replace(hidden=None)
        quick = model.left_out(nothing_hidden, scheme, neurons)
        plain = one_at_a_time(model, nothing_hidden, scheme, neurons)
    torch.testing.assert_close(quick, plain, rtol=1e-10, atol=1e-12)


@architectures
def test_only_pairs_with_a_visible_spike_take_a_pass_of_their_own_where_the_mask_is_not_read(backbone, monkeypatch):
    model, group, neurons = make_model(backbone=backbone), sparse_group(), [6, 0, 4, 1, 5]
    watched = Watched(model.backbone, monkeypatch)
    model.left_out(group, "neuron", torch.tensor(neurons))
    pairs = {(trial, neuron) for trial in range(5) for neuron in neurons}
    if model.backbone.reads_mask:
        expected, passes = pairs, []
    else:
        expected, passes = {(trial, n) for trial, n in pairs if group.visible[trial, :, n].any()}, [5]
        assert 4 < len(expected) < 20
    assert set(watched.pairs) == expected
    assert len(watched.pairs) == len(expected)
    assert watched.n_trials == passes


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_any_spike_one_pass_is_enough(backbone, scheme, monkeypatch):
    takes = BACKBONES[backbone]().options
    options = {name: False for name in ("mask_input", "standardise") if name in takes}
    model = make_model(backbone=backbone, **options)
    silent, neurons = VisibleGroup("a", torch.zeros(3, N_BINS, 7).double()), torch.arange(7)
    plain = one_at_a_time(model, silent, scheme, neurons)
    watched = Watched(model.backbone, monkeypatch)
    torch.testing.assert_close(model.left_out(silent, scheme, neurons), plain, rtol=1e-10, atol=1e-12)
    assert (watched.n_trials, watched.pairs) == ([3], [])


@architectures
def test_a_session_of_one_neuron_and_nobody_to_leave_out(backbone):
    model = make_model([make_session("a", ["CA1"])], backbone=backbone)
    counts = make_group(make_session("a", ["CA1"])).counts
    counts[1] = 0
    group, only = VisibleGroup("a", counts), torch.tensor([0])
    with torch.no_grad():
        quick = model.left_out(group, "neuron", only)
        torch.testing.assert_close(quick, one_at_a_time(model, group, "neuron", only), rtol=1e-10, atol=1e-12)
    assert model.left_out(group, "neuron", only[:0]).shape == (3, N_BINS, 0)


@architectures
def test_a_neuron_asked_for_twice_is_given_twice(backbone):
    model, group = make_model(backbone=backbone), sparse_group()
    with torch.no_grad():
        twice, once = (model.left_out(group, "neuron", torch.tensor(n)) for n in ([1, 0, 1, 1], [0, 1]))
    torch.testing.assert_close(twice, once[..., [1, 0, 1, 1]], rtol=1e-10, atol=1e-12)


@architectures
def test_half_precision_gives_the_precision_of_the_weights_whoever_is_silent(backbone):
    model, group = make_model(backbone=backbone).float(), sparse_group()
    exact = model.left_out(group, "neuron", torch.arange(7)).detach()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for neurons in (torch.arange(7), torch.tensor([SILENT]), torch.tensor([0])):
            log_rates = model.left_out(group, "neuron", neurons)
            assert log_rates.dtype == torch.float32
            assert (log_rates - exact[..., neurons]).abs().max() < 0.1 * exact.std()


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_half_precision_rounds_a_neuron_left_out_as_the_plain_way_rounds_it(backbone, scheme):
    model, session, rows = _in_single_precision(backbone)
    with torch.autocast("cpu", torch.bfloat16):
        plain = Backbone.left_out(model.backbone, session, scheme, *rows)
        quick = model.backbone.left_out(session, scheme, *rows)
    # products of the read-out are below 2, where half precision has steps of 2**-7; a sum with the bias, of -5 or -6,
    # would be rounded in steps of 2**-5
    assert (quick - plain).abs().max() < 1.5 * 2**-7


@architectures
def test_the_bias_is_not_rounded_in_half_precision_wherever_it_is_added(backbone):
    model, session, (trials, neurons) = _in_single_precision(backbone, weights=0.0)
    expected = _bias(session.stitcher)
    with torch.autocast("cpu", torch.bfloat16):
        quick = model.backbone.left_out(session, "neuron", trials, neurons)
        plain = Backbone.left_out(model.backbone, session, "neuron", trials, neurons)
        alone = model([VisibleGroup("a", session.visible, session.hidden)], "neuron").log_rates[0]
        both = model([VisibleGroup("a", session.visible, session.hidden), VisibleGroup("b", session.visible)], "neuron")
    assert (expected != expected.bfloat16().float()).all()
    for log_rates in (alone, both.log_rates[0]):
        assert log_rates.dtype == torch.float32
        torch.testing.assert_close(log_rates, expected.expand_as(log_rates), rtol=0, atol=1e-4)
    for log_rates in (quick, plain):
        torch.testing.assert_close(log_rates, expected[neurons, None].expand_as(log_rates), rtol=0, atol=1e-4)


def _bias(stitcher: nn.Module) -> Tensor:
    """(neuron,) the bias of the read-out."""
    return (stitcher.bias_out if isinstance(stitcher, GroupStitcher) else stitcher.read_out.bias).detach()


@torch.no_grad()
def _in_single_precision(
    backbone: str, *, weights: float = 1.0
) -> tuple[StitchedModel, SessionInput, Sequence[Tensor]]:
    """A model with large biases that half precision rounds, a session, and rows to leave out.

    Args:
        backbone: name of the architecture.
        weights: factor of the weights of the read-out.
    """
    model, group = make_model(backbone=backbone).float(), sparse_group()
    for stitcher in model.stitchers.values():
        of_read_out = stitcher.weight_out if isinstance(stitcher, GroupStitcher) else stitcher.read_out.weight
        of_read_out *= weights
        _bias(stitcher).copy_(torch.linspace(-6.011, -5.037, 7))
    session = SessionInput(model.stitchers["session:a"], group.visible.float(), group.hidden)
    return model, session, every_pair(5, range(7))


@architectures
def test_neurons_left_out_by_several_calls_are_those_left_out_by_one_and_every_pair_is_counted(backbone, monkeypatch):
    model, group, neurons, counted = make_model(backbone=backbone), sparse_group(), torch.arange(7), []
    with torch.no_grad():
        at_once = model.left_out(group, "neuron", neurons)
        monkeypatch.setattr(stitching, "PAIRS_AT_ONCE", 10)  # two neurons of five trials
        in_parts = model.left_out(group, "neuron", neurons, done=counted.append)
    torch.testing.assert_close(in_parts, at_once, rtol=1e-10, atol=1e-12)
    assert counted == [10, 10, 10, 5]


def test_only_trials_with_a_silent_pair_take_the_pass_that_serves_silent_neurons(monkeypatch):
    model, group = make_model(backbone="NDT1-as-published"), sparse_group()
    watched = Watched(model.backbone, monkeypatch)
    model.left_out(group, "neuron", torch.tensor([0]))  # silent in trial 2 alone
    assert (watched.n_trials, sorted(watched.pairs)) == ([1], [(0, 0), (1, 0), (3, 0), (4, 0)])


class CountsHidden(Backbone):
    """A user's architecture: the rates depend on how many neurons are visible, as well as on their spikes."""

    def __init__(self, *, width: int = 6):
        super().__init__()
        self.width = width
        self.mix = nn.Linear(width, width)

    @property
    def state_size(self) -> int:
        return self.width

    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> LinearStitcher:
        return LinearStitcher(width=self.width, mean_counts=mean_counts)

    def forward(self, inputs: Sequence[SessionInput], scheme: Scheme) -> Output:
        states = []
        for stitcher, visible, hidden, *_ in inputs:
            n_visible = (~hidden).sum(dim=-1, keepdim=True)
            states.append(self.mix(stitcher.drive(visible, hidden) / n_visible.clamp(min=1)).tanh())
        return Output([s.stitcher.read_out(state) for s, state in zip(inputs, states, strict=True)], states)


class CountsSpikes(CountsHidden):
    """Another, which says that it never reads what is hidden."""

    @property
    def reads_mask(self) -> bool:
        return False

    def forward(self, inputs: Sequence[SessionInput], scheme: Scheme) -> Output:
        return super().forward([s._replace(hidden=torch.zeros_like(s.hidden)) for s in inputs], scheme)


@pytest.mark.parametrize(("architecture", "n_own"), [(CountsHidden, 35), (CountsSpikes, None)])
def test_an_architecture_that_does_not_say_otherwise_gets_a_pass_for_every_pair(architecture, n_own, monkeypatch):
    monkeypatch.setitem(BACKBONES, "user's", architecture)
    model, group, neurons = make_model(backbone="user's"), sparse_group(), torch.arange(7)
    plain = one_at_a_time(model, group, "neuron", neurons)
    watched = Watched(model.backbone, monkeypatch)
    torch.testing.assert_close(model.left_out(group, "neuron", neurons), plain, rtol=1e-10, atol=1e-12)
    n_with_spikes = int(group.visible.any(dim=1).sum())
    assert 0 < n_with_spikes < 35
    assert len(watched.pairs) == (n_own or n_with_spikes)
