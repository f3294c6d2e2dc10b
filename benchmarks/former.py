"""The former training step of NDT1 at the paper's size, kept as it was: the fixed side of the step's ratios.

It is made of PyTorch alone and never changes. Masks are drawn on the CPU, from lists of regions that are read from
the device at every batch. Sessions are read in and out in a loop. Dropout is PyTorch's own, also in attention. AdamW is
not fused. Weights, sizes, loss and the schemes' ratios are those of the product's NDT1 with multi-task masking.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SCHEMES = ("neuron", "causal", "intra_region", "inter_region")
RATIOS = {"neuron": 0.3, "causal": 0.6, "intra_region": 0.3}
ALL_PROMPTS = ("temporal", *SCHEMES, "random_token", "heldout", "encoding", "decoding")
"""the product's model has a token for each scheme there is"""
WIDTH, N_LAYERS, N_HEADS, MLP_WIDTH, MAX_BINS = 512, 5, 8, 1024, 128
DROPOUT, EMBEDDING_DROPOUT = 0.4, 0.2
LR, WEIGHT_DECAY, CLIP_NORM = 1e-4, 0.01, 1.0
CHECK_EVERY_N_STEPS = 10
"""the loss is read as often, to see whether it is finite"""


class Trials(NamedTuple):
    """Trials of one session on the device."""

    eid: str
    counts: Tensor
    """(trial, bin, neuron) uint8"""
    region: Tensor
    """(neuron,) int64, -1 where unknown"""


@dataclass(frozen=True)
class Masked:
    """Trials after masking, each (trial, bin, neuron)."""

    visible: Tensor
    target: Tensor


# ---- masks


def known_regions(region: Tensor) -> list[int]:
    """The numbers of the known regions, read from the device."""
    return [int(r) for r in region.unique() if r >= 0]


def regions_for(scheme: str, region: Tensor) -> list[int]:
    """The regions that a scheme can draw."""
    found = known_regions(region)
    if scheme == "intra_region":
        return [r for r in found if (region == r).sum() >= 2]
    return [r for r in found if (region != r).any()]


def draw_scheme(regions: Sequence[Tensor], generator: torch.Generator) -> str:
    """One of the schemes that all sessions allow."""
    allowed = [
        scheme
        for scheme in SCHEMES
        if not scheme.endswith("region") or all(regions_for(scheme, region) for region in regions)
    ]
    return allowed[int(torch.randint(len(allowed), (1,), generator=generator))]


def draw(shape: tuple[int, ...], ratio: float, generator: torch.Generator) -> Tensor:
    """Bool draws on the CPU, at least one of them true."""
    drawn = torch.rand(shape, generator=generator) < ratio
    if not drawn.any():
        drawn.view(-1)[torch.randint(drawn.numel(), (1,), generator=generator)] = True
    return drawn


def hide(scheme: str, trials: Trials, generator: torch.Generator) -> Masked:
    """Apply a scheme to one session's trials."""
    counts, region = trials.counts, trials.region
    n_trials, n_bins, n_neurons = counts.shape
    if scheme == "neuron":
        hidden = draw((n_trials, n_neurons), RATIOS[scheme], generator)[:, None].to(counts.device)
        target = hidden
    elif scheme == "causal":
        hidden = draw((n_trials, n_bins), RATIOS[scheme], generator)[:, :, None].to(counts.device)
        target = hidden
    else:
        regions = regions_for(scheme, region)
        drawn = regions[int(torch.randint(len(regions), (1,), generator=generator))]
        inside = region == drawn
        if scheme == "inter_region":
            hidden = target = inside[None, None]
        else:
            target = torch.zeros(n_trials, n_neurons, dtype=torch.bool)
            target[:, inside.cpu()] = draw((n_trials, int(inside.sum())), RATIOS[scheme], generator)
            target = target[:, None].to(counts.device)
            hidden = target | ~inside
    hidden = hidden.expand_as(counts)
    return Masked(counts.masked_fill(hidden, 0), target.expand_as(counts))


# ---- model


