"""What a training step minimises, and what validation calls the loss, entry by entry in plain loops."""

import math
from dataclasses import replace
from functools import partial
from statistics import mean

import lightning
import pytest
import torch

from neuromtm.batch import Batch
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import SCHEMES
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import VisibleGroup
from neuromtm.training.fixed_masks import FixedMasks
from neuromtm.training.masked_cost import masked_cost
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES, make_group, make_model, scatter
from tests.science.steps import SESSIONS, Step, batch_of, cost_by_hand
from tests.trainers import quiet_trainer

SMALL = partial(NDT1, width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32)


class Costly(NDT1):
    """An architecture with a cost of its own, which is one of its weights."""

    def __init__(self, **options):
        super().__init__(**options)
        self.price = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, inputs, scheme):
        return super().forward(inputs, scheme)._replace(own_loss=self.price)


def test_the_cost_of_an_entry_is_that_of_poisson_without_the_constant():
    for log_rate, count in ((0.0, 0), (math.log(2.5), 3), (-4.0, 1)):
        found = poisson_nll(torch.tensor([[[log_rate]]]), torch.tensor([[[count]]], dtype=torch.uint8))
        likelihood = math.exp(-math.exp(log_rate)) * math.exp(log_rate) ** count / math.factorial(count)
        assert found.item() == pytest.approx(-math.log(likelihood) - math.lgamma(count + 1), rel=1e-6)


@pytest.mark.parametrize("scheme", [name for name, one in SCHEMES.items() if one.behavior == "hidden"])
def test_a_step_costs_the_mean_over_its_targets_and_nothing_else(scheme, monkeypatch):
    drawn, hide = [], Objective.hide
    monkeypatch.setattr(Objective, "hide", lambda *given, **named: drawn.append(hide(*given, **named)) or drawn[-1])
    step, batch = Step(SMALL(), scheme), batch_of()
    loss = step.take(batch)
    targets = [masked.target for masked in drawn]
    total, n = cost_by_hand(step.output.log_rates, batch.groups, targets)
    assert 0 < n < sum(group.counts.numel() for group in batch.groups)
    assert loss.item() == pytest.approx(total / n, rel=1e-9)
    for group, target, hidden, masked in zip(batch.groups, targets, step.hidden, drawn, strict=True):
        assert not (target & ~hidden).any()
        assert torch.equal(masked.visible, torch.where(hidden, 0, group.counts))


def test_the_cost_of_all_sessions_is_divided_once_by_all_targets():
    step, batch = Step(SMALL(), "neuron"), batch_of()
    longer = Batch((batch.groups[0], make_group(SESSIONS[1], 7, seed=3)))
    loss = step.take(longer)
    parts = [
        cost_by_hand([own], [group], [hidden])
        for own, group, hidden in zip(step.output.log_rates, longer.groups, step.hidden, strict=True)
    ]
    totals, numbers = zip(*parts, strict=True)
    assert loss.item() == pytest.approx(sum(totals) / sum(numbers), rel=1e-9)
    assert loss.item() != pytest.approx(mean(total / n for total, n in parts), rel=1e-4)


def test_a_loss_per_spike_weighs_each_session_by_its_weight_and_divides_by_targets_alone():
    model, groups = make_model(SESSIONS), [make_group(session, 3, seed) for seed, session in enumerate(SESSIONS)]
    masked = [Objective().hide("neuron", g.counts, g.region, torch.Generator().manual_seed(1)) for g in groups]
    cost = masked_cost(model, groups, masked, "neuron", weights={"a": 0.5, "b": 4.0})
    shown = [VisibleGroup(g.eid, m.visible, m.hidden) for g, m in zip(groups, masked, strict=True)]
    log_rates = model(shown, "neuron").log_rates
    (first, n_first), (second, n_second) = (
        cost_by_hand([own], [group], [one.target]) for own, group, one in zip(log_rates, groups, masked, strict=True)
    )
    assert cost.total.item() == pytest.approx(0.5 * first + 4.0 * second, rel=1e-9)
    assert cost.n_targets == n_first + n_second


def test_the_cost_says_how_many_entries_are_scored():
    model, group = make_model(), make_group(SESSIONS[0])
    scored = torch.zeros_like(group.counts, dtype=torch.bool)
    scored[0, 1, 2] = scored[2, 0, 4] = True
    masked = replace_target(Objective().hide("neuron", group.counts, group.region, torch.Generator()), scored)
    cost = masked_cost(model, [group], [masked], "neuron")
    log_rates = model([VisibleGroup("a", masked.visible, masked.hidden)], "neuron").log_rates
    total, n = cost_by_hand(log_rates, [group], [scored])
    assert cost.n_targets == n == 2
    assert cost.total.item() == pytest.approx(total, rel=1e-9)


def replace_target(masked, target):
    return masked._replace(target=target)


def test_what_an_architecture_costs_itself_is_added_once_and_learned():
    step = Step(Costly(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32), "neuron")
    with torch.no_grad():
        step.built_model.backbone.price.fill_(5.0)
    loss, batch = step.take(batch_of()), batch_of()
    total, n = cost_by_hand(step.output.log_rates, batch.groups, step.hidden)
    assert loss.item() == pytest.approx(total / n + 5.0, rel=1e-9)
    loss.backward()
    assert step.built_model.backbone.price.grad.item() == pytest.approx(1.0)


