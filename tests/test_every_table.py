"""Every table that the program writes: text that a spreadsheet would run is harmless, and read back as it was."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from neuromtm.decoding.end_to_end import DecoderScores, decoded_text
from neuromtm.decoding.selection import behavior_text
from neuromtm.evaluation.connectivity import Pair, connectivity_text, mean_text
from neuromtm.evaluation.pairing import pair
from neuromtm.evaluation.results import read_neurons, read_regions, write_results
from neuromtm.evaluation.scaling import Score
from neuromtm.evaluation.scores import SessionScores
from neuromtm.evaluation.sweep import Entry
from neuromtm.files import read_table, write_whole
from neuromtm.report.scaling import Row, Seen, curves_text, scaling_text
from neuromtm.report.tables import paired_text
from tests.decoding.test_selection import decoded, draw
from tests.evaluation.test_pairing import of_sessions
from tests.evaluation.test_results import of_regions


def write_every_table(folder, name):
    """All tables, of a session, a region, a neuron, a behaviour and a run of that name."""
    rates, choice, _ = draw()
    readouts = replace(decoded(rates, choice, name), eid=name)
    neurons = replace(of_regions([name, "LP"], [0.5, -0.25], eid=name), uuid=(name, "u1"))
    write_results(folder, [SessionScores(eid=name)], [neurons], behavior_text([readouts]))
    bps = np.array([-0.5, 0.25])
    pairs = [Pair(eid=name, source=name, target="LP", n_source=3, bps=bps, nothing_bps=bps, all_others_bps=bps)]
    scores = DecoderScores(metrics={"x_r2": -0.5}, n_trials=1, n_trials_left_out=0, n_bins_left_out=0)
    texts = {
        "connectivity.csv": connectivity_text(pairs),
        "connectivity_mean.csv": mean_text(pairs),
        "decoding.csv": decoded_text(name, {name: scores}),
        "comparison.csv": paired_text({("base", name): pair(of_sessions([0.2]), of_sessions([0.1]))}),
        "scaling.csv": scaling_text([of_objective(name)]),
        "curves.csv": curves_text({(name, "co_smoothing_bps"): "only 1 different value"}, "sessions"),
    }
    for file, text in texts.items():
        write_whole(folder / file, text)


def of_objective(name):
    """A row of a sweep with that objective."""
    entry = Entry(
        stage="finetune",
        objective=name,
        n_sessions=1,
        run=of_sessions([0.1]),
        seeds={},
        n_seeds=1,
        animals=("Ann",),
        of_session={"s": "Ann"},
        absent=(),
        pretrained=(),
    )
    score = Score(mean=-0.5, interval=None, over=None, n_seeds=1, deviation=None)
    return Row(entry=entry, seen=Seen(), scores={"co_smoothing_bps": score}, gains={})


TEXT_COLUMNS = {
    "neurons.csv": {"eid", "uuid", "region"},
    "regions.csv": {"eid", "region"},
    "behavior.csv": {"eid", "target"},
    "connectivity.csv": {"eid", "source"},
    "connectivity_mean.csv": {"source"},
    "decoding.csv": {"eid", "target"},
    "comparison.csv": {"run"},
    "scaling.csv": {"objective"},
    "curves.csv": {"objective"},
}
"""table -> its columns that hold names"""


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_a_name_that_looks_like_a_formula_is_harmless_in_every_table_and_read_back(tmp_path, sign):
    name = f'{sign}HYPERLINK("x")'
    write_every_table(tmp_path, name)
    assert {path.name for path in tmp_path.glob("*.csv")} == set(TEXT_COLUMNS)
    for file, columns in TEXT_COLUMNS.items():
        with (tmp_path / file).open(newline="") as opened:
            raw = list(csv.DictReader(opened))
        assert {column for row in raw for column, cell in row.items() if cell == f"'{name}"} == columns, file
        assert not [cell for row in raw for cell in row.values() if looks_like_a_formula(cell)], file
        back = read_table(tmp_path / file)
        assert {column for row in back for column, cell in row.items() if cell == name} == columns, file
    assert {eid: list(neurons) for eid, neurons in read_neurons(tmp_path / "neurons.csv").items()} == {
        name: [name, "u1"]
    }
    rows = read_regions(tmp_path / "regions.csv")
    assert {(row.eid, row.region) for row in rows} == {(name, region) for region in ("all", name, "LP")}


def looks_like_a_formula(cell):
    try:
        float(cell)
    except ValueError:
        return cell.startswith(("=", "+", "-", "@"))
    return False


def test_the_check_of_cells():
    found = [cell for cell in ("=1", "-x", "@x", "+x", "-0.5", "1e-3", "x=1", "", "'=1") if looks_like_a_formula(cell)]
    assert found == ["=1", "-x", "@x", "+x"]
