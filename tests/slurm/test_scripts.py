"""What the scripts of `slurm/` do before Slurm is asked, with stand-ins for Slurm's programs and for neuromtm."""

import os
import shutil
import socket
import subprocess

import pytest

from tests.slurm.running import ROOT, jobs, refused, script, write_program, write_site


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
    # a session's 28 trials make four batches of seven: 9000 x 7 x 8 / 100 s = 1.4 h, by two runs and eight GPUs
    expected = "pretrain: 2 x (9000 steps x 7 trials x 8 ranks) / 100 trials/s = 2 x 5040 s; x 8 GPUs = 22.40 hours"
    assert expected in result.stdout, result.stdout + result.stderr
    assert "--nodes=2 --ntasks-per-node=4" in result.stdout
    assert "--gres=gpu:4" in result.stdout
    assert result.stdout.count("--gres=gpu:1") == 2  # fine-tuning


def test_hours_count_accumulated_batches_and_sessions_with_few_trials(sweep):
    more = ("--steps", "90", "--trials-per-s", "1", "--dry-run")
    shown = sweep(*more, env={"MAX_STEPS": "90", "BATCHES": "4", "N_TRAIN": "6"}).stdout
    assert "pretrain: 2 x (90 steps x 4 batches x 6 trials x 1 ranks) / 1 trials/s = 2 x 2160 s;" in shown
    assert "finetune: " in shown


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


@pytest.mark.parametrize("name", ["status", "submit", "sweep_sessions.sh", "search.sh"])
def test_every_script_says_how_it_is_called(name):
    for word in ("--help", "-h"):
        result = script(name, word)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"usage: slurm/{name} ")
    assert script("submit", "pretrain", "--help").returncode == 0


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
    assert "neuromtm search refuses the space or the options after --" in refusal.stderr
    result = script(*command, "--", "--data.root", "DIR")
    assert result.returncode == 0, result.stderr
    (line,) = jobs(slurm)
    assert "--ntasks-per-node=1" in line
    assert "--gres=gpu:1" in line
    assert line.endswith(f"--array=1-20%3 {ROOT}/slurm/finetune.sbatch --sweep {tmp_path / 'study'} --stage trial")


def test_a_space_can_be_another_one_until_a_task_has_begun(sweep, slurm, tmp_path):
    space = tmp_path / "space.yaml"
    search = ("search.sh", "--site", sweep.site, "--out", tmp_path / "study", "--space", space, "--trials", "1")
    space.write_text("model.lr: [0.1, 0.2]\n")
    assert script(*search).returncode == 0
    (slurm / "queue").write_text("101_1|PENDING|Resources\n")
    space.write_text("model.lr: [0.1, 0.3]\n")
    assert "was begun with another space" in refused(script(*search))
    (slurm / "queue").unlink()
    assert script(*search).returncode == 0
    assert (tmp_path / "study" / "space.yaml").read_text() == space.read_text()
