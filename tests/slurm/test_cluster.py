"""Real jobs of a real Slurm: a sweep, a training on two nodes, requeues by a signal and by the time limit."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from neuromtm.commands.registry import COMMANDS
from tests.running import HELDOUT, TINY
from tests.slurm.running import ROOT, logs, script, wait_for, write_site, write_stand_in

ANIMAL = HELDOUT.replace("sim", "mouse")
QUICK = (
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.log_every_n_steps", "1", "--behavior.validate", "false", "--figures.n_val_sessions", "0"),
)
SMALL = (*(word for option in TINY for word in option.split("=")), *QUICK, "--data.batch_size", "8")


def why_not() -> str | None:
    """Why there can be no cluster here; None if there can be one."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=path) is None]
    if absent:
        return f"needs a Slurm to start: there is no {', '.join(absent)} (on Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "slurmd starts jobs as root only"


def free_ports() -> int:
    """The first of three ports in a row that nothing uses."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        try:
            others = [socket.socket() for _ in range(3)]
            for number, other in enumerate(others):
                other.bind(("127.0.0.1", port + number))
        except (OSError, OverflowError):
            continue
        finally:
            for other in others:
                other.close()
        return port


@pytest.fixture(scope="module")
def cluster():
    """A Slurm of two nodes, which the programs of Slurm find; it is stopped at the end, and its jobs with it."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    parent = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # the path of a socket may have 107 characters only
    own = {"CLUSTER": str(parent / "cluster"), "PORT": str(free_ports()), "CPUS": "6"}
    program, environment = ROOT / "tests" / "slurm" / "cluster.sh", dict(os.environ)
    up = subprocess.run([program, "up"], env=environment | own, capture_output=True, text=True)
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        os.environ["SLURM_CONF"], os.environ["MASTER_ADDR"] = str(parent / "cluster" / "slurm.conf"), "127.0.0.1"
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT), environment.get("PYTHONPATH", "")])
        yield parent
    finally:
        os.environ.clear()
        os.environ.update(environment)
        subprocess.run([program, "down"], env=environment | own, check=True, capture_output=True)
        shutil.rmtree(parent)


def slurm(*command: object) -> str:
    """What a program of Slurm prints."""
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout.strip()


def queue() -> dict[str, str]:
    """Job -> its state, of all jobs that have not ended."""
    rows = slurm("squeue", "--noheader", "--array", "--format", "%i %T").splitlines()
    return dict(row.split() for row in rows)


# ---- real trainings, submitted together so that they run side by side ----


class Jobs(NamedTuple):
    """What was submitted."""

    folder: Path
    """with the folder `sweep`, the runs `nodes` and `alone`, and `of-<each of them>`, where `Held` writes"""
    nodes: str
    """job of the training on two nodes"""
    alone: str
    """job of a training in one process"""
    arrays: dict[str, str]
    """run of the sweep -> its job"""


