"""Small models and sessions, in double precision so that equal means equal."""

from collections.abc import Sequence

import torch
from torch import nn

from neuromtm.batch import SessionGroup, SessionInfo
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel

REGIONS = ("CA1", "CA1", "CA1", "VISp", "VISp", "root", "MOs")
N_BINS = 10


def make_session(eid: str, regions: Sequence[str] = REGIONS) -> SessionInfo:
    """A session with a neuron for each of the regions named."""
    return SessionInfo(eid, tuple(f"{eid}-{i}" for i in range(len(regions))), tuple(regions))


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
    )


def scatter(module: nn.Module, seed: int = 0) -> None:
    """Give every weight a random value, as training would: a fresh read-out is 0 and hides every leak."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in module.parameters():
            weights.normal_(std=0.3, generator=generator)


def make_model(sessions: Sequence[SessionInfo] | None = None, **options: object) -> StitchedModel:
    """A scattered model in evaluation mode; without `sessions` it knows `a` and `b`, which are of equal size."""
    sizes = {"width": 12, "n_layers": 2, "n_heads": 2, "mlp_width": 16, "max_bins": N_BINS}
    model = StitchedModel(NDT1(**sizes | options))
    for session in sessions or (make_session("a"), make_session("b")):
        model.add_session(session)
    scatter(model)
    return model.double().eval()
