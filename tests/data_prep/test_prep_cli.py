"""A mistake of the user gives one line that says what is wrong, and an exit code."""

import json
import re
import subprocess
import sys

import h5py
import pytest

from data_prep.__main__ import main
from data_prep.cli import COMMANDS, parser_of
from neuromtm.data.manifest import folder_problems


@pytest.fixture
def folder(simulated, tmp_path):
    """A copy of the simulated sessions that a test may damage."""
    for path in simulated.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def error_line(capsys) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("neuromtm-prep: ")
    return lines[0]


def test_check_finds_nothing_wrong_with_what_was_prepared(simulated, capsys):
    assert main(["check", str(simulated)]) == 0
    assert "2 sessions, 0 bad files" in capsys.readouterr().out


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename_version(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 3


@pytest.mark.parametrize("damage", [cut, flip, rename_version, lambda path: path.unlink()])
def test_check_names_every_bad_file(folder, capsys, damage):
    for path in folder.glob("*.h5"):
        damage(path)
    assert main(["check", str(folder)]) == 1
    err = capsys.readouterr().err
    assert {"sim-0-00.h5", "sim-0-01.h5"} == folder_problems(folder).keys()
    assert all(name in err for name in ("sim-0-00.h5", "sim-0-01.h5"))


def test_check_names_a_shard_that_the_manifest_lacks(folder, capsys):
    (folder / "other.h5").write_bytes((folder / "sim-0-00.h5").read_bytes())
    assert main(["check", str(folder)]) == 1
    assert "other.h5: not in the manifest" in error_line(capsys)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "no manifest.json in it"),
        ("{", "not a readable manifest"),
        ("[]", "not a readable manifest"),
        ('{"format": "neuromtm-manifest", "format_version": 1, "sessions": []}', "lists no session"),
        ('{"format": "neuromtm-manifest", "format_version": 2, "sessions": []}', "version 2"),
        ('{"format": "neuromtm-manifest", "format_version": 1, "sessions": [{"eid": "a"}]}', "not a readable manifest"),
    ],
)
def test_a_bad_manifest_is_one_sentence(tmp_path, capsys, text, sentence):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    assert main(["check", str(tmp_path)]) == 2
    assert sentence in error_line(capsys)


def test_a_manifest_without_sessions_can_be_filled(tmp_path, tiny):
    empty = {"format": "neuromtm-manifest", "format_version": 1, "sessions": []}
    (tmp_path / "manifest.json").write_text(json.dumps(empty))
    assert main(["simulate", "--out", str(tmp_path), *tiny]) == 0
    assert folder_problems(tmp_path) == {}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["check", "{tmp}/nowhere"], "no such folder"),
        (["simulate", "--out", "{tmp}/o", "--bin-size-s", "0.03"], "does not divide the window"),
        (["simulate", "--out", "{tmp}/o", "--n-regions", "1"], "--n-regions 1"),
        (["simulate", "--out", "{tmp}/o", "--format", "alf", "--overwrite"], "--overwrite replaces shards only"),
        (["ibl", "--out", "{tmp}/o", "--mode", "local"], "needs --cache-dir"),
        (["ibl", "--out", "{tmp}/o", "--mode", "local", "--cache-dir", "{tmp}/nowhere"], "no such folder"),
        (["ibl", "--out", "{tmp}/o", "--mode", "local", "--cache-dir", "{tmp}"], "Index the folder first"),
        (["ibl", "--out", "{tmp}/o", "--eids-file", "{tmp}/nowhere"], "cannot be read"),
        (["ibl", "--out", "{tmp}/o", "--split-fractions", "0.5", "0.5", "0.5"], "sum to 1"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_leaves_nothing(tmp_path, capsys, args, sentence):
    assert main([arg.format(tmp=tmp_path) for arg in args]) == 2
    assert sentence in error_line(capsys)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("form", ["shards", "alf"])
@pytest.mark.parametrize("out", ["{tmp}/file", "{tmp}/file/sub", "/proc/nothing/sub", "{tmp}/" + 300 * "n"])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, capsys, tiny, out, form):
    pytest.importorskip("one", reason="ONE-api is not installed")
    (tmp_path / "file").write_text("mine")
    out = out.format(tmp=tmp_path)
    assert main(["simulate", "--format", form, "--out", out, *tiny]) == 2
    assert re.search("cannot be read or written|is a file; name a folder", error_line(capsys))
    assert (tmp_path / "file").read_text() == "mine"


