"""Dropout: how much is dropped, that the mean stays, and that attention is what it should be for the mask drawn."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neuromtm.models.dropout import Dropout, attend, draw_kept, dropout
from neuromtm.models.ndt1 import NDT1

RATES = [0.1, 0.2, 0.4, 1 / 3, 0.003]


@pytest.mark.parametrize("p", RATES)
def test_as_many_entries_are_dropped_as_the_rate_says(p):
    torch.manual_seed(0)
    n = 10_000_001  # not a multiple of the four masks in a random number
    kept = draw_kept(torch.empty(n), p)
    assert kept.share == 1 - round(p * 65536) / 65536
    assert abs(kept.share - (1 - p)) <= 1 / 131072
    assert set(kept.mask.unique().tolist()) == {0.0, 1.0}
    deviation = (kept.share * (1 - kept.share) / n) ** 0.5
    assert kept.mask.double().mean().item() == pytest.approx(kept.share, abs=4 * deviation)


def test_each_of_the_four_masks_of_a_random_number_has_the_rate_and_they_are_independent():
    torch.manual_seed(0)
    n, p = 1_000_000, 0.4
    kept = draw_kept(torch.empty(n, 4, dtype=torch.float64), p)
    together = kept.mask.T @ kept.mask / n
    expected = torch.full((4, 4), kept.share**2, dtype=torch.float64).fill_diagonal_(kept.share)
    assert (together - expected).abs().max() < 4 * (0.25 / n) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", RATES)
def test_the_mean_stays(p, dtype):
    torch.manual_seed(0)
    n = 4_000_000
    dropped = dropout(torch.ones(n, dtype=dtype), p, training=True)
    assert dropped.dtype == dtype
    share = 1 - round(p * 65536) / 65536
    # a scale rounded once to bfloat16 is wrong by up to 1 in 256; in the other types the scale is exact
    rounding = torch.finfo(dtype).eps / 2
    assert dropped.double().mean().item() == pytest.approx(1, abs=4 * ((1 - share) / share / n) ** 0.5 + rounding)


def test_in_half_precision_the_scale_is_not_rounded_before_it_is_applied():
    x = torch.randn(100_000).bfloat16()
    torch.manual_seed(0)
    dropped = dropout(x, 0.4, training=True)
    torch.manual_seed(0)
    kept = draw_kept(x, 0.4)
    assert torch.equal(dropped, (x.double() * kept.mask / kept.share).float().bfloat16())


def test_the_gradient_goes_through_the_same_mask():
    torch.manual_seed(0)
    x = torch.randn(5, 7, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 7, 3, dtype=torch.float64)
    torch.manual_seed(1)
    dropped = dropout(x, 0.3, training=True)
    (dropped * weight).sum().backward()
    torch.manual_seed(1)
    kept = draw_kept(x.detach(), 0.3)
    assert 0 < kept.mask.sum() < kept.mask.numel()
    torch.testing.assert_close(dropped.detach(), x.detach() * kept.mask / kept.share)
    torch.testing.assert_close(x.grad, weight * kept.mask / kept.share)


@pytest.mark.parametrize(("training", "p"), [(False, 0.4), (True, 0.0)])
def test_nothing_is_drawn_in_evaluation_or_at_rate_0(training, p):
    layer = Dropout(p).train(training)
    x = torch.randn(2, 3, 4, 5)
    before = torch.get_rng_state()
    assert layer(x) is x
    attend(x, x, x, weight=None, dropout_p=p, training=training)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_draws_the_same_and_another_call_draws_others():
    x = torch.randn(10, 1000)
    torch.manual_seed(3)
    first, second = dropout(x, 0.4, training=True), dropout(x, 0.4, training=True)
    torch.manual_seed(3)
    again = dropout(x, 0.4, training=True)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def _seen(kind: str) -> torch.Tensor | None:
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    if kind == "bool":
        return causal
    if kind == "numbers":  # as for spikes: of each trial, with some that count several times
        numbers = torch.randint(1, 4, (3, 1, 6, 6)).double().log()
        return numbers.masked_fill(~causal, -torch.inf)
    return None


@pytest.mark.parametrize("kind", ["none", "bool", "numbers"])
def test_attention_is_that_of_the_mask_drawn(kind):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, 6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    weight = _seen(kind)
    torch.manual_seed(5)
    mixed = attend(query, key, value, weight=weight, dropout_p=0.25, training=True)
    mixed.square().sum().backward()
    found = [tensor.grad.clone() for tensor in (query, key, value)]

    torch.manual_seed(5)
    kept = draw_kept(torch.empty(3, 2, 6, 6, dtype=torch.float64), 0.25)
    for tensor in (query, key, value):
        tensor.grad = None
    expected = torch.zeros(3, 2, 6, 4, dtype=torch.float64)
    added = torch.zeros(3, 1, 6, 6, dtype=torch.float64)
    if weight is not None:
        added = added + (weight if weight.dtype != torch.bool else weight.double().log())
    for trial in range(3):
        for head in range(2):
            scores = query[trial, head] @ key[trial, head].T / 2 + added[trial, 0]
            shares = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
            expected[trial, head] = (shares * kept.mask[trial, head] / kept.share) @ value[trial, head]
    torch.testing.assert_close(mixed, expected)
    expected.square().sum().backward()
    torch.testing.assert_close(found, [tensor.grad for tensor in (query, key, value)])


@pytest.mark.parametrize("kind", ["none", "bool", "numbers"])
def test_without_dropout_attention_is_that_of_torch(kind):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, 6, 4, dtype=torch.float64) for _ in range(3))
    weight = _seen(kind)
    plain = attend(query, key, value, weight=weight, dropout_p=0.25, training=False)
    # a rate that rounds to 0 of 65536 keeps everything, and goes the way of the training
    torch.testing.assert_close(attend(query, key, value, weight=weight, dropout_p=1e-9, training=True), plain)


class Types(TorchDispatchMode):
    """Notes the operations that read a value on the host, and the types of what is computed."""

    def __init__(self):
        super().__init__()
        self.read: list[str] = []
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "_unique2", "masked_select"):
            self.read.append(str(func))
        out = func(*args, **(kwargs or {}))
        self.types |= {out.dtype} if isinstance(out, torch.Tensor) else set()
        return out


def test_in_half_precision_nothing_is_computed_in_single_precision_and_nothing_is_read_back():
    x = torch.randn(2, 3, 8, 4, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), Types() as seen:
        mixed = attend(x, x, x, weight=torch.ones(8, 8, dtype=torch.bool).tril(), dropout_p=0.2, training=True)
        dropout(mixed, 0.2, training=True).sum().backward()
    assert seen.read == []
    assert torch.bfloat16 in seen.types
    assert not seen.types & {torch.float32, torch.float64}


def test_the_compiler_traces_it_as_one_graph_and_draws_the_same():
    def twice(x):
        mixed = attend(x, x, x, weight=None, dropout_p=0.5, training=True)
        return dropout(mixed, 0.5, training=True), dropout(mixed, 0.5, training=True)

    x = torch.randn(2, 3, 8, 4, requires_grad=True)
    torch.manual_seed(0)
    plain = twice(x)
    (plain_gradient,) = torch.autograd.grad(plain[0].sum(), x)
    torch.manual_seed(0)
    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True)(x)
    (gradient,) = torch.autograd.grad(compiled[0].sum(), x)
    torch.testing.assert_close(compiled, plain)
    torch.testing.assert_close(gradient, plain_gradient)
    assert not torch.equal(compiled[0], compiled[1])  # equal calls were not taken for one


def test_inner_dropout_is_that_of_attention_weights_and_hidden_units_alone():
    def rates(**options):
        block = NDT1(width=12, n_layers=1, n_heads=2, mlp_width=16, **options).encoder.blocks[0]
        return block.attention.dropout, block.mlp[2].p, block.dropout.p

    assert rates(dropout=0.3) == (0.3, 0.3, 0.3)
    assert rates(dropout=0.3, inner_dropout=0.0) == (0.0, 0.0, 0.3)
    assert rates(dropout=0.0, inner_dropout=0.2) == (0.2, 0.2, 0.0)
