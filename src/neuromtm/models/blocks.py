"""Pieces that transformers share: attention with optional rotary positions, pre-norm blocks."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError
from neuromtm.masking.schemes import SCHEMES
from neuromtm.models.compiling import Compilable
from neuromtm.models.dropout import Dropout, attend

TOKENS_PER_PASS = 2**13
"""Leaving neurons out in turn works on so many tokens at once, to fit in a CPU's cache."""
GPU_PASS = 8
"""On a GPU, so many times as many tokens, to keep it busy."""
FORMER_OPTIONS = MappingProxyType(
    {
        "bin_vectors": False,
        "standardise": False,
        "principal_axes": False,
        "embedding": "softsign",
        "inner_dropout": None,
    }
)
"""what NDT1 and NDT2 did before they had these options"""

LATER_SCHEMES: tuple[Scheme, ...] = ("heldout",)
"""Their tokens are drawn apart, so that all other first weights of a seed are what they were before these schemes."""

Embedding = Literal["skip", "softsign"]
"""how what was read in becomes a token, see `embedded`"""


LARGEST_SIZE = 2**20
"""of a part of a model, and of a number of parts: far above any that is trained"""


def size_problems(sizes: Mapping[str, int]) -> list[str]:
    """A sentence for each size that a model cannot have.

    Args:
        sizes: name -> what must be from 1 to `LARGEST_SIZE`.
    """
    problems = [f"{name} is {size}, less than 1." for name, size in sizes.items() if size < 1]
    return problems + [
        f"{name} is {size}, more than {LARGEST_SIZE}." for name, size in sizes.items() if size > LARGEST_SIZE
    ]


