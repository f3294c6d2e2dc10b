"""The commands of a page, as the reader's shell would give them to the programs, and whether those would take them.

bash itself reads the blocks (variables, loops, continued lines), with functions in the place of all programs: they
write down what they were called with, and nothing runs.
"""

import argparse
import contextlib
import importlib.util
import io
import logging
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from unittest import mock

if TYPE_CHECKING:
    from tests.docs.check import Block

APART = ("ibl_bwb_eval",)
"""packages that are installed beside the environment, as they ask for other versions of what is in it"""
ELSEWHERE = ("aws", "cd", "git", "pip", "source", "tensorboard", "cat", "echo", "jupyter", "export", "pre-commit", "cp")
"""programs of others; what they take is not checked"""
RECORD = r"""
record() { printf '%s\0' "$@" >> "$RECORDED"; printf '\n\0' >> "$RECORDED"; }
command_not_found_handle() { record "$@"; }
cd() { :; }
source() { :; }
PATH=/nowhere
"""
SLURM = ("submit", "sweep_sessions.sh", "search.sh", "status")
"""programs of slurm/; bash finds a function by such a name before it looks for the file"""
RECORD += "".join(f'slurm/{name}() {{ record "slurm/{name}" "$@"; }}\n' for name in SLURM)
RECORD += 'examples/brainwidebench.sh() { record examples/brainwidebench.sh "$@"; }\n'
STANDS_IN = ["--config", "conf/pretrain.yaml", "--data.root", "DIR"]
"""in the place of --config RUN/config.yaml"""


class Refused(Exception):
    """A program does not take a command; says why."""


def given(block: "Block") -> list[list[str]]:
    """The commands of a block, each as its words.

    Raises:
        Refused: if bash cannot read it.
    """
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "recorded"
        recorded.touch()
        result = subprocess.run(
            ["bash", "--norc", "--noprofile", "-u", "-c", RECORD + block.text],
            cwd=folder,
            env={"RECORDED": str(recorded)},
            capture_output=True,
            text=True,
        )
        if result.stderr:
            raise Refused(f"bash: {result.stderr.strip().splitlines()[0]}")
        return [words.split("\0")[:-1] for words in recorded.read_text().split("\n\0")[:-1]]


