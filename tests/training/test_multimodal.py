"""Training with behaviour as channels: the loss, missing entries, sessions without a trace, and what is kept."""

import copy
from dataclasses import replace
from functools import partial

import lightning
import numpy as np
import pytest
import torch

import neuromtm
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import read_shard, write_shard
from neuromtm.errors import CheckpointError, ConfigError, DataError
from neuromtm.evaluation.multimodal import decode_traces
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import MTM
from neuromtm.models.interface import Backbone
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.training.agreement import require_agreement
from neuromtm.training.checkpoint import KEY, CheckpointRecord, load_checkpoint
from neuromtm.training.masked_cost import behavior_cost, masked_cost
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import N_BINS, make_group, make_model, make_session
from tests.running import EIDS
from tests.trainers import quiet_trainer

NAMES = ["whisker_motion_energy", "pupil"]
WHOLE, HOLED, MUTE = EIDS
SMALL = {"width": 16, "n_layers": 1, "n_heads": 2, "mlp_width": 16, "max_bins": 64}
BOTH = Objective(schemes=("neuron", "encoding", "decoding"))


# ---- the loss


def test_the_cost_of_behaviour_is_half_the_squared_error_of_what_is_known():
    predicted = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], requires_grad=True)
    true = torch.tensor([[3.0, 2.5], [torch.nan, 0.0]])
    total, n_known = behavior_cost(predicted, true)
    assert total.item() == pytest.approx((2.0**2 + 0.5**2 + 0.5**2) / 2)
    assert n_known.item() == 3
    total.backward()
    assert predicted.grad.tolist() == [[-2.0, -0.5], [0.0, 0.5]]


def group_with_traces():
    """Session `a`, of which one entry of the first trace is missing; it has no second trace."""
    trace = torch.arange(3 * N_BINS, dtype=torch.float32).reshape(3, N_BINS)
    trace[2, 4] = torch.nan
    return replace(make_group(make_session("a")), behavior={NAMES[0]: trace})


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_decoding_costs_the_weighted_error_in_standard_deviations_of_what_is_known(weight):
    model, group = make_model(backbone="NDT1", behaviors=NAMES), group_with_traces()
    masked = Objective().hide("decoding", group.counts, group.region, torch.Generator())
    cost = masked_cost(model, [group], [masked], "decoding", behavior_weight=weight)
    decoded, units = decode_traces(model, group), model.traces_of("a")
    expected, n_known = 0.0, 0
    for trial in range(3):
        for bin_ in range(N_BINS):
            true = group.behavior[NAMES[0]][trial, bin_]
            if not true.isnan():
                expected += weight * ((decoded[trial, bin_, 0] - true) / units.scale[0]).square().item() / 2
                n_known += 1
    assert n_known == 3 * N_BINS - 1 == cost.n_targets.item()
    assert cost.total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scheme", ["neuron", "causal", "encoding"])
def test_schemes_of_neurons_cost_the_same_whatever_the_weight_and_score_no_behaviour(scheme):
    model, group = make_model(backbone="NDT1", behaviors=NAMES), group_with_traces()
    masked = Objective().hide(scheme, group.counts, group.region, torch.Generator().manual_seed(0))
    costs = [masked_cost(model, [group], [masked], scheme, behavior_weight=weight) for weight in (1.0, 9.0)]
    assert costs[0].total == costs[1].total
    assert costs[0].n_targets == masked.target.sum()
    other = replace(group, behavior={NAMES[0]: group.behavior[NAMES[0]] + 1})
    seen = masked_cost(model, [other], [masked], scheme).total != costs[0].total
    assert seen == (scheme == "encoding")


@pytest.mark.parametrize("scheme", [*MTM, "temporal", "encoding", "decoding"])
def test_training_shows_behaviour_to_encoding_alone(scheme):
    """Whatever reads the traces in has a gradient only where they are shown."""
    model, group = make_model(backbone="NDT1", behaviors=NAMES), group_with_traces()
    masked = Objective().hide(scheme, group.counts, group.region, torch.Generator().manual_seed(0))
    cost = masked_cost(model, [group], [masked], scheme)
    cost.total.backward()
    gradient = model.backbone.channels.read_in.weight.grad
    assert (gradient is not None and bool(gradient.any())) == (scheme == "encoding")
    assert cost.n_targets == (
        (~group.behavior[NAMES[0]].isnan()).sum() if scheme == "decoding" else masked.target.sum()
    )