def log_of(job: str) -> str:
    """What a training printed that is not of the sweep."""
    path = ROOT / f"slurm-neuromtm-pretrain-{job}.out"
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def jobs(cluster, sessions_dir, tmp_path_factory):
    """Two trainings and a sweep. The former and the sweep's first pretraining wait for a signal."""
    folder = tmp_path_factory.mktemp("jobs")

    def submit(name: str, n_nodes: int) -> str:
        (folder / f"of-{name}").mkdir()
        (folder / f"of-{name}" / "hold-0").touch()
        site = write_site(folder / f"of-{name}", Path(sys.prefix), NODES=n_nodes)
        said = script(
            *("submit", "pretrain", "--site", site, "--config", "conf/pretrain.yaml", *SMALL),
            *("--data.root", sessions_dir, "--trainer.max_epochs", "-1", "--trainer.max_steps", "6"),
            *("--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", "6"),
            *(*held(folder / f"of-{name}"), "--run_dir", folder / name),
        )
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout.split()[-1]

    nodes, alone = submit("nodes", 2), submit("alone", 1)
    (folder / "of-sweep").mkdir()
    (folder / "of-sweep" / "hold-1").touch()
    sweep = script(
        *("sweep_sessions.sh", "--site", write_site(folder, Path(sys.prefix)), "--data", sessions_dir),
        *("--out", folder / "sweep", "--sessions", "1,3", "--steps", "6", "--val-every", "3"),
        *("--", *SMALL, *held(folder / "of-sweep")),
        *("--", *QUICK, "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
    )
    assert sweep.returncode == 0, sweep.stdout + sweep.stderr
    rows = [row.split(",") for row in (folder / "sweep" / "jobs.csv").read_text().splitlines()[1:]]
    yield Jobs(folder, nodes, alone, {run: job for run, job, _ in rows})
    for job in (nodes, alone):
        (ROOT / f"slurm-neuromtm-pretrain-{job}.out").unlink(missing_ok=True)


def held(folder: Path) -> tuple[str, ...]:
    """Options of a training with the callback `Held`."""
    callback = "--trainer.callbacks"
    return f"{callback}+=tests.slurm.holding.Held", f"{callback}.folder={folder}", f"{callback}.steps=3"


def wait_until_it_ends(run: Path, job: str, report) -> None:
    """Slurm holds a requeued job for two minutes; it is told to start earlier, and that it has time enough.

    Not at once: a job that starts in the second in which it was requeued is taken for the one that was ended.
    """
    told = False

    def ended() -> bool:
        nonlocal told
        waits = queue().get(job) == "PENDING"
        if waits and not told:
            new = ("TimeLimit=30", "StartTime=now+3")
            told = subprocess.run(["scontrol", "update", f"JobId={job}", *new], capture_output=True).returncode == 0
        told = told and waits
        return (run / "ended").exists()

    wait_for(ended, f"{run} ends", report=report)


def check_that_it_went_on(run: Path, of_run: Path, log: str, *ranks: str) -> None:
    assert "requeued 0 times" in log
    assert "is requeued and goes on from there" in log
    assert "requeued 1 times" in log
    for rank in ranks:
        assert (of_run / f"steps-{rank}").read_text().split() == list("123456"), "each step once"
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    assert (run / "checkpoints" / "best.ckpt").exists()


def test_a_job_that_a_user_cancels_keeps_its_checkpoint_and_does_not_come_back(jobs):
    began = jobs.folder / "of-alone" / "began-0-0"
    wait_for(began.exists, "the training takes steps", report=lambda: log_of(jobs.alone))
    slurm("scancel", jobs.alone)
    wait_for(lambda: jobs.alone not in queue(), "the job is gone", report=lambda: log_of(jobs.alone))
    assert f"Job {jobs.alone} is not requeued: it was cancelled" in log_of(jobs.alone)
    assert torch.load(jobs.folder / "alone" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert not (jobs.folder / "alone" / "ended").exists()


def test_two_nodes_train_one_model_and_go_on_after_a_signal(jobs):
    began = [jobs.folder / "of-nodes" / f"began-0-{rank}" for rank in (0, 1)]

    def log() -> str:
        return log_of(jobs.nodes)

    wait_for(lambda: all(path.exists() for path in began), "both nodes take steps", report=log)
    slurm("scancel", "--signal=USR1", jobs.nodes)
    wait_until_it_ends(jobs.folder / "nodes", jobs.nodes, log)
    check_that_it_went_on(jobs.folder / "nodes", jobs.folder / "of-nodes", log(), "0-0", "0-1")
    assert "on n[1-2]" in log()
    assert "MEMBER: 2/2" in log()
    assert "distributed_backend=gloo" in log()


def test_a_task_whose_time_is_up_is_requeued_and_ends(jobs):
    sweep, run = jobs.folder / "sweep", "pretrain/mtm-n1-s0"
    began = jobs.folder / "of-sweep" / "began-1-0"
    wait_for(began.exists, "the pretraining takes steps", report=lambda: logs(sweep))
    # less than the three minutes before the end at which the script asks for SIGUSR1
    slurm("scontrol", "update", f"JobId={jobs.arrays[run]}", "TimeLimit=1")
    wait_until_it_ends(sweep / run, jobs.arrays[run], lambda: logs(sweep))
    log = (sweep / "logs" / f"pretrain-{jobs.arrays[run]}.out").read_text()
    check_that_it_went_on(sweep / run, jobs.folder / "of-sweep", log, "1-0")


def test_a_sweep_goes_from_pretraining_to_its_table(jobs):
    """One of its pretrainings was requeued in the meantime; what waits for it still comes after it."""
    sweep = jobs.folder / "sweep"
    pretrained = [f"pretrain/mtm-n{n}-s0" for n in (1, 3)]
    tuned = [f"finetune/mtm-n{n}-s0-{ANIMAL}" for n in (1, 3)]
    everything = [sweep / run / "ended" for run in (*pretrained, *tuned)]
    wait_for(lambda: all(path.exists() for path in everything), "the runs end", report=lambda: logs(sweep))
    rows = [row.split() for row in script("status", sweep).stdout.splitlines()]
    assert {row[0]: row[1] for row in rows if "/" in row[0]} == dict.fromkeys((*pretrained, *tuned), "done")
    for run in pretrained:
        last = torch.load(sweep / run / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["global_step"] == 6, "equal steps"
    for run in tuned:
        assert list(json.loads((sweep / run / "metrics.json").read_text())["sessions"]) == [HELDOUT]
    wait_for(lambda: jobs.arrays["collect"] not in queue(), "the collecting job ends", report=lambda: logs(sweep))
    collected = (sweep / "logs" / f"collect-{jobs.arrays['collect']}.out").read_text()
    for command, result in (("table", "table.csv"), ("scaling", "scaling/scaling.csv")):
        if command in COMMANDS:
            assert (sweep / result).exists(), collected
        else:
            assert f"{command}: no such command" in collected


# ---- what becomes of failures; a stand-in for neuromtm takes no time ----


@pytest.fixture
def sweep(cluster, sessions_dir, tmp_path):
    """Submits a sweep of six runs and a baseline by a stand-in for neuromtm."""
    site = write_site(tmp_path, write_stand_in(tmp_path))
    command = (
        *("sweep_sessions.sh", "--site", site, "--data", sessions_dir, "--out", tmp_path / "sweep"),
        *("--sessions", "1,2,3", "--baselines", "psth"),
    )

    def submit():
        return script(*command)

    submit.folder, submit.site = tmp_path / "sweep", site
    submit.command = [str(ROOT / "slurm" / command[0]), *map(str, command[1:])]
    return submit


def wait_for_all(sweep: Path) -> None:
    """Until no job of a sweep is in the queue."""

    def ended() -> bool:
        ours = {row.split(",")[1] for row in (sweep / "jobs.csv").read_text().splitlines()[1:]}
        return not ours & set(queue())

    wait_for(ended, "the sweep's jobs", report=lambda: logs(sweep))


def test_what_failed_is_shown_and_submitted_again_and_what_is_done_stays(sweep):
    sweep.folder.mkdir()
    (sweep.folder / "fail").write_text("mtm-n2-s0\n")
    assert sweep().returncode == 0
    wait_for_all(sweep.folder)
    shown = script("status", sweep.folder)
    assert shown.returncode == 1
    rows = {row.split()[0]: row for row in shown.stdout.splitlines() if "/" in row}
    assert "failed" in rows["pretrain/mtm-n2-s0"]
    assert "it broke: mtm-n2-s0" in rows["pretrain/mtm-n2-s0"]
    assert "its pretraining pretrain/mtm-n2-s0 failed" in rows[f"finetune/mtm-n2-s0-{ANIMAL}"]
    assert "7 runs: 5 done, 0 running, 0 waiting, 2 failed" in shown.stdout
    assert (sweep.folder / "called").read_text().splitlines() == [
        f"{command} {sweep.folder}" for command in ("table", "scaling")
    ], "of what is there"
    done = {path: path.stat().st_mtime_ns for path in sweep.folder.glob("*/*/*") if "mtm-n2" not in str(path)}
    (sweep.folder / "fail").unlink()
    again = script("status", sweep.folder, "--retry")
    assert again.returncode == 0, again.stderr
    assert "Submitted: 2 runs" in again.stdout
    wait_for_all(sweep.folder)
    shown = script("status", sweep.folder)
    assert shown.returncode == 0
    assert "7 runs: 7 done, 0 running, 0 waiting, 0 failed" in shown.stdout
    assert sweep().stdout.startswith("Nothing to submit")
    changed = [path for path, time_ns in done.items() if path.stat().st_mtime_ns != time_ns]
    assert not [path for path in changed if "logs" not in path.parts]
    assert "fit --" in (sweep.folder / "finetune" / f"mtm-n2-s0-{ANIMAL}" / "commands").read_text()


def test_a_search_has_a_task_for_each_trial_and_more_can_follow(sweep, tmp_path):
    (tmp_path / "space.yaml").write_text("model.lr: {low: 0.001, high: 0.01}\n")
    study = tmp_path / "study"
    command = ("search.sh", "--site", sweep.site, "--out", study, "--space", tmp_path / "space.yaml")
    for n_trials, n_submitted in ((2, 2), (5, 3)):
        said = script(*command, "--trials", n_trials, "--", "--data.root", "DIR")
        assert f"Submitted: {n_submitted} runs" in said.stdout, said.stdout + said.stderr
        wait_for_all(study)
    given = f"search {study} --space {study / 'space.yaml'} -- --data.root DIR --trainer.num_nodes 1"
    called = (study / "called").read_text().splitlines()
    assert len(called) == 5
    assert all(line.startswith(given) for line in called)
    assert "5 runs: 5 done" in script("status", study).stdout
    assert script(*command, "--trials", 5, "--", "--data.root", "DIR").stdout.startswith("Nothing to submit")
    (tmp_path / "space.yaml").write_text("model.lr: {low: 0.001, high: 0.1}\n")
    assert "was begun with another space" in script(*command, "--trials", 6, "--", "--data.root", "DIR").stderr


def test_an_unknown_partition_leaves_no_job_behind(sweep):
    with sweep.site.open("a") as file:
        file.write("CPU_PARTITION=nowhere\n")  # of the baselines, which come after the trainings
    before = set(queue())
    result = sweep()
    assert result.returncode == 2
    assert "invalid partition specified: nowhere" in result.stderr
    assert "nothing is submitted: what had been is cancelled" in result.stderr
    wait_for(lambda: not set(queue()) - before, "the jobs are cancelled")


def test_of_two_submissions_at_the_same_time_each_run_is_in_one(sweep):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(sweep.command, **pipes) for _ in range(2)]
    said = ["".join(one.communicate(timeout=120)) for one in both]
    assert sum("Submitted: 7 runs" in text for text in said) == 1, said
    assert sum("at work" in text or "just begun" in text or "Nothing to submit" in text for text in said) == 1, said
    runs = [row.split(",")[0] for row in (sweep.folder / "jobs.csv").read_text().splitlines()[1:]]
    assert len(runs) == len(set(runs)) == 8
    wait_for_all(sweep.folder)


def test_a_pretraining_on_gpus_has_a_process_for_each_of_them(sweep):
    text = sweep.site.read_text().replace("GPUS_PER_NODE=0", "GPUS_PER_NODE=2")
    sweep.site.write_text(text)
    assert sweep().returncode == 0
    wait_for_all(sweep.folder)
    ran = (sweep.folder / "pretrain" / "mtm-n1-s0" / "commands").read_text().splitlines()
    assert len(ran) == 2
    assert all("--trainer.num_nodes 1 --trainer.devices 2 --trainer.accelerator gpu" in line for line in ran)
    assert "--trainer.precision auto" in ran[0]
