"""A backbone with one stitcher for each session, kept by eid."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import NeuronStatistics, Scheme, SessionInfo
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.padding import by_session, pad_stack, rows_of
from neuromtm.models.standardising import Standardise, along_principal_axes, inverse_deviation
from neuromtm.models.traces import StandardiseTraces
from neuromtm.randomness import seed_from

PAIRS_AT_ONCE = 2**10
"""An architecture leaves out about so many pairs of a trial and a neuron by one call, so that progress shows."""
GPU_TIMES = 16
"""on a GPU, so many times as many"""


def module_key(eid: str) -> str:
    """The module name of an eid. A module name may hold no dot and must not be that of a ModuleDict's own method."""
    return "session:" + eid.replace("%", "%25").replace(".", "%2E")


class LinearStitcher(nn.Module):
    """Linear maps between a session's neurons and the model's width, and the session's token.

    Args:
        width: the model's width.
        mean_counts: (neuron,) mean spikes per bin. The read-out starts with zero weights and the logarithm of
            these as bias, so that training starts at zero bits per spike.
        mask_input: whether the stitcher also reads which entries are hidden, by weights of their own.
        standardise: whether counts are standardised before they are read in, see `Standardise`.
        n_traces: number of traces of behaviour that the model reads too.
    """

    def __init__(
        self,
        *,
        width: int,
        mean_counts: Tensor,
        mask_input: bool = False,
        standardise: bool = False,
        n_traces: int = 0,
    ):
        super().__init__()
        n_neurons = len(mean_counts)
        self.traces = StandardiseTraces(n_traces) if n_traces else None
        self.standardise = Standardise(n_neurons) if standardise else None
        self.read_in = nn.Linear(n_neurons, width)
        self.mask_in = nn.Linear(n_neurons, width, bias=False) if mask_input else None
        self.read_out = nn.Linear(width, n_neurons)
        self.token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        nn.init.zeros_(self.read_out.weight)
        with torch.no_grad():
            self.read_out.bias.copy_(mean_counts.log())

    def start_from_statistics(self, statistics: NeuronStatistics, *, principal_axes: bool) -> None:
        """Take over what the session's training trials say of its neurons.

        Args:
            statistics: of the training trials.
            principal_axes: whether the read-in starts along the principal axes, see `along_principal_axes`.
        """
        if self.standardise is not None:
            self.standardise.measure(statistics)
        weight = along_principal_axes(statistics, self.read_in.out_features) if principal_axes else None
        if weight is None:
            return
        with torch.no_grad():
            self.read_in.weight.copy_(weight.T)
            if self.standardise is None:  # counts less their mean, over their standard deviation
                self.read_in.weight *= inverse_deviation(statistics)
                self.read_in.bias.copy_(-self.read_in.weight @ statistics.mean)
            else:
                nn.init.zeros_(self.read_in.bias)

    def neuron_weights(self) -> Tensor:
        """(neuron, feature) the weights by which each neuron is read, and then those by which it is predicted."""
        return torch.cat([self.read_in.weight.T, self.read_out.weight], dim=1)

    def shown(self, visible: Tensor, hidden: Tensor, neurons: Tensor | None = None) -> Tensor:
        """What the read-in's weights multiply, of the shape of `visible`; arguments as in `Standardise.forward`."""
        return visible if self.standardise is None else self.standardise(visible, hidden, neurons)

    def drive(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """Map counts to the model's width.

        Args:
            visible: (trial, bin, neuron) counts, 0 where hidden.
            hidden: (trial, bin, neuron) bool.

        Returns:
            (trial, bin, width).
        """
        drive = self.read_in(self.shown(visible, hidden))
        return drive if self.mask_in is None else drive + self.mask_in(hidden.to(visible.dtype))

    def share(self, visible: Tensor, hidden: Tensor, neurons: Tensor) -> Tensor:
        """The part of `drive` that is lost when one more neuron is hidden.

        Args:
            visible: (row, bin) the neuron's counts, 0 where hidden.
            hidden: (row, bin) bool.
            neurons: (row,) int64, the neuron of each row.

        Returns:
            (row, bin, width).
        """
        pattern = "row bin, width row -> row bin width"
        share = einsum(self.shown(visible, hidden, neurons), self.read_in.weight[:, neurons], pattern)
        if self.mask_in is None:
            return share
        return share - einsum((~hidden).to(visible.dtype), self.mask_in.weight[:, neurons], pattern)


def drive_of_all(inputs: Sequence[SessionInput]) -> Tensor:
    """Map the counts of all sessions to the model's width, by one product for all of them.

    Args:
        inputs: sessions with a `LinearStitcher`.

    Returns:
        (trial, bin, width), the trials of all sessions one after the other.
    """
    if len(inputs) == 1:
        return inputs[0].stitcher.drive(inputs[0].visible, inputs[0].hidden)
    stitchers, n_trials = [one.stitcher for one in inputs], [len(one.visible) for one in inputs]
    drive = _product(
        pad_stack([one.stitcher.shown(one.visible, one.hidden) for one in inputs]),
        pad_stack([s.read_in.weight for s in stitchers]),
        torch.stack([s.read_in.bias for s in stitchers]),
    )
    if stitchers[0].mask_in is not None:
        hidden = pad_stack([one.hidden.to(one.visible.dtype) for one in inputs])
        drive = drive + _product(hidden, pad_stack([s.mask_in.weight for s in stitchers]))
    return rows_of(drive, n_trials)


def read_out_of_all(inputs: Sequence[SessionInput], states: Tensor) -> list[Tensor]:
    """Read out the rates of all sessions, by one product for all of them.

    The bias is added in the precision of the weights, also under autocast: it holds the mean rates, and in half
    precision they would be wrong by a percent or more.

    Args:
        inputs: sessions whose stitcher has a linear `read_out`.
        states: (trial, bin, state), the trials of all sessions one after the other.

    Returns:
        For each session, (trial, bin, neuron) log-rates.
    """
    if len(inputs) == 1:
        read_out = inputs[0].stitcher.read_out
        return [functional.linear(states, read_out.weight) + read_out.bias]
    n_trials = [len(one.visible) for one in inputs]
    log_rates = _product(
        by_session(states, n_trials),
        pad_stack([one.stitcher.read_out.weight for one in inputs]),
    )
    log_rates = log_rates + rearrange(
        pad_stack([one.stitcher.read_out.bias for one in inputs]), "session neuron -> session 1 1 neuron"
    )
    # first by session and then by neuron: the gradient of a slice of everything would be as large as everything
    return [
        own[:n, :, : one.visible.shape[2]] for own, n, one in zip(log_rates.unbind(0), n_trials, inputs, strict=True)
    ]


def session_rows(of_session: Sequence[Tensor], n_trials: Sequence[int]) -> Tensor:
    """(trial, ...) a tensor of each session, repeated for each of its trials."""
    return rows_of(torch.stack(list(of_session))[:, None].expand(-1, max(n_trials), *of_session[0].shape), n_trials)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(session, trial, bin, input), (session, out, input), (session, out) -> (session, trial, bin, out)."""
    flat, weight = rearrange(x, "session trial bin input -> session (trial bin) input"), weight.transpose(1, 2)
    out = torch.bmm(flat, weight) if bias is None else torch.baddbmm(bias[:, None], flat, weight)
    return rearrange(out, "session (trial bin) out -> session trial bin out", bin=x.shape[2])


class VisibleGroup(NamedTuple):
    """Some trials of one session, which is named by its eid."""

    eid: str
    visible: Tensor
    """(trial, bin, neuron) counts with the hidden entries set to 0"""
    hidden: Tensor | None = None
    """(trial, bin, neuron) bool, the entries that are hidden; None if nothing is hidden"""
    n_active: Tensor | None = None
    """see `SessionGroup.n_active`; it may count spikes that are hidden"""
    traces: Tensor | None = None
    """see `SessionInput.traces`"""


class StitchedModel(nn.Module):
    """One backbone for all sessions and one stitcher for each session.

    Args:
        backbone: the shared weights.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self.stitchers = nn.ModuleDict()
        self.sessions: dict[str, SessionInfo] = {}

    def add_session(self, session: SessionInfo, mean_counts: Tensor | None = None) -> None:
        """Give a session its own weights. The weights of other sessions do not change.

        Args:
            session: its eid, neurons and regions.
            mean_counts: (neuron,) mean spikes per bin over the training trials, above 0. By default 1, which is
                right only if trained weights are loaded afterwards.
        """
        if mean_counts is None:
            mean_counts = torch.ones(session.n_neurons)
        with torch.random.fork_rng(devices=[]):
            # seeded by the eid and not from a running stream, so that other sessions do not matter
            torch.manual_seed(seed_from(torch.initial_seed(), "stitcher", session.eid))
            self.stitchers[module_key(session.eid)] = self.backbone.make_stitcher(mean_counts, session.regions)
        self.sessions[session.eid] = session

    def start_from_statistics(self, statistics: Mapping[str, NeuronStatistics]) -> None:
        """Give stitchers what their sessions' training trials say of the neurons: eid -> statistics.

        See `Backbone.start_from_statistics`.
        """
        for eid, own in statistics.items():
            self.backbone.start_from_statistics(self.stitchers[module_key(eid)], own)

    def traces_of(self, eid: str) -> StandardiseTraces:
        """The units of a session's traces, if the architecture reads any (`Backbone.behaviors`)."""
        traces = self.stitchers[module_key(eid)].traces
        assert isinstance(traces, StandardiseTraces)
        return traces

    def start_from_averages(self, averages: Mapping[str, Tensor]) -> None:
        """Set the first weights of stitchers from their sessions' trial averages: eid -> (bin, neuron).

        See `Backbone.start_from_averages`.
        """
        stitchers = [self.stitchers[module_key(eid)] for eid in averages]
        self.backbone.start_from_averages(stitchers, list(averages.values()))

    def forward(self, groups: Sequence[VisibleGroup], scheme: Scheme) -> Output:
        """Log-rates of each group, of the shape of its counts; see `Backbone.forward`."""
        return self.backbone([self._input(*group) for group in groups], scheme)

    def left_out(
        self, group: VisibleGroup, scheme: Scheme, neurons: Tensor, *, done: Callable[[int], None] | None = None
    ) -> Tensor:
        """Predict some neurons. For each of them, only that neuron is hidden in addition.

        The device is read once, to know in which trials the neurons have visible spikes.

        Args:
            group: trials of one session.
            scheme: selects the prompt token and whether attention is causal.
            neurons: (left_out,) int64, the neurons to leave out in turn.
            done: is called now and then with the number of pairs of a trial and a neuron left out since its last call.

        Returns:
            (trial, bin, left_out) log-rates, in the precision of the weights.
        """
        session = self._input(*group)
        n_trials, n_bins = session.visible.shape[:2]
        if self.backbone.reads_mask:
            own_pass = torch.ones(n_trials, len(neurons), dtype=torch.bool)
        else:
            own_pass = (session.visible[..., neurons] != 0).any(dim=1).cpu()
        predicted = session.visible.new_empty(n_trials, n_bins, len(neurons))
        with_silent = (~own_pass).any(dim=1).nonzero()[:, 0]
        if len(with_silent):  # one pass serves all silent neurons of a trial: to hide them changes nothing
            trials = with_silent.to(neurons.device)
            log_rates = self.backbone([_some(session, trials)], scheme).log_rates[0]
            predicted[trials] = log_rates[..., neurons].to(predicted.dtype)
        n_pairs = PAIRS_AT_ONCE * (1 if neurons.device.type == "cpu" else GPU_TIMES)
        for part in torch.arange(len(neurons)).split(max(1, n_pairs // n_trials)):
            trials, places = own_pass[:, part].nonzero(as_tuple=True)
            if len(trials):
                trials, places = trials.to(neurons.device), part[places].to(neurons.device)
                rows = self.backbone.left_out(session, scheme, trials, neurons[places])
                predicted[trials, :, places] = rows.to(predicted.dtype)
            if done is not None:
                done(n_trials * len(part))
        return predicted

    def _input(
        self, eid: str, visible: Tensor, hidden: Tensor | None, n_active: Tensor | None, traces: Tensor | None
    ) -> SessionInput:
        assert traces is None or self.backbone.behaviors, "an architecture without behaviours would ignore the traces"
        stitcher = self.stitchers[module_key(eid)]
        if hidden is None:
            hidden = torch.zeros_like(visible, dtype=torch.bool)
        # in the precision of the weights, which the trainer may have set
        dtype = next(stitcher.parameters()).dtype
        return SessionInput(stitcher, visible.to(dtype), hidden, n_active, None if traces is None else traces.to(dtype))


def _some(session: SessionInput, trials: Tensor) -> SessionInput:
    """Some of a session's trials."""
    n_active = None if session.n_active is None else session.n_active[trials.cpu()]
    traces = None if session.traces is None else session.traces[trials]
    visible, hidden = session.visible[trials], session.hidden[trials]
    return session._replace(visible=visible, hidden=hidden, n_active=n_active, traces=traces)
