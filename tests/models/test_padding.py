"""Tensors of different sizes as one padded tensor."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from neuromtm.models.padding import by_session, of_similar_size, pad_stack, rows_of

shapes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=5)


def numbers(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from([0.0, 0.5, 0.75, 1.0]))
def test_sessions_of_a_pass_are_of_similar_size_and_passes_do_not_become_more_with_more_sessions(sizes, least):
    passes = of_similar_size(sizes, least=least)
    assert sorted(session for one in passes for session in one) == list(range(len(sizes)))
    for one in passes:
        assert min(sizes[session] for session in one) >= least * max(sizes[session] for session in one)
    if least == 0:
        assert len(passes) == 1
    if least == 1:
        assert len(passes) == len(set(sizes))
    assert len(of_similar_size(sizes * 3, least=least)) == len(passes)


@given(shapes)
def test_each_tensor_stands_in_its_place_and_all_else_is_0(shapes):
    tensors = [numbers(shape, i) for i, shape in enumerate(shapes)]
    padded = pad_stack(tensors)
    assert padded.shape == (len(shapes), *map(max, zip(*shapes, strict=True)))
    for one, tensor in zip(padded, tensors, strict=True):
        assert torch.equal(one[: tensor.shape[0], : tensor.shape[1]], tensor)
    assert torch.equal(padded.sum(), sum(tensor.sum() for tensor in tensors).reshape(())) or torch.isclose(
        padded.abs().sum(), sum(tensor.abs().sum() for tensor in tensors)
    )


@given(shapes)
def test_gradients_are_those_of_each_tensor(shapes):
    tensors = [numbers(shape, i) for i, shape in enumerate(shapes)]
    weight = numbers(pad_stack(tensors).shape, 99).detach()
    found = torch.autograd.grad((pad_stack(tensors) * weight).sum(), tensors)
    for one, gradient in zip(weight, found, strict=True):
        assert torch.equal(gradient, one[: gradient.shape[0], : gradient.shape[1]])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_rows_go_to_their_sessions_and_back(n_rows):
    rows = numbers((sum(n_rows), 3, 2), 0)
    padded = by_session(rows, n_rows)
    assert padded.shape == (len(n_rows), max(n_rows), 3, 2)
    for one, own in zip(padded, rows.split(n_rows), strict=True):
        assert torch.equal(one[: len(own)], own)
        assert not one[len(own) :].any()
    assert torch.equal(rows_of(padded, n_rows), rows)
