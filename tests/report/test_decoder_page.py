"""The page of a decoder's run: what a decoder is, its scores against chance, and nothing that it has not."""

import pytest
from markupsafe import escape

from neuromtm.errors import UserError
from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.report.page import page_of, report_page
from neuromtm.report.texts import DECODER
from tests.report.shown import HOSTILE, Tags, n_pictures, row
from tests.report.tested import as_ceiling, as_decoder, log


def test_a_hostile_decoder_is_text(tmp_path):
    folder = as_decoder(tmp_path / "run", eid=HOSTILE)
    (folder / "config.test.yaml").write_text(f"model:\n  target: choice\n  pretrained: {HOSTILE}\n")
    text = report_page(folder)
    assert HOSTILE not in text
    assert text.count(escape(HOSTILE)) >= 3  # its row, what it was trained from, the configuration


def test_a_decoders_page_says_what_a_decoder_is_and_nothing_of_what_it_has_not(tmp_path):
    folder = as_decoder(tmp_path / "run")
    log(folder, train_loss=[0.7, 0.6], val_loss=[0.6], val_choice_accuracy=[0.8], val_choice_chance=[0.5])
    text = report_page(folder)
    assert Tags(text).open == []
    assert escape(DECODER["what"]) in text
    assert "Only the head was trained; the model of mtm.ckpt beneath it stayed fixed." in text
    assert "<strong>Better than chance:</strong> choice is decoded with an accuracy of 1.00, and chance is 0.56" in text
    assert row("choice", "s0", "accuracy", "1.000", "1.000", "0.556", "9", "1 trials, 0 bins") in text
    assert n_pictures(text) == 2  # the decoder beside chance, and the curves
    assert escape(DECODER["accuracy"]) in text
    for foreign in ("read-out", "per spike", "regions.csv", "neurons.csv", "est the run again", "figures/"):
        assert foreign not in text
    for task in (*TASK_TITLES.values(), "co-smooth", "baseline"):
        assert task not in text


@pytest.mark.parametrize(
    ("target", "shown"),
    [("choice", "accuracy"), ("whisker_motion_energy", "r2")],
)
def test_a_decoder_of_classes_and_one_of_a_trace_have_their_own_score(tmp_path, target, shown):
    page = page_of(as_decoder(tmp_path / "run", target=target))
    assert page.head.what == f"A decoder of {target}"
    assert {cells[2] for cells in page.behavior.table.rows} == {shown}
    assert page.verdict.level == "good"


def test_a_decoder_of_which_nothing_was_scored_says_so(tmp_path):
    folder = as_decoder(tmp_path / "run")
    (folder / "metrics.json").write_text('{"sessions": {}, "mean": {}}')
    (folder / "decoding.csv").unlink()
    text = report_page(folder)
    assert "<strong>Not scored:</strong>" in text
    assert n_pictures(text) == 0


def test_a_damaged_table_of_a_decoder_is_one_sentence_with_its_name(tmp_path):
    folder = as_decoder(tmp_path / "run")
    (folder / "decoding.csv").write_text("eid,target\ns0,choice\n")
    with pytest.raises(UserError, match=r"decoding\.csv: not a table of a decoder's scores"):
        report_page(folder)


def test_a_decoders_page_refuses_what_is_of_activity_tasks(tmp_path):
    folder, ceiling = as_decoder(tmp_path / "run"), as_ceiling(tmp_path / "ceiling")
    with pytest.raises(UserError, match="--ceiling cannot be shown, because it is a decoder's run"):
        report_page(folder, ceiling=ceiling)
