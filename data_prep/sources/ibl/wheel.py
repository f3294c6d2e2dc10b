"""The wheel: position, velocity and speed. Units are those of the position, radians in the database."""

import numpy as np

from data_prep.recording import Trace
from neuromtm.errors import SourceError

RATE_HZ = 1000.0
"""of the evenly spaced position from which the velocity is computed"""
CORNER_HZ = 20.0
ORDER = 8
SHORTEST_S = 0.1
"""less is too short for the filter"""
LONGEST_S = 24 * 3600.0
"""more is no session in seconds"""


def wheel_position(times_s: np.ndarray | None, position: np.ndarray | None) -> Trace:
    """The position at the times of the rotary encoder, which are those of its steps.

    Times or positions that are missing are left out, and so are times that repeat an earlier one.

    Args:
        times_s: (sample,) in seconds.
        position: (sample,).

    Raises:
        SourceError: if the two do not belong together, or span no usable time.
    """
    if times_s is None or position is None:
        raise SourceError("no wheel.position, or no wheel.timestamps.")
    times_s, position = np.asarray(times_s, np.float64), np.asarray(position, np.float64)
    if times_s.ndim != 1 or times_s.shape != position.shape:
        raise SourceError(f"wheel: {times_s.shape} timestamps, but {position.shape} positions.")
    known = np.isfinite(times_s) & np.isfinite(position)
    times_s, first = np.unique(times_s[known], return_index=True)
    span_s = times_s[-1] - times_s[0] if len(times_s) else 0.0
    if not SHORTEST_S <= span_s <= LONGEST_S:
        raise SourceError(f"wheel: its {len(times_s)} samples span {span_s:g} s. Are the times in seconds?")
    return Trace(times_s=times_s, values=position[known][first], averaged=True)


def wheel_velocity(position: Trace) -> Trace:
    """The velocity, per second: of the position at 1 kHz, low-passed forwards and backwards.

    The values are those of `velocity_filtered` in ibllib: linear interpolation, a Butterworth filter of order 8 with a
    corner of 20 Hz by `sosfiltfilt`, and differences. A difference has the time between its two samples.

    Args:
        position: of the wheel.
    """
    from scipy.signal import butter, sosfiltfilt

    start_s, end_s = position.times_s[[0, -1]]
    times_s = start_s + np.arange(int((end_s - start_s) * RATE_HZ) + 1) / RATE_HZ
    sections = butter(ORDER, CORNER_HZ, btype="lowpass", fs=RATE_HZ, output="sos")
    smooth = sosfiltfilt(sections, np.interp(times_s, position.times_s, position.values))
    return Trace(times_s=times_s[:-1] + 0.5 / RATE_HZ, values=np.diff(smooth) * RATE_HZ, averaged=True)


def wheel_speed(position: Trace) -> Trace:
    """The absolute velocity."""
    velocity = wheel_velocity(position)
    return Trace(times_s=velocity.times_s, values=np.abs(velocity.values), averaged=True)
