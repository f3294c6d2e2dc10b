"""A ceiling and a baseline are told by a file of their own, and are of the sessions of the run held against them."""

import pytest

from neuromtm.errors import UserError
from neuromtm.evaluation.references import BASELINE_FILE, CEILING_FILE, read_baseline, read_ceiling
from tests.report.tested import as_baseline, as_ceiling, as_scored


def test_a_ceiling_is_read_from_its_folder_or_its_metrics(tmp_path):
    folder = as_ceiling(tmp_path / "ceiling")
    of_folder, of_file = (read_ceiling(path, eids=["s0"]) for path in (folder, folder / "metrics.json"))
    assert of_folder == of_file
    assert set(of_folder.metrics["sessions"]) == {"s0", "s1"}


def test_a_baseline_has_its_kind(tmp_path):
    baseline = read_baseline(as_baseline(tmp_path / "base", kind="glm"), eids=["s0", "s1"])
    assert baseline.kind == "glm"
    assert set(baseline.run.metrics["sessions"]) == {"s0", "s1"}


@pytest.mark.parametrize(
    ("read", "file", "program"),
    [(read_ceiling, CEILING_FILE, "ceiling"), (read_baseline, BASELINE_FILE, "baseline")],
)
def test_a_run_is_neither_and_the_message_has_the_command(tmp_path, read, file, program):
    folder = as_scored(tmp_path / "a run")
    with pytest.raises(UserError, match=f"no {file} in it.*`neuromtm {program}`") as refused:
        read(folder, eids=["s0", "s1"], data="the data")
    assert f"neuromtm {program} --data 'the data' " in str(refused.value)
    assert str(refused.value).endswith(f"--sessions s0 s1 --out '{folder}'")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sessions": 3, "kind": "glm", "chosen": 3}'])
@pytest.mark.parametrize(("read", "file"), [(read_ceiling, CEILING_FILE), (read_baseline, BASELINE_FILE)])
def test_a_damaged_record_is_one_sentence_with_its_name(tmp_path, read, file, text):
    folder = as_scored(tmp_path / "run")
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=f"{file}: .*Make (it again|one)"):
        read(folder, eids=["s0"])


@pytest.mark.parametrize(
    ("read", "make", "what"), [(read_ceiling, as_ceiling, "ceiling"), (read_baseline, as_baseline, "baseline")]
)
def test_one_of_other_sessions_is_refused_by_name(tmp_path, read, make, what):
    folder = make(tmp_path / what)
    with pytest.raises(UserError, match=f"a {what} of other sessions: it has s0, s1, but the run also has s2, s3"):
        read(folder, eids=["s0", "s2", "s3"])


def test_a_folder_that_another_test_wrote_into_is_refused(tmp_path):
    folder = as_ceiling(tmp_path / "ceiling")
    as_scored(folder, eids=("s0", "s5"))
    with pytest.raises(UserError, match=r"its metrics are of the sessions s0, s5, but ceiling\.json names s0, s1"):
        read_ceiling(folder, eids=["s0"])


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        read_ceiling(tmp_path / "nowhere", eids=["s0"])
