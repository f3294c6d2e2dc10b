"""What the cameras saw: motion energy, paws and pupil."""

from typing import Any

import numpy as np

from data_prep.recording import Trace
from neuromtm.errors import SourceError

RESOLUTION = {"left": 2.0, "right": 1.0}
"""pixels of the left camera are half as large: with this, speeds of both cameras have one unit"""
LIKELY = 0.9
"""lowest likelihood of a point that counts as seen"""
PUPIL_POINTS = ("top", "bottom", "left", "right")
SMOOTHING_S = 0.5
"""width of the window that smooths the pupil"""
POLYNOMIAL = 3
OUTLIER_SD = 5.0
LONGEST_GAP_S = 1.0
"""a longer time without a pupil stays missing"""
MOSTLY = 0.9


def align_frames(times_s: np.ndarray, n_frames: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Find the time of each stored frame.

    If there are more times than frames, the first times are left out: the camera's clock starts before its first
    stored frame. If there are more frames than times, nothing tells which frame belongs to which time. Frames whose
    time is missing or repeats an earlier one are left out.

    Args:
        times_s: (time,) in seconds.
        n_frames: number of stored frames.
        what: is stored, for the message.

    Returns:
        (kept,) increasing times, and (kept,) the number of the frame at each.

    Raises:
        SourceError: if there are more frames than times.
    """
    if n_frames > len(times_s):
        raise SourceError(f"{n_frames} frames of {what}, but only {len(times_s)} times.")
    times_s = np.asarray(times_s, np.float64)[len(times_s) - n_frames :]
    timed = np.isfinite(times_s)
    times_s, first = np.unique(times_s[timed], return_index=True)
    return times_s, np.flatnonzero(timed)[first]


def align_camera(times_s: np.ndarray | None, values: np.ndarray | None) -> Trace:
    """Pair a camera's frame times with its motion energy, see `align_frames`.

    Args:
        times_s: (time,) frame times in seconds.
        values: (frame,) motion energy of each stored frame.

    Raises:
        SourceError: if the times or the values are missing, or there are more values than times.
    """
    if times_s is None or values is None or len(values) == 0:
        raise SourceError("no ROIMotionEnergy, or no times of its frames.")
    times_s, frame = align_frames(times_s, len(values), "ROIMotionEnergy")
    return Trace(times_s=times_s, values=np.asarray(values, np.float64)[frame])


def paw_speed(times_s: np.ndarray | None, pose: Any, *, paw: str, camera: str) -> Trace:
    """Speed of a paw from frame to frame, in pixels of the right camera per second; NaN beside frames without the paw.

    Args:
        times_s: (time,) frame times in seconds.
        pose: table with the columns `<paw>_x`, `<paw>_y`, `<paw>_likelihood`, a row a stored frame.
        paw: `paw_l` or `paw_r`, as the table names it.
        camera: left or right.

    Raises:
        SourceError: if the table has no such columns, or the paw is never seen in two frames one after the other.
    """
    if times_s is None or pose is None:
        raise SourceError("no pose, or no times of its frames.")
    times_s, frame = align_frames(times_s, len(pose), "pose")
    x, y = (_seen(pose, paw, axis)[frame] / RESOLUTION[camera] for axis in "xy")
    speed = np.hypot(np.diff(x), np.diff(y)) / np.diff(times_s)
    if not np.isfinite(speed).any():
        raise SourceError(f"{paw} is never seen with a likelihood of at least {LIKELY:g}.")
    return Trace(times_s=times_s[:-1] + np.diff(times_s) / 2, values=speed, averaged=True)


def stored_pupil(times_s: np.ndarray | None, diameter: np.ndarray) -> Trace:
    """The smoothed diameter that the database holds, in pixels of its camera.

    Args:
        times_s: (time,) frame times in seconds.
        diameter: (frame,) smoothed.

    Raises:
        SourceError: if it has no times or no values.
    """
    if times_s is None:
        raise SourceError("no times of the frames of the pupil.")
    times_s, frame = align_frames(times_s, len(diameter), "the pupil")
    values = np.asarray(diameter, np.float64)[frame]
    if not np.isfinite(values).any():
        raise SourceError("the diameter of the pupil is missing in every frame.")
    return Trace(times_s=times_s, values=values, averaged=True)


def tracked_pupil(times_s: np.ndarray | None, pose: Any) -> Trace:
    """The smoothed diameter from the tracked points, in pixels of the camera.

    The diameter of a frame is the median of those that follow from each pair of its four points on a circle. It is
    smoothed by a Savitzky-Golay filter of half a second and order 3, without outliers of more than 5 standard
    deviations. Short gaps are bridged; gaps of more than a second stay missing.

    Args:
        times_s: (time,) frame times in seconds.
        pose: table with the columns `pupil_<point>_r_x`, `_y`, `_likelihood`, a row a stored frame.

    Raises:
        SourceError: if the table has no such columns, or the pupil is hardly ever seen.
    """
    if times_s is None or pose is None:
        raise SourceError("no pose, or no times of its frames.")
    times_s, frame = align_frames(times_s, len(pose), "pose")
    diameter = pupil_diameter(pose)[frame]
    missing = np.isnan(diameter).mean() if len(diameter) else 1.0
    if missing > MOSTLY:
        raise SourceError(f"the pupil is not seen in {100 * missing:.0f} % of the frames.")
    values = smooth_pupil(diameter, rate_hz=1 / np.median(np.diff(times_s)))
    return Trace(times_s=times_s, values=values, averaged=True)


def pupil_diameter(pose: Any) -> np.ndarray:
    """(frame,) diameter of the pupil, NaN where no two of its points are seen.

    Args:
        pose: as for `tracked_pupil`.

    Raises:
        SourceError: if the table has no such columns.
    """
    top, bottom, left, right = (
        np.stack([_seen(pose, f"pupil_{point}_r", axis) for axis in "xy"]) for point in PUPIL_POINTS
    )
    beside = [(top, left), (top, right), (bottom, left), (bottom, right)]
    pairs = [(top, bottom, 1.0), (left, right, 1.0), *((a, b, np.sqrt(2)) for a, b in beside)]
    found = np.stack([factor * np.hypot(*(a - b)) for a, b, factor in pairs])
    diameter = np.full(found.shape[1], np.nan)
    some = np.isfinite(found).any(0)
    diameter[some] = np.nanmedian(found[:, some], axis=0)
    return diameter


def smooth_pupil(diameter: np.ndarray, *, rate_hz: float) -> np.ndarray:
    """Smooth a diameter, see `tracked_pupil`.

    Args:
        diameter: (frame,) NaN where it is missing.
        rate_hz: frames in a second.

    Raises:
        SourceError: if there are too few frames.
    """
    window = round(SMOOTHING_S * rate_hz) // 2 * 2 + 1
    if len(diameter) < window or window <= POLYNOMIAL:
        raise SourceError(f"{len(diameter)} frames at {rate_hz:g} Hz are too few to smooth the pupil.")
    apart = diameter - _polynomial(diameter, window)
    # around 0, not around the mean: a constant diameter differs by one rounding error in all frames
    typical = np.sqrt(np.nanmean(apart**2))
    kept = np.where(np.abs(apart) > OUTLIER_SD * typical, np.nan, diameter)
    smooth = _polynomial(kept, window)
    for begin, end in _gaps(kept):
        if begin == 0 or end == len(kept) or end - begin > LONGEST_GAP_S * rate_hz:
            smooth[begin:end] = np.nan
    return smooth


def _polynomial(values: np.ndarray, window: int) -> np.ndarray:
    from scipy.signal import savgol_filter

    place, known = np.arange(len(values)), np.isfinite(values)
    return savgol_filter(np.interp(place, place[known], values[known]), window, POLYNOMIAL)


def _gaps(values: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of missing values."""
    edges = np.diff(np.concatenate([[0], np.isnan(values).astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def _seen(pose: Any, point: str, axis: str) -> np.ndarray:
    """(frame,) a coordinate, NaN where the point is not likely."""
    columns = [f"{point}_{axis}", f"{point}_likelihood"]
    if missing := [name for name in columns if name not in pose]:
        raise SourceError(f"the pose has no {', '.join(missing)}.")
    place, likelihood = (np.asarray(pose[name], np.float64) for name in columns)
    return np.where((likelihood >= LIKELY) & np.isfinite(place), place, np.nan)
