"""Training steps one at a time, without a trainer: what each hides, predicts and costs."""

from collections.abc import Sequence

import torch

from neuromtm.batch import Batch, Scheme, SessionGroup
from neuromtm.masking.masked import Masked
from neuromtm.masking.objective import Objective
from neuromtm.models.interface import Backbone, Output
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import make_group, make_session, scatter

SESSIONS = (make_session("a", n_heldout=2), make_session("b", ("CA1", "CA1", "VISp", "root", "MOs"), n_heldout=1))


class Step(MaskedModeling):
    """A module of two sessions in double precision, which can take the place of any rank and epoch.

    It writes down what its last step hid and what its model gave.
    """

    rank, epoch = 0, 0

    def __init__(self, backbone: Backbone, *schemes: Scheme, **options: object):
        objective = Objective(schemes=schemes, **options) if schemes else Objective(**options)
        super().__init__(backbone, objective=objective.for_tokens(backbone.neurons_per_token))
        for session in SESSIONS:
            self.built_model.add_session(session)
        scatter(self.built_model)
        self.double().train()
        self.scheme: Scheme | None = None
        self.masked: list[Masked] = []
        self.output: Output | None = None
        self.seed_of_dropout: int | None = None
        self.logged: dict[str, float] = {}
        self.built_model.register_forward_pre_hook(self._before)
        self.built_model.register_forward_hook(self._after)

    @property
    def global_rank(self) -> int:
        return self.rank

    @property
    def current_epoch(self) -> int:
        return self.epoch

    def watch_loss(self, *_: object) -> None:
        """Nothing diverges in one step, and a trainer would be asked."""

    def log(self, name: str, value: torch.Tensor, **_: object) -> None:
        """Write down what would be logged."""
        self.logged[name] = value.item()

    def _before(self, _: object, arguments: tuple) -> None:
        groups, self.scheme = arguments
        self.hidden = [group.hidden.clone() for group in groups]
        self.seed_of_dropout = torch.initial_seed()

    def _after(self, _: object, __: object, output: Output) -> None:
        self.output = output

    def take(self, batch: Batch, batch_idx: int = 0) -> torch.Tensor:
        """Do one step and give its loss."""
        return self.training_step(batch, batch_idx)


def batch_of(n_trials: int = 3) -> Batch:
    """A batch of both sessions."""
    return Batch(tuple(make_group(session, n_trials, seed) for seed, session in enumerate(SESSIONS)))


def cost_by_hand(log_rates: Sequence[torch.Tensor], groups: Sequence[SessionGroup], scored: Sequence[torch.Tensor]):
    """The Poisson cost of the scored entries, one entry after the other: its sum in nats, and their number."""
    total, n = 0.0, 0
    for own, group, target in zip(log_rates, groups, scored, strict=True):
        for trial, bin_, neuron in target.nonzero().tolist():
            log_rate, count = own[trial, bin_, neuron], group.counts[trial, bin_, neuron]
            total, n = total + (log_rate.exp() - count * log_rate).item(), n + 1
    return total, n
