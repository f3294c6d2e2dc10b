"""Stitchers that start from trial averages: in a pretraining together, in a fine-tuning by what it kept."""

import pytest
import torch

from neuromtm.data.datamodule import SessionDataModule
from tests.conftest import ROOT
from tests.running import HELDOUT, SHORT, finetune, neuromtm

LFADS = ("--config", ROOT / "conf" / "model" / "lfads_tiny.yaml", "--model.lr=1e-9")


@pytest.fixture(scope="module")
def trained(sessions_dir, tmp_path_factory):
    """Run directory of a pretraining that moves nothing to speak of."""
    run_dir = tmp_path_factory.mktemp("lfads") / "run"
    recipe = ROOT / "conf" / "pretrain.yaml"
    neuromtm("fit", "--config", recipe, *LFADS, *SHORT, "--data.root", sessions_dir, "--run_dir", run_dir)
    return run_dir


def weights_of(run_dir):
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def read_average(weights, data, eid):
    """(bin, component) what a session's stitcher makes of its own trial average, and the components it is to be."""
    read_in = {part: weights[f"model.stitchers.session:{eid}.read_in.{part}"] for part in ("weight", "bias")}
    components = weights["model.backbone.components"]
    n = components.shape[1]
    center, scale = (weights[f"model.stitchers.session:{eid}.standardise.{part}"] for part in ("center", "scale"))
    made = (data.trial_average(eid) - center) * scale @ read_in["weight"][:n].T + read_in["bias"][:n]
    return made, components[: data.n_bins]


def data_of(sessions_dir, role):
    data = SessionDataModule(root=str(sessions_dir), role=role)
    data.setup()
    return data


def test_the_trial_average_is_that_of_the_training_trials(sessions_dir):
    data = data_of(sessions_dir, "heldout")
    counts = torch.cat([group.counts for group in data.groups(HELDOUT, "train")])
    torch.testing.assert_close(data.trial_average(HELDOUT), counts.double().mean(0).float())


def agreement(weights, data, eid):
    """Correlation of the first component with what the session's neurons say of it."""
    made, components = read_average(weights, data, eid)
    return torch.corrcoef(torch.stack((made[:, 0], components[:, 0])))[0, 1].item()


def test_sessions_of_a_pretraining_read_the_same_components(trained, sessions_dir):
    data, weights = data_of(sessions_dir, "pretrain"), weights_of(trained)
    assert weights["model.backbone.n_component_bins"] == data.n_bins
    assert not weights["model.backbone.components"][data.n_bins :].any()
    for eid in data.sessions:
        assert agreement(weights, data, eid) > 0.9


def test_a_fine_tuned_session_is_regressed_on_the_components_of_the_pretraining(trained, sessions_dir, tmp_path):
    checkpoint = trained / "checkpoints" / "best.ckpt"
    neuromtm(*finetune(ROOT, sessions_dir, checkpoint, "--run_dir", tmp_path / "run", "--model.lr=1e-9"))
    before, weights = weights_of(trained), weights_of(tmp_path / "run")
    assert torch.equal(weights["model.backbone.components"], before["model.backbone.components"])
    assert agreement(weights, data_of(sessions_dir, "heldout"), HELDOUT) > 0.7
    # the count of the warm-up goes on
    assert weights["model.backbone.n_steps"] > before["model.backbone.n_steps"] > 0
