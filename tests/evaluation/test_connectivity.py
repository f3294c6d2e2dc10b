"""Functional connectivity: what is visible and scored in each pair, and that no pair is taken for its reverse."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuromtm.evaluation.connectivity import (
    ALL_OTHERS,
    NOTHING,
    Pair,
    connectivity_text,
    matrices_of,
    mean_text,
    pairs_of,
    predict_from_each,
)
from neuromtm.evaluation.tasks import predict_task
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import BitsPerSpike
from neuromtm.models.interface import Output
from tests.models.small_models import REGIONS, make_group, make_model, make_session

SESSION = make_session("a")
GROUP = make_group(SESSION)
NAMES = SESSION.region_names
OBJECTIVE = Objective(region_dropout=0.5)


def members(*names):
    return [i for i, region in enumerate(REGIONS) if region in names]


def from_each(counts):
    return predict_from_each(make_model(), OBJECTIVE, replace(GROUP, counts=counts))


def test_a_sources_predictions_depend_on_that_region_and_on_no_other_neuron():
    counts = GROUP.counts.clone().requires_grad_()
    seen = {}
    for source, held_out in from_each(counts):
        if source == ALL_OTHERS:
            continue
        (gradient,) = torch.autograd.grad(held_out.log_rates.sum(), counts, allow_unused=True)
        seen[source] = [] if gradient is None else gradient.abs().sum((0, 1)).nonzero()[:, 0].tolist()
    assert seen == {0: members("CA1"), 1: members("MOs"), 2: members("VISp"), NOTHING: []}


def test_every_known_region_is_predicted_from_each_other_one_and_an_unknown_one_never():
    found = [(source, held_out.neurons.tolist()) for source, held_out in from_each(GROUP.counts)]
    assert found[:4] == [
        (0, members("VISp", "MOs")),
        (1, members("CA1", "VISp")),
        (2, members("CA1", "MOs")),
        (NOTHING, members("CA1", "VISp", "MOs")),
    ]
    assert sorted(n for source, neurons in found[4:] for n in neurons) == members("CA1", "VISp", "MOs")
    assert {source for source, _ in found[4:]} == {ALL_OTHERS}


def test_predictions_stand_beside_the_counts_of_the_neurons_they_are_of():
    for _, held_out in from_each(GROUP.counts):
        assert torch.equal(held_out.counts, GROUP.counts[..., held_out.neurons])
        assert held_out.log_rates.shape == held_out.counts.shape


def test_all_others_is_the_inter_region_task():
    task = list(predict_task("inter_region", make_model(), OBJECTIVE, GROUP))
    mine = [held_out for source, held_out in from_each(GROUP.counts) if source == ALL_OTHERS]
    for theirs, ours in zip(task, mine, strict=True):
        assert torch.equal(theirs.log_rates, ours.log_rates)


class OnlyFromVisp:
    """In place of a model: knows the counts of CA1 as soon as VISp is visible, and else predicts 1 everywhere."""

    def __call__(self, groups, scheme):
        (group,) = groups
        log_rates = torch.zeros_like(GROUP.counts)
        if not group.hidden[..., members("VISp")].any():
            log_rates[..., members("CA1")] = GROUP.counts[..., members("CA1")].log()
        return Output([log_rates], [log_rates])


def table(model):
    """(source, neuron) bits per spike."""
    bps = {source: BitsPerSpike(len(REGIONS)) for source in (0, 1, 2, NOTHING, ALL_OTHERS)}
    for source, held_out in predict_from_each(model, OBJECTIVE, GROUP):
        bps[source].update(held_out.log_rates, held_out.counts, neurons=held_out.neurons)
    return torch.stack([metric.compute() for metric in bps.values()]).numpy()


def test_who_predicts_whom_is_not_turned_round():
    matrices = matrices_of(pairs_of(SESSION, table(OnlyFromVisp())))
    ca1, mos, visp = range(3)
    assert matrices.names == ("CA1", "MOs", "VISp")
    assert matrices.bps[visp, ca1] > 0.05
    assert np.nanmax(np.delete(matrices.bps.ravel(), 3 * visp + ca1)) < 0
    assert matrices.gain[visp, ca1] == pytest.approx(matrices.bps[visp, ca1] - matrices.nothing_bps[ca1])
    assert matrices.gain[ca1, visp] == matrices.gain[mos, ca1] == 0
    assert matrices.all_others_bps[ca1] == matrices.bps[visp, ca1]
    assert matrices.all_others_bps[visp] == matrices.nothing_bps[visp]
    assert np.isnan(np.diag(matrices.bps)).all()


def numbered():
    """(source, neuron) a figure that says of which source and region it is."""
    region = SESSION.region_index().number.numpy()
    bps = 10.0 * np.arange(5)[:, None] + region
    bps[:, region < 0] = np.nan
    return bps


def test_a_pair_has_the_figures_of_its_target_from_its_source():
    bps = numbered()
    bps[:, 0] = np.nan  # a silent neuron of CA1
    pairs = {(pair.source, pair.target): pair for pair in pairs_of(SESSION, bps)}
    assert set(pairs) == {(a, b) for a in NAMES for b in NAMES if a != b}
    pair = pairs["VISp", "CA1"]
    assert pair.bps.tolist() == [20, 20]
    assert pair.nothing_bps.tolist() == [30, 30]
    assert pair.all_others_bps.tolist() == [40, 40]
    assert pair.gain.tolist() == [-10, -10]
    assert pair.n_source == 2
    assert pairs["CA1", "VISp"].n_source == 3  # the silent one was visible too
    assert pairs["CA1", "MOs"].bps.tolist() == [1]  # a region of one neuron


def test_a_region_of_silent_neurons_is_a_source_and_no_target():
    bps = numbered()
    bps[:, members("MOs")] = np.nan
    pairs = [(pair.source, pair.target) for pair in pairs_of(SESSION, bps)]
    assert ("MOs", "CA1") in pairs
    assert not any(target == "MOs" for _, target in pairs)
    assert np.isnan(matrices_of(pairs_of(SESSION, bps)).nothing_bps[1])


def test_a_session_of_one_known_region_has_no_pair():
    alone = make_session("alone", ["CA1", "CA1", "root"])
    assert pairs_of(alone, np.zeros((3, 3))) == []


def make_pair(eid, source, target, bps, nothing=0.0, n_source=2):
    bps = np.asarray(bps, float)
    return Pair(
        eid=eid,
        source=source,
        target=target,
        n_source=n_source,
        bps=bps,
        nothing_bps=np.full_like(bps, nothing),
        all_others_bps=bps + 1,
    )


def test_the_mean_is_over_sessions_and_not_over_their_neurons():
    pairs = [make_pair("a", "x", "y", [0, 0, 0]), make_pair("b", "x", "y", [1], nothing=0.5, n_source=4)]
    matrices = matrices_of([*pairs, make_pair("b", "z", "y", [3], nothing=0.5)])
    assert matrices.names == ("x", "y", "z")
    assert matrices.bps[0, 1] == 0.5
    assert matrices.gain[0, 1] == 0.25
    assert matrices.bps[2, 1] == 3
    assert np.isnan(matrices.bps).sum() == 7
    assert matrices.nothing_bps[1] == 0.25
    assert matrices.n_source[0] == 3


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_has_a_row_a_pair_with_an_interval_where_neurons_are_enough():
    generator = np.random.default_rng(0)
    many, few = generator.normal(0.3, 0.1, 20), [0.1, 0.2]
    first, second = rows_of(connectivity_text([make_pair("a", "x", "y", many, 0.1), make_pair("a", "y", "x", few)]))
    assert (first["eid"], first["source"], first["target"]) == ("a", "x", "y")
    assert (first["n_source"], first["n_target"]) == ("2", "20")
    assert float(first["bps"]) == pytest.approx(many.mean(), rel=1e-5)
    assert float(first["bps_low"]) < many.mean() < float(first["bps_high"])
    assert float(first["gain"]) == pytest.approx(many.mean() - 0.1, rel=1e-5)
    assert float(first["gain_low"]) < many.mean() - 0.1 < float(first["gain_high"])
    assert float(first["nothing_bps"]) == pytest.approx(0.1)
    assert float(first["all_others_bps"]) == pytest.approx(many.mean() + 1, rel=1e-5)
    assert second["n_target"] == "2"
    assert {second[key] for key in ("bps_low", "bps_high", "gain_low", "gain_high")} == {""}


def test_rates_that_diverged_are_minus_infinity_in_the_table_and_have_no_interval():
    (row,) = rows_of(connectivity_text([make_pair("a", "x", "y", [-math.inf, 0, 0, 0, 0, 0])]))
    assert row["bps"] == row["gain"] == "-inf"
    assert row["bps_low"] == ""


def test_the_table_of_means_has_a_row_a_pair_with_an_interval_over_sessions():
    pairs = [make_pair(str(i), "x", "y", [i, i, i]) for i in range(6)] + [make_pair("0", "y", "x", [1, 2])]
    first, second = rows_of(mean_text(pairs))
    assert (first["source"], first["target"], first["n_sessions"]) == ("x", "y", "6")
    assert float(first["bps"]) == 2.5
    assert 0 < float(first["bps_low"]) < 2.5 < float(first["bps_high"]) < 5
    assert (second["n_sessions"], second["bps"], second["bps_low"]) == ("1", "1.5", "")
