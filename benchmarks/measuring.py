"""What the benchmarks share: synthetic sessions, timed steps of the product's own training loop, tables.

The sessions are at the paper's size: 100 bins of 20 ms, and 676 neurons in the mean. They are written into a temporary
folder; nothing is downloaded.
"""

import argparse
import io
import logging
import os
import platform
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from neuromtm.batch import Batch
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials, write_shard
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.precision import precision_for

N_BINS, BIN_SIZE_S = 100, 0.02
N_NEURONS, SPREAD = 676, 226
"""the first session has the mean; the others are spread evenly over 450 to 902 neurons"""
N_REGIONS = 8
MEDIAN_RATE_HZ, LOG_RATE_SD = 1.5, 1.6
"""firing rates are log-normal, as those of recorded neurons"""


# ---- sessions


def session_sizes(n_sessions: int, *, n_neurons: int = N_NEURONS) -> list[int]:
    """Numbers of neurons, of the mean `n_neurons`."""
    spread = n_neurons * SPREAD // N_NEURONS
    others = np.linspace(n_neurons - spread, n_neurons + spread, n_sessions - 1).round().astype(int)
    return [n_neurons, *np.random.default_rng(0).permutation(others).tolist()]


def shard_of(
    eid: str, counts: np.ndarray, behavior: dict[str, np.ndarray] | None = None, *, n_val: int, n_test: int
) -> Shard:
    """A session of given counts. Its last trials are those of validation and test; the neurons lie in 8 regions.

    Args:
        eid: the session.
        counts: (trial, bin, neuron) spikes per bin.
        behavior: name -> (trial, bin).
        n_val: trials of validation.
        n_test: trials of the test.
    """
    n_trials, n_bins, n_neurons = counts.shape
    behavior, unknown = behavior or {}, np.full(n_neurons, np.nan)
    train, val, test = np.split(np.arange(n_trials), [n_trials - n_val - n_test, n_trials - n_test])
    header = ShardHeader(
        eid=eid,
        subject=eid,
        lab="benchmark",
        source="benchmark",
        bin_size_s=BIN_SIZE_S,
        window_s=(0.0, n_bins * BIN_SIZE_S),
        align_event="stimOn_times",
        created_by="neuromtm benchmarks",
        neurons=Neurons(
            uuid=np.array([f"{eid}-{i}" for i in range(n_neurons)]),
            region=np.array([f"region-{i * N_REGIONS // n_neurons}" for i in range(n_neurons)]),
            probe=np.repeat("probe00", n_neurons),
            firing_rate_hz=counts[train].mean((0, 1)) / BIN_SIZE_S,
            label=unknown,
            depth_um=unknown,
        ),
        trials=Trials(np.resize([-1, 1], n_trials), *np.zeros((5, n_trials)), index=np.arange(n_trials)),
        splits={"train": train, "val": val, "test": test},
        behaviors=tuple(behavior),
    )
    return Shard(header, counts, behavior)


def write_sessions(
    folder: Path, sizes: Sequence[int], *, n_train: int, n_val: int = 8, n_test: int = 8, n_bins: int = N_BINS
) -> None:
    """Write a folder of shards of these numbers of neurons."""
    for number, n_neurons in enumerate(sizes):
        eid, rng = f"session-{number:03d}", np.random.default_rng(number)
        n_trials = n_train + n_val + n_test
        rates_hz = MEDIAN_RATE_HZ * np.exp(LOG_RATE_SD * rng.standard_normal(n_neurons))
        chance = (rates_hz * BIN_SIZE_S).clip(max=0.9).astype(np.float32)
        counts = np.empty((n_trials, n_bins, n_neurons), np.uint8)
        for trial in counts:
            trial[:] = rng.random((n_bins, n_neurons), dtype=np.float32) < chance
        behavior = {"whisker_motion_energy": rng.random((n_trials, n_bins), dtype=np.float32)}
        path = folder / f"{eid}.h5"
        write_shard(path, shard_of(eid, counts, behavior, n_val=n_val, n_test=n_test))
        add_shard(path, "pretrain")


