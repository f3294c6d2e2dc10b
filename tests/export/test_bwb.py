"""The scorer of BrainWideBench takes our exports, and its scores are ours; it does not see five mistakes, we do."""

import importlib
import json
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score

from data_prep.__main__ import main as data_prep
from neuromtm.errors import ConfigError, DataError
from neuromtm.export.bwb_files import Expected, PredictedActivity, Submission, require_activity, require_log_rates
from neuromtm.export.bwb_regions import export_regions
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import BitsPerSpike, DevianceExplained, pooled_bits_per_spike
from neuromtm.training.trained import Trained
from tests.export.bwb_sessions import COSMOS, N_UNITS, BenchSession
from tests.models.small_models import make_model
from tests.running import SHORT, TINY, neuromtm, refusal

SESSIONS = (BenchSession("aaaa-1", 1), BenchSession("cccc-3", 3))
PRETRAINING = BenchSession("bbbb-2", 2, for_evaluation=False)
LABEL, SEED = "tiny", 43


@pytest.fixture(scope="module")
def scorer():
    """`scorer("ts1")`: the benchmark's scoring of a suite."""
    folder = Path(sys.prefix) / "scorers"
    if not (folder / "ibl_bwb_eval").is_dir():
        pytest.skip("needs the scorer ibl-bwb-eval in the folder `scorers` of the environment: make environment")
    sys.path.append(str(folder))
    yield lambda suite: importlib.import_module(f"ibl_bwb_eval.scoring.{suite}")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Folder with `files` and `truth`; not to be changed."""
    folder = tmp_path_factory.mktemp("bench")
    for session in (*SESSIONS, PRETRAINING):
        session.write(folder / "files")
    for session in SESSIONS:
        session.write_truth(folder / "truth")
    return folder


@pytest.fixture(scope="module")
def exported(root, bench, tmp_path_factory):
    """`exported(task, recipe, *options)`: prepare, train, export; the folders of the data, the run and the files."""

    @cache
    def export(task: str, recipe: str, *options: object) -> tuple[Path, Path, Path]:
        folder = tmp_path_factory.mktemp(task)
        data, run, out = folder / "data", folder / "run", folder / "out"
        assert data_prep(["bwb", str(bench / "files"), "--task", task, "--out", str(data)]) == 0
        fit = ("fit", "--config", root / "conf" / "bwb" / recipe, *TINY, "--model.backbone.max_bins=64", *SHORT)
        neuromtm(*fit, "--data.root", data, "--run_dir", run, f"--seed_everything={SEED}", *options)
        neuromtm("export", "bwb", run, "--out", out, "--label", LABEL, "--truth", folder / "truth")
        return data, run, out

    return export


@pytest.fixture(scope="module")
def activity(exported):
    return exported("co_smoothing", "activity.yaml", "--data.role=heldout")


def written(out: Path, task: str, eid: str) -> Path:
    return out / LABEL / task / eid / f"seed_{SEED}.safetensors"


def require_same_truth(out: Path, bench: Path, task: str) -> None:
    """What we write for the scorer is what the definitions of the benchmark give."""
    for session in SESSIONS:
        ours, theirs = (
            load_file(folder / "truth" / task / session.eid / "ground_truth.safetensors")
            for folder in (out.parent, bench)
        )
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            own = ours[name] if "mask" not in ours or name != "values" else ours[name] * ours["mask"][..., None]
            expected = values if "mask" not in ours or name != "values" else values * ours["mask"][..., None]
            assert torch.equal(own, expected.to(own.dtype)), name


def metadata(path: Path) -> dict[str, str]:
    with safe_open(str(path), framework="pt") as file:
        return file.metadata()


@pytest.mark.parametrize("task", ["ts2-co_smoothing", "ts2-forecasting"])
def test_the_scores_of_activity_are_ours(activity, bench, scorer, task):
    data, _, out = activity
    require_same_truth(out, bench, task)
    raw = scorer("ts2").score_dir(out, bench / "truth")
    for session in SESSIONS:
        path = written(out, task, session.eid)
        found = load_file(path)
        with h5py.File(data / f"{session.eid}.h5") as file:
            counts = torch.from_numpy(file["spikes/counts"][()][file["splits/test"][()]])
            heldout = torch.from_numpy(file["neurons/heldout"][()])
        counts = counts[..., heldout] if task == "ts2-co_smoothing" else counts[:, -5:]
        assert found["predictions"].shape == counts.shape
        bits, deviance = (metric(counts.shape[2]) for metric in (BitsPerSpike, DevianceExplained))
        for metric in (bits, deviance):
            metric.update(found["predictions"], counts)
        theirs = raw[LABEL, task, session.eid, SEED]
        assert theirs["bps"] == pytest.approx(
            float(pooled_bits_per_spike(bits.model_nll, bits.spikes, bits.entries)), abs=1e-6
        )
        assert theirs["poisson_d2"] == pytest.approx(float(deviance.compute().mean()), abs=1e-6)
        assert abs(theirs["bps"]) < 1
        assert metadata(path) == {
            "label": LABEL,
            "task": task,
            "seed": str(SEED),
            "recording_id": session.eid,
            "unit_filtering": "selected_units",
            "dataset_version": "0.1.0",
            "ibl_bwb_eval_version": "0.1.0",
            "context_window": "1.0",
            "bin_size": "0.02",
        }


def test_every_window_and_unit_is_there_as_the_benchmark_names_them(activity, scorer):
    decode = importlib.import_module("ibl_bwb_eval.entity_ids").decode_entity_ids
    for session in SESSIONS:
        for task, units in (("co_smoothing", session.heldout), ("forecasting", np.full(N_UNITS, True))):
            found = load_file(written(activity[2], f"ts2-{task}", session.eid))
            assert found["window_timestamps"].dtype == torch.float64
            assert found["window_timestamps"].tolist() == session.test_windows()
            assert decode(found["unit_ids"]).tolist() == [f"{session.eid}/{uuid}" for uuid in session.uuid[units]]


def test_held_out_units_are_predicted_from_the_others_alone(activity, tmp_path):
    """Their own counts may be anything: the predictions stay the same. Those of others matter."""
    data, run, out = activity
    eid, changed = SESSIONS[0].eid, tmp_path / "data"
    changed.mkdir()
    for path in data.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    before = load_file(written(out, "ts2-co_smoothing", eid))["predictions"]
    for units, same in ((SESSIONS[0].heldout, True), (~SESSIONS[0].heldout, False)):
        with h5py.File(changed / f"{eid}.h5", "r+") as file:
            counts = file["spikes/counts"][()]
            counts[..., units] += 1
            file["spikes/counts"][...] = counts
        again = elsewhere(run, data, changed, tmp_path / f"run-{same}")
        where = tmp_path / f"out-{same}"
        neuromtm("export", "bwb", again, "--out", where, "--label", LABEL, "--tasks", "co_smoothing")
        after = load_file(written(where, "ts2-co_smoothing", eid))["predictions"]
        assert torch.equal(before, after) is same


# ---- what the scorer does not notice


def expected() -> Expected:
    return Expected(np.array([0.1, 0.12, 0.14]), ["a", "b"], np.array([0.005, 0.02]), 50)


def good() -> PredictedActivity:
    log_rates = torch.log(torch.tensor([0.005, 0.02])).expand(3, 50, 2).clone()
    return PredictedActivity(log_rates, torch.tensor([0.1, 0.12, 0.14], dtype=torch.float64), ["a", "b"])


def infinite(found: PredictedActivity) -> PredictedActivity:
    found.log_rates[1, 2, 0] = -torch.inf
    return found


MISTAKES = {
    "order": (lambda f: f._replace(unit_ids=["b", "a"]), "units are in another order"),
    "units": (lambda f: f._replace(unit_ids=["a", "c"]), "units are not those"),
    "half": (
        lambda f: f._replace(log_rates=f.log_rates[::2], window_timestamps=f.window_timestamps[::2]),
        "1 of the 3 test windows are missing",
    ),
    "twice": (lambda f: f._replace(window_timestamps=f.window_timestamps[[0, 1, 2, 2]]), "there twice"),
    "rates": (lambda f: f._replace(log_rates=f.log_rates.exp()), "as if they were rates"),
    "per second": (lambda f: f._replace(log_rates=f.log_rates + np.log(50)), "not the log of the expected number"),
    "infinite": (infinite, "1 predictions are not finite"),
    "single": (lambda f: f._replace(window_timestamps=f.window_timestamps.float()), "float32, which rounds them"),
    "rounded": (lambda f: f._replace(window_timestamps=f.window_timestamps.float().double()), "are missing"),
    "bins": (lambda f: f._replace(log_rates=f.log_rates[:, :5]), r"of the shape \(3, 5, 2\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_the_scorer_would_take_is_refused(mistake):
    require_activity(good(), expected(), name="here")
    make, sentence = MISTAKES[mistake]
    with pytest.raises(DataError, match=f"here: .*{sentence}"):
        require_activity(make(good()), expected(), name="here")


def test_log_rates_of_fast_neurons_are_no_rates():
    """Above 50 Hz a log rate per bin of 20 ms is positive."""
    require_log_rates(torch.full((2, 50, 1), 0.5), np.array([1.6]), name="here")


@pytest.mark.parametrize("mistake", ["order", "half", "rates", "infinite", "single"])
def test_the_scorer_takes_each_mistake(activity, bench, scorer, tmp_path, mistake):
    """If it did not, our checks would be needless: each file below gets a score, and another one than the good file."""
    session, task = SESSIONS[0], "ts2-co_smoothing"
    path = written(activity[2], task, session.eid)
    tensors, about = load_file(path), metadata(path)
    if mistake == "order":
        tensors["predictions"] = tensors["predictions"].flip(-1).contiguous()
    elif mistake == "half":
        tensors = {k: v[::2].clone() if len(v) > 10 else v for k, v in tensors.items()}
    elif mistake == "rates":
        tensors["predictions"] = tensors["predictions"].exp()
    elif mistake == "infinite":
        tensors["predictions"][0, 0, 0] = torch.inf
    else:
        tensors["window_timestamps"] = tensors["window_timestamps"].float()
        if not np.isin(tensors["window_timestamps"].numpy(), session.test_windows()).any():
            tensors["window_timestamps"][0] = 128.0
    wrong = tmp_path / "wrong.safetensors"
    save_file(tensors, wrong, metadata=about)
    truth = bench / "truth" / task / session.eid / "ground_truth.safetensors"
    if mistake == "single":  # few or no starts are equal after rounding
        with pytest.raises(ValueError, match="No overlapping windows"):
            scorer("ts2").score_file(wrong, truth)
        return
    scores = [scorer("ts2").score_file(file, truth)["poisson_d2"] for file in (wrong, path)]
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [("neurons", "their order, are not those of the benchmark's file"), ("windows", "test windows are missing")],
)
def test_a_shard_that_is_not_the_benchmark_s_any_more_is_refused(activity, tmp_path, capsys, how, sentence):
    data, run, _ = activity
    changed, eid = tmp_path / "data", SESSIONS[0].eid
    changed.mkdir()
    for path in data.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    with h5py.File(changed / f"{eid}.h5", "r+") as file:
        if how == "neurons":
            file["neurons/uuid"][...] = file["neurons/uuid"][()][::-1]
        else:
            test = file["splits/test"][()]
            del file["splits/test"]
            file["splits/test"] = test[::2]
    copy = elsewhere(run, data, changed, tmp_path / "run")
    command = ("export", "bwb", copy, "--out", tmp_path / "out", "--label", LABEL)
    assert sentence in refusal(capsys, *command)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


# ---- behaviour


@pytest.mark.parametrize(
    ("task", "recipe", "ours", "theirs"),
    [
        ("choice", "choice.yaml", "choice_balanced_accuracy", "bacc"),
        ("whisker_motion_energy", "whisker.yaml", "whisker_r2", "r2"),
        ("left_paw_speed", "left_paw.yaml", "left_paw_speed_r2", "r2"),
        ("right_paw_speed", "right_paw.yaml", "right_paw_speed_r2", "r2"),
        ("wheel_speed", "wheel.yaml", "wheel_speed_r2", "r2"),
        ("reward", "reward.yaml", "reward_balanced_accuracy", "bacc"),
    ],
)
def test_the_scores_of_behaviour_are_those_of_our_test(exported, bench, scorer, task, recipe, ours, theirs):
    _, run, out = exported(task, recipe, "--data.role=heldout", "--model.lr=0.01", "--trainer.max_epochs=4")
    neuromtm("test", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "best.ckpt")
    metrics = json.loads((run / "metrics.json").read_text())["sessions"]
    require_same_truth(out, bench, f"ts1-{task}")
    raw = scorer("ts1").score_dir(out, bench / "truth")
    for session in SESSIONS:
        assert raw[LABEL, f"ts1-{task}", session.eid, SEED][theirs] == pytest.approx(
            metrics[session.eid][ours], abs=1e-6
        )
        path = written(out, f"ts1-{task}", session.eid)
        assert load_file(path)["trial_id"].tolist() == [session.trial_index[t] for t in session.test_trials()]
        assert metadata(path)["task"] == f"ts1-{task}"


def test_logits_of_the_contrast_are_in_the_benchmark_s_order(exported, bench, scorer):
    _, _, out = exported("stimulus_contrast", "contrast.yaml", "--data.role=heldout", "--model.lr=0.01")
    require_same_truth(out, bench, "ts1-stimulus_contrast")
    raw = scorer("ts1").score_dir(out, bench / "truth")
    for session in SESSIONS:
        found = load_file(written(out, "ts1-stimulus_contrast", session.eid))["predictions"]
        assert found.shape[1:] == (1, 5)
        predicted, true = found[:, 0].argmax(dim=1).numpy(), session.contrast[session.test_trials()]
        recalls = [np.mean(predicted[true == one] == one) if (true == one).any() else 0.0 for one in np.unique(true)]
        theirs = raw[LABEL, "ts1-stimulus_contrast", session.eid, SEED]["bacc"]
        assert theirs == pytest.approx(np.mean(recalls), abs=1e-6)


def test_licks_are_log_rates(exported, bench, scorer):
    _, _, out = exported("licking_rate", "licking.yaml", "--data.role=heldout", "--model.lr=0.01")
    raw = scorer("ts1").score_dir(out, bench / "truth")
    for session in SESSIONS:
        found = load_file(written(out, "ts1-licking_rate", session.eid))["predictions"]
        begin = session.feedback[session.test_trials()]
        licks = torch.tensor(np.stack([session.samples(session.licks / 50, start) for start in begin]))[..., None]
        metric = DevianceExplained(1)
        metric.update(found, licks)
        theirs = raw[LABEL, "ts1-licking_rate", session.eid, SEED]["poisson_d2"]
        assert theirs == pytest.approx(float(metric.compute()), abs=1e-6)
        as_rates = DevianceExplained(1)
        as_rates.update(found.exp(), licks)
        assert theirs > float(as_rates.compute()) + 1  # the scorer would have taken rates, too


CHOICE = ("choice", "choice.yaml", "--data.role=heldout", "--model.lr=0.01", "--trainer.max_epochs=4")


def elsewhere(run: Path, data: Path, there: Path, folder: Path) -> Path:
    """A copy of a run whose data lie in another folder."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    (folder / "config.yaml").write_text((run / "config.yaml").read_text().replace(str(data), str(there)))
    return folder