class Attention(nn.Module):
    """Multi-head self-attention with PyTorch's dropout."""

    def __init__(self):
        super().__init__()
        self.to_qkv, self.to_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, sees: Tensor | None) -> Tensor:
        """(trial, token, width) -> the same; `sees` is (token, token) bool or None."""
        n_trials, n_tokens, _ = x.shape
        qkv = self.to_qkv(x).view(n_trials, n_tokens, 3, N_HEADS, WIDTH // N_HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv, attn_mask=sees, dropout_p=DROPOUT)
        return self.to_out(mixed.transpose(1, 2).reshape(n_trials, n_tokens, WIDTH))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self):
        super().__init__()
        self.attention_norm, self.attention, self.mlp_norm = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, MLP_WIDTH), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(MLP_WIDTH, WIDTH)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, sees: Tensor | None) -> Tensor:
        """(trial, token, width) -> the same."""
        x = x + self.dropout(self.attention(self.attention_norm(x), sees))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Stitcher(nn.Module):
    """The weights of one session."""

    def __init__(self, mean_counts: Tensor):
        super().__init__()
        self.read_in, self.read_out = nn.Linear(len(mean_counts), WIDTH), nn.Linear(WIDTH, len(mean_counts))
        self.token = nn.Parameter(0.02 * torch.randn(WIDTH))
        nn.init.zeros_(self.read_out.weight)
        with torch.no_grad():
            self.read_out.bias.copy_(mean_counts.log())


class Former(nn.Module):
    """NDT1 with stitchers, and its training step.

    Args:
        mean_counts: eid -> (neuron,) mean spikes per bin.
        device: where it trains.
        dtype: type of matrix products; half precision by autocast.
    """

    def __init__(self, mean_counts: Mapping[str, Tensor], *, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self.names = {eid: str(number) for number, eid in enumerate(mean_counts)}
        self.embed, self.embed_dropout = nn.Linear(WIDTH, WIDTH), nn.Dropout(EMBEDDING_DROPOUT)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(N_LAYERS)), nn.LayerNorm(WIDTH)
        self.position = nn.Embedding(MAX_BINS, WIDTH)
        self.prompts = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(WIDTH)) for name in ALL_PROMPTS})
        self.stitchers = nn.ModuleDict({self.names[eid]: Stitcher(means) for eid, means in mean_counts.items()})
        self.to(device)
        self.device, self.dtype = device, dtype
        matrices = [p for p in self.parameters() if p.ndim >= 2 and p is not self.position.weight]
        others = [p for p in self.parameters() if p.ndim < 2 or p is self.position.weight]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR)
        self.n_steps = 0

    def forward(self, sessions: Sequence[tuple[str, Tensor]], scheme: str) -> list[Tensor]:
        """(eid, visible counts) of each session -> their log-rates, each (trial, bin, neuron)."""
        stitchers = [self.stitchers[self.names[eid]] for eid, _ in sessions]
        drive = torch.cat([s.read_in(visible.float()) for s, (_, visible) in zip(stitchers, sessions, strict=True)])
        n_trials = [len(visible) for _, visible in sessions]
        tokens = torch.cat([s.token.expand(n, -1) for s, n in zip(stitchers, n_trials, strict=True)])
        n_bins = drive.shape[1]
        x = self.embed(functional.softsign(drive) * WIDTH**0.5) + self.position.weight[:n_bins]
        x = self.embed_dropout(x)
        prompt = self.prompts[scheme].expand(len(x), 1, -1)
        x = torch.cat((prompt.to(x.dtype), tokens[:, None].to(x.dtype), x), dim=1)
        sees = None
        if scheme == "causal":
            place = torch.cat((torch.full((2,), -1, device=x.device), torch.arange(n_bins, device=x.device)))
            sees = place[:, None] >= place[None]
        for block in self.blocks:
            x = block(x, sees)
        states = self.norm(x)[:, 2:].split(n_trials)
        return [s.read_out(state) for s, state in zip(stitchers, states, strict=True)]

    def step(self, batch: Sequence[Trials], *, seed: int) -> None:
        """Draw a scheme and masks, and do one step of the optimiser."""
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        scheme = draw_scheme([trials.region for trials in batch], generator)
        masked = [hide(scheme, trials, generator) for trials in batch]
        with self._precision():
            visible = [(trials.eid, m.visible) for trials, m in zip(batch, masked, strict=True)]
            total = n_targets = torch.zeros((), device=self.device)
            for trials, m, log_rates in zip(batch, masked, self(visible, scheme), strict=True):
                cost = log_rates.float().exp() - trials.counts * log_rates.float()
                total = total + cost.masked_fill(~m.target, 0.0).sum()
                n_targets = n_targets + m.target.sum()
            loss = total / n_targets
        if self.n_steps % CHECK_EVERY_N_STEPS == 0 and not loss.isfinite():
            raise FloatingPointError(f"the loss of step {self.n_steps} is {loss.item()}")
        self.n_steps += 1
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), CLIP_NORM)
        self.optimizer.step()

    def _precision(self) -> AbstractContextManager:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)