@contextmanager
def sessions_in(given: Path | None, sizes: Sequence[int], **options: int) -> Generator[Path]:
    """The folder given, or a temporary one with synthetic sessions."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        write_sessions(Path(folder), sizes, **options)
        yield Path(folder)


# ---- time


def wait(device: torch.device) -> None:
    """Let the device catch up with the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock_of(device: torch.device) -> Callable[[], float]:
    """On one thread of a CPU the processor's time, which other programs change little; else the time on the wall."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def time_of(device: torch.device) -> str:
    """What `clock_of` tells, in words."""
    return "processor time of one thread" if clock_of(device) is time.process_time else "clock on the wall"


class FixedBatches(SessionDataModule):
    """Gives the same few batches, which are on the device already, again and again.

    Args:
        device: where the batches lie.
        options: those of `SessionDataModule`.
    """

    def __init__(self, *, device: torch.device, **options):
        super().__init__(**options)
        self.device, self.n_steps, self.batches = device, 1, []

    def load(self, n_batches: int = 4) -> None:
        """Keep the first full batches of an epoch."""
        self.setup("fit")
        for batch in super().train_dataloader():
            if batch.n_trials == self.batch_size and len(batch.groups) == self.sessions_per_batch:
                self.batches.append(self._moved(batch))
            if len(self.batches) == n_batches:
                return
        if not self.batches:
            raise ValueError(f"no batch of {self.batch_size} trials of {self.sessions_per_batch} sessions in the data")

    def _moved(self, batch: Batch) -> Batch:
        batch = self.on_before_batch_transfer(batch, 0)
        return self.on_after_batch_transfer(self.transfer_batch_to_device(batch, self.device, 0), 0)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Repeated(self.batches, self.n_steps), batch_size=None)


class _Repeated(Dataset):
    def __init__(self, batches: Sequence[Batch], n_steps: int):
        self.batches, self.n_steps = batches, n_steps

    def __len__(self) -> int:
        return self.n_steps

    def __getitem__(self, step: int) -> Batch:
        return self.batches[step % len(self.batches)]


class StepTimer(lightning.Callback):
    """Takes the time of the steps after the first ones.

    Args:
        n_warm: steps before the time begins.
        clock: tells seconds.
    """

    def __init__(self, *, n_warm: int, clock: Callable[[], float]):
        self.n_warm, self.clock, self.started_s, self.elapsed_s = n_warm, clock, 0.0, 0.0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx: int) -> None:
        if batch_idx == self.n_warm:
            wait(pl_module.device)
            self.started_s = self.clock()

    def on_train_end(self, trainer, pl_module) -> None:
        wait(pl_module.device)
        self.elapsed_s = self.clock() - self.started_s


def step_s(
    module: MaskedModeling,
    data: FixedBatches,
    *,
    precision: str,
    n_steps: int,
    n_warm: int = 1,
    clip: float | None = 1.0,
) -> float:
    """Seconds of one step of the product's training, mean of `n_steps`, through Lightning's loop.

    Masks, both passes, clipping, optimiser and schedule are in it. Reading, logging and validation are not.
    """
    timer = StepTimer(n_warm=n_warm, clock=clock_of(data.device))
    data.n_steps = n_warm + n_steps
    trainer = lightning.Trainer(
        accelerator="cpu" if data.device.type == "cpu" else "gpu",
        devices=1,
        precision=precision,
        max_epochs=1,
        gradient_clip_val=clip,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=10**9,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[timer],
    )
    trainer.fit(module, data)
    return timer.elapsed_s / n_steps


# ---- what is printed


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; None is an empty cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def head(device: torch.device) -> str:
    """The machine, the versions and the load, as lines of Markdown."""
    commit = _said("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = " with changes" if _said("git", "status", "--porcelain", "--untracked-files=no") else ""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    machine = _processor()
    if device.type == "cuda":
        machine = f"{torch.cuda.get_device_name(device)}; {machine}"
    native = "bf16 in the processor" if has_native_bf16() else "no bf16 in the processor"
    return "\n".join(
        (
            f"- Machine: {machine}, {os.cpu_count()} cores, {native}",
            f"- torch {torch.__version__} with {torch.get_num_threads()} threads, lightning {lightning.__version__}, "
            f"Python {platform.python_version()}, {platform.system()}",
            f"- Commit: {commit}{changed}",
            f"- Load of the machine before the first measurement, over 1, 5 and 15 minutes: {load}",
        )
    )


def has_native_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself. Elsewhere bf16 is many times slower than fp32."""
    return precision_for("cpu").name == "bf16-mixed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _said(*command: str) -> str:
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is timed, in turn (default: 3)")
    return parser


def run_quietly(words: Sequence[str]) -> None:
    """Run a command of neuromtm in this process. What it says is shown only if it ends early."""
    from neuromtm.commands.main import main

    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main(words)
    except SystemExit:
        print(said.getvalue()[-2000:])
        raise


def quiet() -> None:
    """Keep Lightning's messages out of the tables."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