def test_a_batch_of_missing_entries_alone_has_no_target_and_finite_gradients():
    model, group = make_model(backbone="NDT1", behaviors=NAMES), replace(group_with_traces(), behavior={})
    masked = Objective().hide("decoding", group.counts, group.region, torch.Generator())
    cost = masked_cost(model, [group], [masked], "decoding")
    assert cost.n_targets == 0
    (cost.total / cost.n_targets.clamp(min=1)).backward()
    assert all(not weights.grad.any() for weights in model.parameters() if weights.grad is not None)


# ---- which schemes a session takes part in


def test_a_session_without_behaviour_is_not_asked_for_it():
    regions, draws = [make_session("a").region_index()], np.random.default_rng(0)
    assert {BOTH.draw_scheme(regions, draws, with_behavior=False) for _ in range(50)} == {"neuron"}
    assert {BOTH.draw_scheme(regions, draws) for _ in range(50)} == set(BOTH.schemes)
    with pytest.raises(DataError, match="no behaviour that the model reads"):
        Objective(schemes=["decoding"]).draw_scheme(regions, draws, with_behavior=False)


@pytest.mark.parametrize(
    ("backbone", "sentence"),
    [
        (
            partial(NDT1, **SMALL),
            r"has encoding and decoding, but model.backbone, NDT1, reads no behaviour.*init_args.behaviors",
        ),
        (NDT2, r"has encoding and decoding, but model.backbone, NDT2, reads no behaviour.*NDT2 cannot; NDT1 can"),
    ],
)
def test_a_model_that_reads_no_behaviour_is_refused(backbone, sentence):
    with pytest.raises(ConfigError, match=sentence):
        require_agreement(backbone(), BOTH)


# ---- trainings


@pytest.fixture(scope="module")
def data_dir(sessions_dir, tmp_path_factory):
    """A session as it is, one with missing entries and a trace more, and one without behaviour."""
    folder = tmp_path_factory.mktemp("traces")
    for eid in EIDS:
        shard = read_shard(sessions_dir / f"{eid}.h5")
        if eid == HOLED:
            trace = shard.behavior[NAMES[0]].copy()
            trace[shard.header.splits["train"][:3], 3:8] = np.nan
            trace[shard.header.splits["train"][4]] = np.nan
            traces = {NAMES[0]: trace, NAMES[1]: 5 * trace[:, ::-1] + 100}
            shard = replace(shard, header=replace(shard.header, behaviors=tuple(traces)), behavior=traces)
        if eid == MUTE:
            shard = replace(shard, header=replace(shard.header, behaviors=()), behavior={})
        write_shard(folder / f"{eid}.h5", shard)
        add_shard(folder / f"{eid}.h5", "pretrain")
    return folder


class Losses(lightning.Callback):
    def __init__(self):
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


def trained(data_dir, folder, *, behaviors=NAMES, sessions=None, pretrained=None, objective=BOTH):
    lightning.seed_everything(0)
    backbone = None if pretrained else NDT1(**SMALL, behaviors=behaviors)
    module = MaskedModeling(backbone, objective=objective, pretrained=pretrained, lr=1e-2)
    losses = Losses()
    trainer = quiet_trainer(folder, max_epochs=4, callbacks=[losses])
    trainer.fit(module, SessionDataModule(root=str(data_dir), sessions=sessions, batch_size=8))
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer, module, losses.losses


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, *trained(data_dir, folder)


