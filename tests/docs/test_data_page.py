"""The page docs/data.md: its Python and its commands run in their order, the training shortened."""

import json

import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.data.manifest import read_manifest
from tests.docs import check, commands
from tests.running import SHORT, TINY, neuromtm

SMALLER = (*TINY[:-1], "--model.backbone.max_bins=64", *SHORT)


NWB, PHY = "## NWB files", "## Phy and Kilosort"
DATABASE = "## The database of the International Brain Laboratory"
IBL = "## Sessions of the International Brain Laboratory"


@pytest.fixture
def page(root, tmp_path, monkeypatch):
    """An empty folder in which the commands of the page find the recipes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").symlink_to(root / "conf")
    return check.blocks(root / "docs" / "data.md", root)


def of_section(root, heading: str) -> range:
    """The numbers of the lines of a section of the page."""
    lines = (root / "docs" / "data.md").read_text(encoding="utf-8").splitlines()
    first = lines.index(heading) + 1
    after = (number for number, line in enumerate(lines[first:], first + 1) if line.startswith("## "))
    return range(first, next(after, len(lines) + 1))


def run(blocks) -> None:
    """Run blocks in their order, the training shortened."""
    for block in blocks:
        if block.language == "python":
            exec(compile(block.text, block.page, "exec"), {})
            continue
        for program, *words in commands.given(block):
            if program == "python":
                assert data_prep(words[2:]) == 0, words
            else:
                neuromtm(*words, *(SMALLER if words[0] == "fit" else ()))


def require_tested(run_dir, eids) -> None:
    """The run was tested on these sessions, and has its page."""
    assert list(json.loads((run_dir / "metrics.json").read_text())["sessions"]) == eids
    assert (run_dir / "report.html").is_file()


def test_arrays_lead_to_a_trained_model_by_the_commands_of_the_page(root, page, tmp_path, capsys):
    others = {line for heading in (NWB, PHY, IBL, DATABASE) for line in of_section(root, heading)}
    run(block for block in page if block.line not in others)
    said = capsys.readouterr().out
    assert "python -m data_prep arrays --folder my_sessions --align-event go_time" in said
    assert "warning" not in said.lower().replace("pandas4warning", "")
    eids = ["mylab_mouse1_day1", "mylab_mouse2_day1"]
    assert [entry.eid for entry in read_manifest(tmp_path / "data" / "mine")] == eids
    require_tested(tmp_path / "runs" / "mine", eids)


def test_files_of_the_international_brain_laboratory_become_shards_by_the_commands_of_the_page(
    root, page, tmp_path, capsys
):
    pytest.importorskip("one", reason="ONE-api is not installed")
    lines = of_section(root, IBL)
    for block in page:
        for _, *words in commands.given(block) if block.line in lines else ():
            assert data_prep(words[2:]) == 0, words
    first, second = read_manifest(tmp_path / "data" / "alf")
    assert first.behaviors == second.behaviors == ["whisker_motion_energy"]
    assert "lick_rate: not there (no licks in alf)" in capsys.readouterr().out


def test_a_sorting_leads_to_a_trained_model_by_the_commands_of_the_page(root, page, tmp_path, capsys):
    lines = of_section(root, PHY)
    run(block for block in page if block.line in lines)
    said = capsys.readouterr().out
    assert "python -m data_prep phy --folder my_sorting --align-event go_time" in said
    assert "warning" not in said.lower().replace("pandas4warning", "")
    assert (tmp_path / "data" / "phy-described" / "description.html").is_file()
    require_tested(tmp_path / "runs" / "phy", ["my_sorting"])


def test_nwb_files_lead_to_a_trained_model_by_the_commands_of_the_page(root, page, tmp_path, capsys):
    pytest.importorskip("pynwb", reason="pynwb is not installed")
    from tests.data_prep.sources import nwb_layouts

    (tmp_path / "dandi").mkdir()
    session = nwb_layouts.Session()
    nwb_layouts.nlb(tmp_path / "dandi" / "sub-Jenkins_ses-full.nwb", session)
    for layout in ("ibl", "steinmetz", "allen"):
        getattr(nwb_layouts, layout)(tmp_path / f"{layout}.nwb", session)
    lines = of_section(root, NWB)
    run(block for block in page if block.line in lines)
    assert "skipped" not in capsys.readouterr().out.replace(" 0 skipped", "")
    (maze,) = read_manifest(tmp_path / "data" / "maze")
    assert (maze.eid, maze.behaviors) == ("Shenoy_Jenkins_full", ["hand_velocity_x"])
    require_tested(tmp_path / "runs" / "maze", [maze.eid])
    for layout in ("ibl", "steinmetz", "allen"):
        assert len(read_manifest(tmp_path / "data" / layout)) == 1