def test_a_decoder_of_windows_of_another_task_is_refused(exported, activity, tmp_path, capsys):
    data, run, _ = exported(*CHOICE)
    copy = elsewhere(run, data, activity[0], tmp_path / "run")
    line = refusal(capsys, "export", "bwb", copy, "--out", tmp_path / "out", "--label", "a")
    assert "was prepared for co_smoothing, but the decoder is one of choice" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [((), "was not prepared for co_smoothing"), (("--tasks", "forecasting"), "was not prepared for forecasting")],
)
def test_a_masked_model_of_windows_of_behaviour_is_refused(exported, activity, tmp_path, capsys, more, sentence):
    data, run, _ = activity
    copy = elsewhere(run, data, exported(*CHOICE)[0], tmp_path / "run")
    assert sentence in refusal(capsys, "export", "bwb", copy, "--out", tmp_path / "out", "--label", "a", *more)
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_be_are_refused(exported, activity, tmp_path, capsys):
    command = ("export", "bwb", activity[1], "--out", tmp_path / "out", "--label")
    assert "without a slash" in refusal(capsys, *command, "a/b")
    assert "knows 0 sessions for pretraining" in refusal(capsys, *command, "a", "--tasks", "unit_cosmos")
    choice = ("export", "bwb", exported(*CHOICE)[1], "--out", tmp_path / "out", "--label", "a")
    assert "decodes choice" in refusal(capsys, *choice, "--tasks", "forecasting")


