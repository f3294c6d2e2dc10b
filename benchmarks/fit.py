"""Time a whole `neuromtm fit` beside the bare step, and a validation beside an epoch.

    python benchmarks/fit.py
    python benchmarks/fit.py --device cuda --batches 64x4 544x34 --set data.cache=memory

`fit` runs conf/pretrain.yaml, NDT1 at the paper's size, for about 30 s: reading, logging, progress bar and starts of
epochs. A validation ends it, with all that is measured by default; it is timed by itself. The bare step, on batches
that lie on the device, is timed before and after the fit in the same process.
"""

import statistics
import tempfile
from pathlib import Path
from typing import ClassVar

import lightning
import torch
from measuring import (
    FixedBatches,
    arguments,
    clock_of,
    quiet,
    run_quietly,
    session_sizes,
    sessions_in,
    step_s,
    table,
    time_of,
    wait,
)

from neuromtm.batch import Batch
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.masked_modeling import MaskedModeling

CONF = Path(__file__).resolve().parents[1] / "conf"
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
N_WARM = 5
"""first steps, which do not count"""


class FitTimer(lightning.Callback):
    """Times training and validations of a fit. Lightning builds it by its name; `last` is the one it built."""

    last: ClassVar["FitTimer"]

    def __init__(self):
        FitTimer.last = self
        self.n_trials = self.n_steps = 0
        self._began_s = self._trained_s = self._ended_s = 0.0

    @property
    def trials_per_s(self) -> float:
        """Of the training after its first steps."""
        return self.n_trials / (self._trained_s - self._began_s)

    @property
    def validation_s(self) -> float:
        """From the last step to the end, with the checkpoint."""
        return self._ended_s - self._trained_s

    def on_train_batch_end(self, trainer, pl_module, outputs, batch: Batch, batch_idx: int) -> None:
        self.n_steps += 1
        if self.n_steps > N_WARM:
            self.n_trials += batch.n_trials
        elif self.n_steps == N_WARM:
            self._began_s = _now_s(pl_module)

    def on_validation_start(self, trainer, pl_module) -> None:
        self._trained_s = _now_s(pl_module)

    def on_train_end(self, trainer, pl_module) -> None:
        self._ended_s = _now_s(pl_module)


def _now_s(module: lightning.LightningModule) -> float:
    wait(module.device)
    return clock_of(module.device)()


def fit(folder: Path, device: torch.device, *, options: dict[str, object], n_steps: int, n_epochs: int) -> FitTimer:
    """Run a fit that ends with a validation; gives its times.

    Args:
        folder: of shards.
        device: where it trains.
        options: more of its options.
        n_steps: most steps in an epoch.
        n_epochs: how many.
    """
    where = "cpu" if device.type == "cpu" else "gpu"
    words = ["fit", "--config", str(CONF / "pretrain.yaml"), "--config", str(CONF / "trainer" / f"{where}.yaml")]
    with tempfile.TemporaryDirectory() as run:
        fixed = {
            "data.root": folder,
            "data.role": "all",
            "run_dir": Path(run) / "run",
            "trainer.devices": 1,
            "trainer.max_epochs": n_epochs,
            "trainer.check_val_every_n_epoch": n_epochs,
            "trainer.limit_train_batches": n_steps,
            "trainer.callbacks": "fit.FitTimer",
        }
        words += [f"--{name}={value}" for name, value in (fixed | options).items()]
        run_quietly(words)
    import fit  # by its own name, as Lightning imported it

    return fit.FitTimer.last


def main() -> None:
    """Print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--batches", nargs="+", default=["16x1"], metavar="TRIALSxSESSIONS")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each fit trains, about (default: 30)")
    parser.add_argument("--n-sessions", type=int, default=4, help="synthetic sessions (default: 4)")
    parser.add_argument("--n-train", type=int, default=64, help="training trials of each (default: 64)")
    parser.add_argument("--data", type=Path, help="folder of shards (default: synthetic ones at the paper's size)")
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options of neuromtm fit")
    given = parser.parse_args()
    quiet()
    rows = []
    sizes, n_val = session_sizes(given.n_sessions), -(-given.n_train // 7)
    with sessions_in(given.data, sizes, n_train=given.n_train, n_val=n_val) as folder:
        for batch in given.batches:
            n_trials, n_sessions = map(int, batch.split("x"))
            for precision in given.precisions:
                rows.append(row(folder, given, n_trials, n_sessions, precision))
    more = " ".join(given.set) or "no more options"
    print(f"Fits of about {given.seconds:g} s, with {more}; {time_of(given.device)}.\n")
    columns = ("batch x sessions", "precision", "bare step, trials/s", "fit, trials/s", "fit / bare")
    print(table((*columns, "validation, s", "epoch, s", "validation / epoch"), rows))


def row(folder: Path, given, n_trials: int, n_sessions: int, precision: str) -> list[str | None]:
    """One line of the table."""
    data = FixedBatches(
        device=given.device, root=str(folder), role="all", batch_size=n_trials, sessions_per_batch=n_sessions
    )
    data.load()
    module, bare_s = MaskedModeling(NDT1()), []

    def bare() -> None:
        took_s = step_s(module, data, precision=PRECISIONS[precision], n_steps=2)
        n_steps = max(3, min(30, int(2.0 / took_s)))
        bare_s.append(step_s(module, data, precision=PRECISIONS[precision], n_steps=n_steps))

    options = dict(word.split("=", 1) for word in given.set)
    options |= {"data.batch_size": n_trials, "data.sessions_per_batch": n_sessions}
    bare()
    n_batches, wanted = data.n_train_batches(1), given.seconds / bare_s[0] + N_WARM
    timer = fit(
        folder,
        given.device,
        options=options | {"trainer.precision": PRECISIONS[precision]},
        n_steps=min(n_batches, int(wanted)),
        n_epochs=max(1, round(wanted / n_batches)),
    )
    bare()
    bare_speed = n_trials / statistics.mean(bare_s)
    epoch_s = sum(len(trials) for trials in data.trials("train").values()) / timer.trials_per_s
    return [
        *(f"{n_trials} x {n_sessions}", precision, f"{bare_speed:,.0f}", f"{timer.trials_per_s:,.0f}"),
        *(f"{timer.trials_per_s / bare_speed:.2f}", f"{timer.validation_s:.1f}", f"{epoch_s:.1f}"),
        f"{timer.validation_s / epoch_s:.2f}",
    ]


if __name__ == "__main__":
    main()