INTERRUPTED_WHILE_IMPORTING = """
import builtins, runpy, sys
real = builtins.__import__
def slow(name, *args, **kwargs):
    if name == "numpy":
        raise KeyboardInterrupt
    return real(name, *args, **kwargs)
builtins.__import__ = slow
sys.argv = ["data_prep", "check", "x"]
runpy.run_module("data_prep", run_name="__main__")
"""


def test_an_interruption_is_one_line_even_while_importing(monkeypatch, capsys):
    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.commands.check.folder_problems", interrupt)
    assert main(["check", "x"]) == 130
    assert "interrupted; run the same command again" in error_line(capsys)
    command = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 130
    assert finished.stderr == "neuromtm-prep: interrupted; run the same command again to go on\n"


@pytest.mark.parametrize("command", ["simulate", "ibl"])
def test_an_abbreviated_option_is_not_guessed(command, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([command, "--out", str(tmp_path), "--bin", "0.02"])
    assert stop.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_and_names_the_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "Exit code" in capsys.readouterr().out


@pytest.mark.parametrize("args", [[], ["retrain"], ["--out", "x"], ["simulate"]], ids=" ".join)
def test_without_a_command_or_what_it_needs_the_usage_is_printed(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert "usage: python -m data_prep" in capsys.readouterr().err


def test_the_help_of_the_program_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    assert all(f"    {name} " in text and command.summary[:30] in text for name, command in COMMANDS.items())


PROGRAM = """
import json, sys
from data_prep.__main__ import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
assert not code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules_of(*args):
    """The packages that a fresh interpreter has imported after a command."""
    command = [sys.executable, "-c", PROGRAM, *map(str, args)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(json.loads(printed.splitlines()[-1]))


def test_a_command_imports_only_what_it_needs(simulated, tmp_path, tiny):
    assert not modules_of("--help") & {"numpy", "h5py", "torch"}
    heavy = {"torch", "lightning", "scipy", "sklearn", "one", "pandas"}
    assert not modules_of("check", simulated) & (heavy | {"rich", "einops"})
    assert not modules_of("ibl", "--help") & heavy
    assert not modules_of("simulate", "--out", tmp_path / "out", *tiny) & heavy


@pytest.mark.parametrize("command", ["simulate", "ibl", "lorenz"])
def test_help_says_the_unit_of_every_number_or_what_it_counts(command):
    numbers = [action for action in parser_of(command)._actions if action.type in (int, float)]
    assert numbers
    for action in numbers:
        units = {"s": "in seconds", "hz": "in Hz", "neurons": "number of neurons", "trials": "number of (good )?trials"}
        unit = units.get(action.dest.split("_")[-1], "in seconds|number|fraction")
        assert re.search(unit, action.help), action.dest


def test_the_module_runs_and_exits_with_the_code(tmp_path):
    command = [sys.executable, "-m", "data_prep", "check", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stderr.startswith("neuromtm-prep: ")
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("command", ["simulate", "ibl", "lorenz"])
def test_help_says_the_default_of_every_number_also_where_it_is_0(command):
    parser = parser_of(command)
    text = parser.format_help()
    numbers = [a for a in parser._actions if a.type in (int, float) and isinstance(a.default, int | float)]
    assert any(action.default == 0 for action in numbers)
    for action in numbers:
        shown = text.partition(f"  {action.option_strings[0]} ")[2].partition("\n  --")[0]
        assert f"(default: {action.default})" in " ".join(shown.split()), action.dest
