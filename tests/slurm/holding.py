"""A callback for jobs of the tests: a training that waits in a step until a signal comes."""

import os
import time
from pathlib import Path

import lightning

from neuromtm.callbacks.stopping import StopBetweenSteps


class Held(lightning.Callback):
    """Takes so many steps, writes `<folder>/began-<task>-<rank>`, and waits for a signal.

    It waits in the first start of a job only, and only if there is `<folder>/hold-<task>`. It adds each step to
    `<folder>/steps-<task>-<rank>` in every start. The task is that of an array; 0 without one.

    Args:
        folder: an existing folder.
        steps: how many steps are taken before it waits.
    """

    def __init__(self, *, folder: str, steps: int):
        self.folder, self.steps = Path(folder), steps
        self.task = os.environ.get("SLURM_ARRAY_TASK_ID", "0")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        name = f"{self.task}-{trainer.global_rank}"
        with (self.folder / f"steps-{name}").open("a") as file:
            print(trainer.global_step, file=file)
        holds = (self.folder / f"hold-{self.task}").exists() and os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
        if trainer.global_step != self.steps or not holds:
            return
        (self.folder / f"began-{name}").touch()
        (stop,) = [one for one in trainer.callbacks if isinstance(one, StopBetweenSteps)]
        ends_s = time.monotonic() + 900
        while stop.signals.received is None and time.monotonic() < ends_s:
            time.sleep(0.05)
