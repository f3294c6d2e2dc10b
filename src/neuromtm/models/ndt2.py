"""NDT2: one token for each group of neurons in each time bin. Ye, Collinger, Wehbe & Gaunt 2023."""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError
from neuromtm.masking.schemes import attends_causally
from neuromtm.models.blocks import (
    FORMER_OPTIONS,
    Embedding,
    Encoder,
    Prompts,
    embedded,
    in_passes,
    prefix_attention_mask,
    prepend,
    require_sizes,
    token_bins,
)
from neuromtm.models.dropout import Dropout
from neuromtm.models.group_stitching import (
    REGION_BITS,
    GroupStitcher,
    by_neuron,
    drive_of_groups,
    groups_there,
    read_out_of_groups,
    region_code,
)
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.padding import LEAST_FILLED_ON_A_GPU, of_similar_size, pad_stack
from neuromtm.models.stitching import session_rows

LEAST_FILLED = 1.0
"""See `of_similar_size`. Padding of attention takes more time on a CPU than passes do, so there only sessions with
equally many groups are encoded together."""


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
        bin_vectors: with `rope`, whether a learned vector of each bin is added to its tokens all the same.
        mask_input: whether the model also reads which entries are hidden. Otherwise a hidden entry and one without a
            spike look the same to it.
        max_bins: number of learned positions in time, in bins; a trial may be shorter. Used unless there are none.
        max_groups: number of learned positions of groups; a session may have fewer.
        standardise: whether counts are standardised by the session's training trials before they are read in; a hidden
            entry then looks like the neuron's mean and not like silence.
        principal_axes: whether a new session's read-in starts along its principal axes, and not at random.
        embedding: how a group that was read in becomes a token. `skip`: a linear map beside an identity path.
            `softsign`: a linear map of its softsign.
        inner_dropout: dropout probability on the attention weights and on the perceptrons' hidden units, where it is to
            differ from `dropout`.

    Raises:
        ConfigError: if an option is out of its range or the sizes do not fit together.
    """

    uses_every_weight = True
    former_options = FORMER_OPTIONS
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
        bin_vectors: bool = True,
        standardise: bool = True,
        principal_axes: bool = True,
        embedding: Embedding = "skip",
        inner_dropout: float | None = None,
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
            shares={
                "dropout": dropout,
                "embedding_dropout": embedding_dropout,
                "inner_dropout": inner_dropout or 0.0,
            },
            width=width,
            n_heads=n_heads,
            rope=rope,
        )
        self.width, self.n_layers, self.n_heads, self.mlp_width = width, n_layers, n_heads, mlp_width
        self.dropout, self.embedding_dropout = dropout, embedding_dropout
        self.neurons_per_token, self.region_embedding = neurons_per_token, region_embedding
        self.prompt, self.session_token, self.rope, self.mask_input = prompt, session_token, rope, mask_input
        self.max_bins, self.max_groups, self.bin_vectors = max_bins, max_groups, bin_vectors
        self.standardise, self.principal_axes, self.embedding = standardise, principal_axes, embedding
        self.inner_dropout = inner_dropout
        self.region = nn.Linear(REGION_BITS, width, bias=False) if region_embedding else None
        self.embed = nn.Linear(width, width)
        self.embed_dropout = Dropout(embedding_dropout)
        self.encoder = Encoder(
            width=width,
            n_layers=n_layers,
            n_heads=n_heads,
            mlp_width=mlp_width,
            dropout=dropout,
            inner_dropout=inner_dropout,
        )
        self.space = nn.Embedding(max_groups, width)
        nn.init.normal_(self.space.weight, std=0.02)
        if self.has_positions:
            self.time = nn.Embedding(max_bins, width)
            nn.init.normal_(self.time.weight, std=0.02)
        if prompt:
            self.prompts = Prompts(width)

    @property
    def max_n_bins(self) -> int | None:
        return self.max_bins if self.has_positions else None

    @property
    def has_positions(self) -> bool:
        """Whether there are learned positions in time."""
        return self.bin_vectors or not self.rope

    @property
    def reads_mask(self) -> bool:
        return self.mask_input or self.standardise

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
            standardise=self.standardise,
        )

    def forward(self, inputs: Sequence[SessionInput[GroupStitcher]], scheme: Scheme) -> Output:
        of_session, on_cpu = {}, inputs[0].visible.device.type == "cpu"
        n_groups = [session.stitcher.n_groups for session in inputs]
        for sessions in of_similar_size(n_groups, least=LEAST_FILLED if on_cpu else LEAST_FILLED_ON_A_GPU):
            output = self._one_pass([inputs[session] for session in sessions], scheme)
            of_session |= zip(sessions, zip(output.log_rates, output.states, strict=True), strict=True)
        in_order = [of_session[session] for session in range(len(inputs))]
        return Output([log_rates for log_rates, _ in in_order], [states for _, states in in_order])

    def _one_pass(self, inputs: Sequence[SessionInput[GroupStitcher]], scheme: Scheme) -> Output:
        """Predict the rates of sessions of similar size, of which the smaller ones are filled up with padding."""
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
        x = embedded(drive, self.embed, self.embedding) + self.space.weight[:n_groups]
        if self.region is not None:
            regions = self.region(pad_stack([s.region_codes for s in stitchers if s.region_codes is not None]))
            x = x + rearrange(session_rows(regions.unbind(0), n_trials), "trial group width -> trial 1 group width")
        if self.has_positions:
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
        stitcher, visible, hidden = session.stitcher, session.visible, session.hidden
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
