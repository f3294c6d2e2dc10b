"""`make demo` is killed at each of its programs. These are stand-ins here; `tests.faults.demo` runs the true ones."""

import shutil
import signal

import pytest

from tests.faults.demo import N_PROGRAMS, Demo, what_is_wrong

STAND_IN = """#!/bin/sh
# Leaves the files that the demo looks at, and kills its whole process group at one of its calls.
here=$(dirname "$0")
n=1
while ! mkdir "$here/call-$n" 2> /dev/null; do n=$((n + 1)); done
while [ $# -gt 0 ]; do
  case $1 in
    --out | --run_dir) made=$2 ;;
    --ckpt_path) made=$(dirname "$(dirname "$2")") ;;
  esac
  shift
done
case $made in
  *.json) mkdir -p "$(dirname "$made")"; echo > "$made" ;;
  *) mkdir -p "$made"; echo > "$made/some.part" ;;
esac
[ "$n" = "$(cat "$here/dies_at")" ] && kill -KILL 0
[ ! "${made##*.}" = json ] && mv "$made/some.part" "$made/some"
exit 0
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("call", range(1, N_PROGRAMS + 1))
def test_a_demo_that_is_killed_at_any_program_says_what_to_remove_and_then_ends(tmp_path, call):
    demo = Demo(tmp_path, STAND_IN)
    (demo.bin / "dies_at").write_text(f"{call}\n")
    process = demo.begin()
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert demo.out.exists()
    assert (demo.out / "summary.json").exists() == (call == N_PROGRAMS)
    (demo.bin / "dies_at").write_text("0\n")
    assert what_is_wrong(demo) == ""
    n_calls = len(list(demo.bin.glob("call-*")))
    assert call + N_PROGRAMS <= n_calls <= call + 4 + N_PROGRAMS  # programs run side by side, some began before the end
