"""A model of a small data set of the Neural Latents Benchmark, and its submission in the eyes of `nlb_tools`."""

import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_prep.__main__ import main as prep
from neuromtm.api.loading import load
from neuromtm.api.sessions import Sessions
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import read_shard, write_shard
from neuromtm.errors import DataError
from neuromtm.export.nlb import predict, scores
from neuromtm.training.trained import open_trained
from tests.export.nlb_files import HELDIN, N_TEST, SPLITS, Written, write_dataset
from tests.running import SHORT, TINY, neuromtm, refusal

EID, GROUP = "nlb-mc_maze", "mc_maze_20"
N_BINS, N_FORWARD = 35, 10
N_HELDIN = len(HELDIN)
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Written:
    return write_dataset(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def data(files, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    assert prep([*files.arguments("mc_maze"), "--bin-size-ms", "20", "--forward", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(data, root, tmp_path_factory) -> Path:
    """A short training by the recipe."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ("--model.backbone.max_bins=64", "--model.objective.trailing_blocks=0.5", "--trainer.max_epochs=3")
    recipe = ("--config", root / "conf" / "nlb.yaml", *TINY, *SHORT, *options)
    neuromtm("fit", *recipe, "--data.root", data, "--run_dir", folder)
    return folder


def exported(run, data, out, *more):
    neuromtm("export", "nlb", run, "--data", data, "--out", out, *more)
    with h5py.File(out, "r") as file:
        return {name: values[()] for name, values in file[GROUP].items()}


def printed(text, row):
    """The two numbers of a row of the table: pooled, and the mean over neurons."""
    line = next(line for line in text.splitlines() if row in line)
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def target(heldout, heldin_forward, heldout_forward, *, n_train):
    """What the benchmark compares with. Velocities are drawn: their decoding is not what is tested here."""
    rng = np.random.default_rng(0)
    return {
        GROUP: {
            "eval_spikes_heldout": heldout,
            "train_behavior": rng.normal(size=(n_train, N_BINS, 2)),
            "eval_behavior": rng.normal(size=(len(heldout), N_BINS, 2)),
            "eval_spikes_heldin_forward": heldin_forward,
            "eval_spikes_heldout_forward": heldout_forward,
        }
    }


def truth(files, file, trials):
    """(trial, bin, neuron) true counts of window and forward bins, held-in neurons first."""
    return files.counts(file, trials, start_s=-0.25, n_bins=N_BINS + N_FORWARD, bin_size_s=0.02)


def evaluated(nlb_tools, counts, path, *, n_train):
    """The scorer's numbers."""
    main, forward = counts[:, :N_BINS], counts[:, N_BINS:]
    wanted = target(main[..., N_HELDIN:], forward[..., :N_HELDIN], forward[..., N_HELDIN:], n_train=n_train)
    targets = {group: {name: _Values(values) for name, values in own.items()} for group, own in wanted.items()}
    [found] = nlb_tools.evaluation.evaluate(targets, str(path))
    return found[f"{GROUP}_split"]


class _Values:
    """An array that is read like a dataset of HDF5, as the scorer does."""

    def __init__(self, values):
        self.values = values

    def __getitem__(self, key):
        return self.values[key]


def test_our_co_bps_and_fp_bps_of_validation_trials_are_the_scorer_s(nlb_tools, files, run, data, tmp_path, capsys):
    out = tmp_path / "val.h5"
    arrays = exported(run, data, out, "--split", "val")
    said = capsys.readouterr().out
    trials = [number for number, split in enumerate(SPLITS) if split == "val"]
    n_train = SPLITS.count("train")
    assert {name: values.shape for name, values in arrays.items()} == {
        "train_rates_heldin": (n_train, N_BINS, 6),
        "train_rates_heldout": (n_train, N_BINS, 2),
        "eval_rates_heldin": (len(trials), N_BINS, 6),
        "eval_rates_heldout": (len(trials), N_BINS, 2),
        "eval_rates_heldin_forward": (len(trials), N_FORWARD, 6),
        "eval_rates_heldout_forward": (len(trials), N_FORWARD, 2),
    }
    theirs = evaluated(nlb_tools, truth(files, "train", trials), out, n_train=n_train)
    pooled, mean = printed(said, "held-out neurons")
    assert pooled == pytest.approx(theirs["co-bps"], abs=TOLERANCE)
    assert mean != pytest.approx(pooled, abs=TOLERANCE)
    assert printed(said, "forward bins")[0] == pytest.approx(theirs["fp-bps"], abs=TOLERANCE)


def test_the_scorer_takes_the_submission_of_the_test_trials(nlb_tools, files, run, data, tmp_path):
    out = tmp_path / "submission.h5"
    arrays = exported(run, data, out)
    n_train = SPLITS.count("train") + SPLITS.count("val")
    assert arrays["train_rates_heldin"].shape == (n_train, N_BINS, 6)
    assert all(np.isfinite(values).all() and (values >= 0).all() for values in arrays.values())
    counts = truth(files, "test", list(range(N_TEST)))
    theirs = evaluated(nlb_tools, counts, out, n_train=n_train)
    every = np.ones((N_TEST, N_BINS), bool)
    ours = scores(arrays["eval_rates_heldout"], counts[:, :N_BINS, N_HELDIN:], every)
    assert ours.pooled == pytest.approx(theirs["co-bps"], abs=TOLERANCE)
    trained, module, header = opened(run, data)
    for row, number in enumerate(np.flatnonzero(header.trials.columns["heldout_known"] == 0)):
        alone = predict(trained, module, header, np.array([number]))[0, :N_BINS]
        assert arrays["eval_rates_heldin"][row] == pytest.approx(alone[:, :N_HELDIN], rel=1e-4)


class _Changed:
    """Data whose hidden counts are others: those of held-out neurons and of forward bins."""

    def __init__(self, data):
        self.data = data

    def groups_of(self, eid, trials):
        for group in self.data.groups_of(eid, trials):
            counts = group.counts.clone()
            counts[..., N_HELDIN:] = 7
            counts[:, N_BINS:] = 3
            yield replace(group, counts=counts)


def opened(run, data):
    module = SessionDataModule(root=str(data), role="all")
    module.setup()
    return open_trained(run), module, module.headers[EID]


def test_rates_do_not_depend_on_the_counts_that_the_benchmark_keeps_back(run, data):
    trained, module, header = opened(run, data)
    trials = np.arange(header.n_trials)
    rates = predict(trained, module, header, trials)
    assert np.array_equal(rates, predict(trained, _Changed(module), header, trials))
    assert np.ptp(rates, axis=0).max() > 0, "but they do depend on the held-in neurons"


def test_a_second_data_set_is_added_to_a_file_and_a_group_is_never_overwritten(run, data, tmp_path, capsys):
    out = tmp_path / "all.h5"
    with h5py.File(out, "w") as file:
        file["mc_rtt_20/eval_rates_heldin"] = np.ones(3)
    exported(run, data, out)
    with h5py.File(out, "r") as file:
        assert sorted(file) == [GROUP, "mc_rtt_20"]
    before = out.read_bytes()
    line = refusal(capsys, "export", "nlb", run, "--data", data, "--out", out)
    assert "has the group mc_maze_20 already" in line
    assert out.read_bytes() == before
    assert "must end in .h5" in refusal(capsys, "export", "nlb", run, "--data", data, "--out", tmp_path / "a.csv")
    text = tmp_path / "text.h5"
    text.write_text("no HDF5")
    assert "is no HDF5 file" in refusal(capsys, "export", "nlb", run, "--data", data, "--out", text)
    assert text.read_text() == "no HDF5"


def rewritten(data, folder, **changes):
    """A copy of the data whose shard has another header."""
    shard = read_shard(data / f"{EID}.h5")
    write_shard(folder / f"{EID}.h5", replace(shard, header=replace(shard.header, **changes)))
    add_shard(folder / f"{EID}.h5", "pretrain")
    return folder


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: {"attributes": {}}, "knows 1 sessions, 0 of them of the benchmark"),
        (lambda h: {"attributes": {**h.attributes, "n_val": "9"}}, "has 3 val trials, but its source has 9"),
        (lambda h: {"splits": {**h.splits, "val": h.splits["val"][1:]}}, "has other trials than"),
        (lambda h: {"neurons": replace(h.neurons, uuid=h.neurons.uuid[::-1])}, "or their order, are not those of"),
        (lambda h: {"bin_size_s": 0.01, "window_s": (0.0, 0.45)}, "bins"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_and_nothing_is_written(run, data, tmp_path, capsys, change, reason):
    header = read_shard(data / f"{EID}.h5").header
    other = rewritten(data, tmp_path / "other", **change(header))
    assert reason in refusal(capsys, "export", "nlb", run, "--data", other, "--out", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_trials_whose_counts_are_kept_back_are_never_scored(run, data, capsys):
    best = run / "checkpoints" / "best.ckpt"
    line = refusal(capsys, "test", "--config", run / "config.yaml", "--ckpt_path", best, "--run_dir", run)
    assert "keeps back the counts of the held-out neurons in 5 trials of the split test" in line
    line = refusal(capsys, "predict", "--config", run / "config.yaml", "--ckpt_path", best, "--run_dir", run)
    assert "keeps back" in line
    session = Sessions(data)[EID]
    model = load(run)
    with pytest.raises(DataError, match="keeps back"):
        model.score(session.select(split="test"), task="co_smoothing")
    assert np.isfinite(model.score(session.select(split="val"), task="co_smoothing").pooled)


def test_the_checkpoint_remembers_the_held_out_neurons(run):
    trained = open_trained(run)
    assert trained.model.sessions[EID].heldout == (False,) * 6 + (True,) * 2
    assert trained.record.objective.schemes[0] == "heldout"
    assert torch.is_tensor(trained.model.backbone.prompts["heldout"])
