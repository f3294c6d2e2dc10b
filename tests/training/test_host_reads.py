"""Nothing in a training step reads the device: each such read makes a GPU stop and the host wait."""

from collections import Counter
from typing import get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neuromtm.batch import Scheme
from neuromtm.masking.objective import Objective
from neuromtm.training.masked_cost import masked_cost
from tests.models.small_models import BACKBONES, make_group, make_model, make_session

READS = {"_local_scalar_dense", "nonzero", "_unique2", "masked_select", "equal", "unique_dim", "unique_consecutive"}


class HostReads(TorchDispatchMode):
    """Counts the operations whose result the host must know."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith(("index", "_index")) and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for arg in args
            if isinstance(arg, (list, tuple))
            for index in arg
        )
        if name in READS or by_mask:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_the_counter_sees_what_reads():
    with HostReads() as reads:
        numbers = torch.arange(3)
        int(numbers.sum())
        numbers.unique()
        numbers[numbers > 1]
        bool((numbers > 1).any())
    assert reads.found.total() >= 4


@pytest.mark.parametrize("region_dropout", [0.0, 0.5])
@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize("backbone", BACKBONES)
def test_forward_and_backward_of_every_scheme_make_no_host_read(backbone, scheme, region_dropout):
    sizes = {"a": ["CA1"] * 3 + ["VISp"] * 2 + ["root"], "b": ["CA1", "VISp", "VISp", "MOs"]}
    sessions = [make_session(eid, regions, n_heldout=1) for eid, regions in sizes.items()]
    model = make_model(backbone=backbone, sessions=sessions).train()
    groups = [make_group(session, n_trials=n) for session, n in zip(sessions, (3, 2), strict=True)]
    objective = Objective(region_dropout=region_dropout, trailing_blocks=0.5).for_tokens(
        model.backbone.neurons_per_token
    )
    generator = torch.Generator().manual_seed(0)
    with HostReads() as reads:
        masked = [objective.hide(scheme, group.counts, group.region, generator) for group in groups]
        cost = masked_cost(model, groups, masked, scheme)
        loss = cost.total / cost.n_targets
        (loss if cost.own_loss is None else loss + cost.own_loss).backward()
    assert not reads.found
