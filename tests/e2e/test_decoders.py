"""The road of a decoder: trained on a pretrained model, tested and used for predictions by its own configuration."""

import csv
import json

import h5py
import numpy as np
import pytest

from neuromtm.commands.cli import names_a_target
from tests.running import SHORT, TINY, neuromtm, refusal

EID = "sim-0-01"


def decode(root, data, recipe, *more):
    return ("fit", "--config", root / "conf" / recipe, *SHORT, "--data.root", data, "--data.role", "pretrain", *more)


@pytest.fixture(scope="module")
def whisker(root, sessions_dir, pretrained, tmp_path_factory):
    """Run directory of a tested decoder of the whisker trace, and the command line of its test."""
    run_dir = tmp_path_factory.mktemp("decoders") / "whisker"
    checkpoint = pretrained / "checkpoints" / "best.ckpt"
    neuromtm(
        *decode(root, sessions_dir, "decode_whisker.yaml", "--model.pretrained", checkpoint, "--run_dir", run_dir),
        "--data.sessions",
        f"[{EID}]",
    )
    test = ("test", "--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
    neuromtm(*test)
    return run_dir, test


def test_a_test_leaves_the_figures_of_the_behaviour(whisker):
    run_dir, _ = whisker
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["sessions"].keys() == {EID}
    assert metrics["mean"].keys() == {"whisker_r2", "whisker_chance"}
    (row,) = csv.DictReader((run_dir / "decoding.csv").open())
    assert (row["eid"], row["target"], row["n_bins_left_out"]) == (EID, "whisker_motion_energy", "0")
    assert float(row["whisker_r2"]) == pytest.approx(metrics["mean"]["whisker_r2"], rel=1e-5)


def test_predictions_are_those_that_were_scored(whisker, sessions_dir):
    run_dir, test = whisker
    neuromtm("predict", *test[1:])
    metrics = json.loads((run_dir / "metrics.json").read_text())
    with h5py.File(run_dir / "predictions" / f"{EID}.h5") as file:
        predicted, trials = file["predicted"][()], file["trial"][()]
    with h5py.File(next(p for p in sessions_dir.glob("*.h5") if EID in p.name)) as file:
        np.testing.assert_array_equal(trials, np.sort(file["splits/test"][()]))
        true = file["behavior/whisker_motion_energy"][()][trials]
    r2 = 1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum()
    assert r2 == pytest.approx(metrics["mean"]["whisker_r2"], rel=1e-5)


def test_an_earlier_result_is_kept(whisker):
    run_dir, test = whisker
    before = {path.name for path in run_dir.glob("decoding*.csv")}
    neuromtm(*test)
    after = {path.name for path in run_dir.glob("decoding*.csv")}
    assert len(after) == len(before) + 1


def test_a_decoder_stands_beside_a_tested_model_in_a_comparison(whisker, capsys):
    run_dir, _ = whisker
    capsys.readouterr()
    neuromtm("compare", f"decoder={run_dir}", f"again={run_dir / 'metrics.json'}")
    assert "whisker" in capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("--model.frozen=true",)])
def test_a_choice_is_decoded_by_every_kind_of_training(options, root, sessions_dir, pretrained, tmp_path):
    known = ("--model.pretrained", pretrained / "checkpoints" / "best.ckpt") if options else TINY
    neuromtm(*decode(root, sessions_dir, "decode_choice.yaml", *known, *options, "--run_dir", tmp_path))
    neuromtm("test", "--config", tmp_path / "config.yaml", "--ckpt_path", tmp_path / "checkpoints" / "best.ckpt")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mean"].keys() == {"choice_accuracy", "choice_balanced_accuracy", "choice_chance"}
    assert len(metrics["sessions"]) == 3


def test_a_behaviour_that_is_not_there_is_refused_with_those_that_are(root, sessions_dir, tmp_path, capsys):
    command = decode(root, sessions_dir, "decode_choice.yaml", *TINY, "--run_dir", tmp_path / "run")
    line = refusal(capsys, *command, "--model.target=wheel")
    assert "no behaviour 'wheel' in the chosen sessions" in line
    assert "whisker_motion_energy" in line
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_decoder_needs_a_model(root, sessions_dir, tmp_path, capsys):
    line = refusal(capsys, *decode(root, sessions_dir, "decode_choice.yaml", "--run_dir", tmp_path))
    assert "neither a backbone nor a pretrained checkpoint" in line


def test_a_configuration_with_a_target_is_a_decoders(tmp_path):
    decoder, masked, broken = (tmp_path / name for name in ("decoder.yaml", "masked.yaml", "broken.yaml"))
    decoder.write_text("model:\n  target: choice\n")
    masked.write_text("model:\n  lr: 0.1\n")
    broken.write_text("model: [")
    assert names_a_target(["fit", "--config", str(masked), "--config", str(decoder)])
    assert names_a_target(["fit", f"--config={decoder}"])
    assert names_a_target(["fit", "--model.target", "choice"])
    assert names_a_target(["fit", "--model.target=choice"])
    for path in (masked, broken, tmp_path / "none.yaml"):
        assert not names_a_target(["fit", "--config", str(path)])
    assert not names_a_target(["fit", "--config"])
