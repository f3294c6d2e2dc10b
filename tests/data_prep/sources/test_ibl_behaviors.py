"""Behaviours of signals whose right answer is known, and of files that are damaged."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.binning import mean_in_bins
from data_prep.recording import WHISKER, TrialTable
from data_prep.sources.ibl.behaviors import BEHAVIORS, chosen_behaviors, lick_rate, read_behaviors, trial_span
from data_prep.sources.ibl.cameras import align_frames, paw_speed, pupil_diameter, smooth_pupil, tracked_pupil
from data_prep.sources.ibl.wheel import wheel_position, wheel_speed, wheel_velocity
from neuromtm.errors import SourceError

RNG = np.random.default_rng(0)


# ---- wheel ----


def sine_wheel(rate_hz: float, duration_s: float = 20.0):
    times_s = np.sort(RNG.uniform(3, 3 + duration_s, 20_000))
    return times_s, np.sin(2 * np.pi * rate_hz * times_s)


def inner(trace):
    """Without the second at each end, where the filter has no future or no past."""
    there = (trace.times_s > trace.times_s[0] + 1) & (trace.times_s < trace.times_s[-1] - 1)
    return trace.times_s[there], trace.values[there]


def test_the_velocity_of_a_sine_is_its_cosine_and_the_speed_its_absolute_value():
    position = wheel_position(*sine_wheel(1.0))
    times_s, found = inner(wheel_velocity(position))
    expected = 2 * np.pi * np.cos(2 * np.pi * times_s)
    np.testing.assert_allclose(found, expected, atol=0.05)
    np.testing.assert_allclose(inner(wheel_speed(position))[1], np.abs(found))


@pytest.mark.parametrize(("rate_hz", "gain"), [(5.0, 1.0), (20.0, 0.5), (60.0, 0.0)])
def test_a_wheel_that_trembles_is_low_passed_at_twenty_hertz_without_delay(rate_hz, gain):
    times_s = np.arange(0, 6, 1e-3)
    position = wheel_position(times_s, np.sin(2 * np.pi * rate_hz * times_s))
    times_s, found = inner(wheel_velocity(position))
    # forwards and backwards: half of the amplitude is left at the corner, and the phase stays
    expected = gain * 2 * np.pi * rate_hz * np.cos(2 * np.pi * rate_hz * times_s)
    np.testing.assert_allclose(found, expected, atol=0.02 * 2 * np.pi * rate_hz)


def test_velocities_are_those_of_the_published_formula():
    from scipy.signal import butter, sosfiltfilt

    times_s, values = np.arange(0, 3, 1e-3), np.cumsum(RNG.normal(size=3000))
    sections = butter(N=8, Wn=20 / 1000 * 2, btype="lowpass", output="sos")
    published = np.insert(np.diff(sosfiltfilt(sections, values)), 0, 0) * 1000
    found = wheel_velocity(wheel_position(times_s, values))
    np.testing.assert_allclose(found.values, published[1 : len(found.values) + 1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.times_s[:2], [0.0005, 0.0015])


def test_a_wheel_is_read_though_its_times_are_unsorted_repeated_or_missing():
    times_s, values = np.array([0.0, 2.0, 1.0, 1.0, np.nan, 3.0, 4.0]), np.array([0, 20, 10, 99, 50, np.nan, 40.0])
    position = wheel_position(times_s, values)
    assert (position.times_s.tolist(), position.values.tolist()) == ([0, 1, 2, 4], [0, 10, 20, 40])


@pytest.mark.parametrize(
    ("times_s", "position", "reason"),
    [
        (None, np.ones(3), "no wheel.position, or no wheel.timestamps"),
        (np.arange(4.0), np.ones(3), "timestamps, but"),
        (np.full(3, np.nan), np.ones(3), "its 0 samples span 0 s"),
        (np.array([1.0, 1.01]), np.ones(2), "2 samples span 0.01 s"),
        (np.array([0.0, 5e6]), np.ones(2), "Are the times in seconds"),
    ],
)
def test_a_wheel_that_is_no_use_is_refused(times_s, position, reason):
    with pytest.raises(SourceError, match=reason):
        wheel_position(times_s, position)


# ---- cameras ----


def walking(n_frames: int = 50, likelihood: float = 1.0):
    """A paw that goes 3 pixels to the right and 4 down in each frame."""
    return {
        "paw_r_x": 3.0 * np.arange(n_frames),
        "paw_r_y": -4.0 * np.arange(n_frames),
        "paw_r_likelihood": np.full(n_frames, likelihood),
    }


class Table(dict):
    """Columns, as a table of pandas has them."""

    def __len__(self):
        return len(next(iter(self.values())))


@pytest.mark.parametrize(("camera", "speed"), [("right", 500.0), ("left", 250.0)])
def test_a_paw_has_the_speed_of_its_way(camera, speed):
    times_s = 10 + 0.01 * np.arange(50)
    trace = paw_speed(times_s, Table(walking()), paw="paw_r", camera=camera)
    np.testing.assert_allclose(trace.values, speed)
    np.testing.assert_allclose(trace.times_s, times_s[:-1] + 0.005)


def test_a_lost_frame_does_not_make_a_paw_faster():
    kept = np.delete(np.arange(50), [7, 8, 20])
    pose = Table({name: values[kept] for name, values in walking().items()})
    np.testing.assert_allclose(paw_speed(0.01 * kept, pose, paw="paw_r", camera="right").values, 500.0)


def test_a_paw_is_missing_beside_frames_in_which_it_is_not_likely():
    pose = Table(walking())
    pose["paw_r_likelihood"][[10, 30]] = 0.89, np.nan
    pose["paw_r_likelihood"][20] = 0.9
    speed = paw_speed(0.01 * np.arange(50), pose, paw="paw_r", camera="right").values
    assert np.flatnonzero(np.isnan(speed)).tolist() == [9, 10, 29, 30]


def test_a_paw_that_is_never_seen_or_not_in_the_table_is_refused():
    times_s = 0.01 * np.arange(50)
    with pytest.raises(SourceError, match="paw_r is never seen"):
        paw_speed(times_s, Table(walking(likelihood=0.5)), paw="paw_r", camera="left")
    with pytest.raises(SourceError, match="the pose has no paw_l_x, paw_l_likelihood"):
        paw_speed(times_s, Table(walking()), paw="paw_l", camera="left")
    with pytest.raises(SourceError, match="50 frames of pose, but only 49 times"):
        paw_speed(times_s[1:], Table(walking()), paw="paw_r", camera="left")


def test_frames_are_aligned_by_the_last_times():
    times_s, frame = align_frames(np.array([0.0, 1, 2, np.nan, 4, 4, 3]), 5, "pose")
    assert (times_s.tolist(), frame.tolist()) == ([2, 3, 4], [0, 4, 2])


def pupil(radius: np.ndarray) -> Table:
    """Four points on a circle."""
    columns = Table()
    for point, x, y in (("top", 0, -1), ("bottom", 0, 1), ("left", -1, 0), ("right", 1, 0)):
        columns[f"pupil_{point}_r_x"], columns[f"pupil_{point}_r_y"] = 100 + x * radius, 80 + y * radius
        columns[f"pupil_{point}_r_likelihood"] = np.ones(len(radius))
    return columns


def test_the_diameter_of_a_circle_needs_two_of_its_points():
    pose = pupil(np.linspace(5, 9, 5))
    for point in ("top", "left", "bottom"):
        pose[f"pupil_{point}_r_likelihood"][3] = 0.1
    pose["pupil_top_r_likelihood"][1] = 0.1
    pose["pupil_right_r_likelihood"][1] = 0.1
    np.testing.assert_allclose(pupil_diameter(pose), [10, 12, 14, np.nan, 18])


def test_a_pupil_is_smoothed_without_outliers_and_without_shifting_it():
    times_s = np.arange(1800) / 60
    true = 20 + 3 * np.sin(2 * np.pi * 0.2 * times_s)
    pose = pupil(true / 2 + RNG.normal(0, 0.25, 1800))
    for name in ("x", "y"):
        pose[f"pupil_top_r_{name}"][900] += 300
        pose[f"pupil_left_r_{name}"][900] -= 300
    trace = tracked_pupil(times_s, pose)
    inside = slice(60, -60)
    noise = np.abs(pupil_diameter(pose) - true)[inside].std()
    assert np.abs(trace.values - true)[inside].max() < 1.0
    assert np.abs(trace.values - true)[inside].std() < 0.5 * noise


def test_short_gaps_of_the_pupil_are_bridged_and_long_ones_stay():
    diameter = np.full(600, 20.0)
    diameter[:10] = diameter[100:130] = diameter[300:400] = np.nan
    smooth = smooth_pupil(diameter, rate_hz=60.0)
    missing = np.isnan(smooth)
    assert np.flatnonzero(missing).tolist() == [*range(10), *range(300, 400)]
    np.testing.assert_allclose(smooth[~missing], 20.0)


@pytest.mark.parametrize("n_frames", [0, 20])
def test_a_pupil_that_cannot_be_smoothed_is_refused(n_frames):
    with pytest.raises(SourceError, match=r"too few|not seen"):
        tracked_pupil(np.arange(n_frames) / 60, pupil(np.ones(n_frames)))


# ---- licks ----


def test_the_rate_of_licks_in_a_bin_is_their_number_by_its_length():
    licks_s = np.array([1.005, 1.035, 1.036, 1.5, np.nan, 1.005, 0.81])
    trace = lick_rate(RNG.permutation(licks_s), span_s=(0.0, 3.0))
    (found,) = mean_in_bins(trace.times_s, trace.values, np.array([0.5]), n_bins=100, bin_size_s=0.02)
    expected = np.histogram([0.81, 1.005, 1.035, 1.036, 1.5], np.round(0.5 + 0.02 * np.arange(101), 6))[0] / 0.02
    expected[[49, 50]] = 25.0  # the lick at 1.5 s is on an edge: half of it on each side
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (trace.times_s[0], trace.times_s[-1]) == (0.0, 3.0)


def test_without_a_lick_the_rate_is_unknown():
    for none in (None, np.zeros(0), np.full(3, np.nan)):
        with pytest.raises(SourceError, match="no licks"):
            lick_rate(none, span_s=(0.0, 1.0))


def test_the_time_of_the_trials_leaves_out_what_is_missing(table):
    assert trial_span(table) == (0.0, 60.5)
    assert np.isnan(trial_span(TrialTable(columns={"x": np.zeros(2)}))).all()


# ---- the files of a session ----


@pytest.fixture(scope="module")
def moving(alf_tree, tmp_path_factory) -> Path:
    """A tree whose first session has every behaviour; the second has only the whisker trace."""
    import shutil

    import pandas as pd
    from one.alf.cache import make_parquet_db

    tree = Path(shutil.copytree(alf_tree, tmp_path_factory.mktemp("moving") / "tree"))
    alf = tree / "simlab" / "Subjects" / "mouse-0-00" / "2020-01-01" / "001" / "alf"
    end_s = np.load(alf / "_ibl_leftCamera.times.npy")[-1]
    times_s = np.arange(0, end_s, 0.01)
    np.save(alf / "_ibl_wheel.timestamps.npy", times_s)
    np.save(alf / "_ibl_wheel.position.npy", np.sin(2 * np.pi * times_s))
    np.save(alf / "licks.times.npy", np.arange(0.01, end_s, 0.1))
    np.save(alf / "_ibl_bodyCamera.times.npy", times_s)
    np.save(alf / "bodyCamera.ROIMotionEnergy.npy", times_s)
    n_frames = len(np.load(alf / "leftCamera.ROIMotionEnergy.npy"))
    pose = walking(n_frames) | {name.replace("_r_", "_l_"): values for name, values in walking(n_frames).items()}
    pd.DataFrame(pose | pupil(np.full(n_frames, 5.0))).to_parquet(alf / "_ibl_leftCamera.lightningPose.pqt")
    make_parquet_db(tree, hash_files=False)
    return tree


def prepared(tree: Path, out: Path, *options: str):
    from neuromtm.data.shards import read_shard

    assert main(["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(out), *options]) == 0
    return read_shard(next(out.glob("simlab_mouse-0-00*.h5")))


def test_every_behaviour_that_is_there_is_read_and_the_others_are_named(moving, tmp_path, capsys):
    shard = prepared(moving, tmp_path, "--behaviors", "all")
    assert {*shard.behavior} == {*BEHAVIORS}
    starts_s = shard.header.trials.start_s
    edges_s = starts_s[:, None] + np.arange(101) * 0.02
    velocity = np.diff(np.sin(2 * np.pi * edges_s), axis=1) / 0.02
    np.testing.assert_allclose(shard.behavior["wheel_velocity"], velocity, atol=0.05)
    np.testing.assert_allclose(shard.behavior["wheel_position"].mean(), 0, atol=0.05)
    np.testing.assert_allclose(shard.behavior["body_motion_energy"], edges_s[:, :-1] + 0.01, rtol=1e-5)
    np.testing.assert_allclose(shard.behavior["pupil_diameter"], 10.0, rtol=1e-5)
    np.testing.assert_allclose(shard.behavior["lick_rate"].mean(), 10.0, rtol=0.05)
    np.testing.assert_allclose(shard.behavior["paw_speed_left"], shard.behavior["paw_speed_right"])
    first, second = sorted(line for line in capsys.readouterr().out.splitlines() if "trials" in line)
    assert "not there" not in first
    assert "wheel_position, wheel_velocity, wheel_speed: not there (no wheel in alf)" in second
    assert "lick_rate: not there (no licks in alf)" in second
    assert "paw_speed_left, paw_speed_right: left camera not used (no leftCamera.lightningPose or dlc in alf)" in second
    assert shard.header.preparation["behaviors"] == sorted(BEHAVIORS)


def test_without_the_option_a_shard_has_the_whisker_trace_alone_and_says_nothing_of_others(moving, tmp_path):
    shard = prepared(moving, tmp_path)
    assert {*shard.behavior} == {WHISKER}
    assert "behaviors" not in shard.header.preparation
    assert "sorter" not in shard.header.preparation


def test_what_is_chosen_is_read_and_the_order_of_names_is_no_other_preparation(moving, tmp_path, capsys):
    shard = prepared(moving, tmp_path, "--behaviors", "wheel_speed", "lick_rate")
    assert {*shard.behavior} == {"wheel_speed", "lick_rate"}
    prepared(moving, tmp_path, "--behaviors", "lick_rate", "wheel_speed")
    assert "0 prepared, 2 already done" in capsys.readouterr().out
    assert chosen_behaviors(["all"]) == tuple(BEHAVIORS)
    with pytest.raises(SystemExit):
        prepared(moving, tmp_path, "--behaviors", "tail")


def test_an_object_is_loaded_once_and_a_bad_one_takes_no_other_with_it():
    times_s = 0.01 * np.arange(100)
    files = {
        "wheel": {"timestamps": times_s, "position": np.full(100, 2.0)},
        "bodyCamera": {"times": times_s, "ROIMotionEnergy": np.full(100, np.nan)},
        "licks": {"times": np.array([0.5])},
    }
    loaded = []

    def load(name, attributes):
        loaded.append((name, tuple(attributes)))
        if name not in files:
            raise SourceError(f"no {name} in alf.")
        return files[name]

    traces, notes = read_behaviors(load, BEHAVIORS, span_s=(0.0, 1.0))
    assert sorted(traces) == ["lick_rate", "wheel_position", "wheel_speed", "wheel_velocity"]
    assert "wheel_position, wheel_velocity, wheel_speed: the wheel never moves" in notes
    np.testing.assert_allclose(traces["wheel_speed"].values, 0, atol=1e-9)
    assert "body_motion_energy: not there (all its values are missing)" in notes
    assert len(loaded) == len({*loaded})
