"""A test's activity results are on disk before behaviour is decoded, and are completed afterwards."""

import json

import pytest

from neuromtm.callbacks import behavior
from neuromtm.metrics.keys import BPS_KEYS, MEDIAN_KEYS
from tests.running import EIDS, neuromtm

FILES = ("metrics.json", "neurons.csv", "regions.csv", "behavior.csv")


class Crashed(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture
def tested(pretrained, tmp_path):
    """Tests a run in one folder, as often as it is called."""

    def test():
        checkpoint = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
        neuromtm("test", *checkpoint, "--data.sessions", f"['{EIDS[0]}']", "--run_dir", tmp_path / "run")
        return tmp_path / "run"

    return test


def test_activity_results_stay_where_decoding_behaviour_crashes_and_each_test_keeps_the_former_once(
    tested, monkeypatch
):
    def crash(*_):
        raise Crashed

    whole = tested()
    before = {name: (whole / name).read_text() for name in FILES}
    metrics = json.loads(before["metrics.json"])
    with monkeypatch.context() as patched:
        patched.setattr(behavior, "decode", crash)
        with pytest.raises(Crashed):
            tested()
    crashed = json.loads((whole / "metrics.json").read_text())
    activity = {name: value for name, value in metrics["mean"].items() if name in (*BPS_KEYS, *MEDIAN_KEYS)}
    assert crashed == {"sessions": {EIDS[0]: activity}, "mean": activity}
    assert activity.keys() < metrics["mean"].keys()
    assert not (whole / "behavior.csv").exists()  # that of the former test would be taken for this one's
    for name in ("neurons.csv", "regions.csv"):
        assert (whole / name).read_text() == before[name]
    for name in FILES:
        (kept,) = whole.glob(name.replace(".", ".2*."))
        assert kept.read_text() == before[name]

    tested()
    assert {name: (whole / name).read_text() for name in FILES} == before
    assert len(list(whole.glob("metrics.2*.json"))) == 2  # of the whole test and of the one that crashed
    assert len(list(whole.glob("behavior.2*.csv"))) == 1
