"""What a session's training trials give its stitcher at the start: standardised inputs, and read-ins along its axes."""

import functools

import torch
from torch import Tensor, nn

from neuromtm.batch import NeuronStatistics
from neuromtm.randomness import generator_for

EXTRA_VARIANCE = 0.02
"""Added to a neuron's variance, so that a neuron that hardly fires does not outweigh the others. The same value as for
the principal axes (`neuromtm.data.statistics`)."""


class Standardise(nn.Module):
    """Subtract from each neuron's counts their mean, and divide by their standard deviation.

    Mean and variance are those of the session's training trials and never change. A hidden entry becomes 0, so that to
    the model it looks like the mean and not like silence.

    Args:
        n_neurons: number of neurons.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, n_neurons: int):
        super().__init__()
        # saved in checkpoints, which open without the data
        self.register_buffer("center", torch.zeros(n_neurons))
        self.register_buffer("scale", torch.ones(n_neurons))

    def measure(self, statistics: NeuronStatistics) -> None:
        """Take over the statistics of the session's training trials."""
        self.center.copy_(statistics.mean)
        self.scale.copy_(inverse_deviation(statistics))

    def forward(self, visible: Tensor, hidden: Tensor, neurons: Tensor | None = None) -> Tensor:
        """Standardise.

        Args:
            visible: (..., neuron) counts, 0 where hidden; or (row, bin) those of one neuron a row.
            hidden: bool, of the same shape.
            neurons: (row,) int64, the neuron of each row; None if the last axis is all neurons.

        Returns:
            Of the same shape, 0 where hidden.
        """
        center, scale = self.center, self.scale
        if neurons is not None:
            center, scale = center[neurons, None], scale[neurons, None]
        return ((visible - center) * scale).masked_fill(hidden, 0)


def inverse_deviation(statistics: NeuronStatistics) -> Tensor:
    """(neuron,) what a count less its mean is multiplied by, to be standardised."""
    return (statistics.variance + EXTRA_VARIANCE).rsqrt()


def along_principal_axes(statistics: NeuronStatistics, width: int) -> Tensor | None:
    """First weights of a read-in of standardised counts: along the session's principal axes, through a fixed rotation.

    The rotation is the same for all sessions, of any run. The first axis of every session thus starts on the same
    direction of the model, the second on the next, and so on, each with the side up that has the larger weights (the
    sum of their cubes is positive). Smoothed training trials have variance 1 along each
    axis.

    Args:
        statistics: of the session's training trials.
        width: the model's width. If there are more axes than that, the first ones are used.

    Returns:
        (neuron, width); None if there are no axes, because there are no training trials.
    """
    axes = statistics.axes[:width]
    # the sign of an axis means nothing; more or stronger neurons on the positive side is alike in all sessions
    axes = axes * axes.pow(3).sum(dim=1, keepdim=True).sign()
    return axes.T @ _rotation(width)[: len(axes)] if len(axes) else None


@functools.cache
def _rotation(width: int) -> Tensor:
    """(width, width) a random rotation, always the same."""
    rotation, triangle = torch.linalg.qr(torch.randn(width, width, generator=generator_for("rotation of axes")))
    return rotation * triangle.diagonal().sign()  # the decomposition leaves the signs to the machine
