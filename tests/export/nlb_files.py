"""A small data set in the layout of the Neural Latents Benchmark, written by pynwb: a train and a test file."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

HELDIN, HELDOUT = (0, 1, 3, 4, 6, 7), (2, 5)
"""places of the neurons in the train file, where the held-out ones lie among the others"""
UNITS = tuple(100 + 3 * place for place in range(8))
SPLITS = ("train", "train", "val", "none", "train", "train", "val", "train", "train", "val", "train", "train")
N_TEST = 5
PERIOD_S = 1.7


@dataclass(frozen=True)
class Written:
    """The files, and the truth that the benchmark keeps."""

    train: Path
    test: Path
    onset_s: np.ndarray
    """(trial,) event of each trial, those of the test file after those of the train file, in the time of its file"""
    spikes: dict[str, list[np.ndarray]]
    """`train` and `test` -> (neuron,) times of every spike of each file, those that it does not hold too"""

    def arguments(self, dataset: str) -> tuple[str, ...]:
        """The options that name the files."""
        return ("nlb", "--dataset", dataset, "--train", str(self.train), "--test", str(self.test))

    def counts(self, file: str, trials: list[int], *, start_s: float, n_bins: int, bin_size_s: float) -> np.ndarray:
        """(trial, bin, neuron) true counts of windows about the event, held-in neurons first.

        Each window starts at the first whole bin of the file's clock after `start_s`, and counts in steps of 1 ms, as
        in nlb_tools.
        """
        n_ms = round(1000 * bin_size_s)
        own = self.onset_s[: len(SPLITS)] if file == "train" else self.onset_s[len(SPLITS) :]
        found = np.zeros((len(trials), n_bins, len(UNITS)), np.int64)
        for place, neuron in enumerate((*HELDIN, *HELDOUT)):
            at_ms = np.floor(np.round(1000 * self.spikes[file][neuron], 6)).astype(int)
            per_bin = np.bincount(at_ms // n_ms, minlength=round(30 / bin_size_s))
            for row, trial in enumerate(trials):
                first = -(-round(1e6 * (own[trial] + start_s)) // (1000 * n_ms))
                found[row, :, place] = per_bin[first : first + n_bins]
        return found


def write_dataset(
    folder: Path, *, event: str = "move_onset_time", window_s: tuple[float, float] = (-0.25, 0.45), seed: int = 0
) -> Written:
    """Write both files. All neurons follow one wave of each trial, so that some tell of the others.

    Args:
        folder: where they are written.
        event: column of the event.
        window_s: what the test file gives of each trial, relative to its event.
        seed: of the spikes.
    """
    rng = np.random.default_rng(seed)
    onset_s, spikes, paths = [], {}, {}
    for file, n_trials in (("train", len(SPLITS)), ("test", N_TEST)):
        start_s = 0.4 + PERIOD_S * np.arange(n_trials)
        own_s = np.round(start_s + max(0.5, -window_s[0]) + 0.2 * rng.random(n_trials), 3)
        spikes[file] = _spikes(own_s, rng)
        onset_s.append(own_s)
        split = np.array(SPLITS) if file == "train" else np.full(n_trials, "test")
        paths[file] = folder / f"sub-Small_desc-{file}_ecephys.nwb"
        of_test = own_s[:, None] + window_s
        # the train file goes on between trials, but not where trials are pieces of a task of their own
        whole = [[0.0, own_s[-1] + 1.0]] if event != "move_onset_time" else np.stack([start_s, start_s + 1.6], axis=1)
        observed_s = of_test if file == "test" else np.array(whole)
        times = {"start_time": start_s, event: own_s}
        if event == "go_time":
            times["set_time"] = np.round(own_s - 0.5 - 0.7 * rng.random(n_trials), 3)
        _write(paths[file], times, split, spikes[file], observed_s)
    return Written(paths["train"], paths["test"], np.concatenate(onset_s), spikes)


def _spikes(onset_s: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """(neuron,) times in steps of 0.1 ms."""
    step_s = 1e-4
    at_s = np.arange(0, onset_s[-1] + 1.0, step_s)
    nearest = np.searchsorted((onset_s[1:] + onset_s[:-1]) / 2, at_s)
    wave = np.sin(2 * np.pi * (at_s - onset_s[nearest]) / 0.4 + rng.uniform(0, 2 * np.pi, len(onset_s))[nearest])
    signs = np.where(np.arange(len(UNITS)) % 2, 1, -1)
    rates_hz = 30 * np.exp(1.2 * signs[:, None] * wave)
    return [np.flatnonzero(rng.random(len(at_s)) < own * step_s) * step_s for own in rates_hz]


def _write(
    path: Path, times: dict[str, np.ndarray], split: np.ndarray, spikes: list[np.ndarray], observed_s: np.ndarray
) -> None:
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries

    is_test = "test" in split
    nwb = NWBFile("small", "small", datetime(2020, 1, 1, tzinfo=UTC), lab="Small")
    for name in (*times.keys() - {"start_time"}, "split", "trial_type"):
        nwb.add_trial_column(name, name)
    for row in range(len(split)):
        own = {name: values[row] for name, values in times.items()}
        nwb.add_trial(**own, stop_time=max(own.values()) + 0.6, split=split[row], trial_type=row % 3)
    nwb.add_unit_column("heldout", "heldout")
    for place, unit in enumerate(UNITS):
        if is_test and place in HELDOUT:
            continue
        own = spikes[place]
        given = own[((own >= observed_s[:, :1]) & (own < observed_s[:, 1:])).any(0)]
        nwb.add_unit(id=unit, spike_times=given, obs_intervals=observed_s, heldout=place in HELDOUT)
    if not is_test:
        clock_s = np.arange(round(1000 * observed_s.max())) / 1000
        values = np.stack([clock_s, -2 * clock_s], axis=1)
        velocity = TimeSeries(name="hand_vel", data=values, unit="m/s", timestamps=clock_s)
        nwb.create_processing_module(name="behavior", description="behavior").add(velocity)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwb)
