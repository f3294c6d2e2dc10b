"""Who drives whom in a simulation is what functional connectivity finds."""

import csv

import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.data.shards import read_header
from tests.running import neuromtm

EID = "sim-0-00"
SIMULATE = ("--n-sessions", "1", "--n-heldout", "1", "--n-neurons", "70", "--n-trials", "300")
BINS = ("--window-s", "-0.4", "0.8", "--bin-size-s", "0.04")
MODEL = ("width=32", "n_layers=2", "n_heads=2", "mlp_width=64", "rope=true", "dropout=0.1", "embedding_dropout=0.1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A session of four regions in two circuits, VISp -> CA1 and LP -> MOs."""
    out = tmp_path_factory.mktemp("circuits") / "data"
    assert data_prep(["simulate", "--out", str(out), *SIMULATE, *BINS]) == 0
    return out


@pytest.fixture(scope="module")
def rows(root, data, tmp_path_factory):
    """The table of a model that is trained with region drop-out from the start."""
    run_dir = tmp_path_factory.mktemp("runs") / "connectivity"
    neuromtm(
        *("fit", "--config", root / "conf" / "connectivity.yaml", "--config", root / "conf" / "trainer" / "cpu.yaml"),
        "--model.backbone=neuromtm.models.ndt1.NDT1",
        *(f"--model.backbone.{option}" for option in MODEL),
        *("--model.lr", "0.003", "--data.root", data, "--data.batch_size", "32", "--data.cache", "memory"),
        *("--trainer.max_epochs", "40", "--trainer.check_val_every_n_epoch", "20", "--behavior.validate", "false"),
        *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--run_dir", run_dir),
    )
    neuromtm("test", "--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
    with (run_dir / "connectivity.csv").open() as file:
        return {(row["source"], row["target"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def driven(data):
    """The pairs (driver, driven), as the shard tells them."""
    return {(driver, other) for driver, other, _ in read_header(data / f"{EID}.h5").preparation["connections"]}


@pytest.mark.parametrize("figure", ["bps", "gain"])
def test_every_driven_pair_ranks_above_every_unconnected_one(rows, driven, figure):
    # a driven region tells of its driver too, so that the way back is neither
    unconnected = rows.keys() - driven - {(b, a) for a, b in driven}
    assert len(driven) == 2
    assert len(unconnected) == 8
    values = {pair: float(row[figure]) for pair, row in rows.items()}
    assert min(values[pair] for pair in driven) > max(values[pair] for pair in unconnected)


def test_a_driver_adds_to_what_is_predicted_from_nothing_and_an_unconnected_region_does_not(rows, driven):
    for pair, row in rows.items():
        if pair in driven:
            assert float(row["gain_low"]) > 0, pair
        elif pair[::-1] not in driven:
            assert float(row["gain"]) < 0.02, pair