def require_sizes(
    *, sizes: Mapping[str, int], shares: Mapping[str, float], width: int, n_heads: int, rope: bool
) -> None:
    """Check a transformer's options.

    Args:
        sizes: name -> what must be from 1 to `LARGEST_SIZE`.
        shares: name -> what must be from 0 to below 1.
        width: size of a token.
        n_heads: number of heads.
        rope: whether positions are rotary.

    Raises:
        ConfigError: naming every option that is out of its range or does not fit.
    """
    problems = size_problems(sizes)
    problems += [f"{name} is {share}, not from 0 to below 1." for name, share in shares.items() if not 0 <= share < 1]
    if n_heads > 0 and (width % n_heads or (rope and width // n_heads % 2)):
        problems.append(
            f"width {width} in {n_heads} heads gives {width / n_heads:g} for each head; this must be a whole number, "
            "and with rope an even one."
        )
    if problems:
        raise ConfigError("model.backbone: " + " ".join(problems))


def embedded(drive: Tensor, embed: nn.Linear, embedding: Embedding) -> Tensor:
    """Make tokens of what stitchers read in.

    Args:
        drive: (..., width).
        embed: linear map of a token to its own width.
        embedding: `skip` adds the map to the token itself. `softsign` maps its softsign, scaled up as in the paper.
    """
    if embedding == "softsign":
        return embed(functional.softsign(drive) * drive.shape[-1] ** 0.5)
    return embed(drive) + drive


class Prompts(nn.ParameterDict):
    """A learned token for each scheme.

    Each token is a parameter of its own, so that tokens that a run never uses get no gradient and do not change.
    A checkpoint may be older than a scheme; `training.checkpoint` finds these tokens by this class.
    """

    def __init__(self, width: int):
        """Make untrained tokens.

        Args:
            width: of a token.
        """
        super().__init__({name: _token(width) for name in SCHEMES if name not in LATER_SCHEMES})
        with torch.random.fork_rng(devices=[]):
            self.update({name: _token(width) for name in LATER_SCHEMES})


def _token(width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))


def in_passes(trials: Tensor, neurons: Tensor, *, n_tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Split rows, each a trial and the neuron that is left out of it, into passes of a suitable size, all about equal.

    Args:
        trials: (row,) int64, on the device where the passes run.
        neurons: (row,) int64.
        n_tokens: tokens per row.

    Yields:
        The trials and the neurons of one pass.
    """
    most = TOKENS_PER_PASS * (1 if trials.device.type == "cpu" else GPU_PASS)
    n_passes = max(1, -(-len(trials) // max(1, most // n_tokens)))
    return zip(trials.tensor_split(n_passes), neurons.tensor_split(n_passes), strict=True)


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, equation 34), in pairs (i, i + dim / 2).

    Args:
        x: (trial, head, token, dim) queries or keys; dim is even.
        position: (token,) position of each token.
    """
    half = x.shape[-1] // 2
    frequency = 10_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.outer(position.to(torch.float32), frequency)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def prefix_attention_mask(
    n_prefix: int, n_bins: int, *, tokens_per_bin: int = 1, causal: bool, device: torch.device
) -> Tensor | None:
    """(token, token) bool, True where the row's token sees the column's; None if every token sees all.

    Under causal attention a bin's tokens see the prefix, their own bin and the past. The prefix sees only itself. If
    it saw the bins, a later layer would carry the future through the prefix into the past.
    """
    if not causal:
        return None
    bin_ = token_bins(n_prefix, n_bins, tokens_per_bin=tokens_per_bin, device=device)
    return rearrange(bin_, "row -> row 1") >= rearrange(bin_, "column -> 1 column")


def token_bins(n_prefix: int, n_bins: int, *, tokens_per_bin: int = 1, device: torch.device) -> Tensor:
    """(token,) int64, the bin of each token; -1 for those of the prefix."""
    prefix = torch.full((n_prefix,), -1, device=device)
    return torch.cat((prefix, torch.arange(n_bins, device=device).repeat_interleave(tokens_per_bin)))


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: size of a token.
        n_heads: number of heads; divides `width`.
        dropout: dropout probability on the attention weights.
    """

    def __init__(self, *, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, sees: Tensor | None, position: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: (trial, token, width).
            sees: (token, token) bool or None, see `prefix_attention_mask`; or one that is broadcastable to
                (trial, head, token, token).
            position: (token,) rotary positions, or None for no rotation.
        """
        heads = "trial token (part head dim) -> part trial head token dim"
        query, key, value = rearrange(self.to_qkv(x), heads, part=3, head=self.n_heads)
        if position is not None:
            query, key = rotate(query, position), rotate(key, position)
        mixed = attend(query, key, value, weight=sees, dropout_p=self.dropout, training=self.training)
        return self.to_out(rearrange(mixed, "trial head token dim -> trial token (head dim)"))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each with a LayerNorm before it and a residual path around it."""

    def __init__(self, *, width: int, n_heads: int, mlp_width: int, dropout: float, inner_dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, n_heads=n_heads, dropout=inner_dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width), nn.GELU(), Dropout(inner_dropout), nn.Linear(mlp_width, width)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sees: Tensor | None, position: Tensor | None) -> Tensor:
        """Transform (trial, token, width) tokens; arguments as in `Attention.forward`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), sees, position))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Encoder(Compilable):
    """A stack of blocks and a LayerNorm after them.

    Args:
        width: size of a token.
        n_layers: number of blocks.
        n_heads: attention heads in each block.
        mlp_width: hidden size of each block's perceptron.
        dropout: dropout probability on what attention and perceptron add to a token.
        inner_dropout: dropout probability on the attention weights and on the perceptron's hidden units; by default
            the same.
    """

    def __init__(
        self,
        *,
        width: int,
        n_layers: int,
        n_heads: int,
        mlp_width: int,
        dropout: float,
        inner_dropout: float | None = None,
    ):
        super().__init__()
        sizes = {"width": width, "n_heads": n_heads, "mlp_width": mlp_width}
        inner = dropout if inner_dropout is None else inner_dropout
        self.blocks = nn.ModuleList(Block(**sizes, dropout=dropout, inner_dropout=inner) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)

    # with the arguments that the callers give
    def run(  # ty: ignore[incompatible-method-override]
        self, x: Tensor, sees: Tensor | None, position: Tensor | None
    ) -> Tensor:
        """Transform (trial, token, width) tokens; arguments as in `Attention.forward`."""
        for block in self.blocks:
            x = block(x, sees, position)
        return self.norm(x)


def prepend(prefix: list[Tensor], tokens: Tensor) -> Tensor:
    """Put the tokens of `prefix` before other tokens.

    Args:
        prefix: each (width,) for all trials, or (trial, width).
        tokens: (trial, token, width).
    """
    rows = [
        repeat(token, "width -> trial 1 width", trial=len(tokens))
        if token.ndim == 1
        else rearrange(token, "trial width -> trial 1 width")
        for token in prefix
    ]
    return torch.cat((*(row.to(tokens.dtype) for row in rows), tokens), dim=1)
