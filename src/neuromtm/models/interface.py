"""What an architecture must offer: a `Backbone` with the shared weights, and a stitcher for each session.

A new architecture is one file with a subclass of `Backbone`; `model.backbone.class_path` names it.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor, nn

from neuromtm.batch import Scheme

Stitcher = TypeVar("Stitcher", bound=nn.Module)
"""the class of an architecture's stitchers"""


class SessionInput(NamedTuple, Generic[Stitcher]):
    """Some trials of one session, as the model sees them."""

    stitcher: Stitcher
    """the session's own weights, made by `Backbone.make_stitcher`"""
    visible: Tensor
    """(trial, bin, neuron) counts with the hidden entries set to 0"""
    hidden: Tensor
    """(trial, bin, neuron) bool, the entries that are hidden: a visible 0 is not one of them"""


class Output(NamedTuple):
    """What a model makes of its inputs."""

    log_rates: list[Tensor]
    """for each input, (trial, bin, neuron) log of the expected spikes per bin"""
    states: list[Tensor]
    """for each input, (trial, bin, state_size) what the read-out reads: the model's own view of a bin"""
    own_loss: Tensor | None = None
    """a scalar that the architecture adds to the reconstruction loss (a KL term), if it has one"""


class Backbone(nn.Module, ABC, Generic[Stitcher]):
    """The shared part of a model. A subclass says the class of its stitchers: `class NDT1(Backbone[LinearStitcher])`.

    Every constructor argument of a subclass is keyword-only, of a plain type, and kept as an attribute of the
    same name: `options` reads them back, and a checkpoint rebuilds the architecture from them.
    """

    neurons_per_token: int | None = None
    """neurons in a token, where a token is a group of neurons: what the scheme `random_token` must hide whole"""

    @abstractmethod
    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> Stitcher:
        """Make the weights of one session.

        Args:
            mean_counts: (neuron,) mean spikes per bin over the training trials: before any training the model
                predicts these rates.
            regions: acronym of each neuron, see `SessionInfo.regions`.
        """

    @abstractmethod
    def forward(self, inputs: Sequence[SessionInput[Stitcher]], scheme: Scheme) -> Output:
        """Predict the rates of several sessions' trials at once; all have the same number of bins.

        Args:
            inputs: the sessions.
            scheme: selects the prompt token and whether attention is causal.
        """

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Numbers that describe a bin in `Output.states`: what behaviour is decoded from."""

    @property
    def max_n_bins(self) -> int | None:
        """The longest trial it can take, in bins; None for any."""
        return None

    @property
    def wants_averages(self) -> bool:
        """Whether new sessions' stitchers start from trial averages, by `start_from_averages`."""
        return False

    def start_from_averages(self, stitchers: Sequence[Stitcher], averages: Sequence[Tensor]) -> None:
        """Give stitchers their first weights by what their sessions do on the average trial.

        Args:
            stitchers: as `make_stitcher` made them, of all sessions that are new.
            averages: for each, (bin, neuron) mean spikes per bin over the training trials.
        """
        raise NotImplementedError(f"{type(self).__name__} wants no averages.")

    @property
    def reads_mask(self) -> bool:
        """Whether what is predicted depends on `SessionInput.hidden`, and not on the visible counts alone.

        Where it does not, a neuron without a visible spike in a trial is as good as hidden there, and leaving it out
        takes no pass of its own. An architecture that never reads `hidden` in evaluation may say so by False.
        """
        return True

    def left_out(self, session: SessionInput[Stitcher], scheme: Scheme, trials: Tensor, neurons: Tensor) -> Tensor:
        """Predict neurons in trials, each with only itself hidden in addition.

        This plain version runs a pass over all outputs for each neuron. An architecture may override it by something
        quicker that gives the same numbers.

        Args:
            session: one session's trials.
            scheme: the prompt.
            trials: (row,) int64, places in the session's trials.
            neurons: (row,) int64, the neuron that is left out of this trial.

        Returns:
            (row, bin) log-rates of that neuron.
        """
        predicted = session.visible.new_empty(len(trials), session.visible.shape[1])
        for neuron in neurons.unique().tolist():
            rows = (neurons == neuron).nonzero()[:, 0]
            visible, hidden = session.visible[trials[rows]], session.hidden[trials[rows]]
            visible[..., neuron], hidden[..., neuron] = 0, True
            log_rates = self([session._replace(visible=visible, hidden=hidden)], scheme).log_rates[0]
            predicted[rows] = log_rates[..., neuron].to(predicted.dtype)
        return predicted

    @property
    def options(self) -> dict[str, object]:
        """The constructor's arguments, in plain types."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def class_path(self) -> str:
        """The class by its full name."""
        return f"{type(self).__module__}.{type(self).__qualname__}"
