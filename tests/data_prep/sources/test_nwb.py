"""NWB files in the layouts of public dandisets come out as the arrays that they were written from."""

import shlex

import h5py
import numpy as np
import pytest

pytest.importorskip("pynwb", reason="pynwb is not installed")

from data_prep.__main__ import main
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import read_shard
from tests.data_prep.sources import nwb_layouts
from tests.data_prep.sources.nwb_layouts import Session

WINDOW = ("--window-s", "0", "1", "--bin-size-s", "0.05")
EVENT = {
    "steinmetz": "visual_stimulus_time",
    "ibl": "gabor_stimulus_onset_time",
    "allen": "start_time",
    "nlb": "move_onset_time",
}


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.fixture(scope="module")
def files(session, tmp_path_factory):
    """Layout -> a file in it. Tests must not change them."""
    folder = tmp_path_factory.mktemp("nwb")
    return {name: getattr(nwb_layouts, name)(folder / f"{name}.nwb", session) for name in EVENT}


def prepared(path, out, *options):
    """The only shard that a command prepares."""
    assert main(["nwb", "--path", str(path), "--out", str(out), *map(str, options)]) == 0
    assert folder_problems(out) == {}
    (entry,) = read_manifest(out)
    return read_shard(out / entry.file)


def by_layout(files, tmp_path, layout, *options):
    table = ("--trials-table", "drifting_gratings_presentations") if layout == "allen" else ()
    return prepared(files[layout], tmp_path / "out", "--align-event", EVENT[layout], *WINDOW, *table, *options)


@pytest.mark.parametrize("layout", EVENT)
def test_counts_and_regions_are_those_written(files, session, tmp_path, layout, capsys):
    shard = by_layout(files, tmp_path, layout)
    header = shard.header
    kept = header.trials.index
    np.testing.assert_array_equal(shard.counts, session.counts()[kept])
    assert header.neurons.region.tolist() == session.region
    expected = set(range(session.n_trials)) - {"allen": {5}, "nlb": {10, 22}}.get(layout, set())
    assert set(kept.tolist()) == expected
    assert "regions by" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layout", "eid", "subject", "lab"),
    [
        ("steinmetz", "The-Carandini-and-Harris-Lab_Cori_2016-12-14", "Cori", "The Carandini and Harris Lab"),
        ("ibl", "danlab_DY_020_4a45c8ba-db6f-4f11-9403-56e06a33dfa4", "DY_020", "danlab"),
        (
            "allen",
            "Allen-Institute-for-Brain-Science_699733573_715093703",
            "699733573",
            "Allen Institute for Brain Science",
        ),
        ("nlb", "Shenoy_Jenkins_full", "Jenkins", "Shenoy"),
    ],
)
def test_a_session_is_named_by_what_its_file_says(files, tmp_path, layout, eid, subject, lab):
    header = by_layout(files, tmp_path, layout).header
    assert (header.eid, header.subject, header.lab, header.source) == (eid, subject, lab, "nwb")
    assert header.attributes["file"] == f"{layout}.nwb"


def test_fields_are_mapped_from_numbers_and_texts(files, session, tmp_path):
    options = (
        *("--field", "choice=mouse_wheel_choice:clockwise=1,counter_clockwise=-1"),
        *("--field", "feedback_type=is_mouse_rewarded:true=1,false=-1"),
        *("--field", "contrast_left=gabor_stimulus_contrast[gabor_stimulus_side=left]*0.01"),
        *("--field", "contrast_right=gabor_stimulus_contrast[gabor_stimulus_side=right]*0.01"),
        *("--field", "block=probability_left"),
        *("--field", "stimulus_onset_s=gabor_stimulus_onset_time"),
        *("--field", "first_movement_s=wheel_movement_onset_time"),
    )
    trials = by_layout(files, tmp_path, "ibl", *options).header.trials
    np.testing.assert_array_equal(trials.choice, session.choice)
    np.testing.assert_array_equal(trials.reward, np.where(session.rewarded, 1, -1))
    np.testing.assert_allclose(trials.contrast, np.where(session.left, -1, 1) * session.contrast)
    np.testing.assert_array_equal(trials.block, 0.5)
    np.testing.assert_allclose(trials.reaction_time_s, 0.3)
    assert trials.columns["gabor_stimulus_side"].tolist() == np.where(session.left, "left", "right").tolist()
    np.testing.assert_allclose(trials.columns["feedback_time"], session.onset_s + 0.7)