@pytest.mark.filterwarnings("ignore")
def test_sessions_with_holes_and_without_a_trace_train_to_finite_weights(run):
    _, trainer, module, losses = run
    assert np.isfinite(losses).all()
    assert all(weights.isfinite().all() for weights in module.parameters())
    names = {"train/loss/encoding", "train/loss/decoding", "val/loss/encoding", "val/loss/decoding", "val/loss/neuron"}
    assert names <= trainer.logged_metrics.keys()
    lightning.seed_everything(0)
    before = NDT1(**SMALL, behaviors=NAMES).channels.state_dict()
    after = module.built_model.backbone.channels.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_the_statistics_are_those_of_the_known_training_entries_and_lie_in_the_checkpoint(run, data_dir):
    weights = load_checkpoint(run[0] / "last.ckpt")["state_dict"]
    for eid in EIDS:
        shard = read_shard(data_dir / f"{eid}.h5")
        for place, name in enumerate(NAMES):
            units = [f"model.stitchers.session:{eid}.traces.{part}" for part in ("center", "scale")]
            kept = [weights[key][place].item() for key in units]
            trace = shard.behavior.get(name)
            train = None if trace is None else trace[shard.header.splits["train"]].astype(np.float64)
            expected = [0.0, 1.0] if train is None else [np.nanmean(train), np.nanstd(train)]
            assert kept == pytest.approx(expected, rel=1e-6)


def test_a_session_without_the_traces_is_fine_tuned_and_leaves_the_shared_maps_as_they_are(run, data_dir, tmp_path):
    checkpoint = str(run[0] / "last.ckpt")
    _, _, losses = trained(data_dir, tmp_path, sessions=[MUTE], pretrained=checkpoint, objective=None)
    before, after = (load_checkpoint(path / "last.ckpt")["state_dict"] for path in (run[0], tmp_path))
    channels = [name for name in before if ".channels." in name]
    assert len(channels) == 3
    assert all(torch.equal(before[name], after[name]) for name in channels)
    assert any(not torch.equal(before[name], after[name]) for name in before if ".encoder." in name)
    assert np.isfinite(losses).all()


def test_a_trace_that_no_session_has_is_refused_before_anything_is_trained(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"behaviors names 'whisker', but .* are pupil, whisker_motion_energy"):
        trained(data_dir, tmp_path, behaviors=["whisker"])


def test_a_saved_model_decodes_as_before(run, data_dir, tmp_path):
    model = neuromtm.load(run[0] / "last.ckpt")
    again = neuromtm.load(model.save(tmp_path / "saved"))
    data = SessionDataModule(root=str(data_dir))
    data.setup()
    group = next(data.groups(HOLED, "test"))
    with torch.no_grad():
        one, other = (decode_traces(m.stitched, group) for m in (model, again))
    assert torch.equal(one, other)
    assert again.record.options["behaviors"] == NAMES


# ---- checkpoints of before


def without_behaviors(checkpoint):
    """As it was written before the option."""
    older = copy.deepcopy(checkpoint)
    del older[KEY]["backbone"]["init_args"]["behaviors"], older[KEY]["objective"]["behavior_weight"]
    for scheme in ("encoding", "decoding"):
        del older["state_dict"][f"model.backbone.prompts.{scheme}"]
    return older


def test_a_checkpoint_of_before_opens_and_predicts_the_same(pretrained, sessions_dir, tmp_path):
    checkpoint = load_checkpoint(pretrained / "checkpoints" / "best.ckpt")
    torch.save(without_behaviors(checkpoint), tmp_path / "older.ckpt")
    models = [neuromtm.load(path) for path in (pretrained / "checkpoints" / "best.ckpt", tmp_path / "older.ckpt")]
    counts = read_shard(sessions_dir / f"{WHOLE}.h5").counts[:4]
    one, other = (model.predict(counts, eid=WHOLE) for model in models)
    assert np.array_equal(one, other)
    record = CheckpointRecord.from_checkpoint(without_behaviors(checkpoint), name="older")
    record.require_backbone(models[0].stitched.backbone, name="older")
    reads: Backbone = NDT1(**{**models[0].stitched.backbone.options, "behaviors": NAMES})
    with pytest.raises(CheckpointError, match="behaviors"):
        record.require_backbone(reads, name="older")
