"""`neuromtm search`: a search for options, shared by processes that may die."""

import json
import os
import subprocess
import sys

import pytest

from neuromtm.callbacks.pruning import Pruning
from neuromtm.commands import search
from neuromtm.commands.checking import check
from neuromtm.commands.failures import users_own
from neuromtm.commands.search_space import Between, Choices, read_space, space_from, space_text
from neuromtm.errors import ConfigError
from neuromtm.files import read_table
from neuromtm.training.stopping import StopSignals
from tests.running import neuromtm, pretrain, refusal, scalars

optuna = pytest.importorskip("optuna")

SPACE = "model.lr: {low: 0.0001, high: 0.01, log: true}\nmodel.weight_decay: [0.0, 0.1]\n"


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def fit_options(root, data, *more):
    """The options of `fit` that all trials of a short search share."""
    return ["--", *map(str, pretrain(root, data, "--behavior.validate=false", "--figures.n_val_sessions=0", *more)[1:])]


def begun(folder, space, *, owner):
    """A search with one trial that a process of that name has begun; returns its values."""
    search._Settings.of(folder, read_space(space), ["--config", "x.yaml"])
    trial = search._study(folder, seed=0, prune=True).ask()
    trial.set_user_attr("owner", owner)
    return {name: allowed.draw(trial, name) for name, allowed in read_space(space).items()}


