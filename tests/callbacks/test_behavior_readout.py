"""Behaviour read out in a test of a run: by name, beside raw counts, and nothing guessed where labels are missing."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from neuromtm.callbacks import behavior as callback
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import Shard, read_shard, write_shard
from tests.running import EIDS, neuromtm, refusal

WHOLE, HOLED, MUTE = EIDS
TARGETS = "[choice,block,whisker_motion_energy,reaction_time_s]"
N_TRAIN, N_TEST, N_BINS = 28, 8, 20


def with_three_blocks(shard: Shard) -> Shard:
    block = np.resize([0.2, 0.5, 0.8], shard.header.n_trials)
    return replace(shard, header=replace(shard.header, trials=replace(shard.header.trials, block=block)))


def with_holes_and_one_block(shard: Shard) -> Shard:
    """Five bins of one train trial and a whole test trial without whisker trace; one block; a choice unknown."""
    train, test = shard.header.splits["train"], shard.header.splits["test"]
    trace = shard.behavior["whisker_motion_energy"].copy()
    trace[train[0], 3:8] = np.nan
    trace[test[0]] = np.nan
    choice = shard.header.trials.choice.copy()
    choice[test[1]] = 0
    trials = replace(shard.header.trials, choice=choice, block=np.full_like(shard.header.trials.block, 0.5))
    header = replace(shard.header, trials=trials)
    return replace(shard, header=header, behavior={"whisker_motion_energy": trace})


def without_behaviour(shard: Shard) -> Shard:
    nothing = np.full(shard.header.n_trials, np.nan)
    trials = replace(
        shard.header.trials, choice=np.zeros(len(nothing), np.int8), block=nothing, reaction_time_s=nothing
    )
    return replace(shard, header=replace(shard.header, trials=trials, behaviors=()), behavior={})


CHANGES = {WHOLE: with_three_blocks, HOLED: with_holes_and_one_block, MUTE: without_behaviour}


@pytest.fixture(scope="module")
def data(sessions_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("behaviour")
    for eid, change in CHANGES.items():
        write_shard(folder / f"{eid}.h5", change(read_shard(sessions_dir / f"{eid}.h5")))
        add_shard(folder / f"{eid}.h5", "pretrain")
    return folder


def score_run(pretrained, data, run_dir, *more):
    checkpoint = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    where = ("--data.root", data, "--run_dir", run_dir, "--data.eval_batch_size", "5")
    neuromtm("test", *checkpoint, *where, *more)
    return run_dir


@pytest.fixture(scope="module")
def passes():
    """(eid, prompt) -> trials that went through the model for behaviour."""
    return Counter()


@pytest.fixture(scope="module")
def run_dir(pretrained, data, passes, tmp_path_factory):
    """A test of the three sessions."""
    original = callback.features_of

    def counted(model, scheme, group):
        passes[group.eid, scheme] += len(group.trial)
        return original(model, scheme, group)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callback, "features_of", counted)
        return score_run(pretrained, data, tmp_path_factory.mktemp("runs") / "run", "--behavior.targets", TARGETS)


@pytest.fixture(scope="module")
def sessions(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())["sessions"]


@pytest.fixture(scope="module")
def rows(run_dir):
    with (run_dir / "behavior.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_behaviour_has_its_figures_beside_those_of_raw_counts(sessions):
    for name, score in (("choice", "accuracy"), ("block", "accuracy"), ("whisker", "r2"), ("reaction_time_s", "r2")):
        figures = {f"{name}_{score}", f"{name}_chance", f"{name}_{score}_counts", f"{name}_{score}_rrr"}
        assert figures <= set(sessions[WHOLE])
        assert (f"{name}_balanced_accuracy" in sessions[WHOLE]) == (score == "accuracy")


def test_what_metrics_json_says_is_the_chosen_row(sessions, rows):
    for eid in (WHOLE, HOLED):
        chosen = [row for row in rows if (row["eid"], row["target"], row["chosen"]) == (eid, "choice", "1")]
        model, counts, low_rank = chosen
        assert model["features"] in ("rates", "states")
        assert float(model["test"]) == pytest.approx(sessions[eid]["choice_accuracy"], rel=1e-5)
        assert float(model["chance"]) == pytest.approx(sessions[eid]["choice_chance"], rel=1e-5)
        assert float(counts["test"]) == pytest.approx(sessions[eid]["choice_accuracy_counts"], rel=1e-5)
        assert float(low_rank["test"]) == pytest.approx(sessions[eid]["choice_accuracy_rrr"], rel=1e-5)


def test_rates_and_states_are_tried_under_every_prompt_and_counts_by_themselves(rows):
    tried = Counter(row["features"] for row in rows if (row["eid"], row["target"]) == (WHOLE, "choice"))
    assert tried == {"rates": 4, "states": 4, "counts": 3, "counts_rrr": 1, "counts_rrr_all_sessions": 1}


def test_each_trial_goes_through_the_model_once_a_prompt_and_not_at_all_without_behaviour(passes):
    assert {eid for eid, _ in passes} == {WHOLE, HOLED}
    assert {scheme for _, scheme in passes} == {"neuron", "causal", "intra_region", "inter_region"}
    assert set(passes.values()) == {40}


def test_what_is_missing_is_left_out_and_counted(rows):
    of = {row["target"]: row for row in rows if row["eid"] == HOLED}
    trace, choice = of["whisker_motion_energy"], of["choice"]
    assert (trace["n_train"], trace["n_test"]) == (str(N_TRAIN), str(N_TEST - 1))
    assert (trace["n_trials_left_out"], trace["n_bins_left_out"]) == ("1", "5")
    assert (choice["n_train"], choice["n_test"], choice["n_trials_left_out"]) == (str(N_TRAIN), str(N_TEST - 1), "1")


def test_one_block_in_train_leaves_no_figure_of_it_and_a_session_without_behaviour_none_at_all(sessions):
    assert not any(key.startswith("block") for key in sessions[HOLED])
    assert "choice_accuracy" in sessions[HOLED]
    assert all(key.endswith(("_bps", "_bps_median")) for key in sessions[MUTE])
    assert sessions[MUTE]


def test_the_figure_of_behaviour_is_drawn(run_dir):
    assert (run_dir / "figures" / "behavior.png").exists()


def test_without_baselines_there_are_none_and_the_model_scores_the_same(pretrained, data, sessions, tmp_path):
    options = ("--behavior.targets", "[choice]", "--behavior.baselines", "false", "--data.sessions", f"['{WHOLE}']")
    alone = json.loads((score_run(pretrained, data, tmp_path, *options) / "metrics.json").read_text())["sessions"][
        WHOLE
    ]
    behaviour = {key: value for key, value in alone.items() if not key.endswith(("_bps", "_bps_median"))}
    names = ("choice_accuracy", "choice_balanced_accuracy", "choice_chance")
    assert behaviour == {name: sessions[WHOLE][name] for name in names}


def test_one_session_has_no_readout_over_sessions(pretrained, data, tmp_path):
    options = ("--behavior.targets", "[choice]", "--data.sessions", f"['{WHOLE}']")
    text = (score_run(pretrained, data, tmp_path, *options) / "behavior.csv").read_text()
    assert "counts_rrr," in text
    assert "counts_rrr_all_sessions" not in text


def test_a_name_that_no_session_has_is_refused_before_anything_runs(pretrained, data, tmp_path, capsys):
    checkpoint = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    where = ("--data.root", data, "--run_dir", tmp_path / "run")
    said = refusal(capsys, "test", *checkpoint, *where, "--behavior.targets", "[choice,pupil]")
    assert "no behaviour 'pupil'" in said
    assert "whisker_motion_energy" in said
    assert not (tmp_path / "run" / "metrics.json").exists()
    twice = refusal(capsys, "test", *checkpoint, *where, "--behavior.targets", "[choice,choice]")
    assert "names a behaviour twice" in twice
