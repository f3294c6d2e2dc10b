"""Change what files hold, not their bytes, and read them.

    python -m tests.faults.structure                                 300 cases
    python -m tests.faults.structure --n 2000 --seed 3 --file shard  of one kind of file
    python -m tests.faults.structure --file sources                  of the files of recordings

The promise: whatever a file holds, a reader takes it for what it is, or refuses it in one sentence that names it. A
case changes one good file in one place (`changes.py`): a key, column, dataset or attribute is missing, or there is one
more; a value is null, a list, a text, NaN, infinite, negative or huge; a table has a row or a field more or less,
another encoding, no names; an array has another type, rank or length. Checksums are made right again, so that the
change reaches the reader behind them. `fuzzed_files.py` says which files there are, and what reads them.

| verdict | |
| --- | --- |
| refused | one sentence that names the file, and no exit code 0 |
| same | the reader gives every number of the good file |
| another | a change that leaves another good file, e.g. one without a session, was read as that |

Anything else is a failure: another number after a change that leaves no good file, a traceback, a warning of NumPy, a
sentence that names no file, NaN where the good file has none, no end within a minute.

The exit code is 1 if a case failed.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings

from neuromtm.errors import UserError
from tests.faults.changes import Change
from tests.faults.fuzzed_files import KINDS, Kind, Read, make_good
from tests.faults.fuzzed_sources import OF_SOURCES, source_kinds
from tests.faults.what_is_read import digest

REFUSED, SAME, ANOTHER = "refused", "same", "another"
VERDICTS = (REFUSED, SAME, ANOTHER)
PATIENCE_S = 60
SLOW_EVERY = 8
"""one of so many cases goes through the slow readers too"""
MOST_BYTES = 6 * 2**30
"""address space of the campaign"""
NO_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:nan|inf)(?![\w.])", re.IGNORECASE)


class Outcome(NamedTuple):
    """What became of a case."""

    what: str
    verdicts: dict[str, str]
    """reader -> one of `VERDICTS`, or what is wrong"""

    @property
    def failures(self) -> dict[str, str]:
        """The readers that break the promise."""
        return {name: verdict for name, verdict in self.verdicts.items() if verdict not in VERDICTS}

    @property
    def verdict(self) -> str:
        """Of all readers together."""
        return next((one for one in VERDICTS if one in self.verdicts.values()), "failed")


class _TooLong(BaseException):
    """No end within a minute."""


@contextmanager
def _patience() -> Iterator[None]:
    def end(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Fuzzed:
    """A kind of file, with what its readers give of the good one.

    Args:
        root: folder of the good files.
        kind: the kind.
        slow_every: one of so many cases goes through the slow readers too; None for none.
    """

    def __init__(self, root: Path, kind: Kind, *, slow_every: int | None = SLOW_EVERY):
        self.root, self.kind, self.slow_every = root, kind, slow_every
        self.number = 0
        self._expected: dict[str, tuple[str, bool]] = {}

    def outcome_of(self, change: Change) -> Outcome:
        """Change the file in a copy of the folder, and read it in every way."""
        self.number += 1
        slow = self.kind.slow if self.slow_every and self.number % self.slow_every == 1 else {}
        readings = {**self.kind.readings, **slow}
        for name, read in readings.items():
            if name not in self._expected:
                with self._copy() as folder:
                    found = read(folder)
                    self._expected[name] = digest(found), _has_no_number(found)
        return Outcome(change.what, {name: self._verdict(name, read, change) for name, read in readings.items()})

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.root.parent)) / "copy"
        try:
            top = {path.name for path in self.root.iterdir()}
            # of the sources, only one is there at a time
            own = self.kind.file.partition("/")[0]
            left_out = set(OF_SOURCES) - {own} if own in OF_SOURCES else set(OF_SOURCES)
            left_out |= top - {own} if own in OF_SOURCES else set()
            shutil.copytree(
                self.root, folder, copy_function=os.link, ignore=lambda at, _: left_out if Path(at) == self.root else ()
            )
            path = folder / self.kind.file
            path.unlink()
            shutil.copyfile(self.root / self.kind.file, path)
            yield folder
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)

    def _verdict(self, name: str, read: Read, change: Change) -> str:
        with self._copy() as folder:
            path = folder / self.kind.file
            change.apply(path)
            self.kind.mend(folder, self.kind.file)
            try:
                with warnings.catch_warnings(), _patience():
                    warnings.simplefilter("error", RuntimeWarning)
                    found = read(folder)
            except UserError as error:
                return self._of_sentence(str(error).replace(str(folder), "HERE"))
            except _TooLong:
                return f"no end within {PATIENCE_S} s"
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                return f"{type(error).__name__}: {error} ({_place(error)})"
        wanted, may_have_none = self._expected[name]
        if digest(found) == wanted:
            return SAME
        if not may_have_none and _has_no_number(found):
            return "NaN or infinity"
        return ANOTHER if change.is_other else "other numbers"

    def _of_sentence(self, said: str) -> str:
        if "\n" in said.strip():
            return f"several lines: {said}"
        names = (Path(self.kind.file).name, *self.kind.named)
        return REFUSED if any(name in said for name in names) else f"names no file: {said[:200]}"


def _has_no_number(found: Any) -> bool:
    parts = found if isinstance(found, tuple) else (found,)
    texts = [part for part in parts if isinstance(part, str)]
    texts += [text.decode() for part in parts if isinstance(part, list) for text in part if isinstance(text, bytes)]
    return any(NO_NUMBER.search(text) for text in texts)


def _place(error: BaseException) -> str:
    """Where in our own source an error was raised."""
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/src/neuromtm/" in code.co_filename or "/data_prep/" in code.co_filename:
            places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-1] if places else "outside"


def campaign(root: Path, kind: Kind, *, n: int, seed_: int, done: Callable[[Outcome], None]) -> None:
    """Try changes of a kind of file.

    Args:
        root: folder of the good files.
        kind: the kind of file.
        n: cases, unless there are fewer different ones.
        seed_: of the draws.
        done: called with every outcome.
    """
    fuzzed = Fuzzed(root, kind)

    @seed(seed_)
    @settings(
        max_examples=n, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(kind.changes(root / kind.file))
    def try_one(change: Change) -> None:
        done(fuzzed.outcome_of(change))

    try_one()


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300, help="cases, over all kinds (default: 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--file", nargs="+", default=["all"], help=f"{', '.join(KINDS)}; or files, sources, all, arrays..."
    )
    parser.add_argument("--verbose", action="store_true", help="name the changes that were read as another good file")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    n_failed = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "good"
        root.mkdir()
        kinds = {}
        for name, kind in _chosen(root, options.file):
            if (root / kind.file).exists():
                kinds[name] = kind
            else:
                print(f"left out: {name}, which the run has not")
        counts = {name: Counter[str]() for name in kinds}
        for name, kind in kinds.items():

            def done(outcome: Outcome, name: str = name) -> None:
                nonlocal n_failed
                counts[name]["failed" if outcome.failures else outcome.verdict] += 1
                for reader, verdict in outcome.failures.items():
                    n_failed += 1
                    print(f"FAILED {name}, {reader}: {outcome.what}: {verdict}", flush=True)
                if options.verbose and ANOTHER in outcome.verdicts.values():
                    readers = [reader for reader, verdict in outcome.verdicts.items() if verdict == ANOTHER]
                    print(f"another {name}, {'; '.join(readers)}: {outcome.what}", flush=True)

            campaign(root, kind, n=max(1, options.n // len(kinds)), seed_=options.seed, done=done)
    print(f"| file | cases | {' | '.join(VERDICTS)} | failed |")
    for name, own in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"| {name} | {own.total()} | {' | '.join(str(own[verdict]) for verdict in (*VERDICTS, 'failed'))} |")
    return 1 if n_failed else 0


def _chosen(root: Path, names: list[str]) -> Iterator[tuple[str, Kind]]:
    wanted = set(names)
    if wanted & {"all", "files"} or wanted & set(KINDS):
        make_good(root)
        yield from ((name, kind) for name, kind in KINDS.items() if wanted & {"all", "files", name})
    sources = [one for one in OF_SOURCES if wanted & {"all", "sources", one}]
    with suppress(ImportError):  # of an extra
        yield from source_kinds(root, sources)


if __name__ == "__main__":
    sys.exit(main())
