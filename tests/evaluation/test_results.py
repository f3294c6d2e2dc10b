"""metrics.json and neurons.csv: the keys, no NaN, nothing overwritten, and errors that say what to do."""

import csv
import json
import os

import numpy as np
import pytest
import torch

from neuromtm.errors import UserError
from neuromtm.evaluation.results import (
    WHOLE_SESSION,
    metrics_of,
    metrics_text,
    read_metrics,
    read_regions,
    regions_text,
    write_results,
)
from neuromtm.evaluation.scores import NeuronScores, SessionScores
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.neurons import NEURON_COLUMNS, NUMBER_COLUMNS

NAN = float("nan")


def neurons(eid="a", **figures):
    """Three neurons' scores; figures not given are undefined."""
    names = NUMBER_COLUMNS
    return NeuronScores(
        eid=eid,
        uuid=("u1", "u2", "u3"),
        region=("CA1", "root", "LP"),
        columns={name: torch.tensor(figures.get(name, [NAN] * 3), dtype=torch.float64) for name in names},
    )


def test_the_keys_of_the_activity_tasks_are_the_contracts():
    assert BPS_KEYS == ("co_smoothing_bps", "forward_prediction_bps", "intra_region_bps", "inter_region_bps")


def test_a_key_is_absent_where_the_session_has_no_figure():
    metrics = metrics_of([SessionScores(eid="a", co_smoothing_bps=0.5, behavior={"choice_chance": 0.0})])
    assert metrics["sessions"] == {"a": {"co_smoothing_bps": 0.5, "choice_chance": 0.0}}


def test_behaviours_of_some_sessions_stand_behind_the_tasks_in_the_mean():
    sessions = [SessionScores(eid="a", behavior={"block_r2": 0.5}), SessionScores(eid="b", inter_region_bps=0.1)]
    assert list(metrics_of(sessions)["mean"].items()) == [("inter_region_bps", 0.1), ("block_r2", 0.5)]


def test_the_mean_is_over_the_sessions_that_have_the_figure():
    metrics = metrics_of(
        [
            SessionScores(eid="a", co_smoothing_bps=0.5, behavior={"whisker_r2": 0.2}),
            SessionScores(eid="b", co_smoothing_bps=-0.1),
        ]
    )
    assert metrics["mean"] == pytest.approx({"co_smoothing_bps": 0.2, "whisker_r2": 0.2})


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_a_figure_that_is_not_finite_is_refused_by_name_and_earlier_results_stay(tmp_path, value):
    write_results(tmp_path, [SessionScores(eid="a", co_smoothing_bps=1.0)], [neurons()])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    scores = [SessionScores(eid="a", co_smoothing_bps=1.0), SessionScores(eid="b", behavior={"whisker_r2": value})]
    with pytest.raises(UserError, match="whisker_r2 of b"):
        write_results(tmp_path, scores, [neurons()])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_text_of_metrics_can_hold_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        metrics_text({"sessions": {}, "mean": {"whisker_r2": NAN}})


def test_what_is_written_is_what_is_read(tmp_path):
    scores = [SessionScores(eid="a", co_smoothing_bps=1 / 3), SessionScores(eid="b", behavior={"choice_accuracy": 0.9})]
    written = write_results(tmp_path, scores, [neurons("a"), neurons("b")])
    assert read_metrics(tmp_path) == read_metrics(tmp_path / "metrics.json") == written
    assert json.loads((tmp_path / "metrics.json").read_text()) == written