def dead_process():
    """Name of a process that has ended, as a trial keeps it."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return search._me().replace(str(os.getpid()), str(ended.pid))


# ---- the space ----


def test_a_space_has_choices_and_ends(space):
    found = read_space(space)
    assert found == {
        "model.lr": Between(0.0001, 0.01, log=True, whole=False),
        "model.weight_decay": Choices((0.0, 0.1)),
    }
    assert space_from(json.loads(json.dumps(space_text(found)))) == found


def test_values_lie_in_the_space():
    space = space_from({"a": {"low": 2, "high": 4}, "b": {"low": 0.5, "high": 0.6}, "c": ["x", "y"]})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [{name: own.draw(trial, name) for name, own in space.items()} for trial in (study.ask() for _ in range(40))]
    assert {one["a"] for one in drawn} == {2, 3, 4}
    assert {one["c"] for one in drawn} == {"x", "y"}
    assert all(0.5 <= one["b"] <= 0.6 for one in drawn)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write a line for each option"),
        ("[1, 2]", "write a line for each option"),
        ("a: [1", "no YAML"),
        ("a: [1]", "two or more different"),
        ("a: [1, 1]", "two or more different"),
        ("a: [[1], [2]]", "two or more different"),
        ("a: 3", "write a list of values, or"),
        ("a: {low: 1}", "write a list of values, or"),
        ("a: {low: 1, high: 2, step: 1}", "write a list of values, or"),
        ("a: {low: 1e-3, high: 1}", "YAML reads 1e-3 as text"),
        ("a: {low: true, high: 2}", "low and high are numbers"),
        ("a: {low: .nan, high: 2}", "low and high are numbers"),
        ("a: {low: 2, high: 1}", "low is below high"),
        ("a: {low: 0, high: 1, log: true}", "low is above 0"),
        ("a: {low: 1, high: 2, log: 3}", "log is true or false"),
    ],
)
def test_a_wrong_space_is_refused_with_its_place(tmp_path, text, says):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as refused:
        read_space(path)
    assert str(path) in str(refused.value)


# ---- a search ----


def test_a_search_trains_its_trials_and_goes_on_later(root, sessions_dir, space, tmp_path, capsys):
    folder = tmp_path / "search"
    options = fit_options(root, sessions_dir)
    neuromtm("search", folder, "--space", space, "--n_trials", 2, *options)
    first = read_table(folder / "search.csv", needs=["trial", "state", "metric", "score", "model.lr", "reason"])
    assert [row["state"] for row in first] == ["complete"] * 2
    assert len({row["model.lr"] for row in first}) == 2
    for row in first:
        run_dir = folder / f"trial-{int(row['trial']):04d}"
        assert (run_dir / "checkpoints" / "best.ckpt").exists()
        kept = next(line for line in (run_dir / "config.yaml").read_text().splitlines() if line.startswith("  lr:"))
        assert float(kept.split()[1]) == pytest.approx(float(row["model.lr"]), rel=1e-4)
    neuromtm("search", folder)  # the space and the options of fit are known
    capsys.readouterr()
    later = read_table(folder / "search.csv")
    assert [row["state"] for row in later] == ["complete"] * 3
    losses = [float(row["score"]) for row in later]
    assert losses == sorted(losses)
    assert "another space or with other options" in refusal(capsys, "search", folder, *options, "--model.lr=1")


def test_a_search_for_bits_per_spike_puts_the_highest_first(root, sessions_dir, space, tmp_path, capsys):
    folder = tmp_path / "search"
    options = fit_options(root, sessions_dir, "--best_by=val/bits_per_spike")
    neuromtm("search", folder, "--space", space, "--n_trials", 2, *options)
    rows = read_table(folder / "search.csv")
    assert {row["metric"] for row in rows} == {"val/bits_per_spike"}
    first, second = (float(row["score"]) for row in rows)
    assert first > second
    run_dir = folder / f"trial-{int(rows[0]['trial']):04d}"
    assert max(scalars(run_dir)["val/bits_per_spike"]) == pytest.approx(first, rel=1e-4)


def test_a_trial_that_fails_ends_alone(root, sessions_dir, tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text("model.backbone.init_args.n_heads: [3, 5]\n")  # neither divides the width
    line = refusal(
        capsys, "search", tmp_path / "out", "--space", space, "--n_trials", 2, *fit_options(root, sessions_dir)
    )
    assert "no trial of this process was trained" in line
    rows = read_table(tmp_path / "out" / "search.csv")
    assert [row["state"] for row in rows] == ["failed"] * 2
    assert all("width 16 in" in row["reason"] for row in rows)


def test_a_trial_that_was_left_is_trained_with_its_values(root, sessions_dir, space, tmp_path, capsys):
    folder = tmp_path / "search"
    values = begun(folder, space, owner=dead_process())
    settings = json.loads((folder / "search.json").read_text())
    (folder / "search.json").write_text(json.dumps(settings | {"fit": fit_options(root, sessions_dir)[1:]}))
    neuromtm("search", folder)
    (row,) = read_table(folder / "search.csv")
    assert (row["trial"], row["state"]) == ("0", "complete")
    assert float(row["model.lr"]) == pytest.approx(values["model.lr"], rel=1e-4)


def test_a_trial_whose_process_died_after_the_training_keeps_its_score(root, sessions_dir, space, tmp_path, capsys):
    folder = tmp_path / "search"
    neuromtm("search", folder, "--space", space, *fit_options(root, sessions_dir))
    before = read_table(folder / "search.csv")
    lines = (folder / "journal.log").read_text().splitlines(keepends=True)
    told = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 6]  # the trial's end is not written
    assert len(told) == 1
    (folder / "journal.log").write_text("".join(lines[: told[0]]).replace(search._me(), dead_process()))
    checkpoint = (folder / "trial-0000" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    neuromtm("search", folder)
    assert read_table(folder / "search.csv") == before
    assert (folder / "trial-0000" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == checkpoint


def test_a_trial_that_a_signal_ended_goes_on(root, sessions_dir, space, tmp_path, capsys):
    folder = tmp_path / "search"
    stop = "--trainer.callbacks=[{class_path: tests.interrupted.SignalAt, init_args: {signal: SIGTERM, step: 2}}]"
    with pytest.raises(SystemExit) as ended:
        neuromtm("search", folder, "--space", space, *fit_options(root, sessions_dir, stop))
    assert ended.value.code == 75
    assert "SIGTERM: step 3 is done" in capsys.readouterr().err
    neuromtm("search", folder)  # this process is the one that began it
    (row,) = read_table(folder / "search.csv")
    assert (row["trial"], row["state"]) == ("0", "complete")


def test_a_trial_on_two_devices_is_refused(root, sessions_dir, space, tmp_path, capsys):
    options = fit_options(root, sessions_dir, "--trainer.devices=2")
    refusal(capsys, "search", tmp_path / "search", "--space", space, *options)
    (row,) = read_table(tmp_path / "search" / "search.csv")
    assert "one device" in row["reason"]


# ---- many processes ----


def test_nobody_takes_a_trial_of_a_living_process(space, tmp_path):
    alive = search._me().replace(str(os.getpid()), str(os.getppid()))
    begun(tmp_path, space, owner=alive)
    study = search._study(tmp_path, seed=0, prune=True)
    assert search._left_by_the_dead(study, tmp_path, "process-elsewhere-1") is None


def test_only_one_process_takes_a_trial_that_was_left(space, tmp_path):
    begun(tmp_path, space, owner=dead_process())
    study = search._study(tmp_path, seed=0, prune=True)
    taken = [search._left_by_the_dead(study, tmp_path, f"process-elsewhere-{n}") for n in range(3)]
    assert [trial is not None for trial in taken] == [True, False, False]


def test_a_requeued_slurm_task_goes_on_with_its_own_trial(space, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    begun(tmp_path, space, owner=search._me())
    study = search._study(tmp_path, seed=0, prune=True)
    assert search._left_by_the_dead(study, tmp_path, search._me()).number == 0
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert search._left_by_the_dead(study, tmp_path, search._me()) is None


@pytest.mark.parametrize(
    ("answer", "status", "dead"),
    [("", 0, True), ("12_3 RUNNING", 0, False), ("", 1, False), ("Invalid job id", 1, True)],
)
def test_slurm_says_whether_a_task_lives(tmp_path, monkeypatch, answer, status, dead):
    squeue = tmp_path / "squeue"
    squeue.write_text(
        f"#!/bin/sh\n[ $3 = 12_3 ] || exit 9\necho '{answer}' >&{1 if status == 0 else 2}\nexit {status}\n"
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert search._is_dead("slurm-12_3", "slurm-12_4") == dead


def test_processes_that_start_at_once_draw_different_values(space, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    drawn = []
    for task in range(4):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        study = search._study(tmp_path / str(task), seed=0, prune=True)  # none knows of the others yet
        drawn.append(study.ask().suggest_float("x", 0, 1))
    assert len(set(drawn)) == 4


# ---- pruning ----


class Prunes:
    """A trial that the search gives up after some reports."""

    def __init__(self, after):
        self.reports, self.after = [], after

    def report(self, value, step):
        self.reports.append((step, value))

    def should_prune(self):
        return len(self.reports) >= self.after


def test_a_pruned_training_ends_at_that_validation(root, sessions_dir, tmp_path):
    from neuromtm.commands.cli import trained

    pruning = Pruning(Prunes(after=2))
    options = [str(option) for option in pretrain(root, sessions_dir, "--trainer.max_epochs=5", "--model.lr=0.01")[1:]]
    with StopSignals() as signals:
        score = trained(options, tmp_path / "run", signals=signals, callbacks=[pruning])
    reports = pruning.trial.reports
    assert pruning.pruned
    assert len(reports) == 2
    assert reports[0][0] < reports[1][0]
    assert score == ("val/loss", pytest.approx(min(value for _, value in reports)))


# ---- refusals ----


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--n_trials", "0"], "must be at least 1"),
        (["--space", "absent.yaml"], "No such file"),
        ([], "no search yet"),
    ],
)
def test_a_search_that_cannot_begin_is_refused(tmp_path, capsys, more, says):
    assert says in refusal(capsys, "search", tmp_path / "search", *more)
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize("option", ["--run_dir=x", "--ckpt_path=x", "--auto_resume=true", "--model.lr=1"])
def test_options_that_the_search_sets_are_refused(space, tmp_path, capsys, option):
    line = refusal(capsys, "search", tmp_path / "search", "--space", space, "--", option)
    assert option.split("=")[0] in line


def test_a_search_without_a_trial_may_begin_anew_with_another_space(space, tmp_path, capsys):
    folder, fit = tmp_path / "search", ["--config", "x.yaml"]
    search._Settings.of(folder, read_space(space), fit)
    search._study(folder, seed=0, prune=True)
    space.write_text("model.lr: [0.1, 0.2]\n")
    assert search._Settings.of(folder, read_space(space), fit).space == read_space(space)
    assert search._Settings.of(folder, None, []).space == read_space(space)
    search._study(folder, seed=0, prune=True).ask()
    search._Settings.of(folder, read_space(space), fit[:1], keep=False)  # tasks add where they run
    with pytest.raises(ConfigError, match="other options"):
        search._Settings.of(folder, read_space(space), ["--config", "y.yaml"], keep=False)
    space.write_text(SPACE)
    with pytest.raises(ConfigError, match="another space"):
        search._Settings.of(folder, read_space(space), fit)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model.lr: [0.001, -1.0]\n", "lr"),
        ("model.lrr: [0.001, 0.1]\n", "model.lrr"),
        ("data.batch_size: {low: 0, high: 4}\n", "batch_size"),
    ],
)
def test_a_space_with_values_that_a_training_refuses_is_found_before_any_trial(
    root, sessions_dir, tmp_path, text, says
):
    (tmp_path / "space.yaml").write_text(text)
    options = [str(tmp_path / "search"), "--space", str(tmp_path / "space.yaml"), *fit_options(root, sessions_dir)]
    with pytest.raises(Exception, match=says) as refused:
        check("search", options)
    assert users_own(refused.value) is not None
    assert not (tmp_path / "search").exists()


def test_a_damaged_search_is_refused(tmp_path, capsys):
    (tmp_path / "search.json").write_text('{"space": {}}')
    assert "search.json: damaged" in refusal(capsys, "search", tmp_path)
