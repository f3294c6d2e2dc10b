"""NDT2: one token for each group of neurons in each time bin. Ye, Collinger, Wehbe & Gaunt 2023."""

import hashlib
from collections.abc import Sequence

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import UNKNOWN_REGIONS, Scheme
from neuromtm.errors import ConfigError
from neuromtm.masking.schemes import attends_causally
from neuromtm.models.blocks import (
    Encoder,
    Prompts,
    in_passes,
    prefix_attention_mask,
    prepend,
    require_sizes,
    token_bins,
)
from neuromtm.models.dropout import Dropout
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.padding import by_session, pad_stack, rows_of
from neuromtm.models.stitching import session_rows

REGION_BITS = 256


def in_groups(values: Tensor, size: int) -> Tensor:
    """(..., neuron) -> (..., group, member): neighbouring neurons together, the last group filled up with zeros."""
    padded = functional.pad(values, (0, -values.shape[-1] % size))
    return rearrange(padded, "... (group member) -> ... group member", member=size)


def region_code(acronym: str) -> Tensor:
    """(256,) unit vector of a region: the bits of its name's SHA-256 as signs.

    Every region has such a vector, the same for all animals and checkpoints, and no list of regions is needed. The
    vectors of two regions are almost orthogonal. Neurons in no known region have zeros.
    """
    if acronym in UNKNOWN_REGIONS:
        return torch.zeros(REGION_BITS)
    digest = hashlib.sha256(acronym.encode()).digest()
    bits = torch.tensor([byte >> place & 1 for byte in digest for place in range(8)])
    return (2.0 * bits - 1) / REGION_BITS**0.5


