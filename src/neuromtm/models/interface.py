"""What an architecture must offer: a `Backbone` with the shared weights, and a stitcher for each session.

A new architecture is one file with a subclass of `Backbone`; `model.backbone.class_path` names it.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor, nn

from neuromtm.batch import NeuronStatistics, Scheme
from neuromtm.errors import ConfigError

Stitcher = TypeVar("Stitcher", bound=nn.Module)
"""the class of an architecture's stitchers"""


class SessionInput(NamedTuple, Generic[Stitcher]):
    """Some trials of one session, as the model sees them."""

    stitcher: Stitcher
    """the session's own weights, made by `Backbone.make_stitcher`"""
    visible: Tensor
    """(trial, bin, neuron) counts with the hidden entries set to 0"""
    hidden: Tensor
    """(trial, bin, neuron) bool, True where an entry is hidden; False for a visible count of 0"""
    n_active: Tensor | None = None
    """(trial, bin) int64 on the host, at least as many as the neurons with a visible spike in each bin; None if nobody
    counted. An architecture that lists the spikes need not read the device then."""
    traces: Tensor | None = None
    """(trial, bin, trace) the traces that the architecture reads (`Backbone.behaviors`), in their own units, NaN where
    hidden or missing; None if all are hidden"""


class Output(NamedTuple):
    """What a model computes from its inputs."""

    log_rates: list[Tensor]
    """for each input, (trial, bin, neuron) log of the expected spikes per bin"""
    states: list[Tensor]
    """for each input, (trial, bin, state_size) the model's description of each bin, which the read-out reads. In
    evaluation they are the same in every call, and not drawn at random."""
    own_loss: Tensor | None = None
    """a scalar that the architecture adds to the reconstruction loss (a KL term), if it has one"""
    own_terms: Mapping[str, Tensor] | None = None
    """name -> scalar, the parts of `own_loss` without their weights; a training logs them as `train/<name>`"""
    traces: list[Tensor] | None = None
    """for each input, (trial, bin, trace) the expected traces, standardised; None if the architecture reads none"""


