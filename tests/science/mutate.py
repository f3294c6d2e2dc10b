"""Change the code on purpose, one place at a time, and see whether a test notices.

    python -m tests.science.mutate                 apply every change of mutations.yaml, and print a table
    python -m tests.science.mutate --only softsign only those whose file, text or reason has the word

A change that no test notices has survived: either the tests have a hole, or the change is one that no test can notice.
The file says why of those that are known to survive. The exit code is 1 if another one survives, or a known one does
not. Every change is made in a temporary copy of the tree, and the tests of the change alone are run there.
"""

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("mutations.yaml")
OUTPUT = "output.txt"
LIBRARIES = ("torch", "lightning", "torchmetrics", "h5py", "scipy.ndimage", "sklearn.model_selection", "hypothesis")
"""imported once, and not for every change"""
KILLED, SURVIVED = "killed", "SURVIVED"
FAILED_TESTS = (1, 2)
"""exit codes of pytest: a test failed; or the tests could not be collected, because the change breaks an import"""


class Mutation(NamedTuple):
    """A change of one place in the code, and the tests that should notice it."""

    file: str
    """relative to the repository's root"""
    text: str
    """what stands in the file, exactly once"""
    becomes: str
    tests: tuple[str, ...]
    """files or folders of tests, or single tests, as pytest takes them"""
    why: str
    """what would be wrong with the science"""
    survives: str | None
    """why no test notices it; None if one does"""

    def applied(self, root: Path) -> str:
        """The changed text of the file.

        Raises:
            SystemExit: if the original text is not in the file exactly once.
        """
        source = (root / self.file).read_text(encoding="utf-8")
        if (n := source.count(self.text)) != 1:
            raise SystemExit(f"{FILE.name}: {self.file} has this text {n} times, not once: {self.text}")
        return source.replace(self.text, self.becomes)


def mutations(path: Path = FILE) -> list[Mutation]:
    """Every change of the file."""
    return [
        Mutation(
            part["file"],
            one["text"],
            one["becomes"],
            tuple(one.get("tests", part.get("tests", ()))),
            one["why"],
            one.get("survives"),
        )
        for part in yaml.safe_load(path.read_text(encoding="utf-8"))
        for one in part["changes"]
    ]


def copy_of_the_tree(target: Path) -> Path:
    """Copy what git knows of and what it does not ignore, as it is now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def run_tests(tree: Path, tests: Sequence[str], *, limit_s: float) -> int | None:
    """Run tests until the first one fails, in a process that has the libraries already and none of the project's code.

    Args:
        tree: copy of the repository.
        tests: what pytest takes.
        limit_s: the longest time.

    Returns:
        The exit code of pytest; None if it took too long.
    """
    child = os.fork()
    if child == 0:
        os._exit(_in_the_copy(tree, tests))
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)  # with whatever its tests have started
    os.waitpid(child, 0)
    return None


def _in_the_copy(tree: Path, tests: Sequence[str]) -> int:
    os.setsid()
    output = os.open(tree / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(tree)
    own = [str(tree / "src"), str(tree)]
    os.environ["PYTHONPATH"] = os.pathsep.join(own)  # of programs that tests start
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a change may keep a file's size and second
    sys.dont_write_bytecode = True
    sys.path[:] = own + [path for path in sys.path if not Path(path or ".").resolve().is_relative_to(ROOT / "src")]
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT]
    for name in [name for name in sys.modules if name.split(".")[0] in ("neuromtm", "data_prep", "tests")]:
        del sys.modules[name]
    try:
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    finally:
        sys.stdout.flush()


def outcome(tree: Path, mutation: Mutation, *, limit_s: float) -> str:
    """What the tests make of a change: killed or survived. The copy is as before afterwards."""
    path = tree / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutation.applied(tree), encoding="utf-8")
    try:
        code = run_tests(tree, mutation.tests, limit_s=limit_s)
    finally:
        path.write_text(before, encoding="utf-8")
    if code is None:
        return f"{KILLED} (too slow)"
    if code not in (0, *FAILED_TESTS):
        raise SystemExit(f"pytest ended with code {code}:\n" + (tree / OUTPUT).read_text()[-2000:])
    return KILLED if code else SURVIVED


def main() -> int:
    """Apply the changes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="words; one of them is in the file, the text or the reason"
    )
    parser.add_argument("--limit-s", type=float, default=300.0, help="longest time of the tests of one change")
    parser.add_argument("--unchecked", action="store_true", help="do not first see that all tests pass unchanged")
    options = parser.parse_args()
    chosen = [
        one for one in mutations() if any(word in "\n".join((one.file, one.text, one.why)) for word in options.only)
    ]
    unexpected = 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="mutated-") as folder:
        tree = copy_of_the_tree(Path(folder))
        for one in chosen:
            one.applied(tree)
        every_test = sorted({test for one in chosen for test in one.tests})
        if not options.unchecked and run_tests(tree, every_test, limit_s=len(chosen) * options.limit_s) != 0:
            raise SystemExit("The tests do not pass unchanged:\n" + (tree / OUTPUT).read_text()[-2000:])
        print(f"{'outcome':<20} {'s':>4}  {'file':<44} why", flush=True)
        for one in chosen:
            start_s = time.monotonic()
            found = outcome(tree, one, limit_s=options.limit_s)
            unexpected += (found == SURVIVED) != (one.survives is not None)
            known = " (known)" if found == SURVIVED and one.survives else ""
            print(f"{found + known:<20} {time.monotonic() - start_s:4.0f}  {one.file:<44} {one.why}", flush=True)
    print(f"{len(chosen)} changes, {unexpected} not as mutations.yaml says.")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
