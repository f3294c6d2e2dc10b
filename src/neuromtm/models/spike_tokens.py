"""Spikes as tokens instead of bins: latents read the spikes by cross-attention, and bins read the latents.

The idea is that of POYO (Azabou et al. 2023, "A unified, scalable framework for neural population decoding"). Here the
output is the rates of all neurons. In POYO a latent reads the spikes of the whole trial; here it reads those of its own
time step only, and self-attention among the latents connects the steps. The cost of reading then grows with the number
of spikes, and causal attention can be exact.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from einops import einsum, rearrange, reduce, repeat
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import NeuronStatistics, Scheme
from neuromtm.masking.schemes import attends_causally
from neuromtm.models.blocks import Encoder, Prompts, in_passes, require_sizes, rotate
from neuromtm.models.dropout import Dropout, attend
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.padding import LEAST_FILLED_ON_A_GPU, of_similar_size, pad_stack, rows_of
from neuromtm.models.standardising import along_principal_axes
from neuromtm.models.stitching import read_out_of_all, session_rows

LEAST_FILLED = 0.75
"""See `of_similar_size`: which sessions' spikes are read together on a CPU."""


NEURON_STD = 0.02
"""standard deviation of the entries of a neuron's vector, before training"""


class Spikes(NamedTuple):
    """The spikes of some trials. A row is one time step of one trial, padded to one number of slots."""

    entry: Tensor
    """(row, slot) int64, bin within the step * number of neurons + neuron; 0 in padding"""
    log_count: Tensor
    """(row, slot) log of the number of spikes; minus infinity in padding"""


def spikes_of(counts: Tensor, *, step_bins: int, n_slots: int | None = None) -> Spikes:
    """List the spikes. Several spikes of one neuron in one bin share a slot.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        step_bins: bins per time step. If a trial ends within a step, the rest of the step is silent.
        n_slots: number of slots; no step may need more. By default as many as are needed, which takes a read of the
            device.

    Returns:
        Rows in the order of "(trial step)".
    """
    counts = functional.pad(counts, (0, 0, 0, -counts.shape[1] % step_bins))
    rows = rearrange(counts, "trial (step bin) neuron -> (trial step) (bin neuron)", bin=step_bins)
    # how many entries have spikes, up to and with each entry of a row; slot k holds the entry where this becomes k + 1
    n_so_far = (rows > 0).cumsum(dim=1, dtype=torch.int32)
    if n_slots is None:
        n_slots = int(n_so_far[:, -1].max())
    wanted = torch.arange(1, n_slots + 1, dtype=torch.int32, device=rows.device).repeat(len(rows), 1)
    padding = wanted > n_so_far[:, -1:]
    entry = torch.searchsorted(n_so_far, wanted).masked_fill(padding, 0)
    n_spikes = rows.gather(1, entry).masked_fill(padding, 1)
    return Spikes(entry, n_spikes.log().masked_fill(padding, -torch.inf))


def n_slots_of(inputs: Sequence[SessionInput], *, step_bins: int) -> int | None:
    """The number of slots that is enough for every step of all sessions; None if their spikes were not counted."""
    counted = [session.n_active for session in inputs if session.n_active is not None]
    if len(counted) < len(inputs):
        return None
    n_active = torch.cat(counted)
    n_active = functional.pad(n_active, (0, -n_active.shape[1] % step_bins))
    of_step = reduce(n_active, "trial (step bin) -> (trial step)", "sum", bin=step_bins)
    return max(1, *of_step.tolist())


