"""What made a run: versions, source, data, place and command. `provenance.json` in every run directory holds it."""

import json
import os
import platform
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from neuromtm import __version__
from neuromtm.files import keep_previous, sha256, write_whole
from neuromtm.regular_files import regular_text

PROVENANCE_FILE = "provenance.json"
PACKAGES = (
    *("torch", "lightning", "torchmetrics", "einops", "numpy", "scipy", "scikit-learn", "h5py", "jsonargparse"),
    *("safetensors", "tensorboard"),
)
"""packages whose version may change a result or whether a file can be read"""
SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_PARTITION")
GIT_S = 10
"""seconds after which an answer of git is not waited for"""

Start = dict[str, Any]
"""one start of a command in a run directory, in plain types"""


def describe_start(command: Sequence[str], *, data: Path | None, seed: int | None, **more: Any) -> Start:
    """Describe the start of a command.

    Args:
        command: its words, without the program's name.
        data: folder of the shards; None if there is none.
        seed: seed of all draws; None if the command draws nothing.
        more: further entries in plain types, e.g. the number of ranks.
    """
    manifest = None if data is None else data / "manifest.json"
    return {
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(["neuromtm", *map(str, command)]),
        "seed": seed,
        "versions": {"neuromtm": __version__, "python": platform.python_version(), **_versions()},
        "git": git_state(Path(__file__).parent),
        "manifest": None if manifest is None else str(manifest.absolute()),
        "manifest_sha256": sha256(manifest) if manifest is not None and manifest.is_file() else None,
        "host": socket.gethostname(),
        "slurm": {name.removeprefix("SLURM_").lower(): os.environ[name] for name in SLURM if name in os.environ},
        **more,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """The commit of a folder of source, and whether any file in the folder differs from it or is new.

    Returns:
        `commit` and `dirty`; None if the folder is not part of a repository, as in an installed wheel, even one that
        lies inside somebody else's repository; or if git is missing or does not answer.
    """

    def git(*words: str) -> str | None:
        # without locks: asking must not disturb somebody who commits at the same time
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=GIT_S, env=environment
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", ".")
    return None if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def read_starts(run_dir: Path) -> list[Start]:
    """The starts that provenance.json lists; none if it is not there or damaged."""
    try:
        starts = json.loads(regular_text(run_dir / PROVENANCE_FILE))["starts"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return starts if isinstance(starts, list) and all(isinstance(start, dict) for start in starts) else []


def add_start(run_dir: Path, start: Start, *, before: Sequence[Mapping[str, Any]] = ()) -> list[Start]:
    """Write a start into a run directory's provenance.json, after those that are there.

    Args:
        run_dir: the run directory.
        start: the new one.
        before: earlier starts, for a run directory without provenance.json, e.g. those of a checkpoint.

    Returns:
        All starts. A file that is damaged is renamed and kept.
    """
    there = read_starts(run_dir)
    if not there:
        keep_previous(run_dir / PROVENANCE_FILE)
    starts = [*(there or map(dict, before)), start]
    write_whole(run_dir / PROVENANCE_FILE, json.dumps({"starts": starts}, indent=1) + "\n")
    return starts
