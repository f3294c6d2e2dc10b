"""Sites, stand-ins and commands for the tests of `slurm/`."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """#!/usr/bin/env bash
# In the place of neuromtm: writes down what it was called with, and fails where SWEEP/fail has the name of the run.
case " $* " in
  *" --no_such_option "*) echo "neuromtm: unrecognized arguments: --no_such_option" >&2; exit 2 ;;
esac
case $1 in
  checks) shift; [ "$1" = fit ] || exit 0
    printf '%s\\n' trainer: "  max_epochs: ${MAX_STEPS:+-}${MAX_STEPS:-3}" "  max_steps: ${MAX_STEPS:--1}" \\
      "  accumulate_grad_batches: ${BATCHES:-1}" \\
      data: '  batch_size: 8' "  sessions_per_batch: 1" "  n_train_trials: ${N_TRAIN:-null}"; exit ;;
esac
case $1 in
  table | scaling | search) echo "$@" >> "$2/called"; exit ;;
esac
previous=''
for word in "$@"; do
  case $previous in
    --run_dir | --out) run=$word ;;
    --config) [[ $word != */config.yaml ]] || run=${word%/*} ;;
  esac
  previous=$word
done
mkdir -p "$run"
echo "$@" >> "$run/commands"
if grep -qsx "${run##*/}" "$run/../../fail"; then echo "it broke: ${run##*/}"; exit 3; fi
"""
STAND_IN_OF_PYTHON = """#!/bin/sh
# the check of options takes seconds for each of them
case "$*" in "-P -m neuromtm.commands.checking "*) shift 3; exec {neuromtm} checks "$@" ;; esac
exec {python} "$@"
"""


def write_site(folder: Path, environment: Path, **more: object) -> Path:
    """Write a site.env for a partition without GPUs."""
    values = {
        "PARTITION": "main",
        "GPUS_PER_NODE": 0,
        "CPUS_PER_TASK": 1,
        "PRETRAIN_TIME": "30:00",
        "FINETUNE_TIME": "20:00",
        "ENVIRONMENT": environment,
    }
    path = folder / "site.env"
    path.write_text("".join(f"{key}={value}\n" for key, value in (values | more).items()))
    return path


def write_stand_in(folder: Path) -> Path:
    """An environment whose neuromtm is a stand-in, which takes no time."""
    programs = folder / "environment" / "bin"
    programs.mkdir(parents=True)
    write_program(programs / "neuromtm", STAND_IN)
    write_program(programs / "python", STAND_IN_OF_PYTHON.format(neuromtm=programs / "neuromtm", python=sys.executable))
    return programs.parent


def write_program(path: Path, text: str) -> None:
    """Write a text that can be run."""
    path.write_text(text)
    path.chmod(0o755)


def script(
    name: str, *arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of the programs of `slurm/`."""
    command = [str(ROOT / "slurm" / name), *map(str, arguments)]
    environment = dict(os.environ) | dict(env or {})
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300)


def wait_for(done: Callable[[], bool], what: str, *, within_s: float = 420, report: Callable[[], str] = str) -> None:
    """Ask again and again until it is so.

    Args:
        done: whether it is so.
        what: it is, for the message.
        within_s: after so many seconds the test fails.
        report: what the message shows then.
    """
    ends_s = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < ends_s, f"not within {within_s} s: {what}\n{report()}"
        time.sleep(0.2)


def logs(folder: Path) -> str:
    """The logs below a folder, one after the other."""
    return "\n".join(f"== {path}\n{path.read_text()[-3000:]}" for path in sorted(folder.rglob("*.out")))


def jobs(slurm: Path) -> list[str]:
    """What was submitted to the stand-in for Slurm."""
    path = slurm / "submitted"
    return path.read_text().splitlines() if path.exists() else []


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a script that refuses."""
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    return line
