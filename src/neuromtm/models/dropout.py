"""Dropout whose masks are fast to draw on a CPU, for activations and for attention weights.

On a CPU, PyTorch draws the mask of a dropout entry by entry, which takes up to half of a training step. Here every
64-bit random number gives the masks of four entries, 16 bits each. On other devices this is PyTorch's own dropout.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 2**16
"""values of the 16 random bits that decide on an entry"""
LOWEST = -(2**15)
"""the smallest of these values, as a signed number"""


class Kept(NamedTuple):
    """Which entries stay."""

    mask: Tensor
    """1 where an entry stays and 0 where it is dropped, in the shape and type of the values that it is for"""
    share: float
    """probability that an entry stays"""


def draw_kept(like: Tensor, p: float) -> Kept:
    """Draw which entries stay. Nothing is read back from the device.

    Args:
        like: values of any shape; only their shape, type and device count.
        p: probability that an entry is dropped, above 0 and below 1. On a CPU it is rounded to a multiple of 1 / 65536,
            and `Kept.share` is exact.

    Returns:
        The draws, from the global generator of the values' device.
    """
    if like.device.type != "cpu":
        return Kept(torch.empty_like(like, memory_format=torch.contiguous_format).bernoulli_(1 - p), 1 - p)
    n_dropped = min(round(p * LEVELS), LEVELS - 1)
    n = like.numel()
    words = torch.empty(-(-n // 4), dtype=torch.int64)
    (_fill_traced if torch.compiler.is_compiling() else _fill_randomly)(words)
    bits = words.view(torch.int16)[:n].view(like.shape)
    # in place the comparison gives 16-bit numbers, which turn into other numbers faster than booleans do
    return Kept(bits.ge_(LOWEST + n_dropped).to(like.dtype), 1 - n_dropped / LEVELS)


def _fill_randomly(words: Tensor) -> None:
    """Give every bit of (word,) int64 numbers a random value."""
    words.random_(-(2**63), None)  # without bounds the highest bit would stay 0


# The compiler cannot trace random_. As one opaque operation the draws are the same, compiled or not. It writes into its
# argument, because two calls of a function with equal arguments would be taken for one.
_fill_traced = torch.library.custom_op("neuromtm::fill_randomly", _fill_randomly, mutates_args=("words",))


def dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    """Set entries to 0 with a probability and scale up the others, so that the mean stays.

    Args:
        x: values of any shape.
        p: probability that an entry is dropped, from 0 to below 1; with 0 nothing is drawn.
        training: otherwise nothing is dropped or drawn.
    """
    if not training or p == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, p)
    kept = draw_kept(x, p)
    # a mask that held the scale would round it to the type of x, and in half precision the mean would be wrong
    return x * kept.mask * (1 / kept.share)


class Dropout(nn.Module):
    """`dropout` as a layer, in the place of `torch.nn.Dropout`.

    Args:
        p: probability that an entry is dropped while training.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        return dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        """What is shown beside the layer's name."""
        return f"p={self.p}"


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, weight: Tensor | None, dropout_p: float, training: bool
) -> Tensor:
    """Scaled dot-product attention, with dropout on the attention weights.

    Args:
        query: (trial, head, token, dim).
        key: (trial, head, context token, dim).
        value: (trial, head, context token, dim).
        weight: broadcastable to (trial, head, token, context token): bool, True where the token sees the context
            token; or numbers that are added to the scores. None if every token sees all.
        dropout_p: probability that an attention weight is dropped, from 0 to below 1.
        training: otherwise nothing is dropped.

    Returns:
        (trial, head, token, dim).
    """
    if not training or dropout_p == 0:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=weight)
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=weight, dropout_p=dropout_p)
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    if weight is not None and weight.dtype == torch.bool:
        weight = torch.zeros_like(weight, dtype=scores.dtype).masked_fill(~weight, -torch.inf)
    if weight is not None:
        scores = scores + weight
    shares = scores.softmax(dim=-1)
    kept = draw_kept(shares, dropout_p)
    return (shares * kept.mask) @ value * (1 / kept.share)
