"""The tasks of BrainWideBench: which windows they look at, and what they decode from them.

Source: the benchmark's own definitions, in the package `ibl_bwb_eval` 0.1.0.
"""

from typing import Literal, NamedTuple, get_args

Task = Literal[
    "choice",
    "stimulus_contrast",
    "reward",
    "licking_rate",
    "whisker_motion_energy",
    "wheel_speed",
    "left_paw_speed",
    "right_paw_speed",
    "co_smoothing",
    "forecasting",
    "unit_cosmos",
]
TASKS: tuple[Task, ...] = get_args(Task)
BIN_SIZE_S = 0.02
WINDOW_S = 1.0
"""length of every window"""
SAMPLING_RATE_HZ = 50.0
"""of the traces of behaviour"""


class Decoding(NamedTuple):
    """What a task decodes."""

    interval: str
    """name among the file's `task_aligned_intervals`"""
    event: str
    """what the window is aligned to"""
    window_s: tuple[float, float]
    """start and end of the window, relative to the event"""
    trace: str | None = None
    """path of a trace in the file; None for a class of each trial, whose values stand with the intervals"""
    known: str | None = None
    """path of a mask that says which samples of the trace are known"""
    n_known: str | None = None
    """column of the intervals: how many samples are known in each"""
    standardised: bool = False
    """whether the benchmark scores the trace in standard deviations of the training windows"""
    per_bin: bool = False
    """whether the trace is a rate per second, which the benchmark scores as whole numbers per bin"""


MOVEMENT = ("movement_window", "movement_onset", (0.0, 1.0))
FEEDBACK = ("feedback", (0.0, 1.0))
DECODING: dict[str, Decoding] = {
    "choice": Decoding("choice", "movement_onset", (-1.0, 0.0)),
    "stimulus_contrast": Decoding("stimulus_contrast", "stimulus_onset", (-0.9, 0.1)),
    "reward": Decoding("reward", *FEEDBACK),
    "licking_rate": Decoding("licking_window", *FEEDBACK, "licks/licking_rate", per_bin=True),
    "whisker_motion_energy": Decoding(*MOVEMENT, "whisker/whisker_motion_energy", standardised=True),
    "wheel_speed": Decoding(*MOVEMENT, "wheel/wheel_speed"),
    **{
        f"{side}_paw_speed": Decoding(
            *MOVEMENT,
            f"paws/{side}_paw_speed",
            f"paws/is_{side}_paw_confident",
            f"num_{side}_paw_confident",
            standardised=True,
        )
        for side in ("left", "right")
    },
}
"""the tasks of the suite of behaviour"""
ACTIVITY = ("co_smoothing", "forecasting")
"""the tasks of the suite of activity; their windows are the same"""
REGION = "unit_cosmos"
CLASSES: dict[str, tuple[float, ...]] = {
    "choice": (-1.0, 1.0),
    "reward": (-1.0, 1.0),
    "stimulus_contrast": (0.0, 1.0, 2.0, 3.0, 4.0),
}
"""task -> the value in a shard of each class of the benchmark, in the order of the benchmark's classes"""


def suite_of(task: str) -> Literal["ts1", "ts2", "ts3"]:
    """The benchmark's suite of a task."""
    if task in ACTIVITY:
        return "ts2"
    return "ts3" if task == REGION else "ts1"