class GroupStitcher(nn.Module):
    """Linear maps between a session's groups of neurons and their tokens, and the session's token.

    Args:
        width: size of a token.
        neurons_per_token: neurons in a group.
        mean_counts: (neuron,) mean spikes per bin. The read-out starts with zero weights and the logarithm of these
            as bias, so that training starts at zero bits per spike.
        mask_input: whether the stitcher also reads which entries are hidden, by weights of their own.
        region_codes: (group, 256) mean region code of each group's neurons; None without a region embedding.
    """

    region_codes: Tensor | None

    def __init__(
        self,
        *,
        width: int,
        neurons_per_token: int,
        mean_counts: Tensor,
        mask_input: bool,
        region_codes: Tensor | None,
    ):
        super().__init__()
        self.neurons_per_token = neurons_per_token
        shape = (-(-len(mean_counts) // neurons_per_token), neurons_per_token, width)
        bound = neurons_per_token**-0.5  # as in nn.Linear
        self.weight_in = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.mask_in = nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) if mask_input else None
        self.bias_in = nn.Parameter(torch.zeros(width))
        self.weight_out = nn.Parameter(torch.zeros(shape))
        self.bias_out = nn.Parameter(mean_counts.log().to(self.weight_out.dtype))
        self.token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        # not saved in checkpoints, which hold the regions by name
        self.register_buffer("region_codes", region_codes, persistent=False)

    @property
    def n_groups(self) -> int:
        return len(self.weight_in)

    def drive(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """Map counts to the tokens' width.

        Args:
            visible: (trial, bin, neuron) counts, 0 where hidden.
            hidden: (trial, bin, neuron) bool.

        Returns:
            (trial, bin, group, width).
        """
        pattern = "trial bin group member, group member width -> trial bin group width"
        drive = einsum(in_groups(visible, self.neurons_per_token), self.weight_in, pattern) + self.bias_in
        if self.mask_in is None:
            return drive
        return drive + einsum(in_groups(hidden.to(visible.dtype), self.neurons_per_token), self.mask_in, pattern)

    def share(self, visible: Tensor, hidden: Tensor, neurons: Tensor) -> Tensor:
        """The part of its group's `drive` that is lost when one more neuron is hidden.

        Args:
            visible: (row, bin) the neuron's counts, 0 where hidden.
            hidden: (row, bin) bool.
            neurons: (row,) int64, the neuron of each row.

        Returns:
            (row, bin, width).
        """
        pattern = "row bin, row width -> row bin width"
        share = einsum(visible, by_neuron(self.weight_in)[neurons], pattern)
        if self.mask_in is None:
            return share
        return share - einsum((~hidden).to(visible.dtype), by_neuron(self.mask_in)[neurons], pattern)

    def read_out(self, encoded: Tensor) -> Tensor:
        """(trial, bin, group, width) -> (trial, bin, neuron) log-rates."""
        pattern = "trial bin group width, group member width -> trial bin group member"
        grouped = einsum(encoded, self.weight_out, pattern)
        log_rates = rearrange(grouped, "trial bin group member -> trial bin (group member)")
        return log_rates[..., : len(self.bias_out)] + self.bias_out


def by_neuron(weight: Tensor) -> Tensor:
    """(group, member, width) -> (neuron, width), the padding at the end."""
    return rearrange(weight, "group member width -> (group member) width")


def groups_there(stitchers: Sequence[GroupStitcher], n_trials: Sequence[int]) -> Tensor | None:
    """(trial, group) bool, False where a group is padding; None if all sessions have equally many groups."""
    n_groups = [stitcher.n_groups for stitcher in stitchers]
    if min(n_groups) == max(n_groups):
        return None
    # made on the device: to send a list there would make the host wait
    device = stitchers[0].weight_in.device
    there = pad_stack([torch.ones(n, dtype=torch.bool, device=device) for n in n_groups])
    return session_rows(there.unbind(0), n_trials)


def drive_of_groups(inputs: Sequence[SessionInput[GroupStitcher]]) -> Tensor:
    """Map the groups of all sessions to the tokens' width, by one product for all of them.

    Returns:
        (trial, bin, group, width), the trials of all sessions one after the other. A session with fewer groups than
        another is filled up with groups whose numbers mean nothing.
    """
    if len(inputs) == 1:
        return inputs[0].stitcher.drive(inputs[0].visible, inputs[0].hidden)
    stitchers, n_trials = [one.stitcher for one in inputs], [len(one.visible) for one in inputs]
    size = stitchers[0].neurons_per_token
    pattern = "session trial bin group member, session group member width -> session trial bin group width"
    visible = in_groups(pad_stack([one.visible for one in inputs]), size)
    drive = einsum(visible, pad_stack([s.weight_in for s in stitchers]), pattern)
    drive = drive + rearrange([s.bias_in for s in stitchers], "session width -> session 1 1 1 width")
    if stitchers[0].mask_in is not None:
        hidden = in_groups(pad_stack([one.hidden.to(one.visible.dtype) for one in inputs]), size)
        drive = drive + einsum(hidden, pad_stack([s.mask_in for s in stitchers if s.mask_in is not None]), pattern)
    return rows_of(drive, n_trials)


def read_out_of_groups(inputs: Sequence[SessionInput[GroupStitcher]], encoded: Tensor) -> list[Tensor]:
    """Read out the rates of all sessions, by one product for all of them.

    Args:
        inputs: the sessions.
        encoded: (trial, bin, group, width), the trials of all sessions one after the other.

    Returns:
        For each session, (trial, bin, neuron) log-rates.
    """
    if len(inputs) == 1:
        return [inputs[0].stitcher.read_out(encoded)]
    stitchers, n_trials = [one.stitcher for one in inputs], [len(one.visible) for one in inputs]
    pattern = "session trial bin group width, session group member width -> session trial bin group member"
    grouped = einsum(by_session(encoded, n_trials), pad_stack([s.weight_out for s in stitchers]), pattern)
    bias = in_groups(pad_stack([s.bias_out for s in stitchers]), stitchers[0].neurons_per_token)
    log_rates = grouped + rearrange(bias, "session group member -> session 1 1 group member")
    log_rates = rearrange(log_rates, "session trial bin group member -> session trial bin (group member)")
    return [own[:n, :, : len(s.bias_out)] for own, n, s in zip(log_rates.unbind(0), n_trials, stitchers, strict=True)]


class NDT2(Backbone[GroupStitcher]):
    """A transformer over (time bin, group of neighbouring neurons).

    The last group of a session is filled up with zeros, whose outputs are cut off. Under causal attention a token
    sees all groups of its own bin and of the past.

    Every session has its own read-in and read-out maps, like NDT1's stitchers. The original has one pair of maps for
    all groups and sessions. But the order of neurons in a group means nothing in another animal, and on several
    simulated animals a shared pair learned almost nothing.

    Region embedding: the mean of its neurons' region vectors is added to a group's token. A region's vector is a
    learned linear map of `region_code`, shared by all animals. A region that was not in the pretraining starts at a
    small vector of its own, which fine-tuning changes.

    Args:
        width: size of a token.
        n_layers: number of transformer blocks.
        n_heads: attention heads in each block.
        mlp_width: hidden size of each block's perceptron.
        dropout: dropout probability in the blocks.
        embedding_dropout: dropout probability on the embedded groups.
        neurons_per_token: neurons in a group. The scheme `random_token` hides whole tokens of this size.
        region_embedding: whether a token also gets the regions of its neurons.
        prompt: whether a learned token of the masking scheme is prepended.
        session_token: whether a learned token of the session is prepended.
        rope: whether positions in time are rotary instead of learned; positions of groups are always learned.
        mask_input: whether the model also reads which entries are hidden. Otherwise a hidden entry and one without a
            spike look the same to it.
        max_bins: number of learned positions in time, in bins; a trial may be shorter. Not used with `rope`.
        max_groups: number of learned positions of groups; a session may have fewer.

    Raises:
        ConfigError: if an option is out of its range or the sizes do not fit together.
    """

    uses_every_weight = True
    neurons_per_token: int  # ty: ignore[incompatible-mutable-override]  # never None here, and nobody changes it

    def __init__(
        self,
        *,
        width: int = 512,
        n_layers: int = 5,
        n_heads: int = 8,
        mlp_width: int = 1024,
        dropout: float = 0.4,
        embedding_dropout: float = 0.2,
        neurons_per_token: int = 128,
        region_embedding: bool = False,
        prompt: bool = True,
        session_token: bool = True,
        rope: bool = False,
        mask_input: bool = False,
        max_bins: int = 128,
        max_groups: int = 32,
    ):
        super().__init__()
        require_sizes(
            sizes={
                "width": width,
                "n_layers": n_layers,
                "n_heads": n_heads,
                "mlp_width": mlp_width,
                "neurons_per_token": neurons_per_token,
                "max_bins": max_bins,
                "max_groups": max_groups,
            },
            shares={"dropout": dropout, "embedding_dropout": embedding_dropout},
            width=width,
            n_heads=n_heads,
            rope=rope,
        )
        self.width, self.n_layers, self.n_heads, self.mlp_width = width, n_layers, n_heads, mlp_width
        self.dropout, self.embedding_dropout = dropout, embedding_dropout
        self.neurons_per_token, self.region_embedding = neurons_per_token, region_embedding
        self.prompt, self.session_token, self.rope, self.mask_input = prompt, session_token, rope, mask_input
        self.max_bins, self.max_groups = max_bins, max_groups
        self.region = nn.Linear(REGION_BITS, width, bias=False) if region_embedding else None
        self.embed = nn.Linear(width, width)
        self.embed_dropout = Dropout(embedding_dropout)
        self.encoder = Encoder(width=width, n_layers=n_layers, n_heads=n_heads, mlp_width=mlp_width, dropout=dropout)
        self.space = nn.Embedding(max_groups, width)
        nn.init.normal_(self.space.weight, std=0.02)
        if not rope:
            self.time = nn.Embedding(max_bins, width)
            nn.init.normal_(self.time.weight, std=0.02)
        if prompt:
            self.prompts = Prompts(width)

    @property
    def max_n_bins(self) -> int | None:
        return None if self.rope else self.max_bins

    @property
    def reads_mask(self) -> bool:
        return self.mask_input

    @property
    def state_size(self) -> int:
        return self.width

    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> GroupStitcher:
        n_neurons, size = len(mean_counts), self.neurons_per_token
        n_groups = -(-n_neurons // size)
        if n_groups > self.max_groups:
            raise ConfigError(
                f"model.backbone: a session has {n_neurons} neurons, {n_groups} groups of {size}, but max_groups is "
                f"{self.max_groups}. Raise it, or leave neurons out by data.min_firing_rate_hz or data.regions."
            )
        codes = None
        if self.region_embedding:
            codes = torch.stack([region_code(region) for region in regions])
            codes = torch.stack([members.mean(0) for members in codes.split(size)])
        return GroupStitcher(
            width=self.width,
            neurons_per_token=size,
            mean_counts=mean_counts,
            mask_input=self.mask_input,
            region_codes=codes,
        )

    def forward(self, inputs: Sequence[SessionInput[GroupStitcher]], scheme: Scheme) -> Output:
        stitchers, n_trials = [session.stitcher for session in inputs], [len(session.visible) for session in inputs]
        encoded = self.encode(drive_of_groups(inputs), stitchers, n_trials, scheme)
        there = groups_there(stitchers, n_trials)
        if there is None:
            states = reduce(encoded, "trial bin group width -> trial bin width", "mean")
        else:
            there = rearrange(there, "trial group -> trial 1 group 1")
            states = encoded.masked_fill(~there, 0.0).sum(dim=2) / there.sum(dim=2)
        return Output(read_out_of_groups(inputs, encoded), list(states.split(n_trials)))

    def encode(
        self, drive: Tensor, stitchers: Sequence[GroupStitcher], n_trials: Sequence[int], scheme: Scheme
    ) -> Tensor:
        """Compute the states that the read-out reads.

        Args:
            drive: (trial, bin, group, width) from `drive_of_groups`, or one session's from its stitcher's `drive`.
            stitchers: that of each session.
            n_trials: trials of each session.
            scheme: selects prompt and attention.

        Returns:
            (trial, bin, group, width).
        """
        n_bins, n_groups = drive.shape[1:3]
        x = self.embed(functional.softsign(drive) * self.width**0.5) + self.space.weight[:n_groups]
        if self.region is not None:
            regions = self.region(pad_stack([s.region_codes for s in stitchers if s.region_codes is not None]))
            x = x + rearrange(session_rows(regions.unbind(0), n_trials), "trial group width -> trial 1 group width")
        if not self.rope:
            x = x + rearrange(self.time.weight[:n_bins], "bin width -> bin 1 width")
        tokens = rearrange(self.embed_dropout(x), "trial bin group width -> trial (bin group) width")
        prefix: list[Tensor] = [self.prompts[scheme]] if self.prompt else []
        prefix += [session_rows([s.token for s in stitchers], n_trials)] if self.session_token else []
        shape = {"tokens_per_bin": n_groups, "device": drive.device}
        sees = prefix_attention_mask(len(prefix), n_bins, causal=attends_causally(scheme), **shape)
        there = groups_there(stitchers, n_trials)
        if there is not None:  # a token that is padding is seen by none; every token sees the groups of its own session
            seen = functional.pad(there.repeat(1, n_bins), (len(prefix), 0), value=True)
            seen = rearrange(seen, "trial column -> trial 1 1 column")
            sees = seen if sees is None else seen & sees
        # the prefix has the position of the first bin; its learned vectors distinguish it
        position = token_bins(len(prefix), n_bins, **shape).clamp(min=0) if self.rope else None
        encoded = self.encoder(prepend(prefix, tokens), sees, position)[:, len(prefix) :]
        return rearrange(encoded, "trial (bin group) width -> trial bin group width", group=n_groups)

    def left_out(self, session: SessionInput[GroupStitcher], scheme: Scheme, trials: Tensor, neurons: Tensor) -> Tensor:
        # The read-in is linear, so a neuron is left out of its group by subtracting its share. Many rows go through
        # the encoder as one batch, and only the neurons' own outputs are computed.
        stitcher, visible, hidden, _ = session
        # no autocast: in half precision the rounded difference would still hold traces of the neuron
        full_precision = torch.autocast(visible.device.type, enabled=False)
        with full_precision:
            drive = stitcher.drive(visible, hidden)
        predicted = []
        for trial, neuron in in_passes(trials, neurons, n_tokens=drive[0, :, :, 0].numel()):
            row, group = torch.arange(len(trial), device=trial.device), neuron // self.neurons_per_token
            without = drive[trial]
            with full_precision:
                without[row, :, group] -= stitcher.share(visible[trial, :, neuron], hidden[trial, :, neuron], neuron)
            encoded = self.encode(without, [stitcher], [len(row)], scheme)[row, :, group]
            weight = by_neuron(stitcher.weight_out)[neuron].to(encoded.dtype)
            log_rates = einsum(encoded, weight, "row bin width, row width -> row bin")
            predicted.append(log_rates + stitcher.bias_out[neuron, None])
        return torch.cat(predicted)
