"""What the scripts of `slurm/` do before Slurm is asked, with stand-ins for Slurm's programs and for neuromtm."""

import os
import shutil
import socket
import subprocess

import pytest

from tests.running import SIMULATE, WINDOW
from tests.slurm.running import ROOT, script, write_program, write_site, write_stand_in

SBATCH = """#!/usr/bin/env bash
echo "$@" >> "$STAND_IN/submitted"
if [ "$(wc -l < "$STAND_IN/submitted")" -gt "${ACCEPTS:-99}" ]; then
  echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1
fi
echo "$((100 + $(wc -l < "$STAND_IN/submitted")))"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three sessions for pretraining, and one each of two held-out animals; not to be changed."""
    from data_prep.__main__ import main

    out = tmp_path_factory.mktemp("data") / "sim"
    assert main(["simulate", "--out", str(out), *SIMULATE, "--n-sessions", "5", "--n-heldout", "2", *WINDOW]) == 0
    return out


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with stand-ins for sbatch, squeue and scancel, on the PATH; they write there what they are given."""
    folder = tmp_path / "slurm-stand-in"
    folder.mkdir()
    write_program(folder / "sbatch", SBATCH)
    write_program(folder / "squeue", '#!/bin/sh\ncat "$STAND_IN/queue" 2> /dev/null; exit "${SQUEUE_STATUS:-0}"\n')
    write_program(folder / "scancel", '#!/bin/sh\necho "$@" >> "$STAND_IN/cancelled"\n')
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def sweep(tmp_path, data):
    """Submits a small sweep into a folder, by a stand-in for neuromtm: two numbers of sessions, two animals."""
    site = write_site(tmp_path, write_stand_in(tmp_path))

    def submit(*arguments, env=None):
        given = ("--site", site, "--data", data, "--out", tmp_path / "sweep", "--sessions", "1,3", *arguments)
        return script("sweep_sessions.sh", *given, env=env, cwd=tmp_path)

    submit.folder, submit.site = tmp_path / "sweep", site
    return submit


def jobs(slurm) -> list[str]:
    path = slurm / "submitted"
    return path.read_text().splitlines() if path.exists() else []


def refused(result) -> str:
    """The one line of a script that refuses."""
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    return line


def test_shellcheck_finds_nothing():
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck (on Debian: apt-get install shellcheck)")
    files = [*sorted((ROOT / "slurm").glob("**/*")), ROOT / "tests" / "slurm" / "cluster.sh", ROOT / ".ci" / "run"]
    files = [str(path) for path in files if path.is_file() and path.suffix in ("", ".sh", ".sbatch")]
    assert len(files) > 9
    result = subprocess.run(["shellcheck", "-x", "-P", str(ROOT), *files], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_a_dry_run_shows_grid_commands_and_hours_and_leaves_nothing(sweep, slurm):
    result = sweep(
        *("--objectives", "mtm,temporal", "--seeds", "0,1", "--scratch", "--baselines", "psth", "--at-once", "5"),
        *("--trials-per-s", "20", "--dry-run"),
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    runs = [line.split()[0] for line in lines if line.startswith(("pretrain/", "finetune/", "scratch/", "baseline/"))]
    assert len(runs) == len(set(runs)) == 8 + 16 + 8 + 2
    assert {"pretrain/temporal-n3-s1", "finetune/mtm-n1-s0-mouse-0-04", "scratch/mtm-s1-mouse-0-03"} < set(runs)
    commands = [line for line in lines if line.startswith("JOB")]
    assert ["--array=1-8%5" in line for line in commands] == [True, False, False, True, False, False]
    assert sum("--array=1-8%2" in line and "aftercorr:JOB1" in line for line in commands) == 2  # an array an animal
    assert "--dependency=afterany:JOB1:JOB2:JOB3:JOB4:JOB5" in commands[-1]
    # 40 trials: 28 for training, of which a stand-in makes 3 epochs
    assert (
        "  pretrain: 4 x (3 epochs x 1 sessions x 28 trials) / 20 trials/s = 4 x 4 s; x 1 process = 0.00 hours" in lines
    )
    assert any(line.startswith("  pretrain: 4 x (3 epochs x 3 sessions x 28 trials)") for line in lines)
    assert not sweep.folder.exists()
    assert not jobs(slurm)


def test_hours_of_steps_on_gpus_are_the_product_that_is_shown(sweep, tmp_path):
    site = write_site(tmp_path, tmp_path / "environment", NODES=2, GPUS_PER_NODE=4)
    result = sweep(
        *("--site", site, "--steps", "9000", "--trials-per-s", "100", "--dry-run"), env={"MAX_STEPS": "9000"}
    )
    # 9000 x 8 x 8 / 100 s = 1.6 h, by two runs and eight GPUs
    expected = "pretrain: 2 x (9000 steps x 8 trials x 8 ranks) / 100 trials/s = 2 x 5760 s; x 8 GPUs = 25.60 hours"
    assert expected in result.stdout, result.stdout + result.stderr
    assert "--nodes=2 --ntasks-per-node=4" in result.stdout
    assert "--gres=gpu:4" in result.stdout
    assert result.stdout.count("--gres=gpu:1") == 2  # fine-tuning


def test_equal_steps_are_asked_for_by_the_trainer_s_options(sweep, slurm):
    assert sweep("--steps", "200", "--animals", "mouse-0-03", "--", "--model.lr", "0.1").returncode == 0
    options = (sweep.folder / "options" / "pretrain" / "mtm-n3-s0").read_text().splitlines()
    words = " ".join(options)
    assert "--trainer.max_steps 200 --trainer.max_epochs -1 --trainer.check_val_every_n_epoch null" in words
    assert "--trainer.val_check_interval 10 --trainer.callbacks null --model.lr 0.1 --run_dir" in words
    assert options[-2:] == ["--auto_resume", "true"]
    tuned = (sweep.folder / "options" / "finetune" / "mtm-n3-s0-mouse-0-03").read_text().splitlines()
    assert '["mouse-0-03"]' in tuned
    assert "--model.lr" not in tuned


def test_a_baseline_has_the_neurons_and_trials_of_the_fine_tuning(sweep, slurm):
    tuning = ("--data.min_firing_rate_hz", "0.5", "--data.n_train_trials=9", "--model.lr", "0.1")
    result = sweep("--baselines", "psth", "--animals", "mouse-0-03", "--", "--data.n_train_trials", "20", "--", *tuning)
    assert result.returncode == 0, result.stderr
    words = " ".join((sweep.folder / "options" / "baseline" / "psth-mouse-0-03").read_text().splitlines())
    assert "--subjects mouse-0-03 --min_firing_rate_hz 0.5 --n_train_trials 9 --out" in words


def test_the_grid_keeps_its_rows_when_it_grows(sweep, slurm):
    assert sweep("--animals", "mouse-0-03").returncode == 0
    before = (sweep.folder / "grid.csv").read_text()
    assert before.splitlines() == [
        "run,stage,objective,n_sessions,seed,animal,pretrained",
        "pretrain/mtm-n1-s0,pretrain,mtm,1,0,,",
        "finetune/mtm-n1-s0-mouse-0-03,finetune,mtm,1,0,mouse-0-03,pretrain/mtm-n1-s0",
        "pretrain/mtm-n3-s0,pretrain,mtm,3,0,,",
        "finetune/mtm-n3-s0-mouse-0-03,finetune,mtm,3,0,mouse-0-03,pretrain/mtm-n3-s0",
    ]
    (sweep.folder / "pretrain" / "mtm-n1-s0").mkdir(parents=True)
    (sweep.folder / "pretrain" / "mtm-n1-s0" / "ended").touch()
    (slurm / "queue").write_text("101_2|RUNNING|None\n102_2|PENDING|Dependency\n103|PENDING|Dependency\n")
    write_program(slurm / "scancel", '#!/bin/sh\necho "$@" >> "$STAND_IN/cancelled"; exit 1\n')  # it has just ended
    assert sweep("--sessions", "1,2,3").returncode == 0
    assert (sweep.folder / "grid.csv").read_text().startswith(before)
    pretraining, *others, _ = jobs(slurm)[3:]
    assert "--array=3%8 " in pretraining
    assert pretraining.endswith("--stage pretrain"), "only the one that is new"
    tuned = {}
    for line in others:
        waits_for = line.partition("aftercorr:")[2].partition(" ")[0]
        tuned[line.split("--animal ")[1], line.split("--array=")[1].partition("%")[0]] = waits_for
    assert tuned == {
        ("mouse-0-03", "1"): "",  # its pretraining is done
        ("mouse-0-03", "3"): "104",
        ("mouse-0-04", "1"): "",
        ("mouse-0-04", "2"): "101",  # this one runs, by the first submission
        ("mouse-0-04", "3"): "104",
    }
    assert (slurm / "cancelled").read_text() == "103\n", "the former collecting job, which would come too early"


def test_a_run_that_has_begun_keeps_its_options(sweep, slurm):
    assert sweep("--", "--model.lr", "0.1").returncode == 0
    (sweep.folder / "pretrain" / "mtm-n3-s0").mkdir(parents=True)
    said = refused(sweep("--", "--model.lr", "0.2"))
    assert "pretrain/mtm-n3-s0 was begun with other options (< 0.1 > 0.2)" in said
    before = jobs(slurm)
    assert sweep("--", "--model.lr", "0.1", "--dry-run").returncode == 2  # part of the options: other ones
    assert jobs(slurm) == before


def test_a_job_that_slurm_refuses_takes_the_others_with_it(sweep, slurm):
    result = sweep("--baselines", "psth", env={"ACCEPTS": "3"})
    assert result.returncode == 2
    assert "sbatch: error: invalid partition specified: nowhere" in result.stderr
    assert "nothing is submitted: what had been is cancelled (101 102 103)." in result.stderr
    assert (slurm / "cancelled").read_text() == "101 102 103\n"
    assert (sweep.folder / "jobs.csv").read_text() == "run,job,log\n"
    assert not (sweep.folder / ".lock").exists()


def test_without_an_answer_of_squeue_nothing_is_submitted(sweep, slurm):
    said = refused(sweep(env={"SQUEUE_STATUS": "1"}))
    assert "squeue does not answer" in said
    assert not jobs(slurm)


def test_a_submission_at_the_same_time_says_who_holds_the_sweep(sweep, slurm):
    lock = sweep.folder / ".lock"
    lock.mkdir(parents=True)
    (lock / "holder").write_text(f"{socket.gethostname()} {os.getpid()} somebody 2026-01-01T00:00:00\n")
    said = refused(sweep())
    assert f"another submission is at work (somebody, process {os.getpid()} on {socket.gethostname()}" in said
    (lock / "holder").write_text("far-away 1 somebody 2026-01-01T00:00:00\n")
    said = refused(sweep())
    assert "process 1 on far-away, since 2026-01-01T00:00:00). Wait until it has ended." in said
    assert said.endswith(f"If it no longer runs, remove {lock}.")
    assert not jobs(slurm)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (lock / "holder").write_text(f"{socket.gethostname()} {ended.pid} somebody 2026-01-01T00:00:00\n")
    result = sweep()
    assert result.returncode == 0, result.stderr
    assert "left a lock behind and no longer runs; it is removed" in result.stderr
    assert not lock.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PARTITION=", "PARTITION has no value. Add a line such as PARTITION=gpu"),
        ("PARTITION=$(touch evaluated)", "PARTITION='$(touch evaluated)' is not a value that it takes"),
        ("MODULES=cuda `touch evaluated`", "is not a value that it takes. One is MODULES=cuda/12.4 python/3.12"),
        ("ACCOUNT=mine; touch evaluated", "is not a value that it takes"),
        ('ENVIRONMENT="/opt/venv"', "without quotes"),
        ("ENVIRONMENT=$HOME/venv", "without quotes, variables and commands"),
        ("ENVIRONMENT=/nowhere/venv", "ENVIRONMENT=/nowhere/venv has no bin/neuromtm"),
        ("FINETUNE_TIME=05:00", "FINETUNE_TIME=05:00 is less than ten minutes"),
        ("CPUS_PER_TASK=many", "CPUS_PER_TASK='many' is not a value that it takes. One is CPUS_PER_TASK=8"),
        ("SBATCH_OPTIONS=--exclude=n1 $(id)", "is not a value that it takes"),
        ("PARTITON=gpu", "there is no key PARTITON. There are: ACCOUNT"),
        ("NODES=1\nNODES=2", "NODES is there twice"),
        ("export NODES=1", "'export NODES=1' is not KEY=VALUE"),
        ("NODES=1\r", "is not a value that it takes"),
    ],
)
def test_an_odd_site_is_refused_in_one_sentence_and_nothing_is_evaluated(sweep, slurm, tmp_path, line, said):
    key = line.partition("=")[0]
    kept = [other for other in sweep.site.read_text().splitlines() if not other.startswith(f"{key}=")]
    with sweep.site.open("w", newline="") as file:
        file.write("\n".join([*kept, line, ""]))
    assert said in refused(sweep())
    assert not (tmp_path / "evaluated").exists()
    assert not jobs(slurm)


def test_values_of_a_site_become_options_of_sbatch_word_by_word(sweep, slurm):
    with sweep.site.open("a") as file:
        file.write("# a comment\n\nCONSTRAINT=a100|h100\nACCOUNT=mine\nCPU_PARTITION=cpu\nMEM=8G\nQOS=long\n")
        file.write("SBATCH_OPTIONS=--exclude=n3 --reservation=ours\n")
    assert sweep().returncode == 0
    pretrain, *_, collect = jobs(slurm)
    for option in (
        "--constraint=a100|h100",
        "--account=mine",
        "--mem=8G",
        "--qos=long",
        "--exclude=n3 --reservation=ours",
    ):
        assert option in pretrain
    assert "--partition=main" in pretrain
    assert "--partition=cpu" in collect
    assert "--constraint" not in collect


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sessions", "1,9"], "has only 3 sessions of the role pretrain"),
        (["--sessions", "one"], "take whole numbers from 1, not 'one'"),
        (["--seeds", "-1"], "--seeds takes whole numbers"),
        (["--objectives", "causal"], "--objectives takes mtm and temporal"),
        (["--animals", "Nobody"], "has no session of the role heldout of 'Nobody'. It has those of: mouse-0-0"),
        (["--animals", "../x"], "cannot be in a folder's name"),
        (["--data", "nowhere"], "no such folder"),
        (["--at-once", "0"], "take whole numbers from 1"),
        (["--val-every", "5"], "needs --steps"),
        (["--site", "nowhere.env"], "nowhere.env: no such file. Copy slurm/site.env.example"),
        (["--sesions", "1"], "there is no option --sesions"),
        (["--steps"], "--steps needs a value"),
        (["--", "a", "--", "b", "--", "c", "--", "d"], "more than three parts of options"),
    ],
)
def test_what_a_sweep_cannot_be_is_refused_before_anything_is_written(sweep, slurm, arguments, said):
    assert said in refused(sweep(*arguments))
    assert not sweep.folder.exists()
    assert not jobs(slurm)


def test_an_option_that_neuromtm_does_not_know_is_refused_before_anything_is_submitted(sweep, slurm):
    result = sweep("--", "--no_such_option", "1")
    assert result.returncode == 2
    assert "unrecognized arguments: --no_such_option" in result.stderr
    assert "neuromtm fit refuses the options of pretrain/mtm-n1-s0" in result.stderr
    assert not jobs(slurm)


def test_without_slurm_on_the_path_it_says_where_to_run(sweep, tmp_path):
    programs = ("bash", "dirname", "cat", "sed", "awk", "sort", "paste", "realpath", "env")
    (tmp_path / "few").mkdir()
    for name in programs:
        (tmp_path / "few" / name).symlink_to(shutil.which(name))
    few = {"PATH": str(tmp_path / "few")}
    assert "there is no sbatch on the PATH. Run this where jobs are submitted" in refused(sweep(env=few))
    result = script("submit", "pretrain", "--site", sweep.site, "--run_dir", "runs/x", env=few)
    assert "there is no sbatch on the PATH" in refused(result)


def test_one_training_is_submitted_by_the_site(sweep, slurm):
    result = script("submit", "pretrain", "--site", sweep.site, "--config", "conf/small.yaml", "--run_dir", "runs/x")
    assert result.returncode == 0, result.stderr
    (line,) = jobs(slurm)
    assert line.endswith(f"pretrain.sbatch --site {sweep.site} --config conf/small.yaml --run_dir runs/x")
    assert "--partition=main --nodes=1 --ntasks-per-node=1" in line
    assert "give --run_dir RUN" in refused(script("submit", "finetune", "--site", sweep.site))
    assert "give pretrain or finetune" in refused(script("submit", "test"))


def test_a_search_is_an_array_of_processes_on_one_gpu_each(sweep, slurm, tmp_path):
    (tmp_path / "space.yaml").write_text("model.lr: {low: 0.001, high: 0.01}\n")
    site = write_site(tmp_path, tmp_path / "environment", GPUS_PER_NODE=4)
    command = ("search.sh", "--site", site, "--out", tmp_path / "study", "--trials", "20")
    assert "give --space FILE" in refused(script(*command))
    command = (*command, "--space", tmp_path / "space.yaml", "--at-once", "3")
    refusal = script(*command, "--", "--no_such_option", "1")
    assert "neuromtm fit refuses the options after --" in refusal.stderr
    result = script(*command, "--", "--data.root", "DIR")
    assert result.returncode == 0, result.stderr
    (line,) = jobs(slurm)
    assert "--ntasks-per-node=1" in line
    assert "--gres=gpu:1" in line
    assert line.endswith(f"--array=1-20%3 {ROOT}/slurm/finetune.sbatch --sweep {tmp_path / 'study'} --stage trial")


def test_the_example_of_a_site_is_read_once_its_paths_exist(sweep, slurm, tmp_path):
    text = (ROOT / "slurm" / "site.env.example").read_text()
    sweep.site.write_text(text.replace("/path/to/neuromtm/.venv", str(tmp_path / "environment")))
    result = sweep()
    assert result.returncode == 0, result.stderr
    assert "--gres=gpu:4" in jobs(slurm)[0]
