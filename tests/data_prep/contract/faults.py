"""Faults of a user's files, and what is said of each, source by source."""

from collections.abc import Callable, Mapping

import h5py
import numpy as np
from spoiling import SOURCES, Files

Spoil = Callable[[Files], object]
SAME = ""
"""in the place of a sentence: the fault does no harm"""


def at(place, value):
    """Put a value at a place."""

    def change(values):
        changed = values.astype(np.float64) if isinstance(value, float) else values.copy()
        changed[place] = value
        return changed

    return change


def spikes(change) -> Spoil:
    return lambda files: files.spike_times(change)


def units(change) -> Spoil:
    return lambda files: files.units_of_spikes(change)


def events(change) -> Spoil:
    return lambda files: files.event_times(change)


def observed(change) -> Spoil:
    return lambda files: files.observed(change)


def names(change) -> Spoil:
    return lambda files: files.names_of_units(change)


def clock(change) -> Spoil:
    return lambda files: files.trace_times(change)


def trace(**arrays) -> Spoil:
    return lambda files: np.savez(files.one("wheel_speed.npz"), **arrays)


def table(name, change, encoding="utf-8") -> Spoil:
    return lambda files: files.table(name, change, encoding)


def text(name, content) -> Spoil:
    return lambda files: files.one(name).write_text(content, encoding="utf-8")


def cells(change) -> Spoil:
    """Change the texts of the event of the trials."""

    def spoil(files):
        rows = files.one("trials.csv").read_text(encoding="utf-8").splitlines()
        parts = [row.rpartition(",") for row in rows[1:]]  # it is the last column
        changed = [f"{before},{change(number, cell)}" for number, (before, _, cell) in enumerate(parts)]
        files.one("trials.csv").write_text("\n".join([rows[0], *changed]) + "\n", encoding="utf-8")

    return spoil


def of_clock(_, cell):
    if cell == "nan":
        return ""
    return f"00:{int(float(cell) // 60):02d}:{float(cell) % 60:06.3f}"


def hdf5(change) -> Spoil:
    return lambda files: files.change_hdf5(change)


def place(files, what):
    """Where an HDF5 file of the source has something."""
    trials = "task_aligned_intervals/choice" if files.source == "bwb" else "intervals/trials"
    return {"spikes": "spikes/timestamps" if files.source == "bwb" else "units/spike_times", "trials": trials}[what]


def link_out(what) -> Spoil:
    def spoil(files):
        name = place(files, what)

        def change(file):
            del file[name]
            file[name] = h5py.ExternalLink("/etc/other.h5", "/here")

        files.change_hdf5(change)

    return spoil


def values_outside(files):
    name = place(files, "spikes")

    def change(file):
        size = len(file[name])
        del file[name]
        file.create_dataset(name, (size,), "f8", external=[("/etc/passwd", 0, 8 * size)])

    files.change_hdf5(change)


def without(files):
    files.change_hdf5(lambda file: [file.__delitem__(name) for name in ("units", "spikes") if name in file])


def past_the_end(file):
    file["units/spike_times_index"][-1] += 9


def cut_short(files):
    files.hdf5.write_bytes(files.hdf5.read_bytes()[:5000])


def replaced(name, change) -> Spoil:
    """Change a data set whose name is the same in every file of a source."""

    def spoil(file):
        values = change(file[name][()])
        about = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(about)

    return hdf5(spoil)


def save(name, change) -> Spoil:
    return lambda files: np.save(files.one(name), change(np.load(files.one(name))))


