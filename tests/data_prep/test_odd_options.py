"""Values of options that no preparation can use are refused before anything is read."""

import pytest

from data_prep.__main__ import main
from data_prep.options import PrepareOptions
from neuromtm.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bin_size_s": 1e20}, "--bin-size-s 1e+20: is wider than the window of 2 s"),
        ({"bin_size_s": 1e-300}, "--bin-size-s 1e-300: gives more than 1e+15 bins"),
        ({"seed": -1}, "--seed -1: must be from 0 to 4294967295"),
        ({"seed": 2**32}, "--seed 4294967296: must be from 0"),
    ],
)
def test_bins_and_seeds_are_bounded(options, words):
    with pytest.raises(ConfigError) as error:
        PrepareOptions(**options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--trials", "absent/a.csv"), "--trials absent/a.csv: no such file"),
        (("--regions", "."), "--regions .: no such file"),
        (("--sample-rate-hz", "1e12"), "--sample-rate-hz 1e+12: must be above 0 and at most 1e+10"),
        (("--heldout-eids", ""), "argument --heldout-eids: is empty"),
        (("--min-label", "nan"), "argument --min-label: nan is not a number"),
    ],
)
def test_options_of_a_source_are_named_before_its_files_are_read(given, words, tmp_path, capsys):
    line = ["phy", "--folder", str(tmp_path), "--out", str(tmp_path / "out"), "--align-event", "tone_time", *given]
    try:
        status = main(line)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
