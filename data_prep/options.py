"""The options that decide what a shard holds. They are checked once, when they are made."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from types import MappingProxyType
from typing import Any

from neuromtm.data.shards import n_bins
from neuromtm.errors import ConfigError

MOST_BINS = 10**15
"""of a window; what does not fit into memory is refused by its size, as long as that is a readable number"""


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
    """the event at time 0 of a trial, any of `TrialTable.event_names`"""
    reaction_time_s: tuple[float, float] = (0.08, 2.0)
    """shortest and longest reaction time of a kept trial; -inf and inf: no limit"""
    max_feedback_delay_s: float = 10.0
    """longest time from go cue to feedback of a kept trial; inf: no limit"""
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
    split_gap_s: float = 0.0
    """windows that are closer than this go to one split"""
    continuous: bool = False
    """cut windows from the whole recorded time, one after the other, without regard to trials"""
    keep_source_overlap: bool = False
    """keep the splits of the source though windows of two of them share time, as a benchmark asks"""
    keep_incomplete: bool = False
    """also keep trials that lack a value or a part of the whisker trace, though never those without the event"""

    def __post_init__(self):
        problems = []
        start_s, end_s = self.window_s
        if not (start_s < end_s and isfinite(end_s - start_s)):
            problems.append(f"--window-s {start_s:g} {end_s:g}: must be finite, and the end after the start.")
        if not 0 < self.bin_size_s < float("inf"):
            problems.append(f"--bin-size-s {self.bin_size_s:g}: must be above 0 and finite.")
        elif not problems and self.n_bins < 1:
            problems.append(
                f"--bin-size-s {self.bin_size_s:g}: is wider than the window of {end_s - start_s:g} s "
                f"(--window-s {start_s:g} {end_s:g})."
            )
        elif not problems and self.n_bins > MOST_BINS:
            problems.append(f"--bin-size-s {self.bin_size_s:g}: gives more than {MOST_BINS:.0e} bins in a window.")
        elif not problems and abs(self.n_bins * self.bin_size_s - (end_s - start_s)) > 1e-6 * self.bin_size_s:
            problems.append(
                f"--bin-size-s {self.bin_size_s:g} does not divide the window of {end_s - start_s:g} s "
                f"(--window-s {start_s:g} {end_s:g}). Choose a bin size that does."
            )
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed {self.seed}: must be from 0 to {2**32 - 1}.")
        if not self.align_event:
            problems.append("--align-event: name a column of the trial table.")
        if not 0 <= self.split_gap_s < float("inf"):
            problems.append(f"--split-gap-s {self.split_gap_s:g}: must be at least 0 and finite.")
        shortest_s, longest_s = self.reaction_time_s
        if not (shortest_s <= longest_s and (shortest_s >= 0 or shortest_s == -inf)):
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
        """The options in the form that a shard stores.

        Those of `LATER` are left out at their defaults: a shard that was prepared before there were such options is
        one of the same preparation.
        """
        default = {name: getattr(type(self), name) for name in LATER}
        found = {name: _as_json(value) for name, value in asdict(self).items()}
        return {name: value for name, value in found.items() if name not in LATER or value != default[name]}


def _as_json(value: object) -> object:
    if isinstance(value, tuple):
        return [_as_json(entry) for entry in value]
    # JSON has no infinity: null stands for a limit that is none
    return None if isinstance(value, float) and not isfinite(value) else value


LATER = ("split_gap_s", "continuous", "keep_source_overlap", "keep_incomplete")
"""options that the first shards of format 2 did not have"""
CONTINUOUS_EVENT = "window_start"
"""the `align_event` of windows that were cut from continuous time"""
CONTINUOUS_GAP_S = 1.0
"""gap between the splits of continuous windows: smoothing and behaviour reach over the edge of a window"""


def _defaults(*names: str) -> Mapping[str, Any]:
    return MappingProxyType({name: getattr(PrepareOptions, name) for name in names})


TRIAL_FILTERS: Mapping[str, Mapping[str, Any]] = {
    "paper": _defaults("reaction_time_s", "max_feedback_delay_s", "keep_unknown_choice", "keep_incomplete"),
    "none": {
        "reaction_time_s": (-inf, inf),
        "max_feedback_delay_s": inf,
        "keep_unknown_choice": True,
        "keep_incomplete": True,
    },
}
"""named sets of the options of trials; a shard stores the single options"""
NEURON_QC: Mapping[str, Mapping[str, Any]] = {
    "paper": _defaults("min_label", "min_firing_rate_hz"),
    "good": {"min_label": 1.0, "min_firing_rate_hz": 0.0},
    "all": {"min_label": 0.0, "min_firing_rate_hz": 0.0},
}
"""named sets of the options of neurons; the paper keeps all neurons that were sorted, as `all` does"""
DEFAULT_LENGTH_S = 1.0
"""length of a window of continuous time"""


def binning_options(parser: argparse.ArgumentParser, *, window_s: tuple[float, float] | None = None) -> None:
    """Add the options of a trial's window and bins.

    Args:
        parser: of the command.
        window_s: the default window; None if it depends on other options.
    """
    default = PrepareOptions()
    shown = "" if window_s else " (default: {:g} {:g})".format(*default.window_s)
    parser.add_argument(
        "--window-s",
        type=float,
        nargs=2,
        default=window_s,
        metavar=("START", "END"),
        help=f"start and end of a trial relative to its event, in seconds{shown}",
    )
    parser.add_argument("--bin-size-s", type=float, default=default.bin_size_s, help="width of a bin, in seconds")


def recording_options(parser: argparse.ArgumentParser, *, align_event: str | None = None) -> None:
    """Add the options that every source of real recordings has: event, window, bins, filters, splits.

    Args:
        parser: of the source's command.
        align_event: the default event; None if the user has to name one.
    """
    default = PrepareOptions()
    add = parser.add_argument
    add(
        "--align-event",
        metavar="COLUMN",
        help="event at time 0 of a trial: a column of the trial table; a wrong name gets a list of those there"
        + (f" (default: {align_event})" if align_event else ""),
    )
    parser.set_defaults(default_event=align_event)
    binning_options(parser)
    add(
        "--continuous",
        action="store_true",
        help="cut windows from the whole recorded time, one after the other; trials are not needed",
    )
    add(
        "--length-s",
        type=float,
        metavar="LENGTH",
        help=f"length of a window of --continuous, in seconds (default: {DEFAULT_LENGTH_S:g})",
    )
    _filter_options(parser)
    add(
        "--split-fractions",
        type=float,
        nargs=3,
        default=default.split_fractions,
        metavar=("TRAIN", "VAL", "TEST"),
        help="parts of a session's trials for training, validation and test: three fractions that sum to 1",
    )
    add(
        "--split-gap-s",
        type=float,
        metavar="GAP",
        help="least time between windows of two splits, in seconds; windows that share time are in one split in any "
        f"case (default: 0, with --continuous {CONTINUOUS_GAP_S:g})",
    )


def _filter_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of which trials and which neurons are kept. Each overrides the named set."""
    default = PrepareOptions()
    add, both = parser.add_argument, argparse.BooleanOptionalAction
    add(
        "--trial-filter",
        choices=[*TRIAL_FILTERS],
        default="paper",
        help="which trials to keep; paper: those of the paper; none: all with the event inside the recorded time. The "
        "options of trials below override it one by one",
    )
    add(
        "--reaction-time-s",
        type=float,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="keep a trial if its first movement comes from MIN to MAX after stimulus onset, in seconds "
        "(paper: {:g} {:g})".format(*default.reaction_time_s),
    )
    add(
        "--max-feedback-delay-s",
        type=float,
        metavar="MAX",
        help="remove a trial if its feedback comes more than MAX after the go cue, in seconds (paper: "
        f"{default.max_feedback_delay_s:g})",
    )
    add(
        "--keep-unknown-choice", action=both, help="also keep trials whose choice is 0 (not made or unknown; paper: no)"
    )
    add(
        "--keep-incomplete",
        action=both,
        help="also keep trials that lack one of the values stimulus onset, choice, feedback, block, first movement, or "
        "a part of the whisker trace (paper: no)",
    )
    add(
        "--neuron-qc",
        choices=[*NEURON_QC],
        default="paper",
        help="which neurons to keep; paper and all: all that were sorted; good: those whose label is 1, which passed "
        "every criterion of quality. The options of neurons below override it one by one",
    )
    add(
        "--min-label",
        type=float,
        metavar="LABEL",
        help="lowest quality label of a kept neuron, a fraction from 0 to 1; 0 keeps all neurons (paper: "
        f"{default.min_label:g})",
    )
    add(
        "--min-firing-rate-hz",
        type=float,
        metavar="RATE",
        help="lowest mean firing rate of a kept neuron over the windows of the training trials, in Hz (paper: "
        f"{default.min_firing_rate_hz:g})",
    )


