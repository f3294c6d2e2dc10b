"""What was skipped and why is a table, grouped by the reason."""

import shutil

import numpy as np

from data_prep.__main__ import main
from data_prep.skipped import FILE, SkippedSession, skipped_lines, write_skipped
from neuromtm.files import read_table

SKIPPED = [
    SkippedSession("eid-a", "0 of 13 trials left."),
    SkippedSession("eid-b", "no spikes: no probe has spikes.times."),
    SkippedSession("eid-c", "0 of 1,250 trials left."),
    SkippedSession("eid-d", "no spikes: no probe has spikes.times."),
    SkippedSession("eid-e", "=1+2 of eid-e"),
    SkippedSession("eid-f", "no spikes: no probe has spikes.times."),
]


def test_equal_reasons_are_counted_together_whatever_their_numbers():
    assert skipped_lines(SKIPPED) == [
        "    3 skipped: no spikes: no probe has spikes.times. (eid-b, eid-d, eid-f)",
        "    2 skipped, such as: 0 of 13 trials left. (eid-a, eid-c)",
        "    1 skipped: =1+2 of eid-e (eid-e)",
    ]


def test_one_session_has_said_its_reason_already():
    assert skipped_lines(SKIPPED[:1]) == []


def test_many_sessions_are_not_all_named():
    (line,) = skipped_lines([SkippedSession(f"eid{n}", "no spikes.") for n in range(8)])
    assert line == "    8 skipped: no spikes. (eid0, eid1, eid2, eid3, eid4 and 3 more)"


def test_the_table_has_every_session_with_its_own_reason(tmp_path):
    write_skipped(tmp_path, SKIPPED)
    rows = read_table(tmp_path / FILE, needs=("eid", "reason", "kind"))
    assert {(row["eid"], row["reason"]) for row in rows} == {(s.eid, s.reason) for s in SKIPPED}
    assert [row["kind"] for row in rows] == sorted(row["kind"] for row in rows)
    write_skipped(tmp_path, [])
    assert not (tmp_path / FILE).exists()


def test_each_run_writes_its_own_table_and_a_refused_one_leaves_it(tmp_path, capsys):
    folder = tmp_path / "sessions"
    good = folder / "good"
    good.mkdir(parents=True)
    shutil.copytree(good, folder / "empty")
    rng = np.random.default_rng(0)
    np.savez(good / "spikes.npz", times_s=np.sort(rng.uniform(0, 60, 3000)), unit=rng.integers(0, 5, 3000))
    words = ["arrays", "--folder", str(folder), "--continuous", "--out", str(tmp_path / "out")]
    (folder / "empty" / "spikes.npz").write_bytes(b"no arrays")
    assert main(words) == 1
    assert "empty: skipped: " in capsys.readouterr().out
    (row,) = read_table(tmp_path / "out" / FILE)
    assert row["eid"] == "empty"
    assert main([*words, "--length-s", "2"]) == 2  # the shard has windows of 1 s
    assert (tmp_path / "out" / FILE).exists()
    shutil.rmtree(folder / "empty")
    assert main(words) == 0
    assert not (tmp_path / "out" / FILE).exists()
