"""The baselines as a user has them: no leak, the neurons and files of a test, what they are worth, bad input."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.baselines import own_past, views
from neuromtm.baselines.choice import KINDS, fit_baseline
from neuromtm.baselines.kind import Baseline, SessionCounts
from neuromtm.batch import SessionInfo
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import write_shard
from neuromtm.evaluation.tasks import TASKS
from neuromtm.metrics.absent import Absent
from tests.data.small_shards import Session, make_shard, without_trials, write_folder
from tests.running import neuromtm, refusal

REGIONS = ("CA1", "LP", "CA1", "root", "LP", "CA1", "VISp", "CA1")
REGION_TASKS = ("intra_region", "inter_region")


def counts_of(trials, *, bins=10, neurons=8, seed=0):
    """(trial, bin, neuron) float32 counts that share two slow latents."""
    generator = np.random.default_rng(seed)
    latents = np.cumsum(generator.normal(scale=0.4, size=(trials, bins, 2)), axis=1)
    gains = latents @ np.random.default_rng(99).normal(scale=0.6, size=(2, neurons))
    return generator.poisson(np.exp(np.minimum(gains, 2) - 0.3)).astype(np.float32)


def session(regions=REGIONS, *, train=None, val=None):
    n = len(regions)
    info = SessionInfo("a", tuple(map(str, range(n))), regions)
    train = counts_of(60, neurons=n) if train is None else train
    return SessionCounts(info, train, counts_of(20, neurons=n, seed=1) if val is None else val, 0.02)


@pytest.fixture(scope="module")
def fitted():
    """Kind -> its predictors, all of one session."""
    return {kind: fit_baseline(kind, session()) for kind in KINDS}


def predicted(predictor, counts):
    """Place of a neuron -> (trial, bin') log-rates; each neuron is in one problem only."""
    found = {}
    for held_out in predictor.predict(counts):
        for column, neuron in enumerate(held_out.neurons.tolist()):
            assert neuron not in found
            found[neuron] = held_out.log_rates[..., column].numpy()
    return found


def hidden_with(task, neuron):
    """(neuron,) bool, all that the task hides while it asks for a neuron."""
    region = np.array(REGIONS)
    alone = np.arange(len(REGIONS)) == neuron
    match task:
        case "co_smoothing":
            return alone
        case "intra_region":
            return alone | (region != region[neuron])
        case "inter_region":
            return region == region[neuron]


# ---- what is hidden stays hidden ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["co_smoothing", *REGION_TASKS])
def test_a_prediction_does_not_depend_on_what_the_task_hides(fitted, kind, task):
    predictor = fitted[kind][task]
    if kind == "smoothed":
        assert isinstance(predictor, Absent)
        return
    counts = counts_of(6, seed=2)
    before = predicted(predictor, counts)
    scored = {"co_smoothing": range(8), "intra_region": (0, 1, 2, 4, 5, 7), "inter_region": (0, 1, 2, 4, 5, 6, 7)}
    assert sorted(before) == list(scored[task])
    for neuron, rates in before.items():
        changed = counts.copy()
        changed[..., hidden_with(task, neuron)] += 7
        np.testing.assert_array_equal(predicted(predictor, changed)[neuron], rates)


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_is_predicted_from_the_past_only(fitted, kind):
    predictor, counts = fitted[kind]["forward_prediction"], counts_of(6, seed=2)
    changed = counts.copy()
    changed[:, -1:] += 7  # a tenth of 10 bins
    before, after = predicted(predictor, counts), predicted(predictor, changed)
    assert before[0].shape == (6, 1)
    np.testing.assert_array_equal(list(after.values()), list(before.values()))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "psth"])
def test_a_prediction_depends_on_what_the_task_shows(fitted, kind):
    counts = counts_of(6, seed=2)
    for task, predictor in fitted[kind].items():
        if isinstance(predictor, Absent):
            continue
        for neuron, rates in predicted(predictor, counts).items():
            changed = counts.copy()
            if task == "forward_prediction":
                changed[:, 7:9] += 3
            else:
                changed[..., ~hidden_with(task, neuron)] += 3
            assert not np.array_equal(predicted(predictor, changed)[neuron], rates), (task, neuron)


