"""The options that decide what a shard holds. They are checked once, when they are made."""

import argparse
from dataclasses import asdict, dataclass
from math import isfinite

from data_prep.recording import EVENTS
from neuromtm.data.shards import n_bins
from neuromtm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """How a recording is cut into trials and bins. The defaults are the paper's.

    Raises:
        ConfigError: if options are out of range; the message names all of them.
    """

    window_s: tuple[float, float] = (-0.5, 1.5)
    """start and end of a trial relative to its event"""
    bin_size_s: float = 0.02
    align_event: str = "stimOn_times"
    """the event at time 0 of a trial"""
    reaction_time_s: tuple[float, float] = (0.08, 2.0)
    """shortest and longest reaction time of a kept trial"""
    max_feedback_delay_s: float = 10.0
    """longest time from go cue to feedback of a kept trial"""
    keep_unknown_choice: bool = False
    """also keep trials whose choice is 0: the animal did not choose, or its choice is unknown"""
    min_label: float = 0.0
    """lowest quality label of a kept neuron; 0 keeps all neurons, also those without a label"""
    min_firing_rate_hz: float = 0.0
    """lowest mean firing rate of a kept neuron in the windows of the training trials"""
    split_fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """parts of the trials for train, val and test"""
    seed: int = 0
    """seed of the split"""

    def __post_init__(self):
        problems = []
        start_s, end_s = self.window_s
        if not (start_s < end_s and isfinite(end_s - start_s)):
            problems.append(f"--window-s {start_s:g} {end_s:g}: must be finite, and the end after the start.")
        if not 0 < self.bin_size_s < float("inf"):
            problems.append(f"--bin-size-s {self.bin_size_s:g}: must be above 0 and finite.")
        elif not problems and abs(self.n_bins * self.bin_size_s - (end_s - start_s)) > 1e-6 * self.bin_size_s:
            problems.append(
                f"--bin-size-s {self.bin_size_s:g} does not divide the window of {end_s - start_s:g} s "
                f"(--window-s {start_s:g} {end_s:g}). Choose a bin size that does."
            )
        if self.align_event not in EVENTS:
            problems.append(f"--align-event {self.align_event}: not one of {', '.join(EVENTS)}.")
        if not 0 <= self.reaction_time_s[0] <= self.reaction_time_s[1]:
            problems.append("--reaction-time-s: both must be at least 0, and MAX must not be below MIN.")
        if not self.max_feedback_delay_s > 0:
            problems.append(f"--max-feedback-delay-s {self.max_feedback_delay_s:g}: must be above 0.")
        if not 0 <= self.min_label <= 1:
            problems.append(f"--min-label {self.min_label:g}: must be from 0 to 1.")
        if not self.min_firing_rate_hz >= 0:
            problems.append(f"--min-firing-rate-hz {self.min_firing_rate_hz:g}: must not be below 0.")
        if not all(f > 0 for f in self.split_fractions) or abs(sum(self.split_fractions) - 1) > 1e-6:
            given = " ".join(f"{f:g}" for f in self.split_fractions)
            problems.append(f"--split-fractions {given}: must be three numbers above 0 that sum to 1.")
        if problems:
            raise ConfigError(" ".join(problems))

    @property
    def n_bins(self) -> int:
        return n_bins(self.window_s, self.bin_size_s)

    @property
    def duration_s(self) -> float:
        return self.window_s[1] - self.window_s[0]

    def as_json(self) -> dict[str, object]:
        """The options in the form that a shard stores."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def binning_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a trial's window and bins."""
    default = PrepareOptions()
    parser.add_argument(
        "--window-s",
        type=float,
        nargs=2,
        default=default.window_s,
        metavar=("START", "END"),
        help="start and end of a trial relative to its event, in seconds",
    )
    parser.add_argument("--bin-size-s", type=float, default=default.bin_size_s, help="width of a bin, in seconds")
