"""Run the benchmarks one after the other and write what they print into a dated file: `make bench`, `make bench-gpu`.

    python benchmarks/run.py --device cpu
    python benchmarks/run.py --device cuda

The file lies in benchmarks/results/ and bears the date, the time and the device in its name, so that none is ever
overwritten. A program that fails, or does not end in its time, has its last lines in the file, and the others go on.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from measuring import has_native_bf16, head, session_sizes, write_sessions

from neuromtm.errors import UserError
from neuromtm.files import write_whole

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
GPU_BATCHES = ("16x1", "64x4", "128x8", "544x34", "2176x34")


class Program(NamedTuple):
    """A benchmark to run."""

    title: str
    words: tuple[str, ...]
    """name of its file, without the ending, and its options"""
    most_s: float
    """it is stopped after so long"""


CPU = (
    Program("Step", ("step", "--data", "DATA", "--rounds", "2"), 600),
    Program("Loader", ("loader", "--n-sessions", "6"), 60),
    Program("Reading", ("reading",), 90),
    Program("Fit and validation", ("fit", "--data", "DATA", "--precisions", "PRECISION"), 180),
    Program(
        "Exact co-smoothing",
        *(("evaluation", "--size", "paper", "--n-neurons", "676", "--n-trials", "25", "--timed-neurons", "4"), 90),
    ),
    Program("Ranks", ("ranks",), 240),
    Program("Start-up", ("startup",), 180),
    Program("Preparation of a session", ("preparation", "--rounds", "1"), 300),
)
GPU = (
    Program(
        "Step, bf16",
        *(("step", "--data", "DATA", "--device", "cuda", "--precisions", "bf16", "--batches", *GPU_BATCHES), 200),
    ),
    Program(
        "Step, fp32",
        *(("step", "--data", "DATA", "--device", "cuda", "--precisions", "fp32", "--batches", "16x1", "64x4"), 60),
    ),
    Program(
        "Fit and validation",
        (
            *("fit", "--data", "DATA", "--device", "cuda", "--precisions", "bf16", "--batches", "64x4", "544x34"),
            *("--seconds", "15"),
        ),
        120,
    ),
    Program("Loader", ("loader", "--data", "DATA", "--device", "cuda", "--rounds", "2"), 60),
    Program(
        "Exact co-smoothing",
        ("evaluation", "--size", "paper", "--n-neurons", "676", "--n-trials", "100", "--device", "cuda"),
        60,
    ),
)
SESSIONS = {"cpu": (4, 192), "cuda": (34, 192)}
"""device -> sessions, and training trials of each"""


def printed(program: Program, data: Path) -> tuple[str, bool]:
    """What a program prints, or the end of what it says where it fails; and whether it succeeded."""
    stands_for = {"DATA": str(data), "PRECISION": "bf16" if has_native_bf16() else "fp32"}
    name, *options = (stands_for.get(word, word) for word in program.words)
    # a group of its own, so that a program that takes too long is stopped with all its processes
    process = subprocess.Popen(
        [sys.executable, str(HERE / f"{name}.py"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, problem = process.communicate(timeout=program.most_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, problem = process.communicate()
        return f"{said}\nStopped: it did not end within {program.most_s:.0f} s.", False
    if process.returncode:
        end = "\n".join(f"    {line}" for line in problem.strip().splitlines()[-8:])
        return f"{said}\nFailed:\n\n{end}", False
    return said.strip(), True


def sections(programs: tuple[Program, ...], data: Path) -> Iterator[tuple[str, bool]]:
    """The section of each program that there is, and whether it succeeded."""
    for program in programs:
        if not (HERE / f"{program.words[0]}.py").exists():
            continue
        print(f"{program.title} ...", flush=True)
        started = datetime.now(UTC)
        text, good = printed(program, data)
        took_s = (datetime.now(UTC) - started).total_seconds()
        command = " ".join(("python", f"benchmarks/{program.words[0]}.py", *program.words[1:]))
        print(f"{text}\n", flush=True)
        if "| --- |" not in text:  # lines, which Markdown would run together
            text = f"```text\n{text}\n```"
        yield f"## {program.title}\n\n`{command}`, {took_s:.0f} s\n\n{text}\n", good


def main() -> int:
    """Write the file; gives 1 if a program failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="programs to run, e.g. step fit (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the file (default: benchmarks/results)")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch finds no CUDA GPU here. Run `make bench` for the CPU, or this on a machine with one.")
    programs = [p for p in (CPU if given.device == "cpu" else GPU) if given.only is None or p.words[0] in given.only]
    now = datetime.now(UTC)
    opening = f"# {now:%Y-%m-%d %H:%M} UTC, {given.device}\n\n{head(torch.device(given.device))}\n"
    n_sessions, n_train = SESSIONS[given.device]
    uses_data = any("DATA" in program.words for program in programs)
    with tempfile.TemporaryDirectory() as folder:
        if uses_data:
            write_sessions(Path(folder), session_sizes(n_sessions), n_train=n_train, n_val=-(-n_train // 7))
        written = list(sections(tuple(programs), Path(folder)))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    opening += f"- And after the last one: {load}. The benchmarks themselves are in it.\n"
    if uses_data:
        opening += (
            f"- DATA: {n_sessions} synthetic sessions of 450 to 902 neurons, 676 in the mean, 100 bins, {n_train} "
            "training trials each\n"
        )
    path = given.out / f"{now:%Y-%m-%dT%H-%M-%S}-{given.device}.md"
    write_whole(path, "\n".join((opening, *(text for text, _ in written))))
    print(f"Written: {os.path.relpath(path)}")
    return int(not all(good for _, good in written))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"benchmarks: {error}")