def test_splits_heldout_units_and_observed_times_of_the_source_are_kept(files, session, tmp_path, capsys):
    header = by_layout(files, tmp_path, "nlb").header
    number = header.trials.index
    split = {int(number[i]): name for name, members in header.splits.items() for i in members}
    assert {trial for trial, name in split.items() if name == "test"} == {1, 5, 9, 13, 17, 21}
    assert {trial for trial, name in split.items() if name == "val"} == {3, 7, 11, 15, 19, 23}
    assert 22 not in split  # in no split
    assert 10 not in split  # not observed
    assert np.flatnonzero(header.neurons.heldout).tolist() == [2, 5]
    assert header.neurons.probe.tolist() == ["electrode_group_M1"] * 4 + ["electrode_group_PMd"] * 4
    assert "columns of trials that are no single number or text are left out: target_pos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layout", "trace", "expected"),
    [
        ("nlb", "hand_vel[0]", lambda t: 2 * np.sin(t) + 1),
        ("nlb", "processing/behavior/hand_pos[1]", np.cos),  # its times are those of another series
        ("steinmetz", "/processing/behavior/BehavioralTimeSeries/face_motion_energy", np.sin),
        ("steinmetz", "acquisition/wheel_position", lambda t: 5 * t),  # a rate, and a conversion of 0.1
        ("allen", "running_speed", np.sin),
        ("ibl", "WheelPosition", np.sin),
    ],
)
def test_traces_are_in_their_unit_and_at_their_times(files, session, tmp_path, layout, trace, expected):
    shard = by_layout(files, tmp_path, layout, "--trace", f"behaviour={trace}")
    centres = shard.header.trials.start_s[:, None] + 0.05 * (np.arange(20) + 0.5)
    np.testing.assert_allclose(shard.behavior["behaviour"], expected(centres), atol=2e-3)


def test_quality_depth_and_probe_come_from_what_each_lab_has(files, session, tmp_path):
    of_ibl = by_layout(files, tmp_path / "a", "ibl").header.neurons
    np.testing.assert_allclose(of_ibl.label, np.arange(8) % 4 / 3)
    assert of_ibl.uuid[1] == "00000000-0000-0000-0000-000000000001"
    assert of_ibl.probe.tolist() == ["Probe00"] * 4 + ["Probe01"] * 4
    np.testing.assert_array_equal(of_ibl.depth_um, 100 * np.arange(8))
    good = by_layout(files, tmp_path / "b", "allen", "--min-label", "1").header.neurons
    assert "Allen-Institute-for-Brain-Science_699733573_715093703-950900003" not in good.uuid  # noise
    assert len(good.uuid) == 7
    np.testing.assert_array_equal(good.depth_um, [0, 20, 40, 80, 100, 120, 140])
    label = ("--label", "phy_annotations:1=0,2=1,3=1", "--min-label", "0.5")
    of_steinmetz = by_layout(files, tmp_path / "c", "steinmetz", *label).header.neurons
    np.testing.assert_array_equal(of_steinmetz.label, [1, 1, 1, 1, 1])
    assert of_steinmetz.probe.tolist() == ["Probe1", "Probe1", "Probe2", "Probe2", "Probe2"]


def test_regions_by_each_way_in_the_order_of_preference(files, session, tmp_path):
    def regions(name, change=None, *options, suffix):
        path = tmp_path / f"{suffix}.nwb"
        path.write_bytes(files[name].read_bytes())
        if change is not None:
            with h5py.File(path, "r+") as file:
                change(file)
        shard = prepared(path, tmp_path / suffix, "--align-event", EVENT[name], *WINDOW, *options)
        return shard.header.neurons.region.tolist()

    def without_peak(file):
        del file["units/peak_channel"]

    def no_locations(file):
        file["general/extracellular_ephys/electrodes/location"][...] = "unknown"

    # of each unit the sites u + 1, u and u + 2 of its probe (up to 3) are listed: the most frequent, else the first
    by_electrodes = regions("steinmetz", without_peak, suffix="electrodes")
    assert by_electrodes == ["CA1", "VISp", "VISp", "CA1", "MOs", "CA1", "VISp", "MOs"]
    assert regions("steinmetz", no_locations, suffix="group") == ["area 0"] * 4 + ["area 1"] * 4
    table = tmp_path / "mine.csv"
    rows = [f"{unit};Ünit {unit}" for unit in range(7)]
    table.write_text("\ufeff" + "\n".join(["unit;region", *rows]), encoding="utf-8")
    mine = regions("steinmetz", None, "--regions", table, suffix="own table")
    assert mine == [f"Ünit {unit}" for unit in range(7)] + ["void"]
    assert regions("ibl", None, "--region-column", "unit_name", suffix="column")[0] == "probe00_0"


def test_channels_within_a_probe_are_not_taken_for_electrodes(files, session, tmp_path):
    """`peak_channel` is 0 to 3 on both probes: as an id of an electrode it would put all units on the first one."""
    shard = by_layout(files, tmp_path, "steinmetz")
    assert shard.header.neurons.region.tolist()[4:] == session.region[4:]


