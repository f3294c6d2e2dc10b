"""Small sessions in the layout of BrainWideBench, and the ground truth that its scorer asks for.

The ground truth is computed here from the definitions of the benchmark, window by window, and not by the package.
"""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

COSMOS = ("CB", "CNU", "CTXsp", "HB", "HPF", "HY", "Isocortex", "MB", "OLF", "TH")
BIN_S, N_BINS = 0.02, 50
N_UNITS, N_TRIALS = 12, 42
FIRST_S, EVERY_S = 3.0, 4.0
DOMAINS = {"train": (0.0, 73.0), "val": (73.9, 97.0), "test": (97.9, 172.0)}


@dataclass
class BenchSession:
    """One session, drawn from a seed."""

    eid: str
    seed: int
    for_evaluation: bool = True
    regions: tuple[str, ...] = ("TH", "HPF")
    times_s: np.ndarray = field(init=False)
    unit: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.uuid = np.array([f"{self.eid[:4]}-unit-{rng.integers(10**6):06d}" for _ in range(N_UNITS)])
        self.region = np.array([self.regions[i % len(self.regions)] for i in range(N_UNITS)])
        self.heldout = np.isin(np.arange(N_UNITS), (2, 7))
        self.stim = FIRST_S + EVERY_S * np.arange(N_TRIALS) + rng.uniform(0, 0.5, N_TRIALS)
        self.move, self.feedback = self.stim + 0.6, self.stim + 1.1
        self.choice = rng.integers(0, 2, N_TRIALS)
        self.contrast = rng.integers(0, 5, N_TRIALS)
        self.reward = rng.integers(0, 2, N_TRIALS)
        self.trial_index = 3 + 2 * np.arange(N_TRIALS)
        grid_s = np.arange(0.005, 172, BIN_S)
        wave = np.sin(2 * np.pi * grid_s / 0.9) + np.cumsum(rng.normal(0, 0.05, len(grid_s)))
        wave -= wave.mean()
        chosen = np.zeros(len(grid_s))
        for moved, side in zip(self.move, self.choice, strict=True):
            chosen[(grid_s > moved - 1) & (grid_s < moved)] = 2 * side - 1
        # neurons of one region fire alike, so that their weights tell the region
        gain = np.where(self.region == self.regions[0], 0.8, -0.8) * rng.uniform(0.5, 1, N_UNITS)
        log_rates = np.log(0.15) + gain[:, None] * wave / wave.std() + 0.6 * rng.choice([-1, 1], (N_UNITS, 1)) * chosen
        counts = rng.poisson(np.exp(log_rates))
        unit, bin_ = np.nonzero(counts)
        repeats = counts[unit, bin_]
        times = np.repeat(grid_s[bin_], repeats) + rng.uniform(0, BIN_S, repeats.sum())
        order = np.argsort(times)
        self.times_s, self.unit = times[order], np.repeat(unit, repeats)[order]
        self.trace_start_s = 0.0131
        trace_s = self.trace_start_s + np.arange(8590) / 50
        smooth = np.interp(trace_s, grid_s, wave)
        self.whisker = 40 + 7 * smooth + rng.normal(0, 0.5, len(trace_s))
        self.wheel = np.abs(smooth)
        self.licks = rng.poisson(np.exp(-1 + 0.5 * smooth)) * 50.0
        self.paw = 100 + 10 * smooth
        self.confident = rng.random(len(trace_s)) < 0.7
        self.right_paw, self.right_confident = 80 - 5 * smooth, np.roll(self.confident, 7)
        self.norms = {
            "whisker/whisker_motion_energy": (41.0, 6.5),
            "paws/left_paw_speed": (99.0, 9.0),
            "paws/right_paw_speed": (81.0, 6.0),
        }

    @property
    def domain(self) -> np.ndarray:
        return np.stack([self.stim - 1.0, self.feedback + 1.0], axis=1)

    def windows(self, name: str) -> np.ndarray:
        """(trial,) starts of the windows of an interval."""
        return {
            "choice": self.move - 1,
            "stimulus_contrast": self.stim - 0.9,
            "reward": self.feedback,
            "licking_window": self.feedback,
            "movement_window": self.move,
        }[name]

    def write(self, folder: Path) -> Path:
        """Write the session as the benchmark's files are."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.eid}.h5"
        with h5py.File(path, "w") as file:
            file.attrs.update(object="Data", lab="a lab")
            _group(file, "brainset", derived_version="0.1.0", unit_filtering="selected_units")
            _group(file, "subject", id=f"mouse of {self.eid}")
            spikes = _group(file, "spikes", object="IrregularTimeSeries")
            spikes["timestamps"], spikes["unit_index"] = self.times_s, self.unit
            _interval(spikes, "domain", [self.times_s[0]], [self.times_s[-1]])
            units = _group(file, "units", object="ArrayDict")
            units["id"], units["region_cosmos"] = self.uuid.astype("S"), self.region.astype("S")
            units["probe_id"], units["label"] = np.full(N_UNITS, b"probe"), np.ones(N_UNITS)
            units["depths"] = 20.0 * np.arange(N_UNITS)
            units["qc_neural"] = units["qc_neural_alignment"] = np.full(N_UNITS, b"PASS")
            if self.for_evaluation:
                units["ts2_co_smoothing_is_held_out_test"] = self.heldout
                units["ts2_co_smoothing_is_held_out_val"] = np.roll(self.heldout, 1)
            self._write_trials(file)
            self._write_traces(file)
            self._write_splits(file)
        return path

    def _write_trials(self, file: h5py.File) -> None:
        group = _group(file, "task_aligned_intervals", object="Data")
        _interval(group, "domain", *self.domain.T)
        columns = {name: {name: getattr(self, name)} for name in ("choice", "reward")}
        columns |= {"stimulus_contrast": {"stimulus_contrast": self.contrast}, "licking_window": {}}
        columns["movement_window"] = {
            "num_left_paw_confident": self._n_known(self.confident),
            "num_right_paw_confident": self._n_known(self.right_confident),
        }
        for name, own in columns.items():
            start = self.windows(name)
            _interval(group, name, start, start + 1, trial_index=self.trial_index, **own)

    def _n_known(self, known: np.ndarray) -> np.ndarray:
        return np.array([self.samples(known, start).sum() for start in self.move])

    def _write_traces(self, file: h5py.File) -> None:
        for name, own in (
            ("whisker", {"whisker_motion_energy": self.whisker}),
            ("wheel", {"wheel_speed": self.wheel}),
            ("licks", {"licking_rate": self.licks}),
            (
                "paws",
                {
                    "left_paw_speed": self.paw,
                    "is_left_paw_confident": self.confident,
                    "right_paw_speed": self.right_paw,
                    "is_right_paw_confident": self.right_confident,
                },
            ),
        ):
            group = _group(file, name, object="RegularTimeSeries", sampling_rate=50)
            for key, values in own.items():
                group[key] = values
            n = len(self.whisker)
            _interval(group, "domain", [self.trace_start_s], [self.trace_start_s + (n - 1) / 50])

    def _write_splits(self, file: h5py.File) -> None:
        scope = "ts1" if self.for_evaluation else "pretrain"
        for trace, (mean, deviation) in self.norms.items():
            _group(file, f"{scope}_normalize/{trace}", mean=mean, std=deviation)
        if not self.for_evaluation:
            _interval(file, "pretrain_train_domain", [0.0], [97.0])
            _interval(file, "pretrain_val_domain", [97.9], [172.0])
            return
        for suite in ("ts1", "ts2"):
            for name, (start, end) in DOMAINS.items():
                _interval(file, f"{suite}_{name}_domain", [start], [end])

    # ---- the truth

    def test_trials(self) -> np.ndarray:
        return np.flatnonzero(self.domain[:, 0] >= DOMAINS["test"][0])

    def samples(self, values: np.ndarray, start_s: float) -> np.ndarray:
        """(bin,) the samples of a trace from a time on, one second long."""
        times = self.trace_start_s + np.arange(len(values)) / 50
        return values[np.flatnonzero(times >= start_s)[:N_BINS]]

    def test_windows(self) -> list[float]:
        """Starts of the test windows of activity, one by one as the benchmark's sampler gives them."""
        starts = []
        for start, end in self.domain[self.test_trials()]:
            own = [t.item() for t in torch.arange(start, end, BIN_S, dtype=torch.float64) if t + 1.0 <= end]
            starts += own
            if own[-1] + 1.0 < end:
                starts.append(end - 1.0)
        return starts

    def counts(self, start_s: float) -> np.ndarray:
        """(bin, unit) spikes of the second that begins at a time."""
        inside = (self.times_s >= start_s) & (self.times_s < start_s + 1)
        counts = np.zeros((N_BINS, N_UNITS), np.float32)
        bins = np.floor((self.times_s[inside] - start_s) / BIN_S).astype(int).clip(max=N_BINS - 1)
        np.add.at(counts, (bins, self.unit[inside]), 1)
        return counts

    def write_truth(self, folder: Path) -> None:
        """Write the ground truth of all tasks of one session."""
        starts = self.test_windows()
        counts = torch.from_numpy(np.stack([self.counts(start) for start in starts]))
        times = torch.tensor(starts, dtype=torch.float64)
        for task, targets in (
            ("ts2-co_smoothing", counts[..., torch.from_numpy(self.heldout)]),
            ("ts2-forecasting", counts[:, -5:]),
        ):
            self._truth(folder, task, targets=targets.contiguous(), window_timestamps=times)
        trials = self.test_trials()
        trial_id = torch.from_numpy(self.trial_index[trials])
        for name, own in (("choice", self.choice), ("reward", self.reward), ("stimulus_contrast", self.contrast)):
            self._truth(folder, f"ts1-{name}", values=torch.from_numpy(own[trials])[:, None], trial_id=trial_id)

        def standard(values, key):
            mean, deviation = self.norms[key]
            return (values - mean) / deviation

        traces = {
            "whisker_motion_energy": ("movement_window", standard(self.whisker, "whisker/whisker_motion_energy")),
            "wheel_speed": ("movement_window", self.wheel),
            "left_paw_speed": ("movement_window", standard(self.paw, "paws/left_paw_speed")),
            "right_paw_speed": ("movement_window", standard(self.right_paw, "paws/right_paw_speed")),
            "licking_rate": ("licking_window", np.round(self.licks / 50)),
        }
        for name, (window, values) in traces.items():
            begin = self.windows(window)[trials]
            cut = np.stack([self.samples(values, start) for start in begin])[..., None].astype(np.float32)
            tensors = {"values": torch.from_numpy(cut), "trial_id": trial_id}
            if "paw" in name:
                known = self.confident if name.startswith("left") else self.right_confident
                mask = np.stack([self.samples(known, start) for start in begin])
                tensors["mask"] = torch.from_numpy(mask)
            self._truth(folder, f"ts1-{name}", **tensors)

    def _truth(self, folder: Path, task: str, **tensors: torch.Tensor) -> None:
        path = folder / task / self.eid / "ground_truth.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path)


def _group(file: h5py.Group, name: str, **attributes: object) -> h5py.Group:
    group = file.require_group(name)
    group.attrs.update(attributes)
    return group


def _interval(file: h5py.Group, name: str, start: object, end: object, **columns: np.ndarray) -> None:
    group = _group(file, name, object="Interval")
    group["start"], group["end"] = np.asarray(start, np.float64), np.asarray(end, np.float64)
    for key, values in columns.items():
        group[key] = values
