"""What made a run is written down: versions, source, data, place, command; a run that goes on adds to it."""

import json
import subprocess

import lightning
import pytest
import torch

from neuromtm import __version__
from neuromtm.callbacks.provenance import PROVENANCE_KEY
from neuromtm.files import sha256
from neuromtm.provenance import add_start, describe_start, git_state, read_starts
from neuromtm.training.checkpoint import load_checkpoint
from tests.running import EIDS, neuromtm, pretrain, scalars

QUICK = ("--behavior.validate", "false", "--figures.n_val_sessions", "0", "--activity.n_val_neurons", "1")


@pytest.fixture
def repository(tmp_path):
    """A package in a repository of its own."""
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")

    def git(*words):
        name = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", "-C", str(tmp_path), *name, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return package, git("rev-parse", "HEAD")


def test_the_commit_is_that_of_the_source_and_dirty_if_a_file_of_it_changed(repository):
    package, commit = repository
    assert git_state(package) == {"commit": commit, "dirty": False}
    (package.parent / "elsewhere.txt").write_text("")
    assert git_state(package) == {"commit": commit, "dirty": False}
    (package / "__init__.py").write_text("x = 1\n")
    assert git_state(package) == {"commit": commit, "dirty": True}
    (package / "__init__.py").write_text("")
    (package / "new.py").write_text("")
    assert git_state(package) == {"commit": commit, "dirty": True}


def test_a_wheel_inside_somebody_else_s_repository_has_no_commit(repository, tmp_path):
    installed = tmp_path / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_state(installed) is None


def test_no_repository_and_no_git_are_no_error(tmp_path, monkeypatch):
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_a_start_names_versions_data_and_job(sessions_dir, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    start = describe_start(["fit", "--run_dir", "a b"], data=sessions_dir, seed=7, n_ranks=2)
    assert start["command"] == "neuromtm fit --run_dir 'a b'"
    assert start["manifest_sha256"] == sha256(sessions_dir / "manifest.json")
    assert start["versions"]["neuromtm"] == __version__
    assert start["versions"]["lightning"] == lightning.__version__
    assert torch.__version__.startswith(start["versions"]["torch"].partition("+")[0])
    assert (start["slurm"], start["seed"], start["n_ranks"]) == ({"job_id": "41", "array_task_id": "3"}, 7, 2)
    assert json.loads(json.dumps(start)) == start


def test_starts_add_up_and_a_damaged_file_is_kept(tmp_path):
    add_start(tmp_path, {"n": 1}, before=[{"n": 0}])
    add_start(tmp_path, {"n": 2}, before=[{"n": 9}])
    assert read_starts(tmp_path) == [{"n": 0}, {"n": 1}, {"n": 2}]
    (tmp_path / "provenance.json").write_text('{"starts": 3}')
    add_start(tmp_path, {"n": 3})
    assert read_starts(tmp_path) == [{"n": 3}]
    assert len(list(tmp_path.glob("provenance.*.json"))) == 1


def test_a_run_and_its_checkpoints_say_what_made_them_and_going_on_adds_to_it(root, sessions_dir, tmp_path):
    run_dir = tmp_path / "run"
    options = ("--model.schedule", "constant", "--seed_everything", "5", *QUICK)
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir, *options))
    (first,) = read_starts(run_dir)
    assert first["seed"] == 5
    assert first["command"].startswith("neuromtm fit --config ")
    assert (first["n_ranks"], first["device"], first["step"], first["checkpoint"]) == (1, "cpu", 0, None)
    for name in ("best", "last"):
        assert load_checkpoint(run_dir / "checkpoints" / f"{name}.ckpt")[PROVENANCE_KEY] == {"starts": [first]}
    more = ("--config", run_dir / "config.yaml", "--trainer.max_epochs", "2")
    neuromtm("fit", *more, "--ckpt_path", "last")
    _, second = starts = read_starts(run_dir)
    assert starts[0] == first
    assert (second["step"], second["checkpoint"]) == (6, str(run_dir / "checkpoints" / "last.ckpt"))
    last = load_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    assert last[PROVENANCE_KEY] == {"starts": starts}
    test = ("--data.sessions", f"['{EIDS[0]}']", "--behavior.targets", "[]", "--run_dir", tmp_path / "elsewhere")
    neuromtm("test", "--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "last.ckpt", *test)
    assert read_starts(run_dir) == starts
    (tested,) = read_starts(tmp_path / "elsewhere")  # what was trained is in the checkpoint
    assert tested["command"].startswith("neuromtm test ")


def test_the_same_run_twice_is_bit_equal(root, sessions_dir, tmp_path):
    options = ("--ema_decay", "0.9", "--data.n_workers", "1", *QUICK)
    for name in ("one", "two"):
        neuromtm(*pretrain(root, sessions_dir, "--run_dir", tmp_path / name, *options))
    losses = [
        {tag: values for tag, values in scalars(tmp_path / name).items() if not tag.startswith("throughput/")}
        for name in ("one", "two")
    ]
    assert {"train/loss", "val/loss"} <= set(losses[0])
    assert losses[0] == losses[1]
    for file in ("best.ckpt", "last.ckpt"):
        one, two = (load_checkpoint(tmp_path / name / "checkpoints" / file) for name in ("one", "two"))
        assert one["state_dict"].keys() == two["state_dict"].keys()
        assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
        moments = (checkpoint["optimizer_states"][0]["state"] for checkpoint in (one, two))
        for own, other in zip(*(state.values() for state in moments), strict=True):
            assert all(torch.equal(own[key], other[key]) for key in ("exp_avg", "exp_avg_sq"))


def test_a_baseline_says_what_made_it(sessions_dir, tmp_path):
    neuromtm("baseline", "--data", sessions_dir, "--kind", "psth", "--out", tmp_path / "psth")
    (start,) = read_starts(tmp_path / "psth")
    assert start["command"].startswith("neuromtm baseline --data ")
    assert start["manifest_sha256"] == sha256(sessions_dir / "manifest.json")
