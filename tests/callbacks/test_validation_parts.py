"""A validation does a part of what a test does, and always the same part."""

import warnings
from itertools import pairwise
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
from matplotlib.figure import Figure

from neuromtm.callbacks import behavior, plots
from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.callbacks.behavior import BehaviorReadout
from neuromtm.callbacks.plots import TaskPlots, is_drawn
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.evaluation.scores import pooled
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS
from tests.trainers import quiet_trainer


class Scored(lightning.Callback):
    """Keeps which neurons each validation scored."""

    def __init__(self, activity):
        self.activity, self.scored = activity, []

    def on_validation_epoch_end(self, trainer, pl_module):
        tables = self.activity.scores
        tasks = ("co_smoothing", "intra_region", "inter_region", "forward_prediction")
        self.scored.append({task: np.flatnonzero(~np.isnan(pooled(tables, f"{task}_bps"))).tolist() for task in tasks})


@pytest.fixture(scope="module")
def fit(sessions_dir, tmp_path_factory):
    """What three validations did: (scored neurons of each, decoded sessions and numbers of trials, drawn sessions, what
    was read of behaviour)."""
    decoded, drawn, read = [], [], []
    labels_of = behavior.labels_of

    def watched(eid, labels, candidates):
        (rates,) = candidates
        decoded.append((eid, [len(part) for part in rates.values]))
        return []

    data = SessionDataModule(root=str(sessions_dir))
    activity = ActivityTasks(n_val_neurons=2, n_val_regions=1)
    scored = Scored(activity)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(behavior, "decode", watched)
        patched.setattr(behavior, "labels_of", lambda *given: read.append(given[0].name) or labels_of(*given))
        patched.setattr(plots, "N_VAL_NEURONS", 5)
        patched.setattr(plots, "show_plot", lambda trainer, tag, plot: drawn.append((tag, plot.get_suptitle())))
        trainer = quiet_trainer(
            tmp_path_factory.mktemp("parts"),
            max_epochs=3,
            callbacks=[
                activity,
                BehaviorReadout(n_val_sessions=2, n_val_trials=9),
                TaskPlots(n_val_sessions=2),
                scored,
            ],
        )
        with warnings.catch_warnings():  # e.g. of metrics that are computed though nothing was added to them
            warnings.filterwarnings("error", module="torchmetrics")
            trainer.fit(MaskedModeling(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=64)), data)
    return data, scored.scored, decoded, drawn, read


def test_some_neurons_are_left_out_and_one_region_is_hidden_in_each_session_the_same_every_time(fit):
    data, scored, *_ = fit
    assert scored[0] == scored[1] == scored[2]
    regions = [(eid, region) for eid, session in data.sessions.items() for region in session.regions]
    asked = {eid: [n for n in scored[0]["co_smoothing"] if regions[n][0] == eid] for eid in EIDS}
    assert {len(neurons) for neurons in asked.values()} <= {1, 2}  # one may be silent in the few trials
    for eid, neurons in asked.items():
        first = next(i for i, (of, _) in enumerate(regions) if of == eid)
        rates_hz = data.headers[eid].neurons.firing_rate_hz
        assert min(rates_hz[n - first] for n in neurons) >= np.median(rates_hz)
    assert set(scored[0]["intra_region"]) <= set(scored[0]["co_smoothing"])
    hidden = {regions[n] for n in scored[0]["inter_region"]}
    assert len(hidden) == len({eid for eid, _ in hidden}) == len(EIDS)
    assert len(scored[0]["forward_prediction"]) > len(scored[0]["co_smoothing"])


def test_read_outs_are_fitted_in_the_first_sessions_to_some_training_trials_evenly_spread(fit):
    data, _, decoded, *_ = fit
    n_val = len(data.trials("val")[EIDS[0]])
    assert decoded == [(eid, [9, n_val, n_val]) for eid in EIDS[:2]] * 3
    some, all_trials = (data.some_trials(EIDS[0], "train", most) for most in (9, None))
    assert (some[0], some[-1]) == (all_trials[0], all_trials[-1])
    assert np.isin(some, all_trials).all()
    assert (np.diff(some) > 0).all()
    assert np.array_equal(data.some_trials(EIDS[0], "train", 1000), all_trials)


def test_what_the_animal_did_is_read_once_a_run(fit):
    *_, read = fit
    assert read == ["choice", "whisker_motion_energy"] * 2


def test_each_validation_draws_the_next_session_with_some_of_its_neurons(fit):
    data, _, _, drawn, _ = fit
    assert [tag for tag, _ in drawn] == [f"val/{EIDS[i]}" for i in (0, 1, 0)]
    assert all(f"5 neurons, of {data.sessions[tag[4:]].n_neurons}, trial" in title for tag, title in drawn)


def test_a_long_training_draws_more_and_more_rarely():
    assert [n for n in range(33) if is_drawn(n, 4)] == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    for most in (2, 5, 32):
        n_drawn = [sum(is_drawn(n, most) for n in range(most * 2**doublings)) for doublings in range(8)]
        assert n_drawn[0] == most
        assert all(later - one <= most / 2 + 1 for one, later in pairwise(n_drawn))


def test_a_training_that_goes_on_counts_the_validations_before(monkeypatch):
    drawn = []
    trainer = SimpleNamespace(sanity_checking=False, is_global_zero=True, datamodule=None)
    monkeypatch.setattr(plots, "_with_trials", lambda trainer, split: ["a", "b"])
    monkeypatch.setattr(plots, "show_plot", lambda trainer, tag, plot: drawn.append(tag))
    monkeypatch.setattr(TaskPlots, "_draw", lambda *_, **__: Figure())
    once, before, after = (TaskPlots(n_val_plots=2) for _ in range(3))
    for _ in range(9):
        once.on_validation_epoch_end(trainer, None)
    assert drawn == ["val/a", "val/b", "val/a", "val/b", "val/a"]  # those of number 0, 1, 2, 4 and 8
    for callback, times in ((before, 3), (after, 6)):
        callback.setup(trainer, None, "fit")
        if callback is after:
            callback.load_state_dict(before.state_dict())
        for _ in range(times):
            callback.on_validation_epoch_end(trainer, None)
    assert drawn[5:] == drawn[:5]
    assert after.state_dict() == once.state_dict()