def test_own_past_by_hand():
    average = fit_baseline("psth", session())["co_smoothing"].average
    view = views.ahead(10, n_hidden=1, width_s=0.04, bin_size_s=0.02)
    problem = views.Problem(np.arange(8), np.arange(8), left_out=False)
    own = own_past.FromOwnPast(
        problems=[problem], bins=slice(9, None), average=average, floor=0.0, setting={}, view=view, prior_spikes=2.0
    )
    counts = counts_of(3, seed=2)
    forgotten = np.exp(-np.arange(8, -1, -1) / 2)[:, None]  # 1 for the last bin seen
    gain = (2 + (forgotten * counts[:, :9]).sum(axis=1)) / (2 + (forgotten * average.rates[:9]).sum(axis=0))
    np.testing.assert_allclose(own.unbounded(0, counts)[:, 0], average.rates[9] * gain, rtol=1e-5)


def test_rates_stay_where_a_rate_can_be(fitted):
    loud = counts_of(6, seed=2) + 200
    for kind in KINDS:
        for predictor in fitted[kind].values():
            if isinstance(predictor, Absent):
                continue
            for neuron, log_rates in predicted(predictor, loud).items():
                low, high = predictor.floor * predictor.average.mean[neuron], predictor.average.largest[neuron]
                assert (np.log(low) - 1e-5 <= log_rates).all()
                assert (log_rates <= np.log(high) + 1e-5).all()


