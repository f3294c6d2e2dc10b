"""What is refused on every command line, whichever command reads it."""

import argparse
from pathlib import Path

import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.arguments import OptionParser, require_readable, require_values
from neuromtm.errors import ConfigError, shortened
from tests.running import refusal


def parser_of_all() -> OptionParser:
    parser = OptionParser(prog="program")
    parser.add_argument("--name")
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--place", type=Path)
    parser.add_argument("--share", type=float)
    parser.add_argument("--count", type=int)
    return parser


def test_good_values_are_read_as_by_any_parser():
    given = ["--name=a b", "--names", "a", "ä", "--place=x/y", "--share=inf", "--count=-3"]
    expected = argparse.Namespace(name="a b", names=["a", "ä"], place=Path("x/y"), share=float("inf"), count=-3)
    assert parser_of_all().parse_args(given) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--name="], "--name: is empty"),
        (["--names", "a", " "], "--names: is empty"),
        (["--place="], "--place: is empty"),
        (["--share=nan"], "--share: nan is not a number"),
        (["--share=quatsch"], "--share: invalid float value: 'quatsch'"),
        (["--nam=a"], "unrecognized arguments"),
        (["--count=" + "9" * 5000], "... ("),
    ],
)
def test_a_bad_value_is_named_with_its_option(given, words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser_of_all().parse_args(given)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said) < 1000


@pytest.mark.parametrize("odd", ["a\udcff", "a\x1b[2J", "\u202ea", "a\0"])
def test_both_programs_refuse_letters_that_nothing_can_show(odd, tmp_path, capsys):
    assert refusal(capsys, "report", tmp_path, "--out", f"{odd}.html").isprintable()
    assert data_prep(["describe", str(tmp_path), "--out", odd]) == 2
    assert capsys.readouterr().err.strip().isprintable()
    require_readable(["Mäuse ☃", "a\nb: 1"])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": {"lr": float("nan")}}, "model.lr is nan"),
        ({"data": {"sessions": ["a", ""]}}, "data.sessions is empty"),
        ({"run_dir": " "}, "run_dir is empty"),
        ({"run_dir": "a\x1b[2J"}, "run_dir has a control character"),
    ],
)
def test_a_configuration_has_no_nan_and_no_empty_text(config, words):
    with pytest.raises(ConfigError, match=words):
        require_values(config)
    require_values({"model": {"lr": 0.1, "pretrained": None}, "data": {"sessions": ["a"]}, "n": float("inf")})


def test_a_training_refuses_them_wherever_they_stand(root, tmp_path, capsys):
    config = tmp_path / "more.yaml"
    config.write_text("model: {lr: .nan}\ndata: {root: ''}\n")
    said = refusal(capsys, "fit", "--config", root / "conf" / "pretrain.yaml", "--config", config)
    assert "model.lr is nan" in said
    assert "data.root is empty" in said


def test_only_words_longer_than_a_path_are_cut():
    path = "/".join(["folder"] * 100)
    assert shortened(f"{path}: no such file.") == f"{path}: no such file."
    assert len(shortened(f"a {'x' * 5000} b")) < 100
