"""A callback for jobs of the tests: a training that waits in a step until a signal comes."""

import os
import time
from pathlib import Path

import lightning

from neuromtm.callbacks.stopping import StopBetweenSteps


class Held(lightning.Callback):
    """Takes so many steps, writes `<folder>/began-<rank>`, and waits for a signal; only in a job's first start.

    It adds each step to `<folder>/steps-<rank>`, in every start.

    Args:
        folder: an existing folder.
        steps: how many steps are taken before it waits.
    """

    def __init__(self, *, folder: str, steps: int):
        self.folder, self.steps = Path(folder), steps

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        with (self.folder / f"steps-{trainer.global_rank}").open("a") as file:
            print(trainer.global_step, file=file)
        if trainer.global_step != self.steps or os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
            return
        (self.folder / f"began-{trainer.global_rank}").touch()
        (stop,) = [one for one in trainer.callbacks if isinstance(one, StopBetweenSteps)]
        ends_s = time.monotonic() + 300
        while stop.signals.received is None and time.monotonic() < ends_s:
            time.sleep(0.05)