# ---- regions


@pytest.mark.parametrize("model", [(), ("--config", "conf/model/ndt2_tiny.yaml", "--model.backbone.max_bins=64")])
def test_the_scores_of_regions_are_ours(exported, scorer, root, monkeypatch, model):
    monkeypatch.chdir(root)
    _, _, out = exported("unit_cosmos", "region.yaml", "--model.lr=0.01", "--trainer.max_epochs=3", *model)
    path = out / LABEL / "ts3-unit_cosmos" / f"seed_{SEED}.safetensors"
    found = load_file(path)
    regions = np.concatenate([session.region for session in SESSIONS])
    truth = out.parent / "truth" / "ts3-unit_cosmos" / "ground_truth.safetensors"
    assert load_file(truth)["targets"].tolist() == [COSMOS.index(region) for region in regions]
    assert metadata(truth) == {"label_names": ",".join(COSMOS)}
    assert found["pred_proba"].shape == (2 * N_UNITS, 10)
    assert torch.allclose(found["pred_proba"].sum(dim=1), torch.ones(2 * N_UNITS))
    decode = importlib.import_module("ibl_bwb_eval.entity_ids").decode_entity_ids
    assert decode(found["entity_ids"]).tolist() == [f"{s.eid}/{uuid}" for s in SESSIONS for uuid in s.uuid]
    predicted = np.array(COSMOS)[found["pred_proba"].argmax(dim=1).numpy()]
    theirs = scorer("ts3").score_file(path, truth)["macro/f1-score"]
    ours = f1_score(regions, predicted, labels=list(COSMOS), average="macro", zero_division=0)
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_regions_are_not_read_off_a_model_that_was_told_them(exported, capsys):
    with pytest.raises(SystemExit):
        exported("unit_cosmos", "region.yaml", "--model.objective.schemes=[neuron, intra_region]")
    assert "was trained with intra_region, which is told where neurons lie" in capsys.readouterr().err


def test_regions_are_not_read_off_a_model_that_reads_them(tmp_path):
    model = make_model(backbone="NDT2-rope-regions-masks")
    told = Trained(model, SimpleNamespace(objective=Objective(schemes=("neuron",))), "here")
    with pytest.raises(ConfigError, match="here: reads the regions of its neurons"):
        export_regions(told, None, {}, Submission(tmp_path, LABEL, SEED))
