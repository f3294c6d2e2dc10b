"""Measure the preparation of one full-sized session: peak memory, and seconds of processor time and on the wall.

    git worktree add ../former COMMIT
    python benchmarks/preparation.py --former ../former

It writes a session as files of the International Brain Laboratory into a temporary folder: two probes with 50 million
spikes of 2,000 neurons in all, and 700 trials. `python -m data_prep ibl` then prepares it into 100 bins a trial, in a
process of its own each time, in turn by the code of another checkout and by this one. The shards must be equal, byte
for byte. Without --former only this code is measured. The folder needs 1 GB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parents[1]
TRIAL_S = 6.0
N_CHANNELS = 384
PROBES = ("probe00", "probe01")
NAME = "lab_mouse_2020-01-01_001"
MEASURED = """
import sys
from data_prep.__main__ import main
code = main()
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""
"""a program that says its own peak of memory; that which the system keeps of a process includes its parent's"""


class Cost(NamedTuple):
    """What a preparation took."""

    peak_bytes: int
    processor_s: float
    wall_s: float


def write_session(tree: Path, *, n_spikes: int, n_neurons: int, n_trials: int) -> None:
    """Write a session of Poisson spikes, spread evenly over probes and neurons.

    Args:
        tree: folder that ONE-api opens.
        n_spikes: of all probes.
        n_neurons: of all probes.
        n_trials: all of them pass the filters.
    """
    import pandas as pd
    from iblatlas.regions import BrainRegions
    from one.alf.cache import make_parquet_db

    rng = np.random.default_rng(0)
    alf = tree / "lab" / "Subjects" / "mouse" / "2020-01-01" / "001" / "alf"
    regions = BrainRegions().acronym2id(["CA1", "VISp5", "LP", "PO"])
    for number, probe in enumerate(PROBES):
        folder, here = alf / probe / "pykilosort", n_neurons // len(PROBES)
        folder.mkdir(parents=True)
        gaps = rng.standard_exponential(n_spikes // len(PROBES), np.float32)
        times_s = np.cumsum(gaps, dtype=np.float64)
        arrays = {
            "spikes.times": times_s * (n_trials * TRIAL_S + 10) / times_s[-1],
            "spikes.clusters": rng.integers(0, here, len(times_s), np.uint32),
            "clusters.channels": np.arange(here) % N_CHANNELS,
            "clusters.depths": np.arange(here, dtype=np.float64),
            "channels.brainLocationIds_ccf_2017": np.resize(regions, N_CHANNELS),
            "channels.localCoordinates": np.zeros((N_CHANNELS, 2)),
        }
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        uuids = [f"{number}-{neuron}" for neuron in range(here)]
        pd.DataFrame({"uuids": uuids}).to_csv(folder / "clusters.uuids.csv", index=False)
    onset_s = 5 + TRIAL_S * np.arange(n_trials)
    side = rng.choice([-1.0, 1.0], n_trials)
    trials = {
        "stimOn_times": onset_s,
        "goCue_times": onset_s,
        "firstMovement_times": onset_s + 0.3,
        "feedback_times": onset_s + 0.5,
        "choice": rng.choice([-1.0, 1.0], n_trials),
        "feedbackType": rng.choice([-1.0, 1.0], n_trials),
        "contrastLeft": np.where(side < 0, 0.5, np.nan),
        "contrastRight": np.where(side > 0, 0.5, np.nan),
        "probabilityLeft": np.full(n_trials, 0.5),
    }
    pd.DataFrame(trials).to_parquet(alf / "_ibl_trials.table.pqt")
    make_parquet_db(tree, hash_files=False)


def prepare_with(code: Path, tree: Path, out: Path) -> Cost:
    """Prepare the session by a checkout of the program, in a process of its own."""
    options = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(out)]
    command = [sys.executable, "-c", MEASURED, *options]
    paths = os.pathsep.join((str(code / "src"), str(code)))
    started_s = time.monotonic()
    process = subprocess.Popen(
        command, cwd=code, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status or ": prepared: " not in said:
        sys.exit(f"{code}: the session was not prepared.\n{said}")
    return Cost(1024 * int(said.split()[-2]), used.ru_utime + used.ru_stime, time.monotonic() - started_s)


def main() -> None:
    """Print a line for each code, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--former", type=Path, metavar="DIR", help="another checkout, to compare with")
    parser.add_argument("--n-spikes", type=int, default=50_000_000)
    parser.add_argument("--n-neurons", type=int, default=2_000)
    parser.add_argument("--n-trials", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    codes = {"now": HERE} | ({} if given.former is None else {"former": given.former.resolve()})
    costs: dict[str, list[Cost]] = {name: [] for name in codes}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_session(folder / "tree", n_spikes=given.n_spikes, n_neurons=given.n_neurons, n_trials=given.n_trials)
        for round_ in range(given.rounds):  # in turn, so that what else the machine does falls on all
            shards = {}
            for name, code in codes.items():
                out = folder / f"{name}-{round_}"
                costs[name].append(prepare_with(code, folder / "tree", out))
                shards[name] = (out / f"{NAME}.h5").read_bytes()
            if len({*shards.values()}) > 1:
                sys.exit("The shards of the two codes are not equal.")
    print(
        f"{given.n_spikes:,} spikes of {given.n_neurons:,} neurons on {len(PROBES)} probes, {given.n_trials} trials of "
        f"100 bins; median of {given.rounds} rounds.\n"
    )
    print("| code | peak memory, GB | processor, s | on the wall, s |\n| --- | --- | --- | --- |")
    middle = {name: np.median(np.array(found), axis=0) for name, found in costs.items()}
    for name, (peak, processor_s, wall_s) in middle.items():
        print(f"| {name} | {peak / 1e9:.2f} | {processor_s:.1f} | {wall_s:.1f} |")
    if "former" in middle:
        ratios = middle["former"] / middle["now"]
        print(f"| former / now | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
        print("\nThe shards are equal, byte for byte.")


if __name__ == "__main__":
    main()
