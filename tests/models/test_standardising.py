"""What stitchers take from the training trials of their session: standardised inputs, and read-ins along its axes."""

import math

import numpy as np
import pytest
import torch
from small_models import BACKBONES, N_BINS, make_group, make_model, make_session
from torch import Tensor

from neuromtm.batch import NeuronStatistics
from neuromtm.data import statistics
from neuromtm.data.statistics import training_statistics
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.standardising import EXTRA_VARIANCE, Standardise, along_principal_axes
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from neuromtm.smoothing import smooth

N_NEURONS = 7
WIDTH = 12


def counts_of(n_trials: int = 40, seed: int = 0) -> np.ndarray:
    """(trial, bin, neuron) counts whose neurons share two slow signals."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.normal(size=(n_trials, N_BINS // 2, 2)), 2, axis=1)
    return rng.poisson(np.exp(0.5 * shared @ rng.normal(size=(2, N_NEURONS)))).astype(np.uint8)


def statistics_of(counts: np.ndarray) -> NeuronStatistics:
    found = training_statistics(counts, np.arange(len(counts)))
    return NeuronStatistics(*(torch.from_numpy(np.asarray(part)).float() for part in found))


def test_standardised_counts_by_hand():
    standardise = Standardise(2)
    variance = torch.tensor([1.0, 4.0])
    standardise.measure(NeuronStatistics(torch.tensor([1.0, 3.0]), variance, torch.zeros(0, 2)))
    visible, hidden = torch.tensor([[[2.0, 3.0], [0.0, 0.0]]]), torch.tensor([[[False, False], [False, True]]])
    expected = torch.tensor([[[1 / math.sqrt(1.02), 0.0], [-1 / math.sqrt(1.02), 0.0]]])
    torch.testing.assert_close(standardise(visible, hidden), expected)
    of_rows = standardise(visible[:, :, 1], hidden[:, :, 1], torch.tensor([1]))
    torch.testing.assert_close(of_rows, expected[:, :, 1])


def test_the_extra_variance_is_that_of_the_axes():
    assert statistics.EXTRA_VARIANCE == EXTRA_VARIANCE


standardising = pytest.mark.parametrize(
    "name", [n for n, make in BACKBONES.items() if make().options.get("standardise")]
)


def measured(name: str, **options: object) -> tuple[StitchedModel, NeuronStatistics]:
    """A scattered model whose session has the statistics of its training trials."""
    model, statistics = make_model([make_session("a")], backbone=name, **options), statistics_of(counts_of())
    model.start_from_statistics({"a": statistics})
    return model, statistics


@standardising
def test_a_hidden_entry_looks_like_the_mean_and_not_like_silence(name):
    model, statistics = measured(name, **({"mask_input": False} if "LFADS" in name else {}))
    counts = torch.from_numpy(counts_of(3, seed=1)).double()
    hidden = torch.zeros_like(counts, dtype=torch.bool)
    hidden[..., 3] = True
    at_mean, silent = counts.clone(), counts.clone()
    at_mean[..., 3], silent[..., 3] = statistics.mean[3], 0
    with torch.no_grad():
        masked, mean, zero = (
            model([VisibleGroup("a", x, h)], "neuron").log_rates[0]
            for x, h in ((silent, hidden), (at_mean, None), (silent, None))
        )
    torch.testing.assert_close(masked, mean, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(masked, zero, rtol=1e-3)


@standardising
def test_what_is_standardised_is_in_the_saved_weights(name):
    model, statistics = measured(name)
    fresh = StitchedModel(BACKBONES[name]())
    fresh.add_session(model.sessions["a"])
    fresh.double().load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.stitchers["session:a"].standardise.center.float(), statistics.mean)
    group = VisibleGroup("a", make_group(model.sessions["a"]).counts)
    with torch.no_grad():
        expected, found = (m.eval()([group], "neuron").log_rates[0] for m in (model, fresh))
    assert torch.equal(found, expected)


def drive_of(model: StitchedModel, counts: np.ndarray) -> Tensor:
    visible = torch.from_numpy(counts).double()
    return model.stitchers["session:a"].drive(visible, torch.zeros_like(visible, dtype=torch.bool)).detach()


def fresh_model(*, session: str = "a", **options: object) -> StitchedModel:
    model = StitchedModel(NDT1(width=WIDTH, n_layers=1, n_heads=2, mlp_width=8, **options))
    model.add_session(make_session(session), torch.from_numpy(counts_of()).double().mean((0, 1)).float())
    model.start_from_statistics({session: statistics_of(counts_of())})
    return model.double().eval()


def test_the_first_read_in_gives_the_largest_axes_variance_1_once_smoothed():
    counts = counts_of(200)
    model = fresh_model()
    model.start_from_statistics({"a": statistics_of(counts)})
    drive = drive_of(model, counts).numpy()
    smoothed = smooth(drive, width_s=1.0, bin_size_s=1.0).reshape(-1, WIDTH)
    variance = np.linalg.eigvalsh(np.cov(smoothed.T, bias=True))[::-1]
    np.testing.assert_allclose(variance[:2], 1.0, atol=0.01)  # the two shared signals
    assert (variance < 1.01).all()
    np.testing.assert_allclose(variance[N_NEURONS:], 0.0, atol=1e-10)


def test_without_standardising_the_first_read_in_is_the_same_map_of_what_is_shown():
    counts = counts_of(5, seed=3)
    plain, standardised = (fresh_model(standardise=on) for on in (False, True))
    torch.testing.assert_close(drive_of(plain, counts), drive_of(standardised, counts), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(drive_of(fresh_model(principal_axes=False), counts), drive_of(standardised, counts))


def test_the_first_axis_of_every_session_starts_on_the_same_direction_whatever_the_seed():
    directions = []
    for seed in (0, 1):
        statistics = statistics_of(counts_of(seed=seed))
        torch.manual_seed(seed)
        weight = along_principal_axes(statistics, WIDTH)
        # the weights that the axis itself is read with, as one vector of the model's width
        sign = statistics.axes[0].pow(3).sum().sign()
        directions.append(torch.nn.functional.normalize(sign * statistics.axes[0] @ weight, dim=0))
    torch.testing.assert_close(*directions, rtol=1e-4, atol=1e-5)


def test_the_rotation_keeps_lengths():
    statistics = statistics_of(counts_of())
    weight = along_principal_axes(statistics, WIDTH)
    axes = statistics.axes
    torch.testing.assert_close(weight @ weight.T, axes.T @ axes, rtol=1e-4, atol=1e-5)
    assert len(along_principal_axes(statistics, 4).T) == 4  # fewer numbers than axes


def test_a_session_without_training_trials_starts_at_random():
    nothing = NeuronStatistics(torch.ones(7), torch.ones(7), torch.zeros(0, 7))
    assert along_principal_axes(nothing, WIDTH) is None
    model = fresh_model()
    before = model.stitchers["session:a"].read_in.weight.clone()
    model.start_from_statistics({"a": nothing})
    assert torch.equal(model.stitchers["session:a"].read_in.weight, before)


@pytest.mark.parametrize("name", [name for name, make in BACKBONES.items() if make().wants_statistics])
def test_a_model_that_starts_from_statistics_predicts_mean_rates_before_training(name):
    mean = torch.from_numpy(counts_of()).double().mean((0, 1)).float()
    model = StitchedModel(BACKBONES[name]())
    model.add_session(make_session("a"), mean)
    before = {key: value.clone() for key, value in model.stitchers.state_dict().items()}
    model.start_from_statistics({"a": statistics_of(counts_of())})
    after = model.stitchers.state_dict()
    read_in = next(key for key in after if key.endswith(("read_in.weight", "weight_in", "neurons.weight")))
    assert not torch.equal(after[read_in], before[read_in])
    with torch.no_grad():
        rates = model.eval()([VisibleGroup("a", torch.from_numpy(counts_of(3)).float())], "neuron").log_rates[0].exp()
    torch.testing.assert_close(rates, mean.expand_as(rates), rtol=1e-4, atol=0)


def test_coordinated_dropout_scales_up_what_is_kept_from_the_mean_on():
    model, _ = measured("LFADS-posterior-mean", mask_input=False)
    (session,) = [model._input("a", torch.from_numpy(counts_of(200)).double(), None, None, None)]
    torch.manual_seed(0)
    shown = model.train().backbone._shown(session)
    standardise = session.stitcher.standardise
    before, after = standardise(*session[1:3]), standardise(*shown[1:3])
    kept = ~shown.hidden
    torch.testing.assert_close(after[kept], before[kept] / (1 - round(0.3 * 65536) / 65536), rtol=1e-5, atol=1e-6)
    assert not after[shown.hidden].any()


def test_the_sign_of_an_axis_does_not_matter():
    statistics = statistics_of(counts_of())
    flipped = statistics._replace(axes=-statistics.axes)
    torch.testing.assert_close(along_principal_axes(flipped, WIDTH), along_principal_axes(statistics, WIDTH))
