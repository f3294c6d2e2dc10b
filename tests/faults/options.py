"""Give odd values to every option of every command, and see that each is taken or refused in plain words.

    python -m tests.faults.options --n 1200 --seed 1       a campaign over all commands
    python -m tests.faults.options --command fit           only some commands: a pattern to look for in their names
    python -m tests.faults.options --list                  the options, and how many values there are for each

The options are read out of the parsers, so that a new one is tried without a change here. A case is a command line
that works, with one option more: a number that is negative, zero, huge or no number, an empty or very long text, a list
for one value, a folder for a file, letters of other scripts or for a terminal, and so on (`VALUES`). The first cases
try one value of every option, the next ones a second, in an order that depends on the seed.

The command runs in a copy of this process, in a folder of its own, with bounds on time, memory, files and processes.
Then the case is one of these:

| verdict | meaning |
| --- | --- |
| accepted | it ended well, and the value can mean something |
| refused | one message, of few lines, that names the option or its value |
| traceback | an exception that is no message for a user |
| hang | no end within the time |
| killed | a signal, a bound on processes |
| nonsense | it ended well though the value cannot mean anything for the option |
| unnamed | refused, but the message names neither the option nor its value |
| long | refused in more than a few lines |
| raw | letters that a terminal obeys were printed |
| left behind | a temporary file is left |

All but the first two are findings. The exit code is 1 if there is one.
"""

import argparse
import contextlib
import importlib
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuromtm.errors import NOT_FOR_A_TERMINAL, printable, shortened
from tests.faults.forked import TOO_MANY_PROCESSES, Ended, in_fork
from tests.faults.option_bases import BASES, Base, lay_out, make, neuromtm, options_of
from tests.faults.option_values import LONG, Option, Value, is_nonsense, values_of

PATIENCE_S = 120
MOST_LINES, MOST_LETTERS = 8, 1500
"""of a message, without argparse's usage"""
GOOD = ("accepted", "refused")


class OptionCase(NamedTuple):
    """A command line with one odd value."""

    option: Option
    value: Value
    line: tuple[str, ...]

    def __str__(self):
        shown = self.value.text if len(self.value.text) < 60 else f"{self.value.text[:30]}..."
        return f"{self.option.command} {self.option.name} {shown!r}"


class Judged(NamedTuple):
    """What became of a case."""

    case: OptionCase
    verdict: str
    said: str


# ---- the cases


def option_cases(commands: Sequence[str], *, seed: int) -> Iterator[OptionCase]:
    """Every case, first one value of every option, then a second.

    An option that `fit` shares with the commands that score is tried in one of them, another one for each value.
    """
    sharing: dict[str, list[Option]] = {}
    for command in commands:
        for option in options_of(command):
            shared = command in SCORING and not option.name.startswith("<")
            sharing.setdefault(option.name if shared else f"{command} {option.name}", []).append(option)
    rng = np.random.default_rng(seed)
    waiting = {key: values_of(own[0], np.random.default_rng([seed, n])) for n, (key, own) in enumerate(sharing.items())}
    while waiting:
        for key in rng.permutation(list(waiting)).tolist():
            value = next(waiting[key], None)
            if value is None:
                del waiting[key]
                continue
            option = sharing[key][rng.integers(len(sharing[key]))]
            yield OptionCase(option, value, line_of(option, value, rng))


SCORING = ("neuromtm fit", "neuromtm validate", "neuromtm test", "neuromtm predict")


def line_of(option: Option, value: Value, rng: np.random.Generator) -> tuple[str, ...]:
    """The command line that works, with the value in its place."""
    base = BASES[option.command]
    named, free = base.line[: len(base.line) - base.n_positional], base.line[len(base.line) - base.n_positional :]
    text = value.text.replace("FOLDER", "empty_folder").replace("FILE", "some_file")
    if option.name.startswith("<"):
        place = min(int(option.name[1:-1]), len(free) - 1)
        return (*named, *free[:place], text, *free[place + 1 :])
    if option.n_values > 1:
        others = option.default if isinstance(option.default, list | tuple) else ["1"] * option.n_values
        values = [*map(str, others)]
        values[rng.integers(option.n_values)] = text
        return (named[0], option.name, *values, *named[1:], *free) if free else (*named, option.name, *values)
    given = f"{option.name}={text}"
    kinds = named[:2] if named[0] == "export" else named[:1]
    return (*kinds, *[word for word in named[len(kinds) :] if not word.startswith(f"{option.name}=")], given, *free)