class CrossAttention(nn.Module):
    """Multi-head attention from some tokens to others, with rotary positions.

    The values are rotated like the keys, and the result is rotated back by the query's position. What is read thus
    tells its distance from the query.

    Args:
        width: size of a token.
        n_heads: number of heads; divides `width`.
        dropout: dropout probability on the attention weights and on what is read.
    """

    def __init__(self, *, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads = n_heads
        self.query_norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query, self.to_key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def keys_and_values(self, context: Tensor, position: Tensor) -> Tensor:
        """The keys and values of the context.

        Args:
            context: (trial, token, width).
            position: (token,).

        Returns:
            (part, trial, head, token, dim): keys and values.
        """
        both = rotate(self._unrotated(context), position)
        return rearrange(both, "(part trial) head token dim -> part trial head token dim", part=2)

    def keys_and_values_anywhere(self, context: Tensor, position: Tensor) -> Tensor:
        """The keys and values that each token of the context has at each position.

        Args:
            context: (session, token, width).
            position: (position,).

        Returns:
            (part, session, head, token, position, dim): keys and values.
        """
        both = rotate(rearrange(self._unrotated(context), "... token dim -> ... token 1 dim"), position)
        return rearrange(both, "(part session) ... -> part session ...", part=2)

    def _unrotated(self, context: Tensor) -> Tensor:
        """(trial, token, width) -> ((part trial), head, token, dim)."""
        heads = "trial token (part head dim) -> (part trial) head token dim"
        return rearrange(self.to_key_value(self.context_norm(context)), heads, part=2, head=self.n_heads)

    def forward(self, x: Tensor, position: Tensor, keys_values: Tensor, weight: Tensor | None) -> Tensor:
        """Attend to the context.

        Args:
            x: (trial, token, width), or (1, token, width) if x is the same in every trial.
            position: (token,) of x.
            keys_values: as `keys_and_values` gives them.
            weight: (trial or 1, token or 1, context token) log of how many times a context token counts for a token;
                minus infinity if the token must not see it. None if each counts once.

        Returns:
            (trial, token, width) what is read, to be added to x.
        """
        key, value = keys_values
        query = rearrange(
            self.to_query(self.query_norm(x)), "trial token (head dim) -> trial head token dim", dim=key.shape[-1]
        )
        query = rotate(query, position).expand(len(key), -1, -1, -1)
        if weight is not None:
            weight = rearrange(weight, "trial token context -> trial 1 token context").to(query.dtype)
        mixed = attend(query, key, value, weight=weight, dropout_p=self.dropout.p, training=self.training)
        mixed = rearrange(rotate(mixed, -position), "trial head token dim -> trial token (head dim)")
        return self.dropout(self.to_out(mixed))


class SpikeStitcher(nn.Module):
    """A session's neurons, its token, and the linear map from the model's width to its neurons' log-rates.

    Args:
        width: the model's width.
        mean_counts: (neuron,) mean spikes per bin; the read-out starts from them as that of `LinearStitcher`.
    """

    def __init__(self, *, width: int, mean_counts: Tensor):
        super().__init__()
        self.neurons = nn.Embedding(len(mean_counts), width)
        self.read_out = nn.Linear(width, len(mean_counts))
        self.token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        nn.init.normal_(self.neurons.weight, std=NEURON_STD)
        nn.init.zeros_(self.read_out.weight)
        self.read_out.bias.data.copy_(mean_counts.log())

    def neuron_weights(self) -> Tensor:
        """(neuron, feature) the vector of each neuron, and then the weights by which it is predicted."""
        return torch.cat([self.neurons.weight, self.read_out.weight], dim=1)

    def start_from_statistics(self, statistics: NeuronStatistics, *, principal_axes: bool) -> None:
        """Let the neurons' vectors start along the session's principal axes, see `along_principal_axes`."""
        weight = along_principal_axes(statistics, self.neurons.embedding_dim) if principal_axes else None
        if weight is not None:  # of the length that random vectors have; a norm follows in any case
            length = NEURON_STD * self.neurons.embedding_dim**0.5
            self.neurons.weight.data.copy_(functional.normalize(weight, dim=1) * length)


class SpikeTokens(Backbone[SpikeStitcher]):
    """A transformer over latents. Each time step has a few latents, which read the spikes of that step.

    Every visible spike is a token: the vector of its neuron, at the position of its bin. A hidden entry has no token.
    A learned token, the prompt and the session's token are always visible: something to read in silence. Each bin also
    reads first the spikes of its step and then the latents. The read-out reads the bins.

    Under causal attention a latent belongs to the end of its step: apart from latents of the same step, only the
    step's last bin and later steps see it. A bin reads the spikes of its own step up to itself.

    Args:
        width: size of a token.
        n_layers: number of transformer blocks over the latents.
        n_heads: attention heads.
        mlp_width: hidden size of each perceptron.
        dropout: dropout probability in the attentions and blocks.
        step_bins: bins per time step.
        n_latents: latents per time step.
        prompt: whether a learned token of the masking scheme is seen.
        session_token: whether a learned token of the session is seen.
        principal_axes: whether the vectors of a new session's neurons start along its principal axes, not at random.

    Raises:
        ConfigError: if an option is out of its range or the sizes do not fit.
    """

    no_decay = ("latents",)  # by `training.optim`
    wants_active_counts = True
    uses_every_weight = True
    former_options = MappingProxyType({"principal_axes": False})

    def __init__(
        self,
        *,
        width: int = 512,
        n_layers: int = 4,
        n_heads: int = 8,
        mlp_width: int = 1024,
        dropout: float = 0.4,
        step_bins: int = 5,
        n_latents: int = 5,
        prompt: bool = True,
        session_token: bool = True,
        principal_axes: bool = True,
    ):
        super().__init__()
        sizes = {"width": width, "n_layers": n_layers, "n_heads": n_heads, "mlp_width": mlp_width}
        sizes |= {"step_bins": step_bins, "n_latents": n_latents}
        require_sizes(sizes=sizes, shares={"dropout": dropout}, width=width, n_heads=n_heads, rope=True)
        self.width, self.n_layers, self.n_heads, self.mlp_width = width, n_layers, n_heads, mlp_width
        self.dropout, self.step_bins, self.n_latents = dropout, step_bins, n_latents
        self.prompt, self.session_token, self.principal_axes = prompt, session_token, principal_axes
        self.latents = nn.Parameter(nn.init.normal_(torch.empty(n_latents, width), std=0.02))
        self.bin = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        self.silence = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        self.read = CrossAttention(width=width, n_heads=n_heads, dropout=dropout)
        self.encoder = Encoder(width=width, n_layers=n_layers, n_heads=n_heads, mlp_width=mlp_width, dropout=dropout)
        self.decode = CrossAttention(width=width, n_heads=n_heads, dropout=dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, mlp_width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(mlp_width, width),
        )
        self.norm = nn.LayerNorm(width)
        if prompt:
            self.prompts = Prompts(width)

    @property
    def reads_mask(self) -> bool:
        return False

    @property
    def state_size(self) -> int:
        return self.width

    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> SpikeStitcher:
        return SpikeStitcher(width=self.width, mean_counts=mean_counts)

    def forward(self, inputs: Sequence[SessionInput[SpikeStitcher]], scheme: Scheme) -> Output:
        n_trials, n_bins = [len(session.visible) for session in inputs], inputs[0].visible.shape[1]
        prefixes = [self.prefix(session.stitcher, scheme) for session in inputs]
        read, on_cpu = {}, inputs[0].visible.device.type == "cpu"
        n_neurons = [session.visible.shape[2] for session in inputs]
        for sessions in of_similar_size(n_neurons, least=LEAST_FILLED if on_cpu else LEAST_FILLED_ON_A_GPU):
            some = [inputs[session] for session in sessions]
            (own,) = self.read_spikes(some, [prefixes[session] for session in sessions], scheme)
            read |= zip(sessions, own.split([n_trials[session] for session in sessions]), strict=True)
        in_order = torch.cat([read[session] for session in range(len(inputs))])
        states = self.mix(in_order, session_rows(prefixes, n_trials), n_bins, scheme)
        return Output(read_out_of_all(inputs, states), list(states.split(n_trials)))

    def prefix(self, stitcher: SpikeStitcher, scheme: Scheme) -> Tensor:
        """(token, width) the tokens that are always visible."""
        tokens: list[Tensor] = [self.silence]
        tokens += [self.prompts[scheme]] if self.prompt else []
        tokens += [stitcher.token] if self.session_token else []
        return torch.stack(tokens)

    def read_spikes(
        self,
        inputs: Sequence[SessionInput[SpikeStitcher]],
        prefixes: Sequence[Tensor],
        scheme: Scheme,
        without: Tensor | None = None,
    ) -> Tensor:
        """Let the latents and the bins of each step read the step's spikes.

        Args:
            inputs: the sessions.
            prefixes: for each session, (token, width) the tokens that are always visible.
            scheme: decides whether a bin may read later bins of its step.
            without: (trial, variant) int64, the neuron whose spikes are not read; by default all are read.

        Returns:
            (variant or 1, trial, step, query, width), the trials of all sessions one after the other: first the latents
            of a step, then its bins.
        """
        n_trials = [len(session.visible) for session in inputs]
        # a session with fewer neurons than another is filled up with silent ones
        visible = rows_of(pad_stack([session.visible for session in inputs]), n_trials)
        n_neurons, n_slots = visible.shape[2], n_slots_of(inputs, step_bins=self.step_bins)
        spikes = spikes_of(visible, step_bins=self.step_bins, n_slots=n_slots)
        n_steps, bins = len(spikes.entry) // len(visible), torch.arange(self.step_bins, device=visible.device)

        # keys and values of each neuron in each bin of a step: those of a spike are looked up, not computed
        neurons = pad_stack([session.stitcher.neurons.weight for session in inputs])
        table = self.read.keys_and_values_anywhere(neurons, bins)
        table = rearrange(table, "part session head neuron bin dim -> (session bin neuron) (part head dim)")
        first = torch.arange(len(inputs), device=visible.device) * (self.step_bins * n_neurons)
        first = repeat(session_rows(first.unbind(0), n_trials), "trial -> (trial step) 1", step=n_steps)
        heads = "row slot (part head dim) -> part row head slot dim"
        spike_tokens = rearrange(functional.embedding(first + spikes.entry, table), heads, part=2, head=self.n_heads)
        prefix = torch.stack(list(prefixes))
        always = self.read.keys_and_values(prefix, bins[:1].expand(prefix.shape[1]))
        always = session_rows(rearrange(always, "part session ... -> session part ...").unbind(0), n_trials)
        always = repeat(always, "trial part ... -> part (trial step) ...", step=n_steps).to(spike_tokens.dtype)

        # a slot counts as many times as it has spikes
        weight = rearrange(spikes.log_count, "row slot -> row 1 1 slot")
        if without is not None:
            without = repeat(without, "trial variant -> (trial step) variant 1", step=n_steps)
            gone = rearrange(spikes.entry % n_neurons, "row slot -> row 1 slot") == without
            weight = weight.masked_fill(rearrange(gone, "row variant slot -> row variant 1 slot"), -torch.inf)
        latest = torch.cat((bins[-1:].expand(self.n_latents), bins))
        if attends_causally(scheme):
            later = rearrange(spikes.entry // n_neurons, "row slot -> row 1 1 slot") > latest[:, None]
            weight = weight.masked_fill(later, -torch.inf)
        n_variants = weight.shape[1]
        weight = weight.expand(-1, -1, len(latest), -1)
        weight = functional.pad(
            rearrange(weight, "row variant query slot -> row (variant query) slot"), (prefix.shape[1], 0)
        )

        queries = torch.cat((self.latents, repeat(self.bin, "width -> bin width", bin=self.step_bins)))
        queries = repeat(queries, "query width -> 1 (variant query) width", variant=n_variants)
        middle = (bins[:1] + bins[-1:]) / 2
        position = torch.cat((middle.expand(self.n_latents), bins.to(middle.dtype))).repeat(n_variants)
        read = queries + self.read(queries, position, torch.cat((always, spike_tokens), dim=3), weight)
        axes = "(trial step) (variant query) width -> variant trial step query width"
        return rearrange(read, axes, trial=len(visible), variant=n_variants)

    def mix(self, read: Tensor, prefix: Tensor, n_bins: int, scheme: Scheme) -> Tensor:
        """Let the latents attend to each other and the bins to the latents.

        Args:
            read: (trial, step, query, width) from `read_spikes`.
            prefix: (trial, token, width) the tokens that are always visible.
            n_bins: bins per trial; the last step may reach beyond them.
            scheme: decides whether attention is causal.

        Returns:
            (trial, bin, width) states.
        """
        latents = rearrange(read[:, :, : self.n_latents], "trial step latent width -> trial (step latent) width")
        bins = rearrange(read[:, :, self.n_latents :], "trial step bin width -> trial (step bin) width")[:, :n_bins]
        n_prefix, bin_position = prefix.shape[1], torch.arange(n_bins, device=read.device)
        start = repeat(
            torch.arange(read.shape[1], device=read.device) * self.step_bins,
            "step -> (step latent)",
            latent=self.n_latents,
        )
        # the prefix has the position of the first bin; its learned vectors distinguish it
        position = functional.pad(start + (self.step_bins - 1) / 2, (n_prefix, 0))
        sees = weight = None
        if attends_causally(scheme):
            # the last bin that a token knows of; -1 for the prefix, which knows of none
            known = functional.pad(start + self.step_bins - 1, (n_prefix, 0), value=-1)
            sees = known <= known[:, None]
            seen = (known <= bin_position[:, None])[None]
            weight = torch.zeros_like(seen, dtype=read.dtype).masked_fill(~seen, -torch.inf)
        latents = self.encoder(torch.cat((prefix.to(latents.dtype), latents), dim=1), sees, position)
        bins = bins + self.decode(bins, bin_position, self.decode.keys_and_values(latents, position), weight)
        return self.norm(bins + self.mlp(bins))

    def left_out(self, session: SessionInput[SpikeStitcher], scheme: Scheme, trials: Tensor, neurons: Tensor) -> Tensor:
        # To leave a neuron out, its spikes are not read. All rows of a trial share the trial's list of spikes. Many
        # rows go through as one batch, and only the neurons' own outputs are computed.
        stitcher, n_bins = session.stitcher, session.visible.shape[1]
        prefix = self.prefix(stitcher, scheme)
        n_tokens = -(-n_bins // self.step_bins) * (self.n_latents + self.step_bins)
        predicted = []
        for trial, neuron in in_passes(trials, neurons, n_tokens=n_tokens):
            own, trial = trial.unique(return_inverse=True)
            row = torch.arange(len(trial), device=trial.device)
            variant = functional.one_hot(trial).cumsum(0)[row, trial] - 1
            # a trial with fewer rows than another has unused variants, which leave no neuron out
            without = neuron.new_full((len(own), int(variant.max()) + 1), -1).index_put((trial, variant), neuron)
            some = SessionInput(stitcher, session.visible[own], session.hidden[own])
            read = self.read_spikes([some], [prefix], scheme, without)[variant, trial]
            states = self.mix(read, repeat(prefix, "token width -> row token width", row=len(read)), n_bins, scheme)
            weight = stitcher.read_out.weight[neuron].to(states.dtype)
            log_rates = einsum(states, weight, "row bin width, row width -> row bin")
            predicted.append(log_rates + stitcher.read_out.bias[neuron, None])
        return torch.cat(predicted)
