"""Multi-task masking: draw a scheme for each batch and apply it to each session."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuromtm.batch import RegionIndex, Scheme
from neuromtm.errors import ConfigError, DataError
from neuromtm.masking.masked import Masked, Options
from neuromtm.masking.schemes import MTM, SCHEMES, applicable

NEURONS_PER_TOKEN = 128
"""as in the paper's NDT2"""
FORMER_OPTIONS: Mapping[str, Any] = {"region_per_trial": False, "draw_unknown": False, "trailing_blocks": 0.0}
"""what an objective did before it had these options: for the records of older checkpoints"""
RATIO_OPTIONS: dict[Scheme, str] = {
    "temporal": "temporal_ratio",
    "neuron": "neuron_ratio",
    "causal": "causal_ratio",
    "intra_region": "intra_region_ratio",
    "random_token": "token_ratio",
}
"""scheme -> the option that sets its ratio; any other scheme has the ratio of its file"""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The masking schemes a model is trained with.

    Attributes:
        schemes: one of them is drawn for each batch, uniformly among those that the batch's sessions allow.
        temporal_ratio: share of the bins hidden by `temporal`.
        neuron_ratio: share of the neurons hidden by `neuron`.
        causal_ratio: share of the bins hidden by `causal`.
        intra_region_ratio: share of the drawn region's neurons hidden by `intra_region`.
        region_dropout: probability that `inter_region` uses region drop-out. It then shows one known region alone, or
            nothing, and scores all other known regions. Each known region and "nothing" are equally likely. This
            trains what functional connectivity asks for at test: a prediction from one region alone, and one from
            nothing to compare it with. With many regions, hiding each at random would seldom leave one alone, and
            scoring one other region at a time would seldom meet a given pair. Drop-out does not apply to a session
            with one known region.
        region_per_trial: whether the region schemes draw a region for each trial, and not one for all trials of a
            session in a batch. With one for all, a batch is one sample of a noisy gradient.
        draw_unknown: whether training draws and scores the neurons of unknown region like one more region. Where many
            neurons are of unknown region, the region schemes otherwise train on the few others. A test never does it.
        trailing_blocks: share of the trials in which `causal` hides the last bins in one block, of any length up to
            half of the trial, as the test of forward prediction does, and not bins here and there; and in which
            `heldout` hides them beside the held-out neurons.
        token_ratio: share of the tokens hidden by `random_token`.
        neurons_per_token: neurons in a token of `random_token`. By default as many as in the model's own tokens, or 128
            if the model's tokens are not groups of neurons.
        behavior_weight: weight of the cost of behaviour, which `decoding` scores. The cost of an entry is half its
            squared error in standard deviations; that of a neuron's entry is Poisson, in nats.
    """

    schemes: tuple[Scheme, ...] = MTM
    temporal_ratio: float = SCHEMES["temporal"].ratio
    neuron_ratio: float = SCHEMES["neuron"].ratio
    causal_ratio: float = SCHEMES["causal"].ratio
    intra_region_ratio: float = SCHEMES["intra_region"].ratio
    token_ratio: float = SCHEMES["random_token"].ratio
    region_dropout: float = 0.0
    region_per_trial: bool = True
    draw_unknown: bool = True
    trailing_blocks: float = 0.0
    neurons_per_token: int | None = None
    behavior_weight: float = 1.0

    def __post_init__(self):
        if nulls := [one.name for one in fields(self) if getattr(self, one.name) is None and one.default is not None]:
            raise ConfigError(f"model.objective: {' and '.join(nulls)} must not be null.")
        object.__setattr__(self, "schemes", tuple(self.schemes))  # YAML gives a list
        problems = [] if self.schemes else ["schemes is empty; name at least one."]
        problems += [f"{name!r} is no scheme." for name in self.schemes if name not in SCHEMES]
        if len(set(self.schemes)) != len(self.schemes):
            problems.append("schemes names a scheme twice.")
        problems += [
            f"{name} is {getattr(self, name)}, not above 0 and below 1."
            for name in RATIO_OPTIONS.values()
            if not 0 < getattr(self, name) < 1
        ]
        problems += [
            f"{name} is {getattr(self, name)}, not in 0 to 1."
            for name in ("region_dropout", "trailing_blocks")
            if not 0 <= getattr(self, name) <= 1
        ]
        if not 0 < self.behavior_weight < math.inf:
            problems.append(f"behavior_weight is {self.behavior_weight}, not a number above 0.")
        if self.neurons_per_token is not None and self.neurons_per_token < 1:
            problems.append(f"neurons_per_token is {self.neurons_per_token}, less than 1.")
        if problems:
            raise ConfigError("model.objective: " + " ".join(problems))

    def for_tokens(self, neurons_per_token: int | None) -> "Objective":
        """The objective of a model with so many neurons in a token; None if its tokens are not groups of neurons."""
        if self.neurons_per_token is not None:
            return self
        return replace(self, neurons_per_token=neurons_per_token or NEURONS_PER_TOKEN)

    def draw_scheme(
        self, regions: Sequence[RegionIndex], generator: np.random.Generator, *, with_behavior: bool = True
    ) -> Scheme:
        """Draw the batch's scheme.

        Args:
            regions: those of each session's neurons.
            generator: source of the draw. The host must know the scheme, so it is drawn there.
            with_behavior: see `neuromtm.masking.schemes.applicable`.

        Raises:
            DataError: if no scheme fits the sessions.
        """
        allowed = self.applicable(regions, with_behavior=with_behavior)
        if not allowed:
            lacks = "too few regions" if with_behavior else "too few regions, or no behaviour that the model reads"
            if "heldout" in self.schemes:
                lacks += ", or no neurons that its source holds out beside others that it does not"
            raise DataError(
                f"None of the schemes {', '.join(self.schemes)} can be used: a session has {lacks}. "
                "Add the scheme neuron or causal, or leave that session out."
            )
        return allowed[int(generator.integers(len(allowed)))]

    def applicable(self, regions: Sequence[RegionIndex], *, with_behavior: bool = True) -> list[Scheme]:
        """The schemes that all of the sessions allow, given the regions of each session's neurons.

        See `neuromtm.masking.schemes.applicable`.
        """
        drawn_from = [self._drawn_from(region) for region in regions]
        return applicable(self.schemes, drawn_from, with_behavior=with_behavior)

    def _drawn_from(self, region: RegionIndex) -> RegionIndex:
        return region.with_unknown() if self.draw_unknown else region

    def hide(
        self,
        scheme: Scheme,
        counts: Tensor,
        region: RegionIndex,
        generator: torch.Generator,
        *,
        region_per_trial: bool | None = None,
    ) -> Masked:
        """Apply a scheme to one session's trials.

        Args:
            scheme: which one.
            counts: (trial, bin, neuron) spikes per bin.
            region: those of the neurons.
            generator: source of every draw, on the device of the counts.
            region_per_trial: whether each trial has a region drawn for itself, and not all trials the same one. By
                default as the objective says.
        """
        options = Options(
            ratio=self.ratio_of(scheme),
            neurons_per_token=self.neurons_per_token or NEURONS_PER_TOKEN,
            region_dropout=self.region_dropout,
            trailing_blocks=self.trailing_blocks,
            region_per_trial=self.region_per_trial if region_per_trial is None else region_per_trial,
        )
        return SCHEMES[scheme].hide(counts, self._drawn_from(region), options, generator)

    def ratio_of(self, scheme: Scheme) -> float:
        """The share that a scheme hides; 1 for a scheme that hides all of what it draws."""
        option = RATIO_OPTIONS.get(scheme)
        return SCHEMES[scheme].ratio if option is None else getattr(self, option)

    def stand_in(self, scheme: Scheme) -> Scheme:
        """The scheme whose prompt and attention the model uses for a task at test.

        This is the task's own scheme if the model was trained with it, else the first scheme of its training. For
        example, a temporal baseline has an untrained prompt token for other schemes and was not trained with their
        attention.
        """
        return scheme if scheme in self.schemes else self.schemes[0]

    def require_trained(self, scheme: Scheme, *, option: str) -> None:
        """Refuse a prompt that the model has not learned.

        Args:
            scheme: whose prompt and attention are asked for.
            option: that asks for it, for the message.

        Raises:
            ConfigError: if it is not among `schemes`.
        """
        if scheme not in self.schemes:
            raise ConfigError(
                f"{option} is {scheme}, but the model is trained with {', '.join(self.schemes)} only: it has not "
                "learned that prompt and its attention. Choose one of these, or leave it out."
            )