# ---- a case


def judged(case: OptionCase, good: Path, folder: Path, *, limit_s: float = PATIENCE_S) -> Judged:
    """Run a case in a folder that is not there yet."""
    folder.mkdir()
    base = BASES[case.option.command]
    lay_out(base.needs, good, folder)
    (folder / "empty_folder").mkdir()
    (folder / "some_file").write_text("some text\n")
    ended = in_fork(lambda: run(case.option.command, case.line), folder=folder, limit_s=limit_s)
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
    verdict = _verdict(case, ended, left)
    return Judged(case, verdict, (ended.err.strip() or ended.out.strip())[-2500:] + "".join(f"\n{one}" for one in left))


def run(command: str, line: Sequence[str]) -> int | None:
    """Run a command line of one of the two programs."""
    if command.startswith("data_prep"):
        from data_prep.__main__ import main

        return main(line)
    neuromtm(*line)
    return 0


def _verdict(case: OptionCase, ended: Ended, left: Sequence[str]) -> str:
    printed = ended.out + ended.err
    if not ended.in_time:
        return "hang"
    if ended.status < 0 or ended.status == TOO_MANY_PROCESSES:
        return "killed"
    if "Traceback (most recent call last)" in printed or ended.status not in (0, 1, 2):
        return "traceback"
    if left:
        return "left behind"
    if case.value.tag.endswith("control characters") and NOT_FOR_A_TERMINAL.search(printed.replace("\r", "")):
        return "raw"
    if ended.status == 0:
        return "nonsense" if is_nonsense(case.option, case.value) else "accepted"
    message = _message(ended)
    if not _names(message, case):
        return "unnamed"
    return "refused" if message.count("\n") < MOST_LINES and len(message) < MOST_LETTERS else "long"


def _message(ended: Ended) -> str:
    """What was said last, without the usage that argparse prints before."""
    lines = ended.err.strip().splitlines() or ended.out.strip().splitlines()
    starts = [n for n, line in enumerate(lines) if re.match(r"(neuromtm|neuromtm-prep|python -m data_prep).*: ", line)]
    said = "\n".join(lines[starts[0] :] if starts else lines)
    return said if starts or not ended.err.strip() else f"{said}\n{ended.out}"