def test_neurons_csv_has_a_row_a_neuron_and_is_empty_where_undefined(tmp_path):
    tables = [neurons("a", co_smoothing_bps=[0.5, NAN, -1.25], r2=[0.1, 0.2, NAN]), neurons("b")]
    write_results(tmp_path, [], tables)
    with (tmp_path / "neurons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == NEURON_COLUMNS
    assert [row["uuid"] for row in rows] == ["u1", "u2", "u3"] * 2
    assert [row["eid"] for row in rows] == ["a"] * 3 + ["b"] * 3
    assert [row["co_smoothing_bps"] for row in rows] == ["0.5", "", "-1.25", "", "", ""]
    assert [row["r2"] for row in rows[:3]] == ["0.1", "0.2", ""]
    assert rows[1]["region"] == "root"


def test_the_columns_of_neurons_csv_only_grow_at_the_end():
    assert NEURON_COLUMNS[:11] == (
        "eid",
        "uuid",
        "region",
        "co_smoothing_bps",
        "forward_prediction_bps",
        "intra_region_bps",
        "inter_region_bps",
        "r2",
        "deviance_explained",
        "psth_r2",
        "firing_rate_hz",
    )


def region_rows(*tables):
    return list(csv.DictReader(regions_text(tables).splitlines()))


def of_regions(regions, bps, eid="a"):
    """Neurons of these regions with these figures of co-smoothing, and no others."""
    nothing = torch.full((len(bps),), NAN, dtype=torch.float64)
    figures = dict.fromkeys(NUMBER_COLUMNS, nothing) | {"co_smoothing_bps": torch.tensor(bps).double()}
    return NeuronScores(eid=eid, uuid=tuple(map(str, range(len(bps)))), region=tuple(regions), columns=figures)


def test_regions_csv_has_a_row_of_the_session_and_one_a_region():
    rows = region_rows(of_regions(["LP", "CA1", "LP"], [1.0, 2.0, 6.0]), of_regions(["CA1"], [0.5], eid="b"))
    assert [(row["eid"], row["region"], row["n_neurons"]) for row in rows] == [
        ("a", "all", "3"),
        ("a", "CA1", "1"),
        ("a", "LP", "2"),
        ("b", "all", "1"),
        ("b", "CA1", "1"),
    ]
    assert [row["co_smoothing_bps_mean"] for row in rows] == ["3", "2", "3.5", "0.5", "0.5"]
    assert rows[0]["co_smoothing_bps_median"] == "2"


def test_a_neuron_without_a_figure_counts_in_the_region_but_not_in_its_mean():
    (whole, _) = region_rows(of_regions(["LP"] * 3, [1.0, NAN, 2.0]))
    assert (whole["n_neurons"], whole["co_smoothing_bps_n"], whole["co_smoothing_bps_mean"]) == ("3", "2", "1.5")
    assert (whole["inter_region_bps_n"], whole["inter_region_bps_mean"], whole["inter_region_bps_low"]) == ("0", "", "")


def test_the_interval_of_a_region_holds_its_mean_does_not_depend_on_other_regions_and_needs_five_neurons():
    bps = np.linspace(-0.2, 0.9, 12).tolist()
    rows = region_rows(of_regions(["LP"] * 8 + ["CA1"] * 4, bps))
    (alone, lp_alone) = region_rows(of_regions(["LP"] * 8, bps[:8]))
    _, ca1, lp = rows
    assert float(lp["co_smoothing_bps_low"]) < float(lp["co_smoothing_bps_mean"]) < float(lp["co_smoothing_bps_high"])
    assert lp == lp_alone
    assert ca1["co_smoothing_bps_low"] == ca1["co_smoothing_bps_high"] == ""
    assert alone["region"] == "all"


def test_an_earlier_test_is_renamed_after_its_time_not_overwritten(tmp_path):
    for value in (0.1, 0.2):
        write_results(tmp_path, [SessionScores(eid="a", co_smoothing_bps=value)], [neurons()])
        os.utime(tmp_path / "metrics.json", (1795246812, 1795246812))
        os.utime(tmp_path / "neurons.csv", (1795246812, 1795246812))
        os.utime(tmp_path / "regions.csv", (1795246812, 1795246812))
    assert read_metrics(tmp_path)["mean"]["co_smoothing_bps"] == 0.2
    assert read_metrics(tmp_path / "metrics.2026-11-21T07-40-12.json")["mean"]["co_smoothing_bps"] == 0.1
    assert (tmp_path / "neurons.2026-11-21T07-40-12.csv").exists()
    assert (tmp_path / "regions.2026-11-21T07-40-12.csv").exists()


def test_a_run_without_a_test_says_to_run_the_test(tmp_path):
    with pytest.raises(UserError, match=r"neuromtm test --config .*config\.yaml --ckpt_path .*best\.ckpt"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match="neuromtm test"):
        read_metrics(tmp_path / "metrics.json")


def test_a_run_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such run directory"):
        read_metrics(tmp_path / "nowhere" / "metrics.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"sessions": {',
        "[]",
        '{"mean": {}}',
        '{"sessions": {"a": 3}, "mean": {}}',
        '{"sessions": {}, "mean": {"whisker_r2": NaN}}',
        '{"sessions": {"a": {"whisker_r2": "0.5"}}, "mean": {}}',
        '{"sessions": {"a": {"whisker_r2": null}}, "mean": {}}',
    ],
)
def test_a_damaged_metrics_file_is_one_sentence_with_its_name(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json: .*Test the run again"):
        read_metrics(tmp_path)


# ---- the table of regions is read as it was written ----


def test_the_table_of_regions_is_read_as_it_was_written(tmp_path):
    generator = np.random.default_rng(0)
    bps = generator.random(8)
    path = tmp_path / "regions.csv"
    path.write_text(regions_text([of_regions(["LP"] * 6 + ["CA1"] * 2, bps)]))
    rows = read_regions(path)
    assert [(row.region, row.n_neurons) for row in rows] == [(WHOLE_SESSION, 8), ("CA1", 2), ("LP", 6)]
    known, mean = bps[:6], rows[2].means["co_smoothing_bps"]
    assert mean.n == 6
    assert (mean.mean, mean.median) == (pytest.approx(known.mean(), 1e-5), pytest.approx(np.median(known), 1e-5))
    assert mean.low < mean.mean < mean.high
    assert rows[1].means["co_smoothing_bps"].low is None
    assert all("inter_region_bps" not in row.means for row in rows)


def test_another_table_is_refused_by_its_name(tmp_path):
    (tmp_path / "regions.csv").write_text("eid,region\na,b\n")
    with pytest.raises(UserError, match=r"regions\.csv: not a table of regions"):
        read_regions(tmp_path / "regions.csv")
