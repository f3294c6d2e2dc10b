"""`make demo` with other programs in the place of its own, and killed with all that it has started.

The promise: a `make demo` that was killed is started again by the same command. That says in one sentence which folder
to remove, and changes nothing. Without the folder it ends as if nothing had happened. Nothing lies anywhere else.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
REFUSED = re.compile(r"^\S+ exists, and its results are not overwritten\. Remove the folder \(rm -r \S+\), or ", re.M)
N_PROGRAMS = 10
"""that a demo runs"""
SMALL = """#!/bin/sh
# Runs the program of the demo on fewer and smaller sessions, for a few steps.
case "$0 $*" in
  *simulate*) exec {python} "$@" --n-neurons 12 --n-trials 30 --n-regions 3 --window-s -0.1 0.3 ;;
  */python*) exec {python} "$@" ;;
  *neuromtm\\ fit*) exec {python} -m neuromtm.commands.main "$@" --trainer.max_epochs 2 --behavior.validate false \\
    --figures.n_val_sessions 0 --trainer.check_val_every_n_epoch 2 ;;
  *) exec {python} -m neuromtm.commands.main "$@" ;;
esac
"""


class Demo:
    """A demo in a folder of its own.

    Args:
        folder: gets the demo, its programs, and all temporary files.
        program: what stands in the place of `python` and `neuromtm`.
    """

    def __init__(self, folder: Path, program: str):
        self.out, self.bin, self.temporary = folder / "demo", folder / "bin", folder / "tmp"
        for made in (self.bin, self.temporary):
            made.mkdir(parents=True)
        for name in ("python", "neuromtm"):
            (self.bin / name).write_text(program)
            (self.bin / name).chmod(0o755)

    def begin(self) -> "subprocess.Popen[str]":
        """Start `make demo`, without its environment, in a process group of its own."""
        # a make that runs these tests hands its own options down
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        folders = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(folders), "TMPDIR": str(self.temporary)}
        words = ["make", "--no-print-directory", "demo", "INSTALLED=", f"BIN={self.bin}", f"DEMO={self.out}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(words, cwd=ROOT, env=environment, text=True, start_new_session=True, **pipes)

    def ended(self) -> tuple[int, str]:
        """Run it to its end: exit status, and what it said."""
        process = self.begin()
        said, _ = process.communicate(timeout=3600)
        return process.returncode, said

    def held(self) -> dict[str, bytes]:
        """Name -> content of each file of the demo."""
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}


class Ended(NamedTuple):
    """How a case ended."""

    was_killed: bool
    wrong: str
    """empty if the promise held"""


def case(demo: Demo, *, after_s: float) -> Ended:
    """Kill a demo, start it again, remove what it says, and let it end."""
    process = demo.begin()
    time.sleep(after_s)
    was_killed = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL) if was_killed else None
    process.communicate()
    return Ended(was_killed, what_is_wrong(demo))


def what_is_wrong(demo: Demo) -> str:
    """How a start after a kill breaks the promise; empty if it does not."""
    if demo.out.exists():
        before = demo.held()
        status, said = demo.ended()
        if status == 0 or len(REFUSED.findall(said)) != 1 or "Traceback" in said:
            return f"the second start ended with {status}: {said[-500:]}"
        if demo.held() != before:
            return "the second start changed what was there"
        shutil.rmtree(demo.out)
    status, said = demo.ended()
    if status != 0 or not (demo.out / "summary.json").exists():
        return f"the start in an empty folder ended with {status}: {said[-500:]}"
    left = [str(path) for path in (*demo.out.rglob("*.part.tmp"), *demo.temporary.iterdir())]
    return f"left behind: {left}" if left else ""


def campaign(folder: Path, *, n: int, seed: int) -> list[Ended]:
    """So many cases with the demo's own programs, on smaller sessions and for fewer steps."""
    program = SMALL.format(python=sys.executable)
    whole, began_s = Demo(folder / "whole", program), time.monotonic()
    status, said = whole.ended()
    assert status == 0, said
    took_s = time.monotonic() - began_s
    moments = [random.Random(f"demo {seed} {number}").random() * took_s for number in range(n)]
    return [case(Demo(folder / str(number), program), after_s=moment) for number, moment in enumerate(moments)]
