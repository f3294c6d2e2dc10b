"""Whether a stopped run may go on: with which options its trials, steps and learning rates follow as they began."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from neuromtm.errors import CheckpointError

Options = Mapping[str, int | float | str]
"""option -> its value"""
ENDS = ("trainer.max_epochs", "trainer.max_steps")
"""options that decide after how many steps a falling learning rate has fallen"""
SEEDS = ("seed_everything", "data.seed")
"""the seeds of masks and of the order of trials; the command line has the first alone and sets both"""
CALLED = {
    "ranks": "the number of ranks (trainer.devices x trainer.num_nodes)",
    "schedule_steps": "the number of steps in the whole training",
}
"""what a message calls an entry that is no option itself"""
ENDED_EARLY = "neuromtm_ended_early"
"""the entry of a checkpoint that says whether early stopping ended the training there"""
MOST_NAMED = 3
"""a message names so many sessions at most"""


def end_of_training(
    checkpoint: Mapping[str, Any], *, max_epochs: int | None, max_steps: int, name: str = "the last checkpoint"
) -> str | None:
    """Why a training has nothing left to do, e.g. `all 10 epochs are done`; None if it has.

    Args:
        checkpoint: the training's last one, as loaded.
        max_epochs: as of the Trainer.
        max_steps: as of the Trainer.
        name: of the file, for messages.

    Raises:
        CheckpointError: if the checkpoint does not say how far it came.
    """
    if "loops" not in checkpoint:  # of `neuromtm adapt`
        return "it has no steps, because the model was adapted without a training"
    try:
        loops = checkpoint["loops"]["fit_loop"]
        epochs, batches = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]
        validated = loops["epoch_loop.val_loop.batch_progress"]["total"]
        if validated["processed"] < validated["started"]:  # it was given up
            return None
        # checkpoints of older versions are from before the end of the epoch
        ends_epoch = epochs["processed"] < epochs["started"] and batches["is_last_batch"]
        n_epochs = epochs["processed"] + ends_epoch
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{name}: does not say how far its training came. Go on from another one, or train anew."
        ) from error
    if max_epochs not in (None, -1) and n_epochs >= max_epochs:
        return f"all {max_epochs} epochs are done"
    if max_steps != -1 and checkpoint["global_step"] >= max_steps:
        return f"all {max_steps} steps are done"
    return "it was ended early" if checkpoint.get(ENDED_EARLY) else None


def changes(
    before: Options, now: Options, *, sessions_before: Iterable[str] = (), sessions_now: Iterable[str] = ()
) -> list[str]:
    """What differs between a run's beginning and its resumption, one phrase each; empty if it may go on.

    Under the schedule `constant` a training may end later or earlier. The other schedules are made for one number of
    steps.

    Args:
        before: the options that the checkpoint knows. Those that it lacks, being older, are not compared.
        now: the options of this run.
        sessions_before: eids that the checkpoint was trained on.
        sessions_now: eids that this run trains on.
    """
    changed = [option for option in now if option in before and before[option] != now[option]]
    named = [option for option in changed if option not in (*ENDS, *SEEDS, "schedule_steps")]
    named += [option for option in SEEDS if option in changed][:1]
    left_out = _left_out(sessions_before, sessions_now)
    if "schedule_steps" in changed and now["model.schedule"] != "constant":
        # another batch size or the like explains it too
        named += [option for option in ENDS if option in changed] or ([] if named or left_out else ["schedule_steps"])
    return [
        f"{CALLED.get(option, option)} was {before[option]} and is now {now[option]}" for option in named
    ] + left_out


def jump_of_rate(scheduler: Mapping[str, Any], lr: float, factor: Callable[[int], float]) -> list[str]:
    """What differs between the learning rate of a checkpoint and that of the schedule now; empty if nothing does.

    This tells another schedule, warm-up or number of steps in checkpoints that are too old to know theirs.

    Args:
        scheduler: the scheduler's state in the checkpoint.
        lr: highest learning rate.
        factor: of the schedule now, see `learning_rate_factor`.
    """
    step, before = scheduler["last_epoch"], scheduler["_last_lr"][0]
    now = lr * factor(step)
    if math.isclose(before, now, rel_tol=1e-6, abs_tol=1e-9 * lr):
        return []
    return [
        f"the learning rate after {step} steps was {before:.4g} and is now {now:.4g}, by another model.schedule, "
        "model.warmup_fraction or number of steps"
    ]


def _left_out(before: Iterable[str], now: Iterable[str]) -> list[str]:
    absent = sorted(set(before) - set(now))
    if not absent:
        return []
    more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
    return [f"the data had the sessions {', '.join(absent[:MOST_NAMED])}{more} and now have not"]
