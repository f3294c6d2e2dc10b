"""`--device` of an export: what is no device here is one sentence."""

import pytest
import torch

from neuromtm.errors import ConfigError
from neuromtm.training.trained import device_of
from tests.running import refusal


@pytest.mark.parametrize("name", ["quatsch", "-1", "cpu:x", "meta", "1.5"])
def test_a_device_on_which_nothing_can_be_computed_is_refused(name):
    with pytest.raises(ConfigError, match=f"--device {name}: nothing can be computed there"):
        device_of(name)
    assert device_of("cpu") == torch.device("cpu")


def test_both_exports_say_so_before_they_read_a_run(tmp_path, capsys):
    nlb = ("export", "nlb", tmp_path, "--data", tmp_path, "--out", tmp_path / "a.h5")
    bwb = ("export", "bwb", tmp_path, "--label", "ours", "--out", tmp_path / "out")
    for line in (nlb, bwb):
        assert "--device quatsch: nothing can be computed there" in refusal(capsys, *line, "--device", "quatsch")
