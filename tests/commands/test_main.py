"""The program itself: what it imports for which command, and what it says to a command that there is not."""

import json
import signal
import subprocess
import sys

import pytest

from neuromtm.commands.main import COMMANDS, LIGHTNING
from tests.commands.test_compare import as_tested
from tests.evaluation.test_curves import log
from tests.running import neuromtm_process, refusal

HEAVY = {"torch", "lightning", "pytorch_lightning", "torchmetrics", "sklearn", "jsonargparse"}
"""packages that take seconds to import, and that whoever only reads results does not need"""

PROGRAM = """
import json, sys
from neuromtm.commands.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules_of(*arguments):
    """The packages that a fresh interpreter has imported after a command."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A tested run with curves."""
    folder = as_tested(tmp_path_factory.mktemp("runs") / "run")
    log(folder, wall_time=1.0, losses=[3.0, 2.0])
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("--version",),
        ("compare", "--help"),
        ("report", "--help"),
        ("report", "{run}"),
        ("compare", "a={run}", "b={run}", "--out_dir", "{run}/compared"),
    ],
    ids=" ".join,
)
def test_help_and_whatever_only_reads_results_starts_without_torch_and_lightning(tested, arguments):
    assert not modules_of(*(one.format(run=tested) for one in arguments)) & HEAVY


def test_the_check_sees_what_a_command_imports():
    assert modules_of("fit", "--help") >= {"torch", "lightning", "jsonargparse"}


@pytest.mark.parametrize("name", ["retrain", "fitt", "", "mtm=run"])
def test_an_unknown_command_is_refused_with_those_there_are(capsys, name):
    line = refusal(capsys, name)
    assert line.startswith(f"neuromtm: {name}: no such command. There are: ")
    assert all(known in line for known in (*LIGHTNING, *COMMANDS))


def test_the_process_ends_with_one_line_and_code_2():
    result = neuromtm_process("retrain", check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("neuromtm: retrain: no such command.")


@pytest.mark.parametrize("arguments", [["--help"], ["recipes"]])
def test_a_reader_that_stops_reading_is_no_fault(arguments):
    command = f"import sys; from neuromtm.commands.main import main; main({arguments!r})"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        program.stdout.close()  # before it has written anything
        assert program.stderr.read() == ""
    assert program.returncode == 128 + signal.SIGPIPE