def chosen_options(
    args: argparse.Namespace, *, events: Sequence[str] = (), keep_source_overlap: bool = False
) -> PrepareOptions:
    """The options of `recording_options` that the user gave.

    Args:
        args: of the command.
        events: those that the recordings have, as far as they are known, for a message.
        keep_source_overlap: see `PrepareOptions`.

    Raises:
        ConfigError: if options are out of range or exclude each other, or neither an event nor --continuous is given.
    """
    if args.continuous and args.window_s is not None:
        raise ConfigError(
            "--window-s is a window around an event, but --continuous has none. Give its windows a length by "
            "--length-s, or leave out --continuous."
        )
    if args.continuous and args.align_event is not None:
        raise ConfigError(
            f"--align-event {args.align_event} is time 0 of a trial, but --continuous cuts its windows from the whole "
            "recorded time. Leave out one of the two."
        )
    if not args.continuous and args.length_s is not None:
        raise ConfigError(
            "--length-s is the length of a window of --continuous, which is not given. Name the window around an "
            "event by --window-s, or add --continuous."
        )
    event = args.default_event if args.align_event is None else args.align_event
    if args.continuous:
        length_s = DEFAULT_LENGTH_S if args.length_s is None else args.length_s
        window_s, event = (0.0, length_s), CONTINUOUS_EVENT
    elif event is None:
        raise ConfigError(
            "--align-event: name the column of the trial table that is time 0 of a trial, or give --continuous. "
            + (f"There are: {', '.join(events)}." if events else "--inspect lists the columns.")
        )
    else:
        window_s = tuple(args.window_s or PrepareOptions.window_s)
    gap_s = (CONTINUOUS_GAP_S if args.continuous else 0.0) if args.split_gap_s is None else args.split_gap_s
    return PrepareOptions(
        window_s=window_s,
        bin_size_s=args.bin_size_s,
        align_event=event,
        split_fractions=tuple(args.split_fractions),
        seed=args.seed,
        split_gap_s=gap_s,
        continuous=args.continuous,
        keep_source_overlap=keep_source_overlap,
        **_chosen(args, TRIAL_FILTERS[args.trial_filter]),
        **_chosen(args, NEURON_QC[args.neuron_qc]),
    )


def _chosen(args: argparse.Namespace, preset: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a named set, with those that the user gave in their place."""
    given = {name: value for name in preset if (value := getattr(args, name)) is not None}
    return {**preset, **{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}}
