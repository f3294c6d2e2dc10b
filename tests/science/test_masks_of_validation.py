"""Sessions are validated with masks of their own, each scheme with others."""

import torch

from neuromtm.masking.objective import Objective
from neuromtm.training.fixed_masks import FixedMasks
from tests.models.small_models import N_BINS, make_group, make_session


def test_two_sessions_that_differ_by_their_names_alone_are_hidden_otherwise():
    fixed = FixedMasks(Objective(), seed=0, device=torch.device("cpu"))
    found = []
    for eid in ("a", "b"):
        session = make_session(eid)
        fixed.add(session, range(6), n_bins=N_BINS)
        found.append(fixed.of(make_group(session, n_trials=6)))
    first, second = found
    assert first.keys() == second.keys() == set(Objective().schemes)
    for scheme in first:
        assert not torch.equal(first[scheme].hidden, second[scheme].hidden)
