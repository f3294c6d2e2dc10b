"""A short run of the campaign of `tests/faults/options.py`, and whether it would notice what it looks for."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.cli import COMMANDS as PREPARATIONS
from neuromtm.commands.export import KINDS
from neuromtm.commands.registry import COMMANDS, LIGHTNING
from tests.conftest import ROOT
from tests.faults import forked
from tests.faults import options as campaigns
from tests.faults.option_bases import BASES, options_of
from tests.faults.option_values import VALUES, Option, Value, is_nonsense
from tests.faults.options import GOOD, OptionCase, campaign, import_all, judged, line_of, prepared

QUICK = ("neuromtm fit", "neuromtm recipes", "data_prep simulate", "data_prep lorenz", "data_prep arrays")
N = 12
COUNT = Option("neuromtm recipes", "--n_things", frozenset({"whole"}))


def test_every_command_has_a_line_that_odd_values_are_added_to():
    names = {f"data_prep {name}" for name in PREPARATIONS} | {f"neuromtm {name}" for name in (*LIGHTNING, *COMMANDS)}
    names = names - {"neuromtm export"} | {f"neuromtm export {kind}" for kind in KINDS}
    assert names == {name for name in BASES if "," not in name}


def test_every_option_of_a_training_is_tried():
    listed = set((ROOT / "tests" / "e2e" / "options.txt").read_text().split()) - {"--help", "--print_config"}
    assert listed <= {option.name for name in BASES if name.startswith("neuromtm fit") for option in options_of(name)}


def test_odd_values_are_refused_in_plain_words_or_can_mean_something():
    with prepared(QUICK) as good:
        import_all(QUICK)
        found = list(campaign(QUICK, good, n=N, seed=0))
    assert len(found) == N
    assert [f"{one.verdict}: {one.case}\n{one.said}" for one in found if one.verdict not in GOOD] == []
    assert {one.verdict for one in found} == set(GOOD)


def fails(words: str = "--n_things") -> int:
    print(words, file=sys.stderr)
    return 2


def leaves_a_file() -> None:
    Path("new.part.tmp").touch()


def starts_many() -> None:
    for _ in range(100):
        if os.fork() == 0:
            os._exit(0)


@pytest.mark.parametrize(
    ("does", "tag", "verdict"),
    [
        (fails, "negative", "refused"),
        (lambda: 0, "huge whole", "accepted"),
        (lambda: 0, "negative", "nonsense"),
        (lambda: 1 / 0, "negative", "traceback"),
        (lambda: np.ones(2**40), "negative", "traceback"),
        (lambda: time.sleep(60), "negative", "hang"),
        (lambda: os.kill(os.getpid(), 9), "negative", "killed"),
        (starts_many, "negative", "killed"),
        (lambda: fails("no"), "word", "unnamed"),
        (lambda: fails("--n_things\n" * 50), "word", "long"),
        (lambda: fails("--n_things \x1b[2J"), "control characters", "raw"),
        (leaves_a_file, "huge whole", "left behind"),
    ],
)
def test_the_campaign_notices(does, tag, verdict, tmp_path, monkeypatch):
    monkeypatch.setattr(campaigns, "run", lambda *_: does())
    monkeypatch.setattr(forked, "MOST_PROCESSES", 2)
    text, sane = VALUES[tag]
    case = OptionCase(COUNT, Value(tag, text, sane), ())
    assert judged(case, tmp_path, tmp_path / "case", limit_s=1 if verdict == "hang" else 60).verdict == verdict


def test_what_cannot_mean_anything_depends_on_the_kind_of_an_option():
    share = Option("c", "--model.dropout", frozenset({"number"}))
    name = Option("c", "--label", frozenset({"text"}))

    def odd(option: Option) -> set[str]:
        return {tag for tag, (text, sane) in VALUES.items() if is_nonsense(option, Value(tag, text, sane))}

    assert {"zero", "nan", "true", "fraction"} <= odd(COUNT)
    assert odd(share) >= {"fraction", "huge", "nan", "negative"}
    assert "zero" not in odd(share)
    assert odd(name) == {"empty", "blank", "not UTF-8"}


def test_a_value_takes_the_place_of_the_good_one():
    rng, value = np.random.default_rng(0), Value("absent", "x", frozenset())
    place = Option("data_prep check", "<0>", frozenset({"path"}))
    assert line_of(place, value, rng) == ("check", "x")
    folder = Option("neuromtm ceiling", "--out", frozenset({"path"}))
    assert line_of(folder, value, rng) == ("ceiling", "--data=data", "--out=x")
    two = Option("data_prep lorenz", "--range", frozenset({"number"}), n_values=2, default=(0.0, 1.0))
    assert line_of(two, value, rng)[-2:] in (("x", "1.0"), ("0.0", "x"))
