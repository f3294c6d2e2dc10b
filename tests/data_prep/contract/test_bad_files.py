"""Bad input, source by source: one sentence and nothing half-written, or the shard that the good files give."""

import shutil

import numpy as np
import pytest
from faults import SAME, TABLE
from spoiling import SOURCES, Files, write_good

from data_prep.__main__ import main
from data_prep.skipped import FILE as SKIPPED
from neuromtm.data.shards import read_shard

CASES = [
    pytest.param(source, what, id=f"{source}-{what}")
    for source in SOURCES
    for what, (_, said) in TABLE.items()
    if any(source in sources.split() for sources in said)
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """`good(source)`: the folder of good files, and the command that prepares them. Tests must not change them."""
    made = {}

    def make(source):
        if source in ("nwb", "nlb"):
            pytest.importorskip("pynwb", reason="pynwb is not installed")
        if source == "ibl":
            pytest.importorskip("one", reason="ONE-api is not installed")
        if source not in made:
            folder = tmp_path_factory.mktemp(source) / "Mäuse & Ratten"
            argv = write_good(source, folder)
            assert main([*argv, "--out", str(folder.parent / "out")]) == 0
            made[source] = folder, argv, next((folder.parent / "out").glob("*.h5"))
        return made[source]

    return make


@pytest.mark.parametrize(("source", "what"), CASES)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_fault_is_one_sentence_or_does_no_harm(good, source, what, tmp_path, capsys):
    whole, argv, shard = good(source)
    folder, out = tmp_path / whole.name, tmp_path / "out"
    shutil.copytree(whole, folder)
    spoil, said = TABLE[what]
    spoil(Files(source, folder))
    capsys.readouterr()
    code = main([word.replace(str(whole), str(folder)) for word in argv] + ["--out", str(out)])
    captured = capsys.readouterr()
    lines = [
        line for line in (captured.out + captured.err).splitlines() if line.strip() and " already done, " not in line
    ]
    assert len(lines) == 1
    sentence = next(words for sources, words in said.items() if source in sources.split())
    assert sentence in lines[0]
    written = {path.name for path in out.glob("*")} - {".lock", SKIPPED, "manifest.json"}
    if code == 0:
        assert len(written) == 1
        if sentence == SAME:
            found, expected = (read_shard(path) for path in (out / written.pop(), shard))
            np.testing.assert_array_equal(found.counts, expected.counts)
            assert found.header.splits["test"].tolist() == expected.header.splits["test"].tolist()
    else:
        assert code == (2 if "neuromtm-prep: " in lines[0] else 1)
        assert sentence not in (SAME, "prepared")
        assert not written