def option(words: Sequence[str], name: str) -> str | None:
    """The last value of an option in a command line; None if it is not there."""
    values = [words[i + 1] for i, word in enumerate(words[:-1]) if word == name]
    values += [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return values[-1] if values else None


class _Parser(argparse.ArgumentParser):
    """Reads a command line and goes no further."""

    class Read(Exception):
        """The command line is good."""

    def error(self, message: str) -> NoReturn:
        raise Refused(message)

    def parse_args(self, args=None, namespace=None) -> NoReturn:  # type: ignore[override]
        super().parse_args(args, namespace)
        raise self.Read


class Checker:
    """Whether the programs take the commands of pages."""

    def __init__(self, root: Path, every: Sequence["Block"]):
        """Learn which command makes which run: a later one may go on from it.

        Args:
            root: the repository's folder.
            every: the blocks of commands of all pages.
        """
        self.root = root
        self.made_by: dict[str, list[str]] = {}
        for block in every:
            with contextlib.suppress(Refused):
                for program, *words in given(block):
                    run_dir = option(words, "--run_dir")
                    if program == "neuromtm" and words[:1] == ["fit"] and run_dir is not None:
                        self.made_by[run_dir.rstrip("/")] = _without_checkpoint(words[1:])
                    out = option(words, "--out")
                    if program == "neuromtm" and words[:1] == ["adapt"] and out is not None:
                        self.made_by[out.rstrip("/")] = STANDS_IN
        makefile = (root / "Makefile").read_text(encoding="utf-8")
        self.targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):(?!=)", makefile, re.MULTILINE))
        self.targets = {name for names in self.targets for name in names.split()}
        self.variables = set(re.findall(r"^(\w+)\s*[?:]?=", makefile, re.MULTILINE))

    def problems(self, block: "Block") -> Iterator[str]:
        """What is wrong with a block's commands."""
        place = f"{block.page}:{block.line}"
        try:
            every = given(block)
        except Refused as why:
            yield f"{place}: {why}"
            return
        if not every:
            yield f"{place}: no command in it; give the block a language, e.g. text"
        for words in every:
            try:
                self.check(words)
            except Refused as why:
                yield f"{place}: {' '.join(words)}: {why}"

    def check(self, words: Sequence[str]) -> None:
        """Parse a command and go no further.

        Raises:
            Refused: if its program does not take it.
        """
        program, *arguments = words
        match program, *arguments:
            case ("neuromtm", *_):
                self._neuromtm(arguments)
            case ("neuromtm-prep", *_):
                _data_prep(arguments)
            case ("python", "-m", "data_prep", *rest):
                _data_prep(rest)
            case ("python", "-m", module, *_) if module.partition(".")[0] in APART:
                pass
            case ("python", "-m", module, *_):
                if importlib.util.find_spec(module) is None:
                    raise Refused("no such module")
            case ("python", script, *_):
                if not (self.root / script).is_file():
                    raise Refused("no such script")
            case ("sbatch", *rest):
                self._sbatch(rest)
            case ("slurm/submit", "pretrain" | "finetune", *rest):
                self._neuromtm(["fit", *rest])
            case ("slurm/sweep_sessions.sh", *rest):
                self._sweep(rest)
            case ("slurm/search.sh", *rest):
                self._neuromtm(["fit", *_parted(rest, "--")[-1]])
            case ("make", *_):
                self._make(arguments)
            case _:
                if program not in ELSEWHERE and not (self.root / program).is_file():
                    raise Refused("no program that a page may name; see tests/docs/commands.py")

    def _make(self, arguments: Sequence[str]) -> None:
        for word in arguments:
            name, joined, _ = word.partition("=")
            if joined and name not in self.variables:
                raise Refused(f"the Makefile has no variable {name}")
            if not joined and not word.startswith("-") and word not in self.targets:
                raise Refused(f"the Makefile has no target {word}")

    def _sbatch(self, arguments: Sequence[str]) -> None:
        """Slurm's own options are not checked; those after the script are options of `neuromtm fit`."""
        scripts = [i for i, word in enumerate(arguments) if word.endswith(".sbatch")]
        if not scripts or not (self.root / arguments[scripts[0]]).is_file():
            raise Refused("no such script")
        self._neuromtm(["fit", *arguments[scripts[0] + 1 :]])

    def _sweep(self, arguments: Sequence[str]) -> None:
        """Its own options are those that its text reads; those after -- are options of `neuromtm fit`."""
        text = (self.root / "slurm" / "sweep_sessions.sh").read_text(encoding="utf-8")
        own, *parts = _parted(arguments, "--")
        unknown = [word for word in own if word.startswith("--") and f" {word})" not in text]
        if unknown:
            raise Refused(f"there is no option {unknown[0]}")
        for number, stage in enumerate(("pretrain", "finetune", "pretrain")):
            given = [own[i + 1] for i, word in enumerate(own) if word == f"--{stage}-config"] or [f"conf/{stage}.yaml"]
            recipes = [word for file in given for word in ("--config", file)]
            self._neuromtm(["fit", *recipes, "--data.root", "DIR", *(parts[number] if number < len(parts) else ())])

    def _neuromtm(self, arguments: Sequence[str]) -> None:
        from neuromtm.commands.main import COMMANDS, LIGHTNING

        if not arguments:
            raise Refused("no command")
        name, *rest = arguments
        if name in COMMANDS:
            with contextlib.suppress(_Parser.Read):
                importlib.import_module(COMMANDS[name].module).run(rest, _Parser(prog=name, allow_abbrev=False))
                raise Refused("its command ran without reading its command line")
        elif name in LIGHTNING:
            self._lightning(self._with_recipes(arguments))
        else:
            raise Refused("no such command")

    def _with_recipes(self, arguments: Sequence[str]) -> list[str]:
        """The command with what made a run in the place of the run's config.yaml, which is not there yet."""
        replaced: list[str] = []
        for i, word in enumerate(arguments):
            is_config = i > 0 and arguments[i - 1] == "--config" and word.endswith("/config.yaml")
            if not is_config:
                replaced.append(word)
                continue
            run_dir = word.removesuffix("/config.yaml")
            if run_dir in self.made_by:
                options = self.made_by[run_dir]
            elif run_dir.isupper():
                options = STANDS_IN
            else:
                raise Refused(f"no command of any page makes the run {run_dir}")
            replaced[-1:] = options
        return replaced

    def _lightning(self, arguments: Sequence[str]) -> None:
        from neuromtm.commands.main import users_own
        from tests.e2e.recipes import Parsed

        logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
        said = io.StringIO()
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                contextlib.chdir(self.root),
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
            ):
                Parsed(list(arguments))
        except SystemExit as ended:
            if ended.code not in (0, None):  # --help ends with 0
                raise Refused(" ".join(said.getvalue().split())[-300:]) from ended
        except Exception as error:
            problem = users_own(error)
            if problem is None:
                raise
            raise Refused(" ".join(str(problem).split())[:300]) from error


def _parted(words: Sequence[str], at: str) -> list[list[str]]:
    """The words between a separating one."""
    parts: list[list[str]] = [[]]
    for word in words:
        parts.append([]) if word == at else parts[-1].append(word)
    return parts


def _without_checkpoint(words: Sequence[str]) -> list[str]:
    """What a run's config.yaml keeps of its command line."""
    return [word for i, word in enumerate(words) if "--ckpt_path" not in (word, words[i - 1] if i else "")]


def _data_prep(arguments: Sequence[str]) -> None:
    from data_prep.cli import run

    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, args: object = None, namespace: object = None) -> NoReturn:
        parse(parser, args, namespace)
        raise _Parser.Read

    said = io.StringIO()
    try:
        with (
            mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            contextlib.suppress(_Parser.Read),
        ):
            run(arguments)
            raise Refused("its command ran without reading its command line")
    except SystemExit as ended:
        if ended.code not in (0, None):
            raise Refused(said.getvalue().strip().rpartition("\n")[2]) from ended
