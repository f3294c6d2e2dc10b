"""The page docs/data.md: its Python and its commands run in their order, the training shortened."""

import json

import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.data.manifest import read_manifest
from tests.docs import check, commands
from tests.running import SHORT, TINY, neuromtm

SMALLER = (*TINY[:-1], "--model.backbone.max_bins=64", *SHORT)


NWB = "## NWB files"


@pytest.fixture
def blocks(root):
    """The blocks of the page; those on NWB files have a test of their own."""
    lines = of_section(root, NWB)
    return [block for block in check.blocks(root / "docs" / "data.md", root) if block.line not in lines]


def of_section(root, heading: str) -> range:
    """The numbers of the lines of a section of the page."""
    lines = (root / "docs" / "data.md").read_text(encoding="utf-8").splitlines()
    first = lines.index(heading) + 1
    after = (number for number, line in enumerate(lines[first:], first + 1) if line.startswith("## "))
    return range(first, next(after, len(lines) + 1))


def test_arrays_lead_to_a_trained_model_by_the_commands_of_the_page(root, blocks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").symlink_to(root / "conf")
    for block in blocks:
        if block.language == "python":
            exec(compile(block.text, block.page, "exec"), {})
            continue
        for program, *words in commands.given(block):
            if program == "python":
                assert data_prep(words[2:]) == 0, words
            else:
                neuromtm(*words, *(SMALLER if words[0] == "fit" else ()))
    said = capsys.readouterr().out
    assert "python -m data_prep arrays --folder my_sessions --align-event go_time" in said
    assert "warning" not in said.lower().replace("pandas4warning", "")
    eids = ["mylab_mouse1_day1", "mylab_mouse2_day1"]
    assert [entry.eid for entry in read_manifest(tmp_path / "data" / "mine")] == eids
    run_dir = tmp_path / "runs" / "mine"
    assert list(json.loads((run_dir / "metrics.json").read_text())["sessions"]) == eids
    assert (run_dir / "report.html").is_file()


def test_nwb_files_lead_to_a_trained_model_by_the_commands_of_the_page(root, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pynwb", reason="pynwb is not installed")
    from tests.data_prep.sources import nwb_layouts

    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").symlink_to(root / "conf")
    (tmp_path / "dandi").mkdir()
    session = nwb_layouts.Session()
    nwb_layouts.nlb(tmp_path / "dandi" / "sub-Jenkins_ses-full.nwb", session)
    for layout in ("ibl", "steinmetz", "allen"):
        getattr(nwb_layouts, layout)(tmp_path / f"{layout}.nwb", session)
    lines = of_section(root, NWB)
    for block in check.blocks(root / "docs" / "data.md", root):
        for program, *words in commands.given(block) if block.line in lines else ():
            if program == "python":
                assert data_prep(words[2:]) == 0, words
            else:
                neuromtm(*words, *(SMALLER if words[0] == "fit" else ()))
    assert "skipped" not in capsys.readouterr().out.replace(" 0 skipped", "")
    (maze,) = read_manifest(tmp_path / "data" / "maze")
    assert (maze.eid, maze.behaviors) == ("Shenoy_Jenkins_full", ["hand_velocity_x"])
    metrics = json.loads((tmp_path / "runs" / "maze" / "metrics.json").read_text())
    assert list(metrics["sessions"]) == [maze.eid]
    assert (tmp_path / "runs" / "maze" / "report.html").is_file()
    for layout in ("ibl", "steinmetz", "allen"):
        assert len(read_manifest(tmp_path / "data" / layout)) == 1
