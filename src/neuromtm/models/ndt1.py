"""NDT1 with stitchers: one token for each time bin. Ye & Pandarinath 2021; MtM, NeurIPS 2024, section 4."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from einops import einsum
from torch import Tensor, nn

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
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.stitching import LinearStitcher, drive_of_all, read_out_of_all, session_rows
from neuromtm.models.traces import BehaviorChannels


class NDT1(Backbone[LinearStitcher]):
    """A transformer over time bins.

    Args:
        width: size of a token.
        n_layers: number of transformer blocks.
        n_heads: attention heads in each block.
        mlp_width: hidden size of each block's perceptron.
        dropout: dropout probability in the blocks.
        embedding_dropout: dropout probability on the embedded bins.
        prompt: whether a learned token of the masking scheme is prepended.
        session_token: whether a learned token of the session is prepended.
        rope: whether positions are rotary instead of learned.
        bin_vectors: with `rope`, whether a learned vector of each bin is added to its token all the same. Rotary
            positions tell the distance of two bins, but not where in the trial a bin is.
        mask_input: whether the model also reads which entries are hidden. Otherwise a hidden entry and one without a
            spike look the same to it.
        max_bins: number of learned positions, in bins; a trial may be shorter. Used unless there are none.
        standardise: whether counts are standardised by the session's training trials before they are read in; a hidden
            entry then looks like the neuron's mean and not like silence.
        principal_axes: whether a new session's read-in starts along its principal axes, and not at random.
        embedding: how a bin that was read in becomes a token. `skip`: a linear map beside an identity path.
            `softsign`: a linear map of its softsign, as in the paper.
        inner_dropout: dropout probability on the attention weights and on the perceptrons' hidden units, where it is to
            differ from `dropout`.
        behaviors: traces of the shards that the model reads and predicts beside the spikes, by the masking schemes
            `encoding` and `decoding`; by default none.

    Raises:
        ConfigError: if an option is out of its range or the sizes do not fit together.
    """

    uses_every_weight = True
    former_options: ClassVar[Mapping[str, Any]] = {**FORMER_OPTIONS, "behaviors": []}

    def __init__(
        self,
        *,
        width: int = 512,
        n_layers: int = 5,
        n_heads: int = 8,
        mlp_width: int = 1024,
        dropout: float = 0.4,
        embedding_dropout: float = 0.2,
        prompt: bool = True,
        session_token: bool = True,
        rope: bool = False,
        mask_input: bool = False,
        max_bins: int = 128,
        bin_vectors: bool = True,
        standardise: bool = True,
        principal_axes: bool = True,
        embedding: Embedding = "skip",
        inner_dropout: float | None = None,
        behaviors: Sequence[str] = (),
    ):
        super().__init__()
        require_sizes(
            sizes={
                "width": width,
                "n_layers": n_layers,
                "n_heads": n_heads,
                "mlp_width": mlp_width,
                "max_bins": max_bins,
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
        self.prompt, self.session_token, self.rope, self.max_bins = prompt, session_token, rope, max_bins
        self.mask_input, self.bin_vectors = mask_input, bin_vectors
        self.standardise, self.principal_axes, self.embedding = standardise, principal_axes, embedding
        self.inner_dropout = inner_dropout
        if isinstance(behaviors, str) or len(set(behaviors)) != len(behaviors) or not all(behaviors):
            raise ConfigError(f"model.backbone: behaviors is {behaviors!r}, not a list of different names.")
        self.behaviors = list(behaviors)
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
        if self.has_positions:
            self.position = nn.Embedding(max_bins, width)
            nn.init.normal_(self.position.weight, std=0.02)
        if prompt:
            self.prompts = Prompts(width)
        if self.behaviors:
            self.channels = BehaviorChannels(n_traces=len(self.behaviors), width=width, state_size=width)

    @property
    def max_n_bins(self) -> int | None:
        return self.max_bins if self.has_positions else None

    @property
    def has_positions(self) -> bool:
        """Whether there are learned positions."""
        return self.bin_vectors or not self.rope

    @property
    def reads_mask(self) -> bool:
        return self.mask_input or self.standardise

    @property
    def state_size(self) -> int:
        return self.width

    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> LinearStitcher:
        return LinearStitcher(
            width=self.width,
            mean_counts=mean_counts,
            mask_input=self.mask_input,
            standardise=self.standardise,
            n_traces=len(self.behaviors),
        )

    def forward(self, inputs: Sequence[SessionInput[LinearStitcher]], scheme: Scheme) -> Output:
        n_trials = [len(session.visible) for session in inputs]
        tokens = session_rows([session.stitcher.token for session in inputs], n_trials)
        states = self.encode(self.drive(inputs), tokens, scheme)
        traces = list(self.channels.read_out(states).split(n_trials)) if self.behaviors else None
        return Output(read_out_of_all(inputs, states), list(states.split(n_trials)), traces=traces)

    def drive(self, inputs: Sequence[SessionInput[LinearStitcher]]) -> Tensor:
        """(trial, bin, width) what is read in of all sessions: their counts, and the traces that are shown."""
        drive = drive_of_all(inputs)
        if all(session.traces is None for session in inputs):
            return drive
        return drive + self.channels.drive(torch.cat([self._standardised(session) for session in inputs]))

    def _standardised(self, session: SessionInput[LinearStitcher]) -> Tensor:
        """(trial, bin, trace) the traces that are shown, NaN where hidden or missing."""
        units, visible = session.stitcher.traces, session.visible
        if session.traces is None or units is None:
            return visible.new_full((*visible.shape[:2], len(self.behaviors)), torch.nan)
        return units(session.traces)

    def encode(self, drive: Tensor, session_token: Tensor, scheme: Scheme) -> Tensor:
        """Compute the states that the read-out reads.

        Args:
            drive: (trial, bin, width) from the stitchers' `drive`.
            session_token: (trial, width) or (width,).
            scheme: selects prompt and attention.

        Returns:
            (trial, bin, width).
        """
        n_bins = drive.shape[1]
        x = embedded(drive, self.embed, self.embedding)
        if self.has_positions:
            x = x + self.position.weight[:n_bins]
        x = self.embed_dropout(x)
        prefix: list[Tensor] = [self.prompts[scheme]] if self.prompt else []
        prefix += [session_token] if self.session_token else []
        sees = prefix_attention_mask(len(prefix), n_bins, causal=attends_causally(scheme), device=drive.device)
        # the prefix has the position of the first bin; its learned vectors distinguish it
        position = token_bins(len(prefix), n_bins, device=drive.device).clamp(min=0) if self.rope else None
        return self.encoder(prepend(prefix, x), sees, position)[:, len(prefix) :]

    def left_out(
        self, session: SessionInput[LinearStitcher], scheme: Scheme, trials: Tensor, neurons: Tensor
    ) -> Tensor:
        # The read-in is linear, so a neuron is left out by subtracting its share. Only its own output is computed.
        # Many rows go through the encoder as one batch.
        stitcher, visible, hidden = session.stitcher, session.visible, session.hidden
        # no autocast: in half precision the rounded difference would still hold traces of the neuron
        full_precision = torch.autocast(visible.device.type, enabled=False)
        with full_precision:
            drive = self.drive([session])
        predicted = []
        for trial, neuron in in_passes(trials, neurons, n_tokens=drive.shape[1]):
            with full_precision:
                without = drive[trial] - stitcher.share(visible[trial, :, neuron], hidden[trial, :, neuron], neuron)
            encoded = self.encode(without, stitcher.token, scheme)
            weight = stitcher.read_out.weight[neuron].to(encoded.dtype)
            log_rates = einsum(encoded, weight, "row bin width, row width -> row bin")
            predicted.append(log_rates + stitcher.read_out.bias[neuron, None])
        return torch.cat(predicted)