class Backbone(nn.Module, ABC, Generic[Stitcher]):
    """The shared part of a model. A subclass names the class of its stitchers: `class NDT1(Backbone[LinearStitcher])`.

    Every constructor argument of a subclass is keyword-only, of a plain type, and kept as an attribute of the
    same name: `options` reads these attributes, and a checkpoint rebuilds the architecture from them.

    Weight decay is for matrices. If a parameter of a module is a list of vectors (start states, learned queries), the
    module's class names it: `no_decay = ("start",)`.
    """

    behaviors: Sequence[str] = ()
    """Names of the traces of behaviour that the architecture reads and predicts beside the spikes. A stitcher then has
    a `StandardiseTraces` by the name `traces`."""
    neurons_per_token: int | None = None
    """Neurons in a token, if a token is a group of neurons; else None. `random_token` must hide whole tokens."""
    wants_active_counts: bool = False
    """Whether the data should count the active neurons of each bin for `SessionInput.n_active`. An architecture that
    lists the spikes wants them; without them it reads the device."""
    standardise: bool = False
    """Whether the stitchers standardise counts by what `start_from_statistics` tells them."""
    principal_axes: bool = False
    """Whether new sessions' stitchers start along the principal axes that `start_from_statistics` tells them."""
    former_options: ClassVar[Mapping[str, Any]] = {}
    """Options that the class was given later, with the values that it had without them. A checkpoint from before is
    made with these, whatever the defaults are now."""
    uses_every_weight: bool = False
    """Whether every training step uses all shared weights, except `Prompts` and `BehaviorChannels`, whatever the
    scheme. Ranks that train together then need not search each step for unused ones."""

    @abstractmethod
    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> Stitcher:
        """Make the weights of one session.

        Args:
            mean_counts: (neuron,) mean spikes per bin over the training trials. Before any training the model
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
        """How many numbers describe a bin in `Output.states`. Behaviour is decoded from them."""

    @property
    def max_n_bins(self) -> int | None:
        """The longest trial that the model can take, in bins; None if there is no limit."""
        return None

    def require_n_bins(self, n_bins: int) -> None:
        """Refuse trials that are too long.

        Args:
            n_bins: bins a trial.

        Raises:
            ConfigError: if the architecture cannot take so many.
        """
        if self.max_n_bins is not None and n_bins > self.max_n_bins:
            raise ConfigError(
                f"The data have {n_bins} bins a trial, but the model takes at most {self.max_n_bins}. Train a model "
                "with a larger model.backbone.max_bins, or prepare shorter trials."
            )

    @property
    def wants_statistics(self) -> bool:
        """Whether new sessions' stitchers need `start_from_statistics`."""
        return self.standardise or self.principal_axes

    def start_from_statistics(self, stitcher: Stitcher, statistics: NeuronStatistics) -> None:
        """Give a new session's stitcher what its training trials say of its neurons.

        Args:
            stitcher: as `make_stitcher` made it.
            statistics: of the session's training trials.
        """
        own: Any = stitcher  # one that keeps `standardise` and `principal_axes` False need not have the method
        own.start_from_statistics(statistics, principal_axes=self.principal_axes)

    @property
    def wants_averages(self) -> bool:
        """Whether new sessions' stitchers start from trial averages, by `start_from_averages`."""
        return False

    def start_from_averages(self, stitchers: Sequence[Stitcher], averages: Sequence[Tensor]) -> None:
        """Set the first weights of stitchers from their sessions' trial averages.

        Args:
            stitchers: those of all new sessions, as `make_stitcher` made them.
            averages: for each stitcher, (bin, neuron) mean spikes per bin over the training trials.
        """
        raise NotImplementedError(f"{type(self).__name__} wants no averages.")

    def begin_training(self, n_batches: int) -> None:
        """Learn how long a training will be, before its first step. A training that goes on says it again.

        Args:
            n_batches: training batches of the whole training, on each rank.
        """

    @property
    def reads_mask(self) -> bool:
        """Whether predictions depend on `SessionInput.hidden`, and not on the visible counts alone.

        If they do not, hiding a neuron changes nothing in trials where it has no visible spike, and leaving it out
        there needs no pass of its own. An architecture that never reads `hidden` in evaluation may return False.
        """
        return True

    def left_out(self, session: SessionInput[Stitcher], scheme: Scheme, trials: Tensor, neurons: Tensor) -> Tensor:
        """Predict neurons in trials. In each row only that row's neuron is hidden in addition.

        This plain version runs a pass over all outputs for each neuron. An architecture may override it with a quicker
        version that gives the same numbers.

        Args:
            session: one session's trials.
            scheme: selects the prompt token and whether attention is causal.
            trials: (row,) int64, position of each row's trial among the session's trials.
            neurons: (row,) int64, the neuron that is left out of this trial.

        Returns:
            (row, bin) log-rates of that neuron.
        """
        predicted = session.visible.new_empty(len(trials), session.visible.shape[1])
        for neuron in neurons.unique().tolist():
            rows = (neurons == neuron).nonzero()[:, 0]
            visible, hidden = session.visible[trials[rows]], session.hidden[trials[rows]]
            visible[..., neuron], hidden[..., neuron] = 0, True
            traces = None if session.traces is None else session.traces[trials[rows]]
            alone = SessionInput(session.stitcher, visible, hidden, traces=traces)
            log_rates = self([alone], scheme).log_rates[0]
            predicted[rows] = log_rates[..., neuron].to(predicted.dtype)
        return predicted

    @property
    def options(self) -> dict[str, object]:
        """The constructor's arguments, in plain types."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def class_path(self) -> str:
        """The full name of the class."""
        return f"{type(self).__module__}.{type(self).__qualname__}"
