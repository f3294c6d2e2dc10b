"""Multi-task masking: which scheme a batch gets, and what it hides of each session."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError, DataError
from neuromtm.masking import schemes as s
from neuromtm.masking.schemes import MTM, Masked

NEURONS_PER_TOKEN = 128
"""as NDT2 has in the paper"""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The masking schemes a model is trained with.

    Attributes:
        schemes: one of them is drawn a batch, uniformly over those that the batch's sessions allow.
        temporal_ratio: share of the bins hidden by `temporal`.
        neuron_ratio: share of the neurons hidden by `neuron`.
        causal_ratio: share of the bins hidden by `causal`.
        intra_region_ratio: share of the drawn region's neurons hidden by `intra_region`.
        region_dropout: probability by which `inter_region` shows one known region alone instead, or nothing, each
            drawn as often as the others, and scores all other known regions. This trains just what functional
            connectivity asks for at test, a region alone and nothing to hold it against: where regions are many,
            hiding each by itself would seldom leave one alone, and scoring one of the others at a time would seldom
            meet a pair. A session of one known region is left as it is.
        token_ratio: share of the tokens hidden by `random_token`.
        neurons_per_token: neurons in a token of `random_token`; left out, as many as in the model's own tokens, or 128
            if its tokens are not of neurons.
    """

    schemes: tuple[Scheme, ...] = MTM
    temporal_ratio: float = 0.3
    neuron_ratio: float = 0.3
    causal_ratio: float = 0.6
    intra_region_ratio: float = 0.3
    token_ratio: float = 0.3
    region_dropout: float = 0.0
    neurons_per_token: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "schemes", tuple(self.schemes))  # YAML gives a list
        problems = [] if self.schemes else ["schemes is empty; name at least one."]
        problems += [f"{name!r} is no scheme." for name in self.schemes if name not in get_args(Scheme)]
        if len(set(self.schemes)) != len(self.schemes):
            problems.append("schemes names one twice.")
        ratios = ("temporal_ratio", "neuron_ratio", "causal_ratio", "intra_region_ratio", "token_ratio")
        problems += [
            f"{name} is {getattr(self, name)}, not above 0 and below 1."
            for name in ratios
            if not 0 < getattr(self, name) < 1
        ]
        if not 0 <= self.region_dropout <= 1:
            problems.append(f"region_dropout is {self.region_dropout}, not in 0 to 1.")
        if self.neurons_per_token is not None and self.neurons_per_token < 1:
            problems.append(f"neurons_per_token is {self.neurons_per_token}, less than 1.")
        if problems:
            raise ConfigError("model.objective: " + " ".join(problems))

    def for_tokens(self, neurons_per_token: int | None) -> "Objective":
        """The objective of a model whose tokens have so many neurons; None if they are not of neurons."""
        if self.neurons_per_token is not None:
            return self
        return replace(self, neurons_per_token=neurons_per_token or NEURONS_PER_TOKEN)

    def draw_scheme(self, regions: Sequence[Tensor], generator: torch.Generator) -> Scheme:
        """Draw the batch's scheme.

        Args:
            regions: each session's (neuron,) region numbers.
            generator: source of the draw.

        Raises:
            DataError: if no scheme fits the sessions.
        """
        allowed = s.applicable(self.schemes, regions)
        if not allowed:
            raise DataError(
                f"None of the schemes {', '.join(self.schemes)} can be used: a session has too few regions. "
                "Add the scheme neuron or causal, or leave that session out."
            )
        return allowed[int(torch.randint(len(allowed), (1,), generator=generator))]

    def hide(self, scheme: Scheme, counts: Tensor, region: Tensor, generator: torch.Generator) -> Masked:
        """Apply a scheme to one session's trials.

        Args:
            scheme: which one.
            counts: (trial, bin, neuron) spikes per bin.
            region: (neuron,) region numbers, -1 unknown.
            generator: source of every draw, on the CPU, so that all devices draw alike.
        """
        match scheme:
            case "temporal":
                return s.hide_bins(counts, ratio=self.temporal_ratio, generator=generator)
            case "causal":
                return s.hide_bins(counts, ratio=self.causal_ratio, generator=generator)
            case "neuron":
                return s.hide_neurons(counts, ratio=self.neuron_ratio, generator=generator)
            case "random_token":
                return s.hide_tokens(
                    counts,
                    ratio=self.token_ratio,
                    neurons_per_token=self.neurons_per_token or NEURONS_PER_TOKEN,
                    generator=generator,
                )
        drawn = self._draw_region(scheme, region, generator)
        if scheme == "inter_region":
            known = s.known_regions(region)
            if len(known) > 1 and self._drops(generator):
                shown = [*known, None][int(torch.randint(len(known) + 1, (1,), generator=generator))]
                return s.show_one_region(counts, region, shown_region=shown)
            return s.hide_region(counts, region, drawn_region=drawn)
        return s.hide_within_region(
            counts, region, drawn_region=drawn, ratio=self.intra_region_ratio, generator=generator
        )

    def _drops(self, generator: torch.Generator) -> bool:
        # nothing is drawn without drop-out, so that such runs keep the masks they always had
        return self.region_dropout > 0 and bool(torch.rand((), generator=generator) < self.region_dropout)

    @staticmethod
    def _draw_region(scheme: Scheme, region: Tensor, generator: torch.Generator) -> int:
        regions = s.regions_for(scheme, region)
        return regions[int(torch.randint(len(regions), (1,), generator=generator))]

    def stand_in(self, scheme: Scheme) -> Scheme:
        """The scheme whose prompt and attention serve a task at test.

        A model that was never trained with the task's own scheme (a temporal baseline) has an untrained prompt
        token for it, and has not met its attention: it is asked as it was trained.
        """
        return scheme if scheme in self.schemes else self.schemes[0]
