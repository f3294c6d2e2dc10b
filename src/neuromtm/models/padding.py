"""Tensors of different sizes as one padded tensor, so that one product serves all sessions of a batch."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

LEAST_FILLED_ON_A_GPU = 0.5
"""See `of_similar_size`. On a GPU every pass adds to the time that it takes to launch kernels. From 32 groups down to 1
there are at most 6 passes."""


def of_similar_size(sizes: Sequence[int], *, least: float) -> list[list[int]]:
    """Split sessions into passes, so that in no pass most of a session is padding. The number of passes depends on how
    different the sizes are, and not on the number of sessions.

    Args:
        sizes: of each session, such as its neurons.
        least: smallest share of the largest size of a pass that a session of the pass may have. With 1 all are of equal
            size, and with 0 there is one pass.

    Returns:
        For each pass, the positions of its sessions, the largest first.
    """
    passes: list[list[int]] = []
    for session in sorted(range(len(sizes)), key=lambda session: -sizes[session]):
        if passes and sizes[session] >= least * sizes[passes[-1][0]]:
            passes[-1].append(session)
        else:
            passes.append([session])
    return passes


class _PadStack(torch.autograd.Function):
    """Copies all tensors by one call; the gradient of each is a view. Padding each by itself would take several kernels
    a tensor.
    """

    @staticmethod
    def forward(ctx, *tensors: Tensor) -> Tensor:
        ctx.shapes = [tensor.shape for tensor in tensors]
        padded = tensors[0].new_zeros(len(tensors), *map(max, zip(*ctx.shapes, strict=True)))
        torch._foreach_copy_(_unpadded(padded, ctx.shapes), list(tensors))
        return padded

    @staticmethod
    # torch's own type is that of any function
    def backward(ctx, grad: Tensor) -> tuple[Tensor, ...]:  # ty: ignore[incompatible-method-override]
        return tuple(_unpadded(grad, ctx.shapes))


def _unpadded(padded: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """A view of each tensor within the padded one."""
    return [one[tuple(map(slice, shape))] for one, shape in zip(padded.unbind(0), shapes, strict=True)]


def pad_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors along a new first axis. Each is filled up with zeros to the largest size along every axis.

    Args:
        tensors: of one number of axes, dtype and device.
    """
    if all(tensor.shape == tensors[0].shape for tensor in tensors):
        return torch.stack(list(tensors))
    return _PadStack.apply(*tensors)


def rows_of(padded: Tensor, n_rows: Sequence[int]) -> Tensor:
    """Put the rows of all sessions one after the other, without those that are padding.

    Args:
        padded: (session, row, ...).
        n_rows: rows of each session.
    """
    if min(n_rows) == padded.shape[1]:
        return rearrange(padded, "session row ... -> (session row) ...")
    return torch.cat([own[:n] for own, n in zip(padded.unbind(0), n_rows, strict=True)])


def by_session(rows: Tensor, n_rows: Sequence[int]) -> Tensor:
    """The reverse of `rows_of`: (session, row, ...), padded with zeros to the largest number of rows."""
    if min(n_rows) == max(n_rows):
        return rearrange(rows, "(session row) ... -> session row ...", session=len(n_rows))
    return pad_stack(rows.split(list(n_rows)))