def test_the_loss_that_is_logged_is_the_cost_of_the_targets_alone():
    step = Step(Costly(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32), "causal")
    with torch.no_grad():
        step.built_model.backbone.price.fill_(5.0)
    loss = step.take(batch_of()).item()
    assert step.logged["train/loss"] == step.logged["train/loss/causal"] == pytest.approx(loss - 5.0, rel=1e-9)


def test_the_kl_of_lfads_is_in_the_loss_and_above_zero():
    step, batch = Step(BACKBONES["LFADS"](), "neuron"), batch_of()
    step.built_model.backbone.n_steps += 10**9  # long after any warm-up
    loss = step.take(batch)
    total, n = cost_by_hand(step.output.log_rates, batch.groups, step.hidden)
    assert step.output.own_loss.item() > 1e-3
    assert loss.item() == pytest.approx(total / n + step.output.own_loss.item(), rel=1e-9)


# ---- validation


def bits_by_hand(log_rates, counts, target, mean_counts):
    """Sum over the targets of log2 of the likelihoods' ratio, model to mean count, over the neuron's mean count."""
    total = 0.0
    for trial, bin_, neuron in target.expand(counts.shape).nonzero().tolist():
        rate, spikes = log_rates[trial, bin_, neuron].double().exp(), counts[trial, bin_, neuron].double()
        average = mean_counts[neuron].double()
        ratio = torch.distributions.Poisson(rate).log_prob(spikes) - torch.distributions.Poisson(average).log_prob(
            spikes
        )
        total += float(ratio / math.log(2) / max(average, 0.01))
    return total


class Losses(lightning.Callback):
    """Sets random weights before each validation, and writes down its losses."""

    def __init__(self, seeds):
        self.seeds, self.found = seeds, []

    def on_validation_start(self, trainer, pl_module):
        # read-outs as they start, at zero, would predict the same whatever is hidden
        scatter(pl_module.built_model, seed=self.seeds[len(self.found)])

    def on_validation_end(self, trainer, pl_module):
        losses = trainer.callback_metrics.items()
        names = ("val/loss", "val/bits_per_spike")
        self.found.append({name: value.item() for name, value in losses if name.startswith(names)})


@pytest.fixture(scope="module")
def validated(sessions_dir):
    """Module, data and losses of three validations: two with the same weights, and one with those that it ends with."""
    module, losses = MaskedModeling(SMALL(), lr=1e-30, weight_decay=0.0), Losses(seeds=(0, 0, 1))
    data = SessionDataModule(root=str(sessions_dir))
    trainer = quiet_trainer(max_epochs=3, check_val_every_n_epoch=1, callbacks=[losses])
    trainer.fit(module, data)
    return module, data, losses.found


def test_the_same_weights_have_the_same_loss_in_every_validation(validated):
    _, _, found = validated
    assert len(found) == 3
    assert found[0] == found[1]
    assert all(found[2][name] != loss for name, loss in found[1].items())


def test_the_loss_of_validation_is_the_mean_over_schemes(validated):
    _, _, found = validated
    parts = [found[0][f"val/loss/{scheme}"] for scheme in Objective().schemes]
    assert len(set(parts)) == len(parts)
    assert found[0]["val/loss"] == pytest.approx(mean(parts), rel=1e-6)


def test_the_loss_of_a_scheme_is_the_mean_over_the_targets_of_all_validation_trials(validated):
    module, data, found = validated
    module.eval()
    objective = module.known_objective
    fixed = FixedMasks(objective, seed=module.seed, device=torch.device("cpu"))
    sums, bits = {scheme: [0.0, 0] for scheme in objective.schemes}, dict.fromkeys(objective.schemes, 0.0)
    for eid, session in data.sessions.items():
        fixed.add(session, data.headers[eid].splits["val"], n_bins=data.n_bins)
        for group in data.groups(eid, "val"):
            for place in range(len(group.trial)):  # one trial at a time
                alone = replace(group, counts=group.counts[[place]], trial=group.trial[[place]], n_active=None)
                for scheme, masked in fixed.of(alone).items():
                    with torch.no_grad():
                        shown = VisibleGroup(eid, masked.visible, masked.hidden)
                        log_rates = module.built_model([shown], scheme).log_rates
                    total, n = cost_by_hand(log_rates, [alone], [masked.target])
                    sums[scheme][0] += total
                    sums[scheme][1] += n
                    bits[scheme] += bits_by_hand(log_rates[0], alone.counts, masked.target, data.mean_counts(eid))
    for scheme, (total, n) in sums.items():
        assert found[-1][f"val/loss/{scheme}"] == pytest.approx(total / n, rel=1e-5)
    bits_per_spike = mean(bits[scheme] / n for scheme, (_, n) in sums.items())
    assert found[-1]["val/bits_per_spike"] == pytest.approx(bits_per_spike, rel=1e-5)
