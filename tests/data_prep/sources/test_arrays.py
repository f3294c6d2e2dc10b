"""Plain arrays: what is refused, each in one sentence and with nothing half-written, and what is read as it is."""

import json

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.sources.arrays import read_folder
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_header

N_TRIALS = 12
TRIALS = "go,odour\n" + "".join(f"{5 * n + 5},{'ab'[n % 2]}\n" for n in range(N_TRIALS))


UNITS = "unit,region\n4,CA1\n1,\n2,VISp\n3,CA1\n"


@pytest.fixture
def session(tmp_path):
    """A session of four units and twelve trials."""
    folder = tmp_path / "m 1"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.savez(folder / "spikes.npz", times_s=np.sort(rng.uniform(0, 80, 4000)), unit=rng.integers(1, 5, 4000))
    (folder / "units.csv").write_text(UNITS)
    (folder / "trials.csv").write_text(TRIALS)
    return folder


def prepare(session, *options, event="go"):
    out = session.parent / "out"
    return main(["arrays", "--folder", str(session), "--align-event", event, "--out", str(out), *options]), out


def header_of(session, *options):
    code, out = prepare(session, *options)
    assert code == 0
    (entry,) = read_manifest(out)
    return read_header(out / entry.file)


def change_spikes(folder, **changed):
    found = dict(np.load(folder / "spikes.npz"))
    np.savez(folder / "spikes.npz", **{name: v for name, v in (found | changed).items() if v is not None})


def test_a_session_is_named_after_its_folder_and_its_units_keep_their_order(session):
    header = header_of(session)
    assert header.eid == "m-1"
    assert header.subject == "unknown"
    assert header.neurons.uuid.tolist() == ["m-1-1", "m-1-2", "m-1-3", "m-1-4"]
    assert header.neurons.region.tolist() == ["void", "VISp", "CA1", "CA1"]
    assert header.trials.columns["odour"].tolist() == ["a", "b"] * 6
    assert header.attributes == {"folder": "m 1"}


def test_spikes_alone_are_enough_for_continuous_windows(session):
    for name in ("units.csv", "trials.csv"):
        (session / name).unlink()
    out = session.parent / "out"
    assert main(["arrays", "--folder", str(session), "--continuous", "--out", str(out)]) == 0
    assert set(read_header(out / "m-1.h5").neurons.region) == {"void"}


def test_a_folder_of_sessions_is_prepared_whole_and_a_bad_one_is_skipped(session, capsys):
    other = session.parent / "m 2"
    other.mkdir()
    (other / "trials.csv").write_text(TRIALS)
    code, out = prepare(session.parent)
    text = capsys.readouterr().out
    assert code == 1
    assert "m-1: prepared: 12 trials" in text
    assert "m-2: skipped: no spikes.npz." in text
    assert [entry.eid for entry in read_manifest(out)] == ["m-1"]


def test_unsorted_spikes_are_sorted_and_it_is_said(session, capsys):
    found = np.load(session / "spikes.npz")
    order = np.random.default_rng(1).permutation(4000)
    before = read_folder(session)
    change_spikes(session, times_s=found["times_s"][order], unit=found["unit"][order])
    after = read_folder(session)
    np.testing.assert_array_equal(after.spike_times_s, before.spike_times_s)
    np.testing.assert_array_equal(after.spike_neuron, before.spike_neuron)
    assert after.notes == ("the spike times were not sorted, and are now",)


def test_units_named_by_texts_match(session):
    change_spikes(session, unit=np.array(["u1", "u2", "ü3", "u4"])[np.load(session / "spikes.npz")["unit"] - 1])
    (session / "units.csv").write_text("unit,region\nu1,CA1\nü3,VISp\nu4,CA1\nu2,CA1\n", encoding="utf-8")
    recording = read_folder(session)
    assert recording.neurons.uuid.tolist() == ["m-1-u1", "m-1-u2", "m-1-u4", "m-1-ü3"]
    assert recording.neurons.region.tolist()[-1] == "VISp"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_of_any_program_are_read(session, separator, encoding):
    (session / "trials.csv").write_text(TRIALS.replace(",", separator).replace("\n", "\r\n"), encoding=encoding)
    assert read_folder(session).trials.columns["go"].tolist() == [5.0 * n + 5 for n in range(N_TRIALS)]


def test_known_columns_become_the_fields_of_every_shard(session):
    columns = "stimOn_times,choice,reward,contrast,reaction_time_s,hit\n"
    rows = [
        f"{5 * n + 5},{-1 if n % 2 else 1},{1 if n % 3 else -1},{-0.5 if n % 2 else 0.25},0.3,True" for n in range(12)
    ]
    (session / "trials.csv").write_text(columns + "\n".join(rows))
    code, out = prepare(session, event="stimOn_times")
    assert code == 0
    trials = read_header(out / "m-1.h5").trials
    assert trials.choice.tolist() == [1, -1] * 6
    assert trials.contrast.tolist() == [0.25, -0.5] * 6
    assert trials.reward.tolist() == [-1, 1, 1] * 4
    assert trials.columns["source_reaction_time_s"].tolist() == [0.3] * 12
    assert trials.columns["hit"].tolist() == [1.0] * 12


