"""Where a command starts: the checkpoint of a run directory that it goes on from, and folders that it refuses."""

import os
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from neuromtm.errors import ConfigError
from neuromtm.evaluation.references import AVERAGE_FILE, BASELINE_FILE, CEILING_FILE
from neuromtm.training.checkpoint import glance_at_checkpoint, newest_checkpoint
from neuromtm.training.continuation import end_of_training
from neuromtm.training.slurm import n_requeues


class Finished(Exception):
    """The training was done before: the command has nothing to do."""


def chosen_start(
    run_dir: Path, *, ckpt_path: str | None, auto_resume: bool, max_epochs: int | None, max_steps: int
) -> str | None:
    """The checkpoint from which a training starts; None if it starts at the beginning.

    Args:
        run_dir: its folder.
        ckpt_path: the checkpoint that was asked for: a file, `last` or `best`.
        auto_resume: whether to go on from the newest one if there is one, as a job does that Slurm requeued.
        max_epochs: where the training ends.
        max_steps: the same in steps.

    Raises:
        Finished: if there is nothing left to train.
        ConfigError: if the folder holds a run that was not asked for, or no checkpoint that was.
    """
    if auto_resume and ckpt_path is not None:
        raise ConfigError(f"--auto_resume true chooses the checkpoint: leave out --ckpt_path {ckpt_path}.")
    resumes, newest = auto_resume or n_requeues() > 0, newest_checkpoint(run_dir)
    if resumes and newest is not None:
        last = glance_at_checkpoint(newest)
        end = end_of_training(last, max_epochs=max_epochs, max_steps=max_steps, name=str(newest))
        if end is not None:
            raise Finished(f"{newest}: the training is finished: {end}.")
        return str(newest)
    if resumes:
        rank_zero_info(f"{run_dir}: no checkpoint to go on from; training starts at the beginning.")
        ckpt_path = None if ckpt_path in ("last", "best") else ckpt_path  # neither can be there
    elif ckpt_path in ("last", "best"):
        ckpt_path = str(named_checkpoint(ckpt_path, run_dir))
    goes_on = resumes or (ckpt_path is not None and _lies_in(Path(ckpt_path), run_dir))
    if is_first_process() and not goes_on:
        require_unused(run_dir)
    return ckpt_path


def is_first_process() -> bool:
    """Whether this process is the first of those that train one model, before they have met."""
    rank = rank_zero_only.rank  # ty: ignore[missing-attribute]  # Lightning sets it on the function
    # on another node Lightning's own start has no rank yet
    return rank == 0 and all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "GROUP_RANK"))


def named_checkpoint(name: str, run_dir: Path) -> Path:
    """The checkpoint of a run that is named `best` or `last`.

    Raises:
        ConfigError: if it is the last one and there is none.
    """
    if name == "best":
        return run_dir / "checkpoints" / "best.ckpt"
    newest = newest_checkpoint(run_dir)
    if newest is None:
        raise ConfigError(
            f"--ckpt_path last: {run_dir / 'checkpoints' / 'last.ckpt'} does not exist. Correct --run_dir; or train "
            "with --auto_resume true instead, which begins where there is no checkpoint."
        )
    return newest


def require_writable(run_dir: Path, *, option: str = "--run_dir") -> None:
    """Refuse a run directory that cannot be written to; `option` is the one that names it."""
    there = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{option} {run_dir}: {there} is a file. Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {run_dir}: no permission to write to {there}. Choose another folder.")


RECORDS = {
    "config.yaml": "a training",
    "checkpoints": "a training",
    BASELINE_FILE: "a baseline",
    AVERAGE_FILE: "an average",
    CEILING_FILE: "a ceiling",
}
"""file or folder that says of whom the results beside it are"""


def require_own_results(out: Path, *, record: str) -> None:
    """Refuse a folder for results that holds those of something else, which would be taken for these afterwards.

    Args:
        out: the folder, which may be missing.
        record: the file of `RECORDS` that stands beside these results; those of an earlier start are kept.

    Raises:
        ConfigError: if there are others, or the folder cannot be written to.
    """
    require_writable(out, option="--out")
    others = [name for name in RECORDS if name != record and (out / name).exists()]
    if others:
        raise ConfigError(
            f"--out {out}: holds the results of {RECORDS[others[0]]} ({others[0]}). Choose another folder."
        )


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def require_unused(run_dir: Path) -> None:
    """Refuse a run directory that holds a run."""
    used = [path.name for name in ("config.yaml", "checkpoints", "hpc_ckpt_*.ckpt") for path in run_dir.glob(name)]
    if used:
        raise ConfigError(
            f"{run_dir}: holds a run already ({' and '.join(used)}). Go on with it by --auto_resume true, or choose "
            "another --run_dir."
        )