def _names(message: str, case: OptionCase) -> bool:
    text = case.value.text.strip()
    values = {text, repr(text)[1:-1], json.dumps(text)[1:-1], text.strip('[]"'), text.replace("\n", " ")[:8]}
    if case.option.name.startswith("<"):
        return True  # it has no name, and often no value that can be shown
    files = {"FOLDER": "empty_folder", "FILE": "some_file"}
    values |= {shown for word, shown in files.items() if word in text}
    values |= {text.encode("unicode_escape").decode(), printable(text)}
    said = message.lower()
    shown = LONG[:50] in said and text == LONG  # a message cuts it
    shown |= any(re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", said) for value in values if value)
    return shown or any(word.lower() in said for word in case.option.words)


# ---- the campaign


def import_all(commands: Sequence[str]) -> None:
    """Import what the commands import, so that no case has to."""
    for command in commands:
        options_of(command)
    modules = ["matplotlib.pyplot", "sklearn.linear_model", "scipy.stats", "rich.table", "neuromtm.report.page"]
    if any(command.startswith("neuromtm") for command in commands):
        modules += ["neuromtm.commands.cli", "neuromtm.plots.tasks", "torch.utils.tensorboard", "torch._dynamo"]
        modules += ["neuromtm.export.nlb", "neuromtm.export.bwb"]
    for module in modules:
        importlib.import_module(module)


@contextlib.contextmanager
def prepared(commands: Sequence[str], keep: Path | None = None) -> Iterator[Path]:
    """A folder with the files that the commands need.

    Args:
        commands: names in `BASES`.
        keep: where they are kept for another time; files that are there are used.
    """
    with tempfile.TemporaryDirectory() as temporary:
        good = Path(temporary) / "good" if keep is None else keep
        good.mkdir(exist_ok=True, parents=True)
        needed = {name for command in commands for name in BASES[command].needs}
        if any(not (good / name).exists() for name in needed):
            ended = in_fork(lambda: make(sorted(needed)), folder=good, limit_s=1200)
            assert ended.status == 0, ended.err[-3000:]
        yield good


def campaign(commands: Sequence[str], good: Path, *, n: int, seed: int) -> Iterator[Judged]:
    """Run so many cases."""
    with tempfile.TemporaryDirectory(dir=good.parent) as temporary:
        for number, case in zip(range(n), option_cases(commands, seed=seed), strict=False):
            folder = Path(temporary) / f"case{number}"
            yield judged(case, good, folder)
            shutil.rmtree(folder)


def bases_work(commands: Sequence[str], good: Path) -> dict[str, str]:
    """Command -> what is wrong with its line, to which no odd value was added."""
    wrong = {}
    with tempfile.TemporaryDirectory(dir=good.parent) as temporary:
        for number, command in enumerate(commands):
            base: Base = BASES[command]
            folder = Path(temporary) / f"base{number}"
            folder.mkdir()
            lay_out(base.needs, good, folder)
            ended = in_fork(lambda command=command, base=base: run(command, base.line), folder=folder, limit_s=600)
            if ended.status != 0:
                wrong[command] = ended.err[-2000:]
    return wrong


def table(found: Sequence[Judged]) -> str:
    """Counts of verdicts for each command, as a table of Markdown."""
    lines = ["| command | options | cases | refused | accepted | findings |", "| --- | --- | --- | --- | --- | --- |"]
    counts: dict[str, Counter[str]] = {}
    for one in found:
        for name in (one.case.option.command, "all"):
            counts.setdefault(name, Counter())[one.verdict] += 1
    for name in (*(name for name in BASES if name in counts), "all"):
        own = counts.get(name, Counter())
        n_options = sum(len(options_of(command)) for command in BASES if name in (command, "all") and command in counts)
        findings = own.total() - sum(own[verdict] for verdict in GOOD)
        cells = (f"`{name}`", n_options, own.total(), own["refused"], own["accepted"], findings)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    """Run a campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="cases (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", default="", help="only commands in whose names this pattern is found")
    parser.add_argument("--list", action="store_true", help="only list the options")
    parser.add_argument("--good", type=Path, metavar="DIR", help="folder that keeps the trained runs for another time")
    parser.add_argument("--bases", action="store_true", help="first see that the lines without odd values work")
    parser.add_argument("--log", type=Path, metavar="FILE", help="JSON lines of all cases")
    given = parser.parse_args()
    sys.argv = sys.argv[:1]  # Lightning would warn that it is not what is parsed
    commands = [name for name in BASES if re.search(given.command, name)]
    if given.list:
        for command in commands:
            for option in options_of(command):
                print(f"{command} {option.name}: {', '.join(sorted(option.kinds))}{' (list)' * option.is_list}")
        return 0
    found: list[Judged] = []
    with prepared(commands, given.good) as good:
        import_all(commands)
        for command, why in bases_work(commands if given.bases else (), good).items():
            print(f"The line of {command} does not work: {why}", flush=True)
            return 1
        for one in campaign(commands, good, n=given.n, seed=given.seed):
            found.append(one)
            if one.verdict not in GOOD:
                said = shortened(one.said)[-1500:]
                print(f"{one.verdict.upper()} {one.case} [{one.case.value.tag}]\n    {said!r}", flush=True)
            if given.log:
                with given.log.open("a") as log:
                    print(json.dumps([one.verdict, str(one.case), one.case.value.tag, one.said[-600:]]), file=log)
    print(table(found))
    return 1 if any(one.verdict not in GOOD for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