OF_UNITS, OF_TRIALS = "units.csv", "trials.csv"
SECONDS = "such times are not in seconds"
TIMES_1E12 = {"arrays ibl nwb nlb bwb": SECONDS, "phy": "spike_times.npy: goes from"}
TABLE: dict[str, tuple[Spoil, Mapping[str, str]]] = {
    # ---- spikes
    "a spike time is NaN": (
        spikes(at(5, np.nan)),
        {
            "arrays": "1 of 31942 times_s are not finite numbers",
            "phy": "must hold whole numbers (of samples or clusters), not nan",
            "ibl bwb": "spike times are not sorted, or some are not numbers",
            "nwb nlb": "1 spike times are not numbers, the first of the unit",
        },
    ),
    "a spike time is infinite": (
        spikes(at(-1, np.inf)),
        {
            "arrays": "not finite",
            "phy": "not inf",
            "ibl bwb": "some spike times are infinite",
            "nwb nlb": "not numbers",
        },
    ),
    "a spike after 30,000 years": (spikes(at(-1, 1e12)), TIMES_1E12),
    "negative spike times": (spikes(lambda t: t - 50), {" ".join(SOURCES): "warning: spike times start at -"}),
    "unsorted spikes": (
        spikes(lambda t: np.r_[t[1:9], t[0], t[9:]]),
        {"nwb nlb": "were not sorted, and were sorted", "ibl": "prepared", "bwb": "spike times are not sorted"}
        | {"arrays": "the spike times were not sorted, and are now", "phy": "go backwards 1 times"},
    ),
    "a spike time is missing": (
        spikes(lambda t: t[:-1]),
        {
            "arrays": "31941 times_s, but unit has the shape (31942,)",
            "phy": "14898 spike times, but 14899 numbers of clusters",
            "ibl": "14898 spikes.times, but 14899 spikes.clusters",
            "nwb nlb": "units/spike_times_index is out of range",
            "bwb": "31941 spikes/timestamps, but 31942 spikes/unit_index",
        },
    ),
    "spike times of two columns": (
        spikes(lambda t: np.stack([t, t], 1)),
        {
            "arrays": "not numbers in one dimension",
            "phy": "not one value a spike",
            "ibl": "29798 spikes.times, but 14899 spikes.clusters",
            "nwb nlb": "not one number a spike",
            "bwb": "not one value after the other",
        },
    ),
    "spike times as texts": (
        spikes(lambda t: t.astype(str)),
        {"arrays": "times_s is <U32", "ibl": "is of the type <U32", "nwb nlb": "are of the type |S32", "bwb": "<U10"},
    ),
    "spike times of 16 bits": (
        lambda files: files.npz(files.one("spikes.npz"), "times_s", lambda t: t.astype(np.float16)),
        {"arrays": "times_s are float16, which rounds 200 s by up to 0.125 s"},
    ),
    "a spike of a unit that is not listed": (
        units(at(3, 9999)),
        {
            "arrays": "1 spikes are of units that units.csv does not list, e.g. 9999",
            "phy": "1 unsorted",  # a new cluster without a label: Phy makes such, too
            "ibl": "goes from 0 to 9999, but 6 clusters are listed",
            "bwb": "spikes of unit 9999, but the file has 12 units",
        },
    ),
    "a spike of unit -2": (
        units(lambda u: at(3, -2)(u.astype(np.int64))),
        {"arrays": "does not list, e.g. -2", "ibl": "goes from -2", "bwb": "spikes of unit -2"},
    ),
    "numbers of units with fractions": (
        units(lambda u: u + 0.5),
        {
            "arrays": "neither whole numbers nor texts",
            "phy": "must hold whole numbers",
            "ibl": "spikes.clusters are not all whole numbers",
            "bwb": "spikes of unit 9.5",
        },
    ),
    "a unit that never spikes": (units(lambda u: np.where(u == u.min(), u.max(), u)), {"arrays ibl bwb": "12 of 12"}),
    # ---- names of units, and what is known of them
    "two units of one name": (
        names(lambda n: at(1, n[0])(n)),
        {"arrays ibl nwb bwb": "the neuron neuron-0 is there 2 times", "nlb": "the unit 7 is there 2 times"},
    ),
    "a unit of an empty name": (names(at(1, "")), {"nwb bwb": "1 neurons have an empty name", "arrays": SAME}),
    "a row of units twice": (table(OF_UNITS, lambda t: t + t.splitlines()[1] + "\n"), {"arrays": "has two rows"}),
    "units with a header alone": (table(OF_UNITS, lambda t: t.splitlines()[0]), {"arrays": "has no rows"}),
    "labels in percent": (table(OF_UNITS, lambda t: t.replace(",1.0,", ",100,")), {"arrays": "a label outside 0 to 1"}),
    "all units held out": (
        table(OF_UNITS, lambda t: t.replace("False", "True")),
        {"arrays": "all neurons are held out"},
    ),
    # ---- events
    "no event has a time": (
        events(lambda t: t * np.nan),
        {"arrays phy nwb": "tone_time has no number", "ibl": "has no number", "nlb": "move_onset_time has no number"}
        | {"bwb": "movement_onset has no number"},
    ),
    "an event is infinite": (events(at(7, np.inf)), {" ".join(SOURCES): "prepared"}),
    "an event after 30,000 years": (
        events(at(7, 1e12)),
        {"arrays phy nwb ibl bwb": "are outside the recording", "nlb": SECONDS},
    ),
    "half of the events after the recording": (
        events(lambda t: t + 100),
        {"arrays phy nwb nlb ibl bwb": "are outside the recording"},
    ),
    "events in milliseconds": (
        events(lambda t: t * 1000),
        {" ".join(SOURCES): "the events are likely in milliseconds"},
    ),
    "negative events": (events(lambda t: t - 1000), {" ".join(SOURCES): "is negative in"}),
    "an event as a clock has it": (cells(of_clock), {"arrays phy": "the column tone_time holds texts, e.g. '00:00:05"}),
    "an event that is NaT": (cells(lambda n, c: "NaT" if n == 7 else c), {"arrays phy": "no tone_time 2"}),
    "an event with a decimal comma": (
        cells(lambda n, c: f'"{c}"'.replace(".", ",")),
        {"arrays phy": "has decimal commas"},
    ),
    "an event of 1_000": (cells(lambda n, c: "1_000" if n == 7 else c), {"arrays phy": "'1_000' is not a number"}),
    # ---- tables
    "semicolons": (table(OF_TRIALS, lambda t: t.replace(",", ";")), {"arrays phy": SAME}),
    "tabs": (table(OF_TRIALS, lambda t: t.replace(",", "\t")), {"arrays phy": SAME}),
    "a byte order mark": (table(OF_TRIALS, lambda t: t, "utf-8-sig"), {"arrays phy": SAME}),
    "numbers in quotation marks": (cells(lambda n, c: f'"{c}"'), {"arrays phy": SAME}),
    "semicolons and decimal commas": (
        table(OF_TRIALS, lambda t: t.replace(",", ";").replace(".", ",")),
        {"arrays phy": "has decimal commas. Write points"},
    ),
    "UTF-16": (table(OF_TRIALS, lambda t: t, "utf-16"), {"arrays phy": "is not UTF-8 text"}),
    "an empty table": (text(OF_TRIALS, ""), {"arrays phy": "has no rows under a line of column names"}),
    "a header alone": (table(OF_TRIALS, lambda t: t.splitlines()[0]), {"arrays phy": "has no rows"}),
    "a column twice": (
        table(OF_TRIALS, lambda t: t.replace("block", "choice", 1)),
        {"arrays phy": "a name of its own"},
    ),
    "observed times backward": (
        observed(lambda t: t[:, ::-1]),
        {"arrays phy nwb nlb bwb": "the observed interval 0 goes from 101 s to 0 s, not forward"},
    ),
    "observed times in another order": (observed(lambda t: t[::-1]), {"arrays phy bwb": SAME}),
    "observed times without end": (
        observed(lambda t: t + np.array([-np.inf, np.inf])),
        {"arrays phy nwb nlb bwb": "the observed interval 0 goes from -inf to inf s"},
    ),
    "a list for the names": (text("session.json", "[1]"), {"arrays phy": "must be an object of texts"}),
    "true for the lab": (text("session.json", '{"lab": true}'), {"arrays phy": "must be an object of texts"}),
    "brackets without end": (text("session.json", "[" * 100_000), {"arrays phy": "is not readable JSON"}),
    # ---- traces
    "a trace's time is NaN": (clock(at(5, np.nan)), {"arrays phy": "not finite", "nwb nlb": "1 of its timestamps"}),
    "a trace's times go back": (
        clock(lambda t: t[::-1]),
        {"arrays phy": "do not increase at every sample", "nwb nlb": "its times go back at sample 1"},
    ),
    "a trace's times as texts": (clock(lambda t: np.char.add("t", t.astype("U9"))), {"nwb nlb": "not numbers"}),
    "a trace without samples": (trace(times_s=np.zeros(0), values=np.zeros(0)), {"arrays phy": "has no samples"}),
    "an infinite trace": (
        trace(times_s=np.arange(300.0), values=np.full(300, np.inf)),
        {"arrays phy": "the trace wheel_speed has 300 values that are infinite"},
    ),
    "a trace that is named .": (
        lambda files: files.one("wheel_speed.npz").rename(files.one("wheel_speed.npz").with_name("..npz")),
        {"arrays phy": "a trace is named '.'"},
    ),
    # ---- sortings
    "params.py that would run code": (text("params.py", "import os\nsample_rate = 1e9\n"), {"phy": "is never run"}),
    "a sample rate of 0": (text("params.py", "sample_rate = 0\n"), {"phy": "sample_rate is 0, not a number above 0"}),
    "a sample rate as text": (text("params.py", "sample_rate = '1e9'\n"), {"phy": "sample_rate is '1e9'"}),
    "a sample rate near 0": (text("params.py", "sample_rate = 1e-300\n"), {"phy": "some spike times are infinite"}),
    "templates of NaN": (save("templates.npy", lambda w: w * np.nan), {"phy": "no finite numbers"}),
    "templates of no samples": (save("templates.npy", lambda w: w[:, :0]), {"phy": "so no waveforms"}),
    "positions of one column": (save("channel_positions.npy", lambda p: p[:, :1]), {"phy": "not x and y"}),
    "samples beyond 2^63": (
        save("spike_times.npy", lambda t: t.astype(np.uint64) + np.uint64(2**63)),
        {"phy": "the file is damaged"},
    ),
    # ---- HDF5
    "an empty file": (lambda files: files.hdf5.write_bytes(b""), {"nwb nlb": "is no HDF5 file", "bwb": "as HDF5"}),
    "a file cut short": (cut_short, {"nwb nlb": "is cut off", "bwb": "perhaps it is cut short"}),
    "NWB 1": (
        hdf5(lambda file: file.attrs.__setitem__("nwb_version", "1.0.6")),
        {"nwb nlb": "is of NWB 1.0.6. Only the releases of NWB 2"},
    ),
    "no units": (without, {"nwb nlb": "has no units", "bwb": "has no units/id"}),
    "an index out of range": (hdf5(past_the_end), {"nwb nlb": "spike_times_index is out of range"}),
    "a link out of the file": (link_out("spikes"), {"nwb nlb": "a link to another file", "bwb": "not followed"}),
    "trials in another file": (link_out("trials"), {"nwb nlb": "a link to another file", "bwb": "not followed"}),
    "values in another file": (values_outside, {"nwb nlb": "its values in another file", "bwb": "in another place"}),
    "texts for held-out": (
        replaced("units/heldout", lambda v: np.where(v, b"True", b"False")),
        {"nwb nlb": "must be true or false, not texts"},
    ),
    "held-out units that are NaN": (
        replaced("units/heldout", lambda v: at(0, np.nan)(v)),
        {"nwb nlb": "must be true or false"},
    ),
    "texts for a start": (
        replaced("intervals/trials/start_time", lambda v: v.astype("S")),
        {"nwb nlb": "prepared"},
    ),
    "classes of fewer trials": (
        replaced("task_aligned_intervals/choice/choice", lambda v: v[:-1]),
        {"bwb": "has the shape (37,), not 38 values"},
    ),
    "regions of more units": (
        replaced("units/region_cosmos", lambda v: np.r_[v, v]),
        {"bwb": "has the shape (24,), not 12 values"},
    ),
    "numbers for names": (replaced("units/id", lambda v: np.arange(len(v))), {"bwb": "holds int64, not texts"}),
    "an interval without its end": (
        replaced("ts1_test_domain/end", lambda v: v[:-1]),
        {"bwb": "ts1_test_domain/end has the shape (5,), not 6 values"},
    ),
}
