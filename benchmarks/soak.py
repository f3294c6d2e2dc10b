"""Train for thousands of steps, and watch memory, open files and TensorBoard's files: none may grow without end.

    python benchmarks/soak.py
    python benchmarks/soak.py --steps 500 --cache memory

A `neuromtm fit` of a tiny model with loader workers, checkpoints, validations, their plots and their read-outs of
behaviour. Memory is the proportional set size of the process and its workers: pages that several of them share count
once. Its slope is that of the means of ten equal parts of the steps after the warm-up, with the 95 % interval of a
line through ten points. An interval that holds 0 says that no growth was seen.
"""

import argparse
import gc
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import lightning
import numpy as np
import torch
from matplotlib.figure import Figure
from measuring import head, run_quietly, table, write_sessions
from scipy import stats

CONF = Path(__file__).resolve().parents[1] / "conf"
TINY = ("width=16", "n_layers=1", "n_heads=2", "mlp_width=32", "max_bins=64")
N_PARTS = 10
MB = 2**20


class Sample(NamedTuple):
    """What a training holds after a step."""

    step: int
    n_validations: int
    memory_mb: float
    """of the process and its workers"""
    n_files: int
    """open in all of them"""
    n_plots: int
    n_tensors: int
    events_mb: float
    """of TensorBoard's files"""


class Soak(lightning.Callback):
    """Takes samples of a training. Lightning builds it by its name; `last` is the one it built.

    Args:
        every: number of steps from one sample to the next.
    """

    last: ClassVar["Soak"]

    def __init__(self, *, every: int = 20):
        Soak.last = self
        self.every, self.n_validations = every, 0
        self.samples: list[Sample] = []

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.n_validations += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if trainer.global_step % self.every == 0:
            self.samples.append(sample(trainer.global_step, self.n_validations, Path(trainer.default_root_dir)))


def sample(step: int, n_validations: int, run_dir: Path) -> Sample:
    """What this process and those that it has started hold now."""
    gc.collect()
    processes = [os.getpid(), *(one.pid for one in multiprocessing.active_children() if one.pid is not None)]
    kinds = Counter(kind for one in gc.get_objects() for kind in (Figure, torch.Tensor) if isinstance(one, kind))
    return Sample(
        step=step,
        n_validations=n_validations,
        memory_mb=sum(map(_memory_mb, processes)),
        n_files=sum(len(os.listdir(f"/proc/{one}/fd")) for one in processes),
        n_plots=kinds[Figure],
        n_tensors=kinds[torch.Tensor],
        events_mb=sum(path.stat().st_size for path in run_dir.glob("events.out.*")) / MB,
    )


def _memory_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / MB


class Slope(NamedTuple):
    """How much something grows in 1,000 steps, with its 95 % interval."""

    per_1000: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.per_1000:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def slope(steps: Sequence[int], values: Sequence[float]) -> Slope:
    """Of the means of equal parts: neighbouring samples are much alike, the means of parts less."""
    x, y = (np.array([p.mean() for p in np.array_split(np.asarray(one, float), N_PARTS)]) for one in (steps, values))
    line = stats.linregress(x / 1000, y)
    half = stats.t.ppf(0.975, N_PARTS - 2) * line.stderr
    return Slope(line.slope, line.slope - half, line.slope + half)


def train(folder: Path, run_dir: Path, given: argparse.Namespace) -> list[Sample]:
    """Carry out the fit; gives its samples."""
    options = {
        "data.root": folder,
        "data.n_workers": given.workers,
        "data.cache": given.cache,
        "run_dir": run_dir,
        "checkpoint_every_n_minutes": 0.02,
        "trainer.accelerator": "cpu",
        "trainer.max_epochs": -1,
        "trainer.max_steps": given.steps,
        "trainer.check_val_every_n_epoch": 6,
        "trainer.enable_progress_bar": "false",
        "trainer.callbacks": "soak.Soak",
    }
    words = ["fit", "--config", str(CONF / "pretrain.yaml"), "--model.backbone=neuromtm.models.ndt1.NDT1"]
    words += [f"--model.backbone.{one}" for one in TINY] + [f"--{name}={value}" for name, value in options.items()]
    run_quietly(words)
    import soak  # by its own name, as Lightning imported it

    return soak.Soak.last.samples


def bytes_by_kind(run_dir: Path) -> dict[str, tuple[int, int]]:
    """`pictures` and `numbers` -> how many TensorBoard's files hold, and their bytes."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = {"pictures": (0, 0), "numbers": (0, 0)}
    for path in run_dir.glob("events.out.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                kind = "pictures" if value.metadata.plugin_data.plugin_name == "images" else "numbers"
                n, size = found[kind]
                found[kind] = n + 1, size + event.ByteSize()
    return found


def main() -> None:
    """Train, and print what was held when."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--warm", type=int, default=500, help="first steps, which do not count (default: 500)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", choices=("none", "memory"), default="none")
    given = parser.parse_args()
    if given.steps < given.warm + 20 * N_PARTS:
        parser.error(f"--steps {given.steps} leaves too few samples after --warm {given.warm}")
    print(head(torch.device("cpu")) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        data, run_dir = Path(folder) / "data", Path(folder) / "run"
        data.mkdir()
        write_sessions(data, [60, 50, 70, 80], n_train=48, n_bins=50)
        samples = train(data, run_dir, given)
        kinds = bytes_by_kind(run_dir)
    shown = [one for one in samples if one.step % max(20, given.steps // 10 // 20 * 20) == 0]
    columns = ("step", "validations", "memory, MB", "open files", "plots", "tensors", "TensorBoard, MB")
    print(table(columns, [(*one[:2], f"{one.memory_mb:.1f}", *one[3:6], f"{one.events_mb:.2f}") for one in shown]))
    warm = [one for one in samples if one.step > given.warm]
    steps = [one.step for one in warm]
    print(f"\nPer 1,000 steps, after {given.warm}:\n")
    of = {
        "memory, MB": [one.memory_mb for one in warm],
        "open files": [one.n_files for one in warm],
        "tensors": [one.n_tensors for one in warm],
        "TensorBoard, MB": [one.events_mb for one in warm],
    }
    print(table(("what", "grows by (95 % interval)"), [(name, slope(steps, values)) for name, values in of.items()]))
    held = ", ".join(f"{n} {name} of {size / max(n, 1):,.0f} bytes" for name, (n, size) in kinds.items())
    print(f"\nTensorBoard's files hold {held} in the mean.")


if __name__ == "__main__":
    main()
