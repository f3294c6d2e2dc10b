"""Bad NWB files and wrong options: one sentence each, and nothing half-written."""

import h5py
import numpy as np
import pytest

pytest.importorskip("pynwb", reason="pynwb is not installed")

from data_prep.__main__ import main
from tests.data_prep.sources import nwb_layouts
from tests.data_prep.sources.nwb_layouts import Session

EVENT = ("--align-event", "move_onset_time", "--window-s", "0", "1", "--bin-size-s", "0.05")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return nwb_layouts.nlb(tmp_path_factory.mktemp("nwb") / "good.nwb", Session()).read_bytes()


@pytest.fixture
def refusal(good, tmp_path, capsys):
    """What a command says of a file that was changed: refusal(change, *options)."""

    def said(change=None, *options, event=EVENT):
        path, out = tmp_path / "file.nwb", tmp_path / "out"
        path.write_bytes(good)
        if change is not None:
            with h5py.File(path, "r+") as file:
                change(file)
        code = main(["nwb", "--path", str(path), *event, *options, "--out", str(out)])
        assert code in (1, 2)
        assert not [*out.glob("*.h5*"), *out.glob(".*.tmp")]
        captured = capsys.readouterr()
        lines = filter(str.strip, (captured.out + captured.err).splitlines())
        (line,) = [line for line in lines if ": 0 prepared" not in line]
        return line

    return said


def replaced(file, path, values, **attributes):
    old = dict(file[path].attrs)
    del file[path]
    file[path] = values
    file[path].attrs.update(old | attributes)


def nwb_1(file):
    del file.attrs["nwb_version"]
    file["nwb_version"] = "NWB-1.0.6"


def other_version(version):
    def change(file):
        file.attrs["nwb_version"] = version

    return change


def no_version(file):
    del file.attrs["nwb_version"]


def no_units(file):
    del file["units"]


def no_spikes(file):
    del file["units/spike_times"]
    del file["units/spike_times_index"]


def no_index(file):
    del file["units/spike_times_index"]


def index(change):
    def changed(file):
        ends = file["units/spike_times_index"][...].astype(np.int64)
        change(ends)
        replaced(file, "units/spike_times_index", ends)

    return changed


def too_far(ends):
    ends[-1] += 1000


def negative(ends):
    ends[0] = -4


def decreasing(ends):
    ends[2] = ends[1] - 1


def too_short(ends):
    ends[-1] -= 7


def fewer_ends(file):
    replaced(file, "units/spike_times_index", file["units/spike_times_index"][:-1])


def nan_spike(file):
    file["units/spike_times"][5] = np.nan


def one_id_twice(file):
    file["units/id"][3] = 0


def backward_observed(file):
    file["units/obs_intervals"][0] = [3.0, 1.0]


def never_together(file):
    observed = file["units/obs_intervals"][...]
    observed[:2] = [[200.0, 201.0], [202.0, 203.0]]
    file["units/obs_intervals"][...] = observed


def electrode_out_of_range(file):
    file["units/electrodes"][0] = 99


def short_column(file):
    replaced(file, "intervals/trials/rt", np.arange(5))


def dangling(file):
    group = file["general/extracellular_ephys"].create_group("gone")
    references = file["general/extracellular_ephys/electrodes/group"][...]
    references[0] = group.ref
    file["general/extracellular_ephys/electrodes/group"][...] = references
    del file["general/extracellular_ephys/gone"]
    file["general/extracellular_ephys/electrodes/location"][...] = ""  # so that the groups are asked


def null_reference(file):
    replaced(file, "general/extracellular_ephys/electrodes/group", np.full(12, h5py.Reference(), h5py.ref_dtype))
    file["general/extracellular_ephys/electrodes/location"][...] = ""


def no_electrodes_any_more(file):
    """The units list rows of a table that was deleted."""
    del file["general/extracellular_ephys/electrodes"]


def outside_link(path):
    def change(file):
        del file[path]
        file[path] = h5py.ExternalLink("/etc/other.nwb", "/here")

    return change


def soft_link_out(file):
    """A link within the file that leads to one out of it."""
    del file["units/spike_times"]
    file["elsewhere"] = h5py.ExternalLink("other.nwb", "/")
    file["units/spike_times"] = h5py.SoftLink("/elsewhere/units/spike_times")


def soft_link_nowhere(file):
    del file["units/spike_times"]
    file["units/spike_times"] = h5py.SoftLink("/not/there")


def soft_link_circle(file):
    del file["units/spike_times"]
    file["units/spike_times"] = h5py.SoftLink("/units/spike_times")