def test_a_trace_of_several_variables_is_one_behaviour_each(session):
    (session / "traces").mkdir()
    clock_s = np.arange(0, 90, 0.1)
    np.savez(session / "traces" / "hand.npz", times_s=clock_s, values=np.stack([clock_s, -clock_s], axis=1))
    assert header_of(session).behaviors == ("hand_0", "hand_1")


def test_a_trace_that_is_missing_in_nearly_all_trials_is_said(session, capsys):
    (session / "traces").mkdir()
    clock_s = np.arange(0, 90, 0.1)
    for name, known in (("none", clock_s < 0), ("few", clock_s < 7), ("most", clock_s > 7)):
        np.savez(session / "traces" / f"{name}.npz", times_s=clock_s, values=np.where(known, clock_s, np.nan))
    assert prepare(session)[0] == 0
    said = capsys.readouterr().out
    assert "warning: trace none is missing in all trials" in said
    assert "warning: trace few is missing in 91 % of the bins of the trials" in said
    assert "trace most" not in said


def test_held_out_animals_that_are_not_there_are_named(session, capsys):
    (session / "session.json").write_text('{"subject": "ä1", "lab": "my lab", "session": 7}', encoding="utf-8")
    code, out = prepare(session, "--heldout-subjects", "ä1", "b2")
    assert code == 0
    assert [(e.eid, e.role, e.subject) for e in read_manifest(out)] == [("my-lab_a1_7", "heldout", "ä1")]
    assert "--heldout-subjects: b2 not among those of these sessions (ä1)" in capsys.readouterr().err


def test_inspect_names_the_files_that_cannot_be_read_and_a_command(session, capsys):
    bad = session.parent / "m 2"
    bad.mkdir()
    (bad / "spikes.npz").write_text("no zip")
    assert main(["arrays", "--folder", str(session.parent), "--inspect"]) == 0
    text = capsys.readouterr().out
    assert "m 2: cannot be prepared: spikes.npz: is not a readable npz file" in text
    assert "--align-event go --out" in text


def bad_csv(name, text, encoding="utf-8"):
    def write(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding=encoding)

    return write


def bad_spikes(**changed):
    return lambda folder: change_spikes(folder, **changed)


def bad_trace(name="wheel", **arrays):
    def write(folder):
        (folder / "traces").mkdir()
        np.savez(folder / "traces" / f"{name}.npz", **arrays)

    return write


def odd_unit_names(folder):
    (folder / "units.csv").unlink()
    change_spikes(folder, unit=np.repeat(["a", "b\0c", "d\ud800", "e"], 1000))


