"""The page docs/data.md: its Python and its commands run in their order, the training shortened."""

import json

import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.data.manifest import read_manifest
from tests.docs import check, commands
from tests.running import SHORT, TINY, neuromtm

SMALLER = (*TINY[:-1], "--model.backbone.max_bins=64", *SHORT)


@pytest.fixture
def blocks(root):
    return check.blocks(root / "docs" / "data.md", root)


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
