"""Small models and sessions, in double precision so that equal means equal."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from neuromtm.batch import SessionGroup, SessionInfo
from neuromtm.masking.objective import Objective
from neuromtm.models.interface import Backbone
from neuromtm.models.lfads import LFADS
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.models.spike_tokens import SpikeTokens
from neuromtm.models.standardising import Standardise
from neuromtm.models.stitching import StitchedModel
from neuromtm.models.traces import StandardiseTraces

REGIONS = ("CA1", "CA1", "CA1", "VISp", "VISp", "root", "MOs")
N_BINS = 10

_TRANSFORMER = {"width": 12, "n_layers": 2, "n_heads": 2, "mlp_width": 16, "max_bins": 32}
# groups of 3 neurons: the 7 of a session leave two places empty
_GROUPS = {"neurons_per_token": 3, "max_groups": 6}
_RECURRENT = {
    **{"width": 6, "initial_encoder_size": 8, "input_encoder_size": 8, "initial_size": 4, "n_inputs": 3},
    **{"controller_size": 8, "generator_size": 8, "n_factors": 5},
}
BACKBONES: dict[str, Callable[..., Backbone]] = {
    "NDT1": partial(NDT1, **_TRANSFORMER),
    "NDT1-as-published": partial(
        NDT1, **_TRANSFORMER, standardise=False, principal_axes=False, embedding="softsign", bin_vectors=False
    ),
    "NDT1-behavior": partial(NDT1, **_TRANSFORMER, behaviors=["whisker_motion_energy"]),
    "NDT2": partial(NDT2, **_TRANSFORMER, **_GROUPS),
    "NDT2-rope-regions-masks": partial(
        NDT2, **_TRANSFORMER, **_GROUPS, region_embedding=True, mask_input=True, rope=True, standardise=False
    ),
    # steps of 3 bins: the last one is longer than what is left of a trial
    "SpikeTokens": partial(SpikeTokens, width=12, n_layers=2, n_heads=2, mlp_width=16, step_bins=3, n_latents=2),
    "LFADS": partial(LFADS, **_RECURRENT, standardise=False),
    "LFADS-posterior-mean": partial(
        LFADS, **_RECURRENT, n_samples=0, pcr=True, mask_input=True, coordinated_dropout=0.3, kl_warmup_steps=9
    ),
}
"""Name -> makes a small one, for trials of 20 bins at least; options as keywords. A line here puts an architecture
through all that every one must hold: test_contract.py, test_no_leak.py, training/test_resume.py."""


def objective_of(name: str) -> Objective:
    """A training objective that uses all of an architecture: one that reads behaviour needs schemes that show it."""
    schemes = Objective().schemes
    return Objective(schemes=(*schemes, "encoding", "decoding") if BACKBONES[name]().behaviors else schemes)


def make_session(eid: str, regions: Sequence[str] = REGIONS, *, n_heldout: int = 0) -> SessionInfo:
    """A session with a neuron for each of the regions named, the last of which the source may hold out."""
    neurons = tuple(f"{eid}-{i}" for i in range(len(regions)))
    heldout = tuple(i >= len(regions) - n_heldout for i in range(len(regions))) if n_heldout else ()
    return SessionInfo(eid, neurons, tuple(regions), heldout)


def make_group(session: SessionInfo, n_trials: int = 3, seed: int = 0) -> SessionGroup:
    """Trials with some spikes in every bin, in double precision, so that gradients can be taken by them."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 6, (n_trials, N_BINS, session.n_neurons), generator=generator).double()
    return SessionGroup(
        eid=session.eid,
        counts=counts,
        region=session.region_index(),
        trial=torch.arange(n_trials),
        choice=torch.zeros(n_trials, dtype=torch.int8),
        behavior={},
        n_active=(counts > 0).sum(dim=2),
    )


def scatter(module: nn.Module, seed: int = 0) -> None:
    """Give every weight a random value, as training would: a fresh read-out is 0 and hides every leak.

    The statistics that inputs are standardised by become random too.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in module.parameters():
            weights.normal_(std=0.3, generator=generator)
        for part in module.modules():
            if isinstance(part, Standardise):
                part.center.uniform_(0.5, 4.0, generator=generator)
                part.scale.uniform_(0.3, 2.0, generator=generator)
            if isinstance(part, StandardiseTraces):
                part.center.uniform_(-1.0, 3.0, generator=generator)
                part.scale.uniform_(0.5, 2.0, generator=generator)


def every_pair(n_trials: int, neurons: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Trials and neurons, each with each: the rows that `Backbone.left_out` takes."""
    trials, places = torch.cartesian_prod(torch.arange(n_trials), torch.tensor(neurons)).unbind(dim=1)
    return trials, places


def make_model(
    sessions: Sequence[SessionInfo] | None = None, *, backbone: str = "NDT1", **options: object
) -> StitchedModel:
    """A scattered model in evaluation mode; without `sessions` it knows `a` and `b`, which are of equal size."""
    model = StitchedModel(BACKBONES[backbone](**options))
    for session in sessions or (make_session("a"), make_session("b")):
        model.add_session(session)
    scatter(model)
    return model.double().eval()
