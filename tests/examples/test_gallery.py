"""The program of the gallery draws every plot of a small run, by its rules."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

import neuromtm
from tests.running import EIDS


@pytest.fixture(scope="module")
def gallery(root):
    found = importlib.util.spec_from_file_location("gallery", root / "examples" / "gallery.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def one(gallery, pretrained, sessions_dir):
    return gallery.Drawn(neuromtm.load(pretrained), neuromtm.Sessions(sessions_dir)[EIDS[0]], align_event="cue")


def test_every_plot_is_drawn(gallery, pretrained, sessions_dir, tmp_path, capsys):
    gallery.main([str(pretrained), str(sessions_dir), str(tmp_path), "--role", "pretrain"])
    each = {f"{kind}.{eid}.png" for kind in ("trials", "embedding", "contrast", "neurons") for eid in EIDS}
    assert {path.name for path in tmp_path.iterdir()} == each | {"psth.stimulus.png", "psth.choice.png"}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.size[0] > 300
    assert all(eid in capsys.readouterr().out for eid in EIDS[:1])


def test_sessions_that_the_model_does_not_know_are_a_users_error(gallery, pretrained, sessions_dir, tmp_path):
    with pytest.raises(SystemExit, match="knows no session"):
        gallery.main([str(pretrained), str(sessions_dir), str(tmp_path), "--role", "heldout"])


def test_its_scores_are_those_of_the_model(one, pretrained, sessions_dir):
    model, test = neuromtm.load(pretrained), neuromtm.Sessions(sessions_dir)[EIDS[0]].select(split="test")
    score = model.score(test, task="co_smoothing")
    np.testing.assert_allclose(one.bps, score.bps, atol=1e-5)
    spikes = test.counts.sum(axis=(1, 2))
    assert np.average(one.trial_bps, weights=spikes) == pytest.approx(score.pooled, abs=1e-5)


def test_a_trial_without_a_side_or_choice_is_in_no_condition(gallery, one):
    for variable, names in gallery.CONDITIONS.items():
        number = gallery.condition_of(one.test, variable)
        assert number.max() < len(names)
        known = one.test.trials["choice"] != 0 if variable == "choice" else np.isfinite(one.test.trials["contrast"])
        assert ((number >= 0) == known).all()


def test_the_correlation_with_the_plane_is_that_of_its_best_line(gallery):
    rng = np.random.default_rng(0)
    places, noise = rng.normal(size=(200, 2)), rng.normal(size=200)
    assert gallery.multiple_correlation(places, places @ [2.0, -1.0] + 3) == pytest.approx(1)
    values = places[:, 0] + noise
    values[:20] = np.nan
    fitted = np.c_[places, np.ones(200)][20:]
    line = fitted @ np.linalg.lstsq(fitted, values[20:], rcond=None)[0]
    expected = np.corrcoef(line, values[20:])[0, 1]
    assert gallery.multiple_correlation(places, values) == pytest.approx(expected)
