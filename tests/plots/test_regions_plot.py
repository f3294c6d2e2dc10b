"""The table of regions is read as it was written, and drawn with its intervals."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection

from neuromtm.errors import UserError
from neuromtm.evaluation.results import BPS_KEYS, NEURON_COLUMNS, WHOLE_SESSION, NeuronScores, regions_text
from neuromtm.plots.regions import MOST_COLOURED, RegionMean, RegionRow, read_regions, regions_figure


def scores(eid, regions, seed=0, **figures):
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.rand(len(regions), generator=generator).double() for name in NEURON_COLUMNS[3:]}
    uuid = tuple(f"{eid}-{i}" for i in range(len(regions)))
    return NeuronScores(eid=eid, uuid=uuid, region=tuple(regions), **(values | figures))


def written(tmp_path, *tables):
    path = tmp_path / "regions.csv"
    path.write_text(regions_text(tables))
    return path


def rows_of(eids, regions, n=20):
    mean = RegionMean(n=n, mean=0.3, median=0.2, low=0.1, high=0.4)
    return [
        RegionRow(eid=eid, region=region, n_neurons=n, means=dict.fromkeys(BPS_KEYS, mean))
        for eid in eids
        for region in regions
    ]


def test_the_table_is_read_as_it_was_written(tmp_path):
    nothing = torch.full((8,), float("nan")).double()
    table = scores("a", ["LP"] * 6 + ["CA1"] * 2, inter_region_bps=nothing)
    rows = read_regions(written(tmp_path, table))
    assert [(row.region, row.n_neurons) for row in rows] == [(WHOLE_SESSION, 8), ("CA1", 2), ("LP", 6)]
    known = table.co_smoothing_bps[:6].numpy()
    mean = rows[2].means["co_smoothing_bps"]
    assert (mean.n, mean.mean, mean.median) == (
        6,
        pytest.approx(known.mean(), 1e-5),
        pytest.approx(np.median(known), 1e-5),
    )
    assert mean.low < mean.mean < mean.high
    assert rows[1].means["co_smoothing_bps"].low is None
    assert all("inter_region_bps" not in row.means for row in rows)


def test_another_table_is_refused_by_its_name(tmp_path):
    (tmp_path / "regions.csv").write_text("eid,region\na,b\n")
    with pytest.raises(UserError, match=r"regions\.csv: not a table of regions"):
        read_regions(tmp_path / "regions.csv")


def test_every_region_of_every_session_has_a_point_and_an_interval_in_each_task(tmp_path):
    rows = read_regions(written(tmp_path, scores("a", ["LP"] * 6 + ["CA1"] * 6), scores("b", ["LP"] * 7, seed=1)))
    figure = regions_figure(rows)
    figure.canvas.draw()
    assert len(figure.axes) == 4
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["CA1", "LP"]
    points = np.concatenate([c.get_offsets() for c in figure.axes[3].collections if isinstance(c, PathCollection)])
    expected = [row.means["inter_region_bps"].mean for row in rows if row.region != WHOLE_SESSION]
    assert sorted(points[:, 0]) == pytest.approx(sorted(expected))
    lines = [c for c in figure.axes[3].collections if isinstance(c, LineCollection)]
    ends = {tuple(segment[:, 0]) for line in lines for segment in line.get_segments()}
    assert {(m.low, m.high) for m in (row.means["inter_region_bps"] for row in rows[1:3])} <= ends
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_mean_of_too_few_neurons_is_hollow(tmp_path):
    figure = regions_figure(read_regions(written(tmp_path, scores("a", ["LP"] * 6 + ["CA1"] * 2))))
    (points,) = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    assert points.get_facecolors()[0].tolist() == [1, 1, 1, 1]
    assert points.get_facecolors()[1].tolist() != [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("eids", "regions"),
    [
        (["a"], ["LP"]),
        (["a"], [f"REGION{i:02d}-with-a-long-name" for i in range(15)]),
        ([f"session-{i}" for i in range(MOST_COLOURED + 5)], ["LP", "CA1"]),
        ([], []),
    ],
    ids=["one", "fifteen", "many sessions", "none"],
)
def test_regions_of_any_number_are_drawn(eids, regions):
    figure = regions_figure(rows_of(eids, regions))
    figure.canvas.draw()
    assert bool(figure.legends) == (1 < len(eids) <= MOST_COLOURED)
    assert figure.get_size_inches()[1] < 30