# ---- what it is worth, and its files ----


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A folder of one held-out session, and the mean figures of what is scored on it."""
    folder = tmp_path_factory.mktemp("simulated")
    size = ("--n-sessions", "2", "--n-heldout", "1", "--n-neurons", "30", "--n-trials", "120", "--window-s", "0", "0.8")
    assert data_prep(["simulate", "--out", str(folder / "data"), *size]) == 0
    neuromtm("ceiling", "--data", folder / "data", "--out", folder / "ceiling")
    for kind in KINDS:
        neuromtm("baseline", "--data", folder / "data", "--kind", kind, "--out", folder / kind)
    return folder


def medians(folder):
    """Column -> its median over neurons that fire enough for a figure each, of every task that has one."""
    rows = [row for row in csv.DictReader((folder / "neurons.csv").open()) if float(row["firing_rate_hz"]) > 1.5]
    assert len(rows) > 10
    columns = [name for name in rows[0] if name.endswith("_bps") and any(row[name] for row in rows)]
    return {name: np.median([float(row[name]) for row in rows if row[name]]) for name in columns}


@pytest.mark.parametrize("kind", ["ridge", "glm", "rrr", "factor_analysis"])
def test_other_neurons_tell_more_than_the_psth_and_less_than_the_truth(simulated, kind):
    psth, ceiling, found = (medians(simulated / name) for name in ("psth", "ceiling", kind))
    for task in ("co_smoothing_bps", "intra_region_bps", "inter_region_bps"):
        assert psth[task] + 0.03 < found[task] < ceiling[task], task
    assert list(medians(simulated / "smoothed")) == ["forward_prediction_bps"]


def test_a_baseline_stands_in_a_comparison_and_has_a_page(simulated, capsys):
    runs = [f"{name}={simulated / name}" for name in ("psth", "ridge", "smoothed", "ceiling")]
    neuromtm("compare", *runs, "--ceiling", "ceiling", "--out_dir", simulated / "compared")
    assert "Minus psth" in capsys.readouterr().out
    for kind in ("ridge", "smoothed"):
        neuromtm("report", simulated / kind, "--ceiling", simulated / "ceiling")
        assert (simulated / kind / "report.html").stat().st_size > 1000


def test_a_baseline_says_what_was_chosen_and_what_has_no_figure(simulated, tmp_path, capsys):
    neuromtm("baseline", "--data", simulated / "data", "--kind", "smoothed", "--out", tmp_path)
    printed = capsys.readouterr().out
    assert "sim-0-01 co_smoothing: no metric, because a neuron's own past is hidden with it." in printed
    record = json.loads((tmp_path / "baseline.json").read_text())
    assert record["kind"] == "smoothed"
    assert list(record["chosen"]["sim-0-01"]) == ["forward_prediction"]
    assert "prior_spikes" in record["chosen"]["sim-0-01"]["forward_prediction"]
    rows = list(csv.DictReader((tmp_path / "neurons.csv").open()))
    assert all(row["co_smoothing_bps"] == "" and float(row["firing_rate_hz"]) >= 0 for row in rows)


def test_the_neurons_are_those_of_a_test_with_the_same_filter(tmp_path):
    written = write_folder(tmp_path, Session("one", n_trials=40, regions=REGIONS, role="heldout"))["one"]
    regions = ("CA1", "LP", "root")
    rates_hz = written.counts[written.header.splits["train"]].mean((0, 1)) / 0.02
    lowest_hz = float(np.median(rates_hz))
    fits = (rates_hz >= lowest_hz) & np.isin(REGIONS, regions)
    assert 0 < fits.sum() < np.isin(REGIONS, regions).sum()
    options = ("--min_firing_rate_hz", lowest_hz, "--regions", *regions)
    neuromtm("baseline", "--data", tmp_path, "--kind", "psth", "--out", tmp_path / "psth", *options)
    data = SessionDataModule(root=str(tmp_path), role="heldout", min_firing_rate_hz=lowest_hz, regions=[*regions])
    data.setup()
    rows = list(csv.DictReader((tmp_path / "psth" / "neurons.csv").open()))
    assert [row["uuid"] for row in rows] == list(data.sessions["one"].neurons)
    assert [row["uuid"] for row in rows] == written.header.neurons.uuid[fits].tolist()


def test_a_baseline_of_fewer_training_trials_knows_these_only(tmp_path):
    """The others may be anything: what they hold changes nothing."""
    shard = make_shard(Session("one", n_trials=40, regions=REGIONS))
    counts, train = shard.counts.copy(), np.sort(shard.header.splits["train"])
    counts[np.delete(train, np.linspace(0, len(train) - 1, 9).round().astype(int))] = 7
    for name, written in (("as_it_is", shard), ("changed", replace(shard, counts=counts))):
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name / "one.h5", written)
        add_shard(tmp_path / name / "one.h5", "heldout")
        command = ("baseline", "--data", tmp_path / name, "--kind", "psth", "--out", tmp_path / name / "run")
        neuromtm(*command, "--n_train_trials", 9)
    few, same = ((tmp_path / name / "run" / "neurons.csv").read_text() for name in ("as_it_is", "changed"))
    assert few == same
    assert json.loads((tmp_path / "changed" / "run" / "baseline.json").read_text())["n_train_trials"] == 9
    neuromtm(*command[:-1], tmp_path / "all")
    assert (tmp_path / "all" / "neurons.csv").read_text() != few


def test_a_baseline_of_more_training_trials_than_a_session_has_is_refused(tmp_path, capsys):
    write_folder(tmp_path, Session("one", n_trials=40, regions=REGIONS, role="heldout"))
    command = ("baseline", "--data", tmp_path, "--kind", "psth", "--out", tmp_path / "run", "--n_train_trials", 100000)
    assert "n_train_trials is 100000, but the session one has only " in refusal(capsys, *command)
    assert not (tmp_path / "run").exists()


def test_a_new_kind_is_one_line_of_the_registry(tmp_path, monkeypatch):
    write_folder(tmp_path, Session("one", n_trials=40, regions=REGIONS, role="heldout"))
    monkeypatch.setitem(KINDS, "mine", Baseline("other neurons", lambda plain, session: dict(plain)))
    for kind in ("mine", "psth"):
        neuromtm("baseline", "--data", tmp_path, "--kind", kind, "--out", tmp_path / kind)
    assert (tmp_path / "mine" / "neurons.csv").read_text() == (tmp_path / "psth" / "neurons.csv").read_text()
    assert json.loads((tmp_path / "mine" / "baseline.json").read_text())["kind"] == "mine"


# ---- bad input ----


def test_sessions_without_trials_of_a_split_are_refused(tmp_path, capsys):
    shard = without_trials(make_shard(Session("one")), "val")
    write_shard(tmp_path / "one.h5", shard)
    add_shard(tmp_path / "one.h5", "heldout")
    message = refusal(capsys, "baseline", "--data", tmp_path, "--kind", "ridge", "--out", tmp_path / "ridge")
    assert "one: has no trials in the split val" in message
    assert not (tmp_path / "ridge").exists()


def test_a_baseline_of_one_animal_scores_its_sessions_only(tmp_path):
    write_folder(tmp_path, Session("one", n_trials=40, role="heldout"), Session("two", n_trials=40, role="heldout"))
    run_dir = tmp_path / "run"
    neuromtm("baseline", "--data", tmp_path, "--kind", "psth", "--subjects", "mouse two", "--out", run_dir)
    assert list(json.loads((run_dir / "metrics.json").read_text())["sessions"]) == ["two"]


def test_what_a_test_refuses_is_refused(tmp_path, capsys):
    write_folder(tmp_path, Session("one", role="heldout"))
    command = ("baseline", "--data", tmp_path, "--kind", "psth", "--out", tmp_path / "out")
    assert "no session 'two'" in refusal(capsys, *command, "--sessions", "two")
    assert "no subject 'mouse two'" in refusal(capsys, *command, "--subjects", "mouse two")
    assert "no session of the role 'pretrain'" in refusal(capsys, *command, "--role", "pretrain")
    assert "less than 0" in refusal(capsys, *command, "--min_firing_rate_hz", "-1")
    assert "data.regions names 'CA3'" in refusal(capsys, *command, "--regions", "CA3")
    assert "no neuron is left" in refusal(capsys, *command, "--regions", "VISp", "--min_firing_rate_hz", "inf")
    assert "no such folder" in refusal(capsys, *command, "--data", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("regions", [("CA1",), ("CA1", "CA1"), ("root", "CA1"), ("root", "void")])
def test_sessions_of_few_neurons_or_regions_lack_tasks_and_say_why(kind, regions):
    found = fit_baseline(kind, session(regions))
    counts = counts_of(6, neurons=len(regions), seed=2)
    for task in TASKS:
        if isinstance(found[task], Absent):
            assert found[task].reason
        else:
            assert all(np.isfinite(rates).all() for rates in predicted(found[task], counts).values())
    if kind not in ("psth", "smoothed"):
        assert isinstance(found["co_smoothing"], Absent) == (len(regions) == 1)
    if kind != "smoothed":
        assert isinstance(found["intra_region"], Absent) == (regions.count("CA1") < 2)
        assert isinstance(found["inter_region"], Absent) == (regions != ("root", "CA1"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_neuron_that_is_silent_in_training_has_a_rate(kind):
    silent = counts_of(60)
    silent[..., [1, 4]] = 0
    found = fit_baseline(kind, session(train=silent))
    for predictor in found.values():
        if not isinstance(predictor, Absent):
            assert all(np.isfinite(rates).all() for rates in predicted(predictor, counts_of(6, seed=2)).values())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_silence_and_one_trial_still_fit(kind):
    for train in (np.zeros((60, 10, 8), np.float32), counts_of(1)):
        for predictor in fit_baseline(kind, session(train=train)).values():
            if not isinstance(predictor, Absent):
                assert all(np.isfinite(rates).all() for rates in predicted(predictor, counts_of(6, seed=2)).values())


def test_trials_of_one_bin_have_no_past():
    found = fit_baseline("ridge", session(train=counts_of(60, bins=1), val=counts_of(20, bins=1)))
    assert found["forward_prediction"] == Absent("a trial of one bin has no past")
    assert not isinstance(found["co_smoothing"], Absent)