def test_peak_channels_that_fit_no_electrodes_are_not_used(files, tmp_path, capsys):
    path = tmp_path / "file.nwb"
    path.write_bytes(files["steinmetz"].read_bytes())
    with h5py.File(path, "r+") as file:
        file["units/peak_channel"][...] += 100
    prepared(path, tmp_path / "out", "--align-event", EVENT["steinmetz"], *WINDOW)
    assert "peak_channel of the units fits no electrodes and was not used" in capsys.readouterr().out


def test_spikes_out_of_order_are_sorted_and_repeated_samples_left_out_with_notes(files, session, tmp_path, capsys):
    path = tmp_path / "file.nwb"
    path.write_bytes(files["nlb"].read_bytes())
    with h5py.File(path, "r+") as file:
        first = file["units/spike_times_index"][0]
        file["units/spike_times"][:first] = file["units/spike_times"][:first][::-1]
        stamps = file["processing/behavior/hand_vel/timestamps"]
        stamps[301] = stamps[300]
    trace = ("--trace", "v=hand_vel[0]")
    shard = prepared(path, tmp_path / "out", "--align-event", "move_onset_time", *WINDOW, *trace)
    np.testing.assert_array_equal(shard.counts, session.counts()[shard.header.trials.index])
    centres = shard.header.trials.start_s[:, None] + 0.05 * (np.arange(20) + 0.5)
    np.testing.assert_allclose(shard.behavior["v"], 2 * np.sin(centres) + 1, atol=2e-3)
    said = capsys.readouterr().out
    assert "the spike times of 1 units were not sorted" in said
    assert "v: 1 samples that repeat the time before are left out" in said


def test_units_observed_at_different_times_share_what_all_have(files, session, tmp_path, capsys):
    path = tmp_path / "differ.nwb"
    path.write_bytes(files["nlb"].read_bytes())
    with h5py.File(path, "r+") as file:
        observed = file["units/obs_intervals"][...]
        observed[2] = [0.0, session.onset_s[4] - 0.5]  # the first interval of the second unit
        file["units/obs_intervals"][...] = observed
    shard = prepared(path, tmp_path / "out", "--align-event", "move_onset_time", *WINDOW)
    assert set(shard.header.trials.index.tolist()) == {0, 1, 2, 3, *range(11, 22), 23}
    assert "the units were observed at different times" in capsys.readouterr().out


def test_continuous_windows_need_no_table_and_stay_inside_observed_time(files, session, tmp_path):
    shard = prepared(files["nlb"], tmp_path / "out", "--continuous", "--length-s", "1", "--bin-size-s", "0.05")
    starts = shard.header.trials.start_s
    hole = (session.onset_s[9] + 1.5, session.onset_s[11] - 0.5)
    assert len(starts) > 30
    assert not ((starts + 1 > hole[0] + 1e-6) & (starts < hole[1] - 1e-6)).any()


@pytest.mark.parametrize("layout", EVENT)
def test_inspect_prints_what_is_there_and_a_command_that_prepares_it(files, tmp_path, layout, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["nwb", "--path", str(files[layout]), "--inspect"]) == 0
    text = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert "neurons   8" in text
    assert EVENT[layout] in text
    series = {"steinmetz": "face_motion_energy", "ibl": "WheelPosition", "allen": "running_speed", "nlb": "hand_vel"}
    (line,) = [line for line in text.splitlines() if line.startswith("series") and series[layout] in line]
    assert "at 50.0 Hz, from 0.000 to" in line
    assert "missing" not in line
    assert "region by location of the electrode group: 8 of 8 units (area 0, area 1)" in text
    command = text.splitlines()[-1]
    assert main(shlex.split(command)[3:]) == 0
    assert len(read_manifest(tmp_path / "data" / "mine")) == 1


def test_a_folder_is_prepared_and_a_bad_file_in_it_is_skipped(files, tmp_path, capsys):
    folder = tmp_path / "Dändi set"
    (folder / "sub-1").mkdir(parents=True)
    (folder / "sub-1" / "a.nwb").write_bytes(files["nlb"].read_bytes())
    (folder / "b.nwb").write_bytes(files["nlb"].read_bytes()[:-2000])
    command = [
        "nwb",
        "--path",
        str(folder),
        "--align-event",
        "move_onset_time",
        *WINDOW,
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--heldout-subjects", "Jenkins"]) == 1
    out = capsys.readouterr().out
    assert "b: skipped" in out
    assert "is cut off" in out
    (entry,) = read_manifest(tmp_path / "out")
    assert (entry.eid, entry.role) == ("Shenoy_Jenkins_full", "heldout")
    assert main(["nwb", "--path", str(folder), "--inspect"]) == 0
    (folder / "c.nwb").write_bytes(files["nlb"].read_bytes())
    assert main(command) == 2
    assert "both are the session Shenoy_Jenkins_full" in capsys.readouterr().err
    assert main([*command, "--name-by", "file"]) == 1
    assert {entry.eid for entry in read_manifest(tmp_path / "out")} == {"Shenoy_Jenkins_full", "a", "c"}
