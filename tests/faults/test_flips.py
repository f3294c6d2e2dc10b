"""A short run of the campaign of `tests/faults/flips.py`."""

from collections import Counter

import pytest
import torch

import neuromtm
from neuromtm.masking.objective import Objective
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.checkpoint import CheckpointRecord, to_checkpoint
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from tests.data.small_shards import Session, ready, write_folder
from tests.faults.flips import SHARES, campaign
from tests.faults.what_is_read import Good

N = 80


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Good:
    """Two small sessions, and the checkpoint and the saved model of an untrained model of them."""
    folder = tmp_path_factory.mktemp("good")
    write_folder(folder / "data", Session("a"), Session("b", largest_count=300, regions=["MOs"] * 6, role="heldout"))
    data = ready(folder / "data", role="all")
    model = StitchedModel(NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=8))
    for session in data.sessions.values():
        model.add_session(session)
    record = CheckpointRecord.of(
        model, n_bins=data.n_bins, bin_size_s=data.bin_size_s, objective=Objective(), trials={}, batches={}, subjects={}
    )
    training = {
        "epoch": 3,
        "global_step": 12,
        "callbacks": {"BestCheckpoint": {"best_model_score": torch.tensor(0.25)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(8, 8)}}}],
    }
    WholeFileCheckpointIO().save_checkpoint(to_checkpoint(model, record) | training, folder / "last.ckpt")
    neuromtm.load(folder / "last.ckpt").save(folder / "saved")
    return Good(folder / "data", folder / "last.ckpt", folder / "saved")


def test_a_damaged_file_is_refused_in_a_sentence_or_every_number_is_the_same(good):
    found = list(campaign(good, n=N, seed=0))
    assert {one.case.number: one.failures for one in found if one.failures} == {}
    assert len(found) == N
    assert Counter(one.case.kind for one in found).keys() == SHARES.keys()
    refused = [one for one in found if one.is_refused]
    assert len(refused) >= 0.8 * N  # a campaign whose readings refuse little has not read what it damaged