def values_outside(file):
    size = len(file["units/spike_times"])
    del file["units/spike_times"]
    file["units"].create_dataset("spike_times", (size,), "f8", external=[("/etc/passwd", 0, 8 * size)])


def view_of_another(file):
    size = len(file["units/spike_times"])
    del file["units/spike_times"]
    layout = h5py.VirtualLayout((size,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (size,))
    file["units"].create_virtual_dataset("spike_times", layout)


def heldout_of_three(file):
    replaced(file, "units/heldout", np.arange(8))


def strange_split(file):
    file["intervals/trials/split"][0] = "training"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (nwb_1, "is of NWB 1. Convert it"),
        (other_version("2.0b"), "is of NWB 2.0b. Only the releases of NWB 2"),
        (other_version("1.0.6"), "is of NWB 1.0.6"),
        (no_version, "has no nwb_version"),
        (no_units, "has no units"),
        (no_spikes, "the units have no spike_times"),
        (no_index, "has no units/spike_times_index"),
        (index(too_far), "units/spike_times_index is out of range"),
        (index(negative), "units/spike_times_index is out of range: it points to value -4"),
        (index(decreasing), "units/spike_times_index decreases at row 2"),
        (index(too_short), "values are of no row"),
        (fewer_ends, "units/spike_times_index has 7 values, but the table has 8 rows"),
        (nan_spike, "1 spike times are not numbers, the first of the unit 0"),
        (one_id_twice, "the unit 0 is there 2 times"),
        (backward_observed, "the observed interval 0 goes from 3 s to 1 s, not forward"),
        (never_together, "the units were never observed at one time"),
        (electrode_out_of_range, "units/electrodes is out of range: it names electrode 99 of 12"),
        (short_column, "intervals/trials/rt has 5 values, but the table has 24 rows"),
        (dangling, "electrodes/group refers to an object that is not in the file"),
        (null_reference, "electrodes/group refers to an object that is not in the file"),
        (no_electrodes_any_more, "units/electrodes refers to an object that is not in the file"),
        (outside_link("units/spike_times"), "units/spike_times is a link to another file (/etc/other.nwb)"),
        (outside_link("units"), "units is a link to another file (/etc/other.nwb)"),
        (soft_link_out, "elsewhere is a link to another file (other.nwb)"),
        (soft_link_nowhere, "units/spike_times is a link to /not/there, which is not in the file"),
        (soft_link_circle, "units/spike_times is a link to /units/spike_times"),
        (values_outside, "units/spike_times has its values in another file"),
        (view_of_another, "units/spike_times has its values in another file"),
        (heldout_of_three, "the column heldout of the units must be true or false"),
        (strange_split, "the splits of the source are named"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_file_is_refused_in_a_sentence(refusal, change, sentence):
    line = refusal(change)
    assert sentence in line
    assert "file.nwb: " in line
    assert "Traceback" not in line


def test_a_link_out_of_the_file_harms_only_who_asks_for_it(refusal, good, tmp_path, capsys):
    change = outside_link("processing/behavior/hand_vel/data")
    assert "hand_vel/data is a link to another file" in refusal(change, "--trace", "v=hand_vel[0]")
    path = tmp_path / "file.nwb"
    assert main(["nwb", "--path", str(path), "--inspect"]) == 0
    assert "processing/behavior/hand_vel: not usable (" in capsys.readouterr().out
    assert main(["nwb", "--path", str(path), *EVENT, "--out", str(tmp_path / "out")]) == 0


def nan_stamp(file):
    file["processing/behavior/hand_vel/timestamps"][3] = np.nan


def backward_stamps(file):
    file["processing/behavior/hand_vel/timestamps"][3] = 0.0


def fewer_stamps(file):
    stamps = file["processing/behavior/hand_vel/timestamps"][:-1]
    del file["processing/behavior/hand_vel/timestamps"]
    file["processing/behavior/hand_vel/timestamps"] = stamps


def no_rate(file):
    del file["processing/behavior/hand_vel/timestamps"]
    file["processing/behavior/hand_vel/starting_time"] = 0.0
    file["processing/behavior/hand_vel/starting_time"].attrs["rate"] = 0.0


@pytest.mark.parametrize(
    ("change", "trace", "sentence"),
    [
        (None, "v=hand_vel", "has 2 columns. Choose one, e.g. --trace v=hand_vel[0]"),
        (None, "v=hand_vel[2]", "has 2 columns, counted from 0; there is no column 2"),
        (
            None,
            "v=paw",
            "has no time series paw. There are: processing/behavior/hand_pos, processing/behavior/hand_vel",
        ),
        (None, "v=processing/behavior", "processing/behavior has no data of numbers"),
        (nan_stamp, "v=hand_vel[0]", "1 of its timestamps are not numbers"),
        (backward_stamps, "v=hand_vel[0]", "its times go back at sample 3"),
        (fewer_stamps, "v=hand_vel[0]", "timestamps."),
        (no_rate, "v=hand_vel[0]", "its rate is 0 Hz"),
    ],
)
def test_a_wrong_trace_is_refused_in_a_sentence(refusal, change, trace, sentence):
    assert sentence in refusal(change, "--trace", trace)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--align-event", "stimOn_times"), "the trial table has no stimOn_times. It has: start_time, stop_time"),
        (("--trials-table", "epochs"), "has no table of intervals epochs. There are: trials"),
        (("--field", "choice=response"), "intervals/trials has no column response. It has: start_time, stop_time"),
        (("--field", "choice=split"), "holds texts (none, test, train, val). Say which number each stands for"),
        (("--field", "choice=split:train=1"), "also has none, test, val. Say what each value stands for"),
        (("--field", "choice=rt[split=left]"), "no row of intervals/trials has left in the column split"),
        (("--field", "choice=target_pos"), "has no single number or text in a row"),
        (("--field", "choice=rt"), "has the value 250, but it must be -1 or +1"),
        (("--field", "animal=rt"), "FIELD one of stimulus_onset_s"),
        (("--field", "choice=rt:a"), "must be COLUMN[OTHER=VALUE]*FACTOR"),
        (("--field", "choice=rt", "--field", "choice=success"), "choice is given twice"),
        (("--label", "quality"), "units has no column quality. It has:"),
        (
            ("--region-column", "area"),
            "neither units nor electrodes have a column area. With texts: group_name,",
        ),
        (("--trace", "hand_vel"), "must be NAME=PATH"),
        (("--trace", "v=a", "--trace", "v=b"), "two traces have one name"),
        (("--regions", "not there.csv"), "not there.csv: cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_option_is_refused_in_a_sentence(refusal, options, sentence):
    assert sentence in refusal(None, *options)


def test_the_event_is_never_guessed(refusal):
    assert "--align-event: name the column" in (line := refusal(None, event=()))
    assert "There are: start_time, stop_time, move_onset_time" in line


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("unit,area\n1,CA1\n", "regions.csv: has no column region. It has: unit, area"),
        ("unit,region\n1,CA1\n1,CA3\n", "a unit has more than one row"),
        ("unit,region\n1,CA1,x\n", "row 2 has 3 fields, but there are 2 columns"),
        ("unit,region\n77,CA1\n", "has no region of the units of Shenoy_Jenkins_full. They are named 0, 1, 2"),
        ("", "regions.csv: has no rows"),
    ],
)
def test_a_wrong_table_of_regions_is_refused_in_a_sentence(refusal, tmp_path, text, sentence):
    table = tmp_path / "regions.csv"
    table.write_text(text)
    assert sentence in refusal(None, "--regions", str(table))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda good: good[: len(good) // 2], "is cut off: the file is shorter than it says"),
        (lambda good: b"spikes, spikes", "is no HDF5 file"),
        (lambda good: b"", "is no HDF5 file"),
    ],
)
def test_a_file_that_is_cut_off_or_no_hdf5_is_refused(good, tmp_path, capsys, content, sentence):
    path = tmp_path / "file.nwb"
    path.write_bytes(content(good))
    assert main(["nwb", "--path", str(path), *EVENT, "--out", str(tmp_path / "out")]) == 1
    assert sentence in capsys.readouterr().out
    assert main(["nwb", "--path", str(path), "--inspect"]) == 2
    assert sentence in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.h5"))


def test_a_folder_without_files_is_refused(tmp_path, capsys):
    for path, sentence in ((tmp_path, "no *.nwb file in it"), (tmp_path / "no", "no such file or folder")):
        assert main(["nwb", "--path", str(path), *EVENT, "--out", str(tmp_path / "out")]) == 2
        assert sentence in capsys.readouterr().err
    (tmp_path / ".zattrs").write_text("{}")
    assert main(["nwb", "--path", str(tmp_path), *EVENT, "--out", str(tmp_path / "out")]) == 2
    assert "stored as Zarr" in capsys.readouterr().err


def test_times_in_milliseconds_are_warned_of(good, tmp_path, capsys):
    path = tmp_path / "file.nwb"
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        file["units/spike_times"][...] *= 1000
        del file["units/obs_intervals"], file["units/obs_intervals_index"]
    assert main(["nwb", "--path", str(path), "--inspect"]) == 0
    assert "WARNING" in capsys.readouterr().out
