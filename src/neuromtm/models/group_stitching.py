"""Stitchers for groups of neurons: each group has maps of its own between its neurons and its token."""

import hashlib
from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import UNKNOWN_REGIONS, NeuronStatistics
from neuromtm.models.interface import SessionInput
from neuromtm.models.padding import by_session, pad_stack, rows_of
from neuromtm.models.standardising import Standardise, along_principal_axes, inverse_deviation
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
        standardise: whether counts are standardised before they are read in, see `Standardise`.
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
        standardise: bool = False,
    ):
        super().__init__()
        self.standardise = Standardise(len(mean_counts)) if standardise else None
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

    def start_from_statistics(self, statistics: NeuronStatistics, *, principal_axes: bool) -> None:
        """Take over what the session's training trials say of its neurons.

        A group's token reads only its own neurons' part of each axis. To make up for the others, the parts are scaled
        by the root of the number of groups.

        Args:
            statistics: of the training trials.
            principal_axes: whether the read-in starts along the principal axes, see `along_principal_axes`.
        """
        if self.standardise is not None:
            self.standardise.measure(statistics)
        weight = along_principal_axes(statistics, self.weight_in.shape[-1]) if principal_axes else None
        if weight is None:
            return
        weight = weight * self.n_groups**0.5
        with torch.no_grad():
            if self.standardise is None:  # it multiplies counts, so that it also divides them by their deviation
                weight = weight * inverse_deviation(statistics)[:, None]
            grouped = in_groups(weight.T, self.neurons_per_token)
            self.weight_in.copy_(rearrange(grouped, "width group member -> group member width"))

    def neuron_weights(self) -> Tensor:
        """(neuron, feature) as of `LinearStitcher`: those between a neuron and the token of its group."""
        weights = torch.cat([by_neuron(self.weight_in), by_neuron(self.weight_out)], dim=1)
        return weights[: len(self.bias_out)]

    def shown(self, visible: Tensor, hidden: Tensor, neurons: Tensor | None = None) -> Tensor:
        """What the read-in's weights multiply, of the shape of `visible`; arguments as in `Standardise.forward`."""
        return visible if self.standardise is None else self.standardise(visible, hidden, neurons)

    def drive(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """Map counts to the tokens' width.

        Args:
            visible: (trial, bin, neuron) counts, 0 where hidden.
            hidden: (trial, bin, neuron) bool.

        Returns:
            (trial, bin, group, width).
        """
        pattern = "trial bin group member, group member width -> trial bin group width"
        shown = in_groups(self.shown(visible, hidden), self.neurons_per_token)
        drive = einsum(shown, self.weight_in, pattern) + self.bias_in
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
        share = einsum(self.shown(visible, hidden, neurons), by_neuron(self.weight_in)[neurons], pattern)
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
    shown = in_groups(pad_stack([one.stitcher.shown(one.visible, one.hidden) for one in inputs]), size)
    drive = einsum(shown, pad_stack([s.weight_in for s in stitchers]), pattern)
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
