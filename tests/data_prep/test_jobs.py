"""Several sessions at a time: the same bytes as one after the other, and nothing is left behind, however it ends."""

import fcntl
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from data_prep import folder
from data_prep.__main__ import main
from data_prep.folder import Job, prepare_sessions
from data_prep.memory_plan import BYTES_PER_BYTE, PROGRAM_BYTES, Measured, Running, estimated_need, fits_beside
from data_prep.options import PrepareOptions
from data_prep.progress import SessionProgress
from data_prep.workers import Returned, Workers
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.errors import ConfigError
from neuromtm.files import TEMPORARY

OPTIONS = PrepareOptions(window_s=(-0.1, 0.1))
N_MANY = 48
MANY = ("--n-sessions", str(N_MANY), "--n-heldout", "2", "--n-trials", "40", "--n-neurons", "12")


def digests(place: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in place.iterdir() if not p.name.startswith(".")}


def run(jobs, out, *, n_jobs):
    done = prepare_sessions(jobs, out=out, options=OPTIONS, source_options={}, n_jobs=n_jobs)
    return {outcome.eid: outcome for outcome in done}


def job_of(recording, eid):
    return Job(eid, "pretrain", partial(pickle.loads, pickle.dumps(replace(recording, eid=eid))))


def test_several_at_a_time_give_the_same_bytes_and_a_killed_one_costs_its_session_alone(recording, tmp_path):
    good = [job_of(recording, f"mouse-{n}") for n in range(3)]
    killed = Job("killed", "pretrain", partial(signal.raise_signal, signal.SIGKILL))
    greedy = Job("greedy", "pretrain", partial(bytes, 10**17))
    found = run([good[0], killed, greedy, *good[1:]], tmp_path / "two", n_jobs=2)
    assert {eid: outcome.status for eid, outcome in found.items()} == {
        "mouse-0": "prepared",
        "mouse-1": "prepared",
        "mouse-2": "prepared",
        "killed": "skipped",
        "greedy": "skipped",
    }
    assert found["killed"].note.startswith("its process was killed, perhaps as memory ran out.")
    assert found["greedy"].note.startswith("memory ran out.")
    expected = run(good, tmp_path / "one", n_jobs=1)
    assert {eid: found[eid].note for eid in expected} == {eid: outcome.note for eid, outcome in expected.items()}
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert {o.status for o in run(good, tmp_path / "two", n_jobs=2).values()} == {"already done"}


def test_what_goes_wrong_in_another_process_is_raised_in_this_one():
    with Workers(1) as workers:
        workers.start("a", partial(int, "7"))
        ((name, value, problem, peak_bytes),) = workers.wait()
        assert (name, value, problem) == ("a", 7, "")
        assert 10_000_000 < peak_bytes < 2_000_000_000
        workers.start("b", partial(int, "x"))
        with pytest.raises(ValueError, match="invalid literal"):
            workers.wait()


def test_a_session_that_cannot_be_sent_to_another_process_says_what_to_do(recording, tmp_path):
    with pytest.raises(ConfigError, match=r"--jobs: mouse-1 cannot be prepared in another process.*Give --jobs 1"):
        run([Job("mouse-1", "pretrain", lambda: recording)], tmp_path, n_jobs=2)


# ---- nothing is left behind


def started(out: Path) -> tuple[subprocess.Popen, set[int]]:
    """A preparation with two processes that has made its first shard, and the numbers of its processes."""
    command = [sys.executable, "-m", "data_prep", "simulate", "--out", str(out), "--jobs", "2", *MANY]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # tests that run in the background of a shell ignore this signal, and so would all that they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    process.stdout.readline()
    return process, {int(pid) for pid in children_of(process.pid)}


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pids: set[int]) -> bool:
    until_s = time.monotonic() + 30
    while any(map(is_there, pids)) and time.monotonic() < until_s:
        time.sleep(0.05)
    return not any(map(is_there, pids))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the processes of others are listed on Linux only")
def test_an_interrupted_or_killed_preparation_leaves_no_process_and_the_next_one_no_temporary_file(tmp_path):
    out = tmp_path / "out"
    process, children = started(out)
    assert len(children) >= 1
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "neuromtm-prep: interrupted; run the same command again to go on\n")
    assert wait_for_end(children)
    assert not list(out.glob(".*.tmp"))
    assert folder_problems(out) == {}
    assert 1 <= len(read_manifest(out)) < N_MANY

    process, children = started(out)
    process.kill()
    process.communicate()
    assert wait_for_end(children)
    (out / f".sim-0-47.h5.x{TEMPORARY}").write_bytes(b"half")  # as a killed process leaves it
    assert main(["simulate", "--out", str(out), "--jobs", "2", *MANY]) == 0
    assert not list(out.glob(".*.tmp"))
    assert main(["simulate", "--out", str(tmp_path / "whole"), *MANY]) == 0
    assert digests(out) == digests(tmp_path / "whole")


def test_temporary_files_of_a_process_that_is_at_work_are_left_alone(recording, tmp_path):
    living, left = (tmp_path / f".mouse.h5.{name}{TEMPORARY}" for name in "xy")
    for path in (living, left):
        path.write_bytes(b"")
    with living.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run([Job("mouse-1", "pretrain", lambda: recording)], tmp_path, n_jobs=1)
        assert living.exists()
    assert not left.exists()


