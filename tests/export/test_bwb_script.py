"""The script of BrainWideBench gives commands that exist, in an order that works. Nothing is fetched or trained."""

import os
import shlex
import subprocess

import pytest

from data_prep.cli import parser_of
from neuromtm.export import bwb
from tests.e2e.recipes import Parsed

PROGRAMS = ("aws", "python", "neuromtm")


def script(root, folder, *arguments, cwd=None, **variables):
    """Run the script with the programs of a folder."""
    (folder / "scorers" / "ibl_bwb_eval").mkdir(parents=True, exist_ok=True)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    told = {"PATH": path, "SEEDS": "43 44", "SCORER": str(folder / "scorers")}
    return subprocess.run(
        ["bash", root / "examples" / "brainwidebench.sh", *arguments],
        env={**os.environ, **told, **variables},
        cwd=cwd or root,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def given(root, tmp_path_factory):
    """The command lines that the script gives, each as a list of words; programs that only write theirs down."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "bin").mkdir()
    for name in PROGRAMS:
        program = folder / "bin" / name
        # sessions that lack something end a preparation with exit code 1
        program.write_text(
            f'#!/bin/sh\n{{ printf "%s" {name}; printf " %s" "$@"; echo; }} >> "{folder}/log"\n'
            'case "$*" in *data_prep*left_paw*) exit 1 ;; esac\n'
        )
        program.chmod(0o755)
    result = script(root, folder, "here", "ours")
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in (folder / "log").read_text().splitlines()]


def test_sessions_are_fetched_before_they_are_prepared_and_data_prepared_before_training(given):
    fetched, prepared, trained, exported = set(), set(), set(), set()
    for command in given:
        match command:
            case ["aws", "s3", "sync", source, target, "--no-sign-request"]:
                assert source.startswith("s3://brain-wide-bench/brainsets/")
                fetched.add(target)
            case ["python", "-m", "data_prep", "bwb", *rest]:
                options = parser_of("bwb").parse_args(rest)
                assert {*map(str, options.files)} <= fetched
                prepared.add(str(options.out))
            case ["neuromtm", "fit", *rest]:
                config = Parsed(["fit", *rest]).config["fit"]
                assert config["data"]["root"] in prepared
                start = config["model"].get("pretrained")
                assert start is None or start.removesuffix("/checkpoints/best.ckpt") in trained
                trained.add(config["run_dir"])
            case ["neuromtm", "export", "bwb", run, *_]:
                assert run in trained
                exported.add(run)
            case _:
                assert command[1:3] == ["-m", "ibl_bwb_eval.scoring.aggregation"]
                assert command is given[-1]
    assert exported == trained - {"here/runs/pretrain"}
    assert len(exported) == 2 * 10


def test_the_export_s_options_are_known(given, monkeypatch):
    import argparse

    command = next(words for words in given if words[:3] == ["neuromtm", "export", "bwb"])

    class Read(Exception):
        pass

    def stop(path):
        raise Read(path)

    monkeypatch.setattr(bwb, "device_of", str)  # the script asks for a GPU, which is not here
    monkeypatch.setattr(bwb, "load_checkpoint", stop)
    with pytest.raises(Read):
        bwb.run(command[3:], argparse.ArgumentParser())


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (("here",), {}, "examples/brainwidebench.sh FOLDER LABEL"),
        (("here", "ours"), {"TASKS": "choice wisker"}, "there is no task wisker. There are: activity choice"),
        (("here", "ours"), {"SEEDS": "43 x"}, "SEEDS: x is no whole number"),
        (("here", "ours"), {"SCORER": "nowhere"}, "no scorer in nowhere: pip install"),
        (("here", "ours"), {"cwd": "/"}, "run it in the folder of the checkout"),
        (("here", "ours"), {"PATH": "/usr/bin:/bin"}, "is not there. Install it, or activate its environment"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_fetched(root, tmp_path, arguments, variables, sentence):
    result = script(root, tmp_path, *arguments, **variables)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert not result.stdout