TRACE = {"times_s": np.arange(90.0), "values": np.zeros(90)}
HALF = np.r_[np.zeros(2000), np.full(2000, np.nan)]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "spikes.npz").unlink(), "no spikes.npz."),
        (lambda folder: (folder / "spikes.npz").write_text("x"), "not a readable npz file"),
        (bad_spikes(unit=None), "has no unit. It has: times_s"),
        (bad_spikes(unit=np.ones(3, int)), "4000 times_s, but unit has the shape (3,)"),
        (bad_spikes(unit=np.full(4000, 0.5)), "neither whole numbers nor texts"),
        (bad_spikes(unit=np.full(4000, None)), "not a readable npz file of plain arrays"),
        (bad_spikes(unit=np.full(4000, 9)), "4000 spikes are of units that units.csv does not list, e.g. 9"),
        (bad_spikes(times_s=HALF), "2000 of 4000 times_s are not finite numbers"),
        (bad_spikes(times_s=np.zeros((4000, 2))), "not numbers in one dimension"),
        (bad_spikes(times_s=np.zeros(0), unit=np.zeros(0, int)), "no spikes"),
        (bad_csv("units.csv", "unit,region\n1,CA1\n2,CA1\n1,CA1\n"), "the unit 1 has two rows"),
        (bad_csv("units.csv", "unit,region\n1,CA1\n2\n"), "row 3 has 1 fields, but there are 2 columns"),
        (bad_csv("units.csv", "cluster,region\n1,CA1\n"), "has no column unit. It has: cluster, region"),
        (bad_csv("units.csv", "unit,uuid\n1,a\n2,b\n3,a\n4,c\n"), "the neuron a is there 2 times"),
        (bad_csv("units.csv", "unit\n1.5\n"), "unit must be a whole number"),
        (bad_csv("units.csv", "unit,depth_um\n1,deep\n2,a\n3,b\n4,c\n"), "depth_um is not of numbers, e.g. 'deep'"),
        (
            bad_csv("units.csv", "unit,heldout\n1,\n2,1\n3,0\n4,0\n"),
            "heldout must be true or false (or 1 or 0), not ''",
        ),
        (bad_csv("units.csv", "unit,heldout\n1,yes\n2,1\n3,0\n4,0\n"), "must be true or false (or 1 or 0), not 'yes'"),
        (bad_csv("units.csv", "unit,Region\n1,CA1\n"), "units.csv: has 'Region'; did you mean 'region'?"),
        (bad_csv("units.csv", "Unit\n1\n"), "units.csv: has 'Unit'; did you mean 'unit'?"),
        (bad_csv("units.csv", "unit,held out\n1,1\n"), "units.csv: has 'held out'; did you mean 'heldout'?"),
        (
            bad_csv("units.csv", UNITS.replace("VISp", "V\x01")),
            "of neuron 1 ('m-1-2') holds control characters: 'V\\x01'",
        ),
        (bad_csv("units.csv", UNITS.replace("VISp", "V\0p")), "holds control characters: 'V\\x00p'"),
        (odd_unit_names, "the uuid of neuron 1 ('m-1-b\\x00c') holds control characters"),
        (
            bad_csv("trials.csv", TRIALS.replace("go,", "go,Choice,").replace(",a", ",1,a").replace(",b", ",1,b")),
            "'choice'?",
        ),
        (bad_csv("trials.csv", TRIALS.replace("odour", "Split")), "trials.csv: has 'Split'; did you mean 'split'?"),
        (bad_csv("trials.csv", TRIALS.replace(",b", ",b\0b")), "the column odour of the trials, trial 1: holds a char"),
        (bad_csv("trials.csv", ""), "has no rows under a line of column names"),
        (bad_csv("trials.csv", "go,go\n1,2\n"), "Give each a name of its own"),
        (bad_csv("trials.csv", "go\nä\n", "latin-1"), "is not UTF-8 text"),
        (bad_csv("trials.csv", 'go\n"1\n'), "is no CSV table"),
        (bad_csv("trials.csv", "go;x\n1,5;2\n2,5;3\n"), "go has decimal commas"),
        (bad_csv("trials.csv", "go\n1\n2\n3\nfour\n"), "row 5, column go: 'four' is not a number"),
        (bad_csv("trials.csv", "go,choice\n1,2\n"), "choice has the value 2"),
        (bad_csv("trials.csv", "go,choice\n1,left\n"), "choice is not of numbers, e.g. 'left'"),
        (bad_csv("trials.csv", "go,reward,feedbackType\n1,1,1\n"), "two columns give feedback_type"),
        (bad_csv("trials.csv", "go,a/b\n1,1\n"), "Rename them"),
        (bad_csv("trials.csv", TRIALS.replace("odour", "split")), "splits of the source are named ['a', 'b']"),
        (bad_csv("trials.csv", "onset\n1\n"), "the trial table has no go. It has: onset"),
        (bad_csv("observed.csv", "start_s,end_s\n5,1\n"), "goes from 5 s to 1 s"),
        (bad_csv("observed.csv", "Start_s,end_s\n5,1\n"), "observed.csv: has 'Start_s'; did you mean 'start_s'?"),
        (bad_trace("choice", **TRACE), "a trace is named 'choice': the name of a column of the trials"),
        (bad_trace("odour", **TRACE), "a trace is named 'odour': the name of a column of the trials"),
        (bad_trace("a\x02", **TRACE), "the name of a trace holds control characters: 'a\\x02'"),
        (bad_trace(times_s=np.arange(3.0)), "has no values"),
        (bad_trace(times_s=np.arange(3.0), values=np.zeros(4)), "3 times_s, but values is float64 (4,)"),
        (bad_trace(times_s=np.zeros(3), values=np.zeros(3)), "do not increase at every sample"),
        (bad_csv("traces/pupil.csv", "time_s,value\n1,2\n"), "traces/pupil.csv: is not read. A trace is"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_file(session, spoil, sentence, capsys):
    spoil(session)
    code, out = prepare(session)
    assert code == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("m-1: skipped: ")
    assert sentence in line
    assert not list(out.glob("*.h5*"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not readable JSON"),
        ("[]", "must be an object"),
        ('{"lab": [1]}', "must be an object"),
        (r'{"subject": "a\u0000b"}', r"session.json: its subject holds control characters: 'a\x00b'"),
        (r'{"subject": "\ud800x"}', r"session.json: its subject holds half a character, which UTF-8 cannot write"),
        ('{"Subject": "A"}', "session.json: has 'Subject'; did you mean 'subject'?"),
    ],
)
def test_a_session_file_that_is_none_ends_the_command(session, text, sentence, capsys):
    (session / "session.json").write_text(text)
    code, out = prepare(session)
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_wrong_folders_and_names_end_the_command(session, capsys):
    empty = session.parent / "empty"
    empty.mkdir()
    assert prepare(empty)[0] == 2
    assert prepare(empty / "nowhere")[0] == 2
    assert main(["arrays", "--folder", str(session), "--out", str(empty)]) == 2
    errors = capsys.readouterr().err
    assert "has a spikes.npz" in errors
    assert "no such folder" in errors
    assert "There are: go." in errors
    twin = session.parent / "m-1"
    twin.mkdir()
    (twin / "session.json").write_text(json.dumps({"session": "m 1"}))
    assert prepare(session.parent)[0] == 2
    assert "both are the session m-1" in capsys.readouterr().err
