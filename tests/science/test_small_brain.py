"""Every architecture learns a small simulated brain in seconds, by multi-task and by temporal masking.

The bounds are about three quarters of the least score of three seeds; that of NDT2 in forward prediction, which differs
most between seeds, is half. An untrained model scores about zero. So does NDT1 if its training shows it nothing, and if
it is trained to copy what it sees, it stays well below its bounds.
"""

import pytest
import torch

from neuromtm.masking.masked import Masked
from neuromtm.masking.objective import Objective
from neuromtm.models.lfads import LFADS
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.models.spike_tokens import SpikeTokens
from neuromtm.training.masked_modeling import MaskedModeling
from tests.science.small_brain import ceiling_bps, small_brain, task_bps, temporal_bps, trained

_TRANSFORMER = {"width": 32, "n_layers": 2, "n_heads": 2, "mlp_width": 64, "dropout": 0.1}
_TOKENS = {"embedding_dropout": 0.0, "max_bins": 32, "rope": True}
_ENCODERS = {"initial_encoder_size": 24, "input_encoder_size": 24, "controller_size": 24, "generator_size": 32}
_LATENTS = {"width": 24, "initial_size": 16, "n_inputs": 3, "n_factors": 12, "dropout": 0.0, "n_samples": 0}
_KL = {"kl_inputs": 0.01, "kl_initial": 0.1, "kl_warmup_steps": 100}
ARCHITECTURES = {
    # how it is made, the highest learning rate, and the training steps
    "NDT1": (lambda: NDT1(**_TRANSFORMER, **_TOKENS), 4e-3, 400),
    "NDT2": (lambda: NDT2(**_TRANSFORMER, **_TOKENS, neurons_per_token=8, max_groups=4), 4e-3, 300),
    "SpikeTokens": (lambda: SpikeTokens(**_TRANSFORMER, step_bins=5, n_latents=2), 4e-3, 300),
    "LFADS": (lambda: LFADS(**_ENCODERS, **_LATENTS, **_KL), 8e-3, 300),
}
TASKS = ("co_smoothing", "forward_prediction", "intra_region", "inter_region")
BOUNDS = {
    # bits per spike of the tasks after multi-task masking, and of bins hidden at random after temporal masking
    "NDT1": ((0.54, 0.30, 0.46, 0.54), 0.44),
    "NDT2": ((0.45, 0.10, 0.44, 0.42), 0.42),
    "SpikeTokens": ((0.54, 0.37, 0.42, 0.52), 0.45),
    "LFADS": ((0.35, 0.19, 0.29, 0.38), 0.30),
}
CEILING = 0.863
"""bits per spike of the true rates"""
AT_CHANCE = 0.02
"""an untrained model does not score above it"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_brain(tmp_path_factory.mktemp("brain"))


def make(architecture, objective):
    """An untrained module, always the same."""
    build, lr, n_steps = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    return MaskedModeling(build(), objective=objective, lr=lr), n_steps


def scores(module, data):
    """Bits per spike of the four tasks."""
    return tuple(task_bps(task, module, data) for task in TASKS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_multi_task_masking_learns_all_four_tasks(architecture, data, tmp_path):
    module, n_steps = make(architecture, Objective())
    trained(module, data, tmp_path, n_steps=n_steps)
    found, bounds = scores(module, data), BOUNDS[architecture][0]
    assert all(score > bound for score, bound in zip(found, bounds, strict=True)), (found, bounds)
    assert max(found) < CEILING


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_temporal_masking_learns_what_lies_between_bins(architecture, data, tmp_path):
    module, n_steps = make(architecture, Objective(schemes=("temporal",)))
    trained(module, data, tmp_path, n_steps=n_steps)
    assert BOUNDS[architecture][1] < temporal_bps(module, data) < CEILING


def test_the_true_rates_are_the_ceiling(data, tmp_path):
    module, _ = make("NDT1", Objective())
    trained(module, data, tmp_path, n_steps=1)
    assert ceiling_bps(data) == pytest.approx(CEILING, abs=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_before_training_there_is_nothing_to_score(architecture, data, tmp_path):
    module, _ = make(architecture, Objective(schemes=("neuron", "causal", "intra_region", "inter_region", "temporal")))
    trained(module, data, tmp_path, n_steps=1)
    assert max(*scores(module, data), temporal_bps(module, data)) < AT_CHANCE


def sees_nothing(self, scheme, counts, region, generator, **_):
    """Hide as usual, and show nothing of the rest."""
    return hide(self, scheme, counts, region, generator)._replace(visible=torch.zeros_like(counts))


def copies(self, scheme, counts, region, generator, **_):
    """Hide nothing, and score everything."""
    nothing = torch.zeros_like(counts, dtype=torch.bool)
    return Masked(counts, nothing, ~nothing)


hide = Objective.hide


@pytest.mark.parametrize(
    ("broken", "most"), [(sees_nothing, (AT_CHANCE,) * 4), (copies, (0.43, AT_CHANCE, 0.12, 0.24))]
)
def test_a_broken_training_stays_well_below_the_bounds(broken, most, data, tmp_path, monkeypatch):
    module, n_steps = make("NDT1", Objective())
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "hide", broken)
        trained(module, data, tmp_path, n_steps=n_steps)
    found, bounds = scores(module, data), BOUNDS["NDT1"][0]
    assert all(score < limit < bound - 0.1 for score, limit, bound in zip(found, most, bounds, strict=True)), found
