"""Options of runs as flat tables."""

import json

from neuromtm.report.options import flat_options, options_of, varied


def test_a_configuration_becomes_the_options_of_the_command_line():
    config = {
        "run_dir": "runs/a",
        "seed_everything": 0,
        "model": {"backbone": {"class_path": "NDT1", "init_args": {"width": 8, "rope": False}}, "lr": 1e-3},
        "data": {"sessions": ["a", "b"], "n_sessions": None},
    }
    assert flat_options(config) == {
        "seed_everything": 0,
        "model.backbone.class_path": "NDT1",
        "model.backbone.width": 8,
        "model.backbone.rope": False,
        "model.lr": 1e-3,
        "data.sessions": '["a", "b"]',
        "data.n_sessions": None,
    }


def test_what_differs_between_the_runs_that_have_it_is_varied():
    runs = [{"a": 1, "b": 2, "c": None}, {"a": 1, "b": 2.5, "c": 3}, {"a": 1, "b": 2, "d of another kind": 0}]
    assert varied(runs) == ["b", "c"]
    assert varied(runs[:1]) == []


def test_one_and_true_are_different_values():
    assert varied([{"a": 1}, {"a": True}]) == ["a"]


def test_the_training_s_options_go_before_those_of_the_test(tmp_path):
    assert options_of(tmp_path) == {}
    (tmp_path / "baseline.json").write_text(json.dumps({"kind": "psth", "data": "d", "chosen": {"s": {}}}))
    assert options_of(tmp_path) == {"baseline.kind": "psth", "baseline.data": "d"}
    (tmp_path / "config.test.yaml").write_text("seed_everything: 1\n")
    assert options_of(tmp_path) == {"seed_everything": 1}
    (tmp_path / "config.yaml").write_text("a: [\n")  # damaged
    assert options_of(tmp_path) == {"seed_everything": 1}
    (tmp_path / "config.yaml").write_text("seed_everything: 2\n")
    assert options_of(tmp_path) == {"seed_everything": 2}
