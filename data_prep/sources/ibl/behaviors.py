"""The behaviours of a session, each a trace at the rate of its own source. Every one may be missing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_prep.recording import EVENTS, WHISKER, Trace, TrialTable
from data_prep.sources.ibl.cameras import align_camera, paw_speed, stored_pupil, tracked_pupil
from data_prep.sources.ibl.wheel import wheel_position, wheel_speed, wheel_velocity
from neuromtm.errors import SourceError

Load = Callable[[str, Sequence[str]], Mapping[str, Any]]
"""object and attributes in the folder alf -> what is there of it; a SourceError if there is nothing"""
Span = tuple[float, float]
Wanted = tuple[str, tuple[str, ...]]
"""object and attributes in the folder alf; the first attribute is what the behaviour cannot do without"""

ALL = "all"
DEFAULT = (WHISKER,)
WHEEL = ("wheel", ("position", "timestamps"))
LICKS = ("licks", ("times",))
POSES = ("lightningPose", "dlc")
"""tables of tracked points; the first one that is there is taken"""
PUPIL = "pupilDiameter_smooth"
LICK_RATE_HZ = 1000.0
BESIDE_TRIALS_S = 10.0
"""so long before the first event of a trial and after the last one, no lick is a rate of 0"""


class BehaviorSource(NamedTuple):
    """A behaviour that can be read."""

    summary: str
    read: Callable[[Load, Span], tuple[Trace, list[str]]]
    """of the loading and of the time of the trials; gives the trace, and notes"""
    objects: tuple[Wanted, ...]
    """from any of these it can be read, the first one first"""


def _of_cameras(what: Sequence[str], read: Callable[[Load, str], Trace], summary: str) -> BehaviorSource:
    """A behaviour that either camera may have seen, the left one first, in any of some attributes."""

    def read_one(load: Load, span_s: Span) -> tuple[Trace, list[str]]:
        notes = []
        for side in ("left", "right"):
            try:
                return read(load, side), notes
            except SourceError as error:
                notes.append(f"{side} camera not used ({str(error).rstrip('.')})")
        raise _NotThere(notes)

    objects = tuple((f"{side}Camera", (name, "times")) for side in ("left", "right") for name in what)
    return BehaviorSource(f"{summary}; of the left camera, else of the right one", read_one, objects)


class _NotThere(SourceError):
    """Neither camera has it."""

    def __init__(self, notes: list[str]):
        self.notes = notes
        super().__init__("; ".join(notes))


def _whisker(load: Load, side: str) -> Trace:
    camera = load(f"{side}Camera", ("ROIMotionEnergy", "times"))
    return align_camera(camera.get("times"), camera.get("ROIMotionEnergy"))


def _body(load: Load, span_s: Span) -> tuple[Trace, list[str]]:
    camera = load("bodyCamera", ("ROIMotionEnergy", "times"))
    energy = align_camera(camera.get("times"), camera.get("ROIMotionEnergy"))
    return Trace(times_s=energy.times_s, values=energy.values, averaged=True), []


def _pose(load: Load, side: str) -> tuple[np.ndarray | None, Any]:
    """Frame times, and the table of tracked points."""
    for name in POSES:
        camera = load(f"{side}Camera", (name, "times"))
        if name in camera:
            return camera.get("times"), camera[name]
    raise SourceError(f"no {side}Camera.{' or '.join(POSES)} in alf.")


def _paw(paw: str) -> Callable[[Load, str], Trace]:
    def read(load: Load, side: str) -> Trace:
        times_s, pose = _pose(load, side)
        return paw_speed(times_s, pose, paw=paw, camera=side)

    return read


def _pupil(load: Load, side: str) -> Trace:
    camera = load(f"{side}Camera", ("features", "times"))
    features = camera.get("features")
    if features is not None and PUPIL in features and np.isfinite(features[PUPIL]).any():
        return stored_pupil(camera.get("times"), np.asarray(features[PUPIL]))
    return tracked_pupil(*_pose(load, side))


def _of_wheel(compute: Callable[[Trace], Trace], summary: str) -> BehaviorSource:
    def read(load: Load, span_s: Span) -> tuple[Trace, list[str]]:
        wheel = load(*WHEEL)
        position = wheel_position(wheel.get("timestamps"), wheel.get("position"))
        still = ["the wheel never moves"] if np.ptp(position.values) == 0 else []
        return compute(position), still

    return BehaviorSource(summary, read, (WHEEL,))


def _licks(load: Load, span_s: Span) -> tuple[Trace, list[str]]:
    return lick_rate(load(*LICKS).get("times"), span_s=span_s), []


def lick_rate(times_s: np.ndarray | None, *, span_s: Span) -> Trace:
    """Licks per second. The mean over a bin is the number of its licks divided by its length.

    Each lick is a triangle of 1 ms to both sides with an area of 1: only samples beside licks are kept, all others are
    0. A lick within 1 ms of the edge of a bin counts in part on both sides. Licks whose time is missing or repeats an
    earlier one are left out.

    Args:
        times_s: (lick,) in seconds, in any order.
        span_s: no lick in this time is a rate of 0.

    Raises:
        SourceError: if there are none.
    """
    known = np.zeros(0) if times_s is None else np.asarray(times_s, np.float64).ravel()
    known = np.unique(known[np.isfinite(known)])
    if not len(known):
        raise SourceError("no licks.times.")
    tick, licks = np.unique(np.round(known * LICK_RATE_HZ).astype(np.int64), return_counts=True)
    ends = [round(time_s * LICK_RATE_HZ) for time_s in span_s if np.isfinite(time_s)]
    ticks = np.unique(np.concatenate([tick - 1, tick, tick + 1, np.array(ends, np.int64)]))
    values = np.zeros(len(ticks))
    values[np.searchsorted(ticks, tick)] = licks * LICK_RATE_HZ
    return Trace(times_s=ticks / LICK_RATE_HZ, values=values, averaged=True)


BEHAVIORS: Mapping[str, BehaviorSource] = {
    WHISKER: _of_cameras(("ROIMotionEnergy",), _whisker, "motion energy of the whisker pad"),
    "body_motion_energy": BehaviorSource(
        "motion energy of the body camera", _body, (("bodyCamera", ("ROIMotionEnergy", "times")),)
    ),
    "wheel_position": _of_wheel(lambda position: position, "position of the wheel, in radians"),
    "wheel_velocity": _of_wheel(wheel_velocity, "velocity of the wheel, in radians per second, low-passed at 20 Hz"),
    "wheel_speed": _of_wheel(wheel_speed, "absolute velocity of the wheel"),
    "pupil_diameter": _of_cameras(
        ("features", *POSES), _pupil, "smoothed diameter of the pupil, in pixels of its camera"
    ),
    "paw_speed_left": _of_cameras(POSES, _paw("paw_l"), "speed of the point paw_l, in pixels per second"),
    "paw_speed_right": _of_cameras(POSES, _paw("paw_r"), "speed of the point paw_r, in pixels per second"),
    "lick_rate": BehaviorSource("licks per second", _licks, (LICKS,)),
}
"""name of the trace -> how it is read"""


def read_behaviors(load: Load, names: Iterable[str], *, span_s: Span) -> tuple[dict[str, Trace], list[str]]:
    """Read behaviours. One that is missing or no good is left out, and a note says why.

    Args:
        load: gives the objects of the session.
        names: of `BEHAVIORS`.
        span_s: time of the trials.

    Returns:
        name -> trace, and the notes.
    """
    memory: dict[tuple[str, tuple[str, ...]], Mapping[str, Any] | SourceError] = {}

    def load_once(name: str, attributes: Sequence[str]) -> Mapping[str, Any]:
        key = name, tuple(attributes)
        if key not in memory:
            try:
                memory[key] = load(*key)
            except SourceError as error:
                memory[key] = error
        found = memory[key]
        if isinstance(found, SourceError):
            raise found
        return found

    traces, said = {}, {}
    for name in names:
        try:
            trace, notes = BEHAVIORS[name].read(load_once, span_s)
            if name != WHISKER and not np.isfinite(trace.values).any():
                raise SourceError("all its values are missing.")
            traces[name] = trace
        except _NotThere as error:
            notes = error.notes
        except SourceError as error:
            notes = [f"not there ({str(error).rstrip('.')})"]
        for note in notes:
            said.setdefault(note, []).append(name)
    # the whisker trace is there by default: its notes need no name
    return traces, [note if names == [WHISKER] else f"{', '.join(names)}: {note}" for note, names in said.items()]


def trial_span(trials: TrialTable) -> Span:
    """From some time before the first event of a trial to some time after the last one; NaN if none has a time."""
    events = [values for field in EVENTS.values() if (values := getattr(trials, field)) is not None]
    times_s = np.concatenate(events) if events else np.zeros(0)
    times_s = times_s[np.isfinite(times_s)]
    if not len(times_s):
        return np.nan, np.nan
    return float(times_s.min()) - BESIDE_TRIALS_S, float(times_s.max()) + BESIDE_TRIALS_S


def chosen_behaviors(names: Sequence[str]) -> tuple[str, ...]:
    """The names that the user gave, each once, in the order of `BEHAVIORS`; `all` stands for all of them."""
    return tuple(name for name in BEHAVIORS if name in names or ALL in names)
