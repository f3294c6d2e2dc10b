"""What the scripts of `slurm/` refuse, and how: a site, lists, options that they set themselves, wrong values."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.slurm.running import ROOT, jobs, refused, script, write_site


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
        ("FINETUNE_TIME=5", "less than ten minutes"),
        ("FINETUNE_TIME=00:09:59", "less than ten minutes"),
        ("FINETUNE_TIME=0-0", "less than ten minutes"),
        ("PRETRAIN_TIME=0-00:03", "less than ten minutes"),
        ("PRETRAIN_TIME=0-00:08:09", "less than ten minutes"),
        ("PRETRAIN_TIME=1:2:3:4", "is not a value that it takes"),
        ("PRETRAIN_TIME=1-2-3", "is not a value that it takes"),
        ("SBATCH_OPTIONS=--exclude n1", "is not a value that it takes"),
        ("SBATCH_OPTIONS=--exclude=n1 --array=1-3", "has --array, which the scripts set themselves"),
        ("SBATCH_OPTIONS=--partition=gpu", "has --partition, which the scripts set themselves: give PARTITION instead"),
        ("SBATCH_OPTIONS=-N2", "has -N, which the scripts set themselves: give NODES instead"),
        ("CPUS_PER_TASK=99999999999999999999", "is not a value that it takes"),
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


def test_a_site_that_was_written_on_windows_is_read(sweep, slurm):
    text = sweep.site.read_text()
    sweep.site.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    result = sweep()
    assert result.returncode == 0, result.stderr
    assert "--partition=main" in jobs(slurm)[0]
    assert "\r" not in jobs(slurm)[0]


@pytest.mark.parametrize("limit", ["10", "10:00", "0:10:00", "00:10:00", "1-0", "0-1", "0-0:10", "0-00:10:00", "08:09"])
def test_every_form_of_a_time_limit_is_read(sweep, slurm, limit):
    text = [line for line in sweep.site.read_text().splitlines() if not line.startswith("PRETRAIN_TIME")]
    sweep.site.write_text("\n".join([*text, f"PRETRAIN_TIME={limit}", ""]))
    result = sweep()
    if limit == "08:09":
        assert "less than ten minutes" in refused(result)
    else:
        assert f"--time={limit} " in jobs(slurm)[0]


def test_the_site_that_a_sweep_keeps_can_be_given_again(sweep, slurm, tmp_path):
    assert sweep().returncode == 0
    own = sweep.folder / "site.env"
    for result in (sweep("--site", own), script("status", sweep.folder, "--retry", "--site", own)):
        assert result.returncode == 0, result.stderr
    assert own.read_text() == sweep.site.read_text()
    (tmp_path / "space.yaml").write_text("model.lr: [0.1, 0.2]\n")
    search = ("search.sh", "--out", tmp_path / "study", "--space", tmp_path / "space.yaml", "--trials", "1")
    for site in (sweep.site, tmp_path / "study" / "site.env"):
        assert script(*search, "--site", site).returncode == 0


def test_a_message_names_the_site_that_was_given(sweep, slurm, tmp_path):
    site = tmp_path / "far.env"
    site.write_text(sweep.site.read_text() + "MODULES=cuda/12\n")
    assert f"{site} names MODULES" in sweep("--site", site, env={"BASH_ENV": ""}).stderr
    assert f"{tmp_path / 'none' / 'x.env'}: no such file" in refused(
        script("submit", "pretrain", "--site", tmp_path / "none" / "x.env", "--run_dir", "x")
    )


def test_the_example_of_a_site_is_read_once_its_paths_exist(sweep, slurm, tmp_path):
    text = (ROOT / "slurm" / "site.env.example").read_text()
    sweep.site.write_text(text.replace("/path/to/neuromtm/.venv", str(tmp_path / "environment")))
    result = sweep()
    assert result.returncode == 0, result.stderr
    assert "--gres=gpu:4" in jobs(slurm)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sessions", "1,9"], "has only 3 sessions of the role pretrain"),
        (["--sessions", "one"], "--sessions takes a whole number from 1 to 999999999, not 'one'"),
        (["--sessions", "2,2"], "--sessions 2,2: '2' stands there twice"),
        (["--sessions", "1,"], "--sessions '1,': give values with one comma between them"),
        (["--sessions", "99999999999999999999"], "a whole number from 1 to 999999999, not '99999999999999999999'"),
        (["--seeds", "-1"], "--seeds takes whole numbers"),
        (["--seeds", "4294967296"], "--seeds takes whole numbers from 0 to 4294967295"),
        (["--seeds", ""], "--seeds needs a value"),
        (["--seeds", "0\n1"], "a value with a line break"),
        (["--animals", ""], "--animals needs a value"),
        (["--objectives", ""], "--objectives needs a value"),
        (["--objectives", "mtm,mtm"], "'mtm' stands there twice"),
        (["--baselines", "psth,psth"], "'psth' stands there twice"),
        (["--steps", ""], "--steps needs a value"),
        (["--data", "--dry-run"], "--data needs a value"),
        (["--trials-per-s", "0"], "--trials-per-s takes a number above 0"),
        (["--trials-per-s", "0.0"], "--trials-per-s takes a number above 0"),
        (["--steps", "10", "--val-every", "11"], "--val-every 11 is more than --steps 10"),
        (["--objectives", "causal"], "--objectives takes mtm and temporal"),
        (["--animals", "Nobody"], "has no session of the role heldout of 'Nobody'. It has those of: mouse-0-0"),
        (["--animals", "../x"], "cannot be in a folder's name"),
        (["--data", "nowhere"], "no such folder"),
        (["--at-once", "0"], "takes a whole number from 1"),
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


STEPS = ("--steps", "9", "--")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--", "--data.root", "x"),
            "--data.root: sweep_sessions.sh sets it itself, so it cannot be given here. Give --data",
        ),
        (("--", "--data.root=x"), "--data.root=x: sweep_sessions.sh sets it itself"),
        (("--", "--data", "x.yaml"), "--data: sweep_sessions.sh sets data."),
        (("--", "--data.role=all"), "--data.role=all: "),
        (("--", "--data.n_sessions", "2"), "Give --sessions N,N,..."),
        (("--", "--data.subjects+=[x]"), "Give --animals"),
        (("--", "--seed_everything", "3"), "Give --seeds"),
        (("--", "--run_dir", "x"), "Give --out SWEEP"),
        (("--", "--print_config"), "a job would print it and end"),
        (("--", "--auto_resume", "false"), "goes on from its last checkpoint"),
        (("--", "--config", "x.yaml"), "Give --pretrain-config FILE"),
        (("--", "--", "--config=x.yaml"), "Give --finetune-config FILE"),
        (("--", "--", "--model.pretrained", "x"), "It is the best checkpoint of the pretraining"),
        (("--", "--", "--data.subjects", "[x]"), "Give --animals"),
        (("--", "--", "--", "--data.root", "x"), "Give --data DIR"),
        (("--objectives", "mtm,temporal", "--", "--model.objective.schemes", "[neuron]"), "Give --objectives"),
        (("--objectives", "temporal", "--", "--model.objective={}"), "sets model.objective.schemes itself"),
        ((*STEPS, "--trainer.max_steps", "5"), "Give --steps"),
        ((*STEPS, "--trainer.max_epochs=5"), "Give --steps"),
        ((*STEPS, "--trainer.check_val_every_n_epoch", "5"), "Give --steps"),
        ((*STEPS, "--trainer.val_check_interval", "5"), "Give --steps and --val-every"),
        ((*STEPS, "--trainer.callbacks", "null"), "Add one by --trainer.callbacks+=CLASS"),
        ((*STEPS, "--trainer", "x.yaml"), "sweep_sessions.sh sets trainer."),
    ],
)
def test_an_option_that_the_grid_sets_cannot_be_set_again(sweep, slurm, arguments, said):
    assert said in refused(sweep(*arguments))
    assert not sweep.folder.exists()
    assert not jobs(slurm)


def test_what_the_grid_leaves_open_can_be_set(sweep, slurm):
    more = ("--", "--trainer.max_steps", "5", "--model.objective.schemes", "[neuron]", "--", "--trainer.max_epochs=2")
    assert sweep(*more).returncode == 0
    sweep.folder.rename(sweep.folder.with_name("former"))
    assert sweep("--steps", "9", "--", "--trainer.callbacks+=tests.slurm.holding.Held").returncode == 0


def test_options_that_a_search_or_a_submission_sets_cannot_be_set_again(sweep, slurm, tmp_path):
    (tmp_path / "space.yaml").write_text("model.lr: [0.1, 0.2]\n")
    search = ("search.sh", "--site", sweep.site, "--out", tmp_path / "study", "--space", tmp_path / "space.yaml")
    for option in ("--run_dir=x", "--auto_resume=true", "--trainer.devices=2"):
        assert f"{option}: search.sh sets it itself" in refused(script(*search, "--trials", "2", "--", option))
    assert "--trials takes a whole number" in refused(script(*search, "--trials", "9" * 20))
    one = ("submit", "pretrain", "--site", sweep.site, "--run_dir", "runs/x")
    for option in ("--trainer.num_nodes=2", "--trainer.devices=2", "--ckpt_path=last"):
        assert f"{option}: submit sets it itself" in refused(script(*one, option))
    assert not jobs(slurm)


def test_an_option_that_neuromtm_does_not_know_is_refused_before_anything_is_submitted(sweep, slurm):
    result = sweep("--", "--no_such_option", "1")
    assert result.returncode == 2
    assert "unrecognized arguments: --no_such_option" in result.stderr
    assert "neuromtm fit refuses the options of pretrain/mtm-n1-s0" in result.stderr
    assert not jobs(slurm)


def test_a_wrong_value_is_refused_before_anything_is_submitted(sweep, slurm):
    """By the program itself, which builds what the options describe."""
    site = write_site(sweep.site.parent, Path(sys.prefix))
    result = sweep("--site", site, "--", "--activity.n_val_neurons", "0")
    assert result.returncode == 2
    said, whose = result.stderr.splitlines()
    assert "n_val_neurons is 0, less than 1" in said
    assert whose == "sweep_sessions.sh: neuromtm fit refuses the options of pretrain/mtm-n1-s0."
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