# ---- memory


def test_a_need_follows_from_the_size_of_the_spikes_and_from_what_others_took():
    own = PROGRAM_BYTES + BYTES_PER_BYTE * 100
    assert estimated_need(100, []) == own
    assert estimated_need(100, [Measured(100, 2 * own), Measured(101, 9 * own), Measured(None, 9 * own)]) == 2 * own
    assert estimated_need(None, []) is None
    assert estimated_need(None, [Measured(5, 400), Measured(None, 800)]) == 1000


@pytest.mark.parametrize(
    ("need", "running", "free_at_start", "free_now", "fits"),
    [
        (5, [], 10, 10, True),
        (None, [], 10, 10, True),
        (None, [Running(1, 1)], 10, 10, False),
        (5, [Running(5, 5)], 10, 5, True),
        (5, [Running(5, 1)], 10, 9, True),
        (5, [Running(5, 1)], 10, 8, False),  # 4 of 8 are spoken for
        (5, [Running(6, 0)], 10, 99, False),
        (5, [Running(1, 0), Running(3, 9)], 10, 6, True),
    ],
)
def test_a_session_begins_only_beside_others_that_leave_it_room(need, running, free_at_start, free_now, fits):
    assert fits_beside(need, running, free_at_start=free_at_start, free_now=free_now) == fits


class NoWorkers:
    """Stands in for processes: each call ends when it is waited for, the oldest first."""

    most_at_a_time: list[int]
    peak_bytes: dict[str, int]

    def __init__(self, most):
        self.most, self.running = most, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert not self.running

    @property
    def n_busy(self):
        return len(self.running)

    def used_bytes(self, name):
        return 0

    def start(self, name, call):
        self.running.append((name, call))
        self.most_at_a_time.append(len(self.running))

    def wait(self):
        name, call = self.running.pop(0)
        return [Returned(name, call(), "", self.peak_bytes.get(name, 0))]


@pytest.fixture
def free(monkeypatch):
    """The sessions of `NoWorkers` that run at a time, where so much memory is free."""

    def bounded(gigabytes, peaks=()):
        NoWorkers.most_at_a_time, NoWorkers.peak_bytes = [], dict(peaks)
        monkeypatch.setattr(folder, "Workers", NoWorkers)
        monkeypatch.setattr(folder, "free_host_memory", lambda: int(gigabytes * 1e9))
        return NoWorkers.most_at_a_time

    return bounded


def of_size(recording, n, spike_bytes):
    return [replace(job_of(recording, f"mouse-{number}"), spike_bytes=spike_bytes) for number in range(n)]


def test_as_many_sessions_run_as_fit_into_memory(recording, tmp_path, free):
    most = free(4.3)  # each needs 1.4 GB
    assert len(run(of_size(recording, 6, 200_000_000), tmp_path / "a", n_jobs=8)) == 6
    assert max(most) == 3
    most = free(4.1)
    run(of_size(recording, 6, 200_000_000), tmp_path / "b", n_jobs=2)
    assert max(most) == 2


def test_the_first_session_of_unknown_size_runs_alone_and_is_measured(recording, tmp_path, free):
    most = free(4.1, {"mouse-0": 1_600_000_000})  # the others are taken to need 2 GB
    run(of_size(recording, 6, None), tmp_path, n_jobs=8)
    assert most == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_session_that_cannot_fit_is_skipped_in_a_sentence_and_the_others_go_on(recording, tmp_path, free, n_jobs):
    free(4.1)
    large = replace(job_of(recording, "large"), spike_bytes=2_000_000_000)
    found = run([large, *of_size(recording, 2, 1000)], tmp_path, n_jobs=n_jobs)
    assert [found[eid].status for eid in ("large", "mouse-0", "mouse-1")] == ["skipped", "prepared", "prepared"]
    assert found["large"].note.startswith("its preparation would take about 10.4 GB of memory, but 4.1 GB are free.")


# ---- the option, and what is shown


@pytest.mark.parametrize("given", ["0", "-1", "some", "1.5"])
def test_a_number_of_jobs_is_above_0_or_auto(given, capsys):
    with pytest.raises(SystemExit):
        main(["simulate", "--out", "x", "--jobs", given])
    assert "neither a whole number above 0 nor auto" in capsys.readouterr().err


def test_a_log_has_a_line_now_and_then_with_the_time_left():
    now, said = [0.0], io.StringIO()
    with SessionProgress(10, line_every_s=60, file=said, clock=lambda: now[0]) as progress:
        for seconds, worked in ((1, False), (50, True), (20, True), (5, True), (300, True), (0, False), (900, True)):
            now[0] += seconds
            progress.advance(worked=worked)
    assert said.getvalue().splitlines() == [
        "neuromtm-prep: 3 of 10 sessions; about 4 min to go.",
        "neuromtm-prep: 5 of 10 sessions; about 8 min to go.",
        "neuromtm-prep: 7 of 10 sessions; about 13 min to go.",
    ]


def test_a_terminal_shows_the_time_left_and_no_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    now, said = [0.0], Terminal()
    with SessionProgress(3, file=said, clock=lambda: now[0]) as progress:
        now[0] = 70.0
        progress.advance(worked=True)
    assert "about 2 min to go" in said.getvalue()
    assert "neuromtm-prep" not in said.getvalue()
