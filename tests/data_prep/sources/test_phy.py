"""Folders of Phy and Kilosort: what is read, and what is refused."""

import json

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.sources.phy.params import read_params
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import read_shard
from neuromtm.errors import SourceError

RATE_HZ = 1000.0
ONSET_S = 2.0 * np.arange(1, 21)
CLUSTERS = np.array([3, 7, 8, 40])
"""Phy merges and splits clusters, which leaves gaps"""
TRIALS = "".join(f"{onset_s:.3f},{onset_s - 0.5:.3f},{(-1) ** n},{n % 3}\n" for n, onset_s in enumerate(ONSET_S))
WINDOW = ["--align-event", "tone", "--window-s", "0", "0.5", "--bin-size-s", "0.1"]


def write_sorting(folder, samples, clusters, *, groups=("good",) * 4, rate="1000.", templates=True):
    """A folder as Phy writes it. The templates are largest on channels 0, 2, 1 and 3, at 0, 40, 20 and 60 um."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.argsort(samples, kind="stable")
    np.save(folder / "spike_times.npy", np.asarray(samples, np.uint64)[order, None])
    np.save(folder / "spike_clusters.npy", np.asarray(clusters, np.int32)[order])
    (folder / "params.py").write_text(
        f"'''of a sorting'''\ndat_path = [r'C:\\raw\\a b.bin']\nn_channels_dat = 385\nsample_rate = {rate}\n"
    )
    rows = "".join(f"{cluster}\t{group}\n" for cluster, group in zip(CLUSTERS, groups, strict=True))
    (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n" + rows)
    if templates:
        waveforms = np.zeros((4, 5, 4), np.float32)
        waveforms[np.arange(4), 2, [0, 2, 1, 3]] = -5
        waveforms[:, 2, 0] -= 1
        np.save(folder / "templates.npy", waveforms)
        np.save(folder / "spike_templates.npy", np.searchsorted(CLUSTERS, clusters)[order].astype(np.uint32))
        np.save(folder / "channel_positions.npy", np.array([[0.0, 20.0 * row] for row in range(4)]))
        np.save(folder / "channel_map.npy", np.array([[10], [11], [12], [13]]))
    return folder


def spikes():
    """Samples and clusters: the clusters fire once, twice, three and four times, 50 ms after every onset."""
    samples = np.concatenate([np.repeat(1000 * ONSET_S + 50 + n, n + 1) for n in range(4)])
    return samples, np.repeat(CLUSTERS, len(ONSET_S) * np.arange(1, 5))


@pytest.fixture
def session(tmp_path):
    folder = write_sorting(tmp_path / "maus 1 ü", *spikes())
    (folder / "trials.csv").write_text("tone,light,choice,kind\n" + TRIALS)
    return folder


def prepare(tmp_path, *arguments):
    out = tmp_path / "out"
    assert main(["phy", "--folder", *map(str, arguments), *WINDOW, "--out", str(out)]) == 0
    assert folder_problems(out) == {}
    return {entry.eid: read_shard(out / entry.file) for entry in read_manifest(out)}


def refused(tmp_path, capsys, *arguments) -> str:
    """The one line with which a session is refused."""
    out = tmp_path / "out"
    assert main(["phy", "--folder", *map(str, arguments), *WINDOW, "--out", str(out)]) in (1, 2)
    assert not list(out.glob("*.h5"))
    told = capsys.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "skipped: " in line or "neuromtm-prep: " in line]
    assert len(lines) == 1
    return lines[0]


def test_a_sorting_is_read_by_clusters_labels_channels_and_samples(session, tmp_path):
    (session / "regions.csv").write_text("channel;region\n10;CA1\n11;VISp\n12;CA1\n13;\n")
    (shard,) = prepare(tmp_path, session).values()
    assert shard.header.eid == "maus-1-u"
    np.testing.assert_array_equal(shard.counts.sum(1), np.tile([1, 2, 3, 4], (20, 1)))
    assert not shard.counts[:, 1:].any()
    neurons = shard.header.neurons
    assert list(neurons.region) == ["CA1", "CA1", "VISp", "void"]
    np.testing.assert_array_equal(neurons.depth_um, [0, 40, 20, 60])
    np.testing.assert_array_equal(neurons.label, 1)
    assert [name.rpartition("-")[2] for name in neurons.uuid] == ["3", "7", "8", "40"]
    np.testing.assert_array_equal(shard.header.trials.event_s, ONSET_S)
    np.testing.assert_array_equal(shard.header.trials.columns["light"], ONSET_S - 0.5)
    np.testing.assert_array_equal(shard.header.trials.choice, np.tile([1, -1], 10))


@pytest.mark.parametrize(("asked", "taken"), [((), ["3", "40"]), (("good", "mua"), ["3", "7", "40"]), (("all",), None)])
def test_only_clusters_of_the_labels_asked_for_are_taken(tmp_path, asked, taken):
    folder = write_sorting(tmp_path / "a", *spikes(), groups=("good", "mua", "", "Good"))
    (folder / "trials.csv").write_text("tone,light,choice,kind\n" + TRIALS)
    (shard,) = prepare(tmp_path, folder, *(("--groups", *asked) if asked else ())).values()
    expected = taken or ["3", "7", "8", "40"]
    assert [name.rpartition("-")[2] for name in shard.header.neurons.uuid] == expected
    labels = {"3": 1.0, "7": 0.0, "8": np.nan, "40": 1.0}
    np.testing.assert_array_equal(shard.header.neurons.label, [labels[name] for name in expected])


def test_labels_of_kilosort_count_where_nothing_was_curated(session, tmp_path):
    (session / "cluster_group.tsv").write_text("cluster_id\tgroup\n")
    (session / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n3\tmua\n7\tgood\n8\tgood\n40\tmua\n")
    (shard,) = prepare(tmp_path, session).values()
    assert [name.rpartition("-")[2] for name in shard.header.neurons.uuid] == ["7", "8"]


def test_channels_of_cluster_info_serve_where_there_are_no_templates(tmp_path):
    folder = write_sorting(tmp_path / "a", *spikes(), templates=False)
    (folder / "cluster_info.tsv").write_text("cluster_id\tch\tdepth\tgroup\n3\t5\t100\tgood\n40\t6\t120\tgood\n")
    (folder / "trials.csv").write_text("tone,light,choice,kind\n" + TRIALS)
    (folder / "areas.csv").write_text("channel,region\n5,CA1\n6,CA3\n")
    (shard,) = prepare(tmp_path, folder, "--regions", folder / "areas.csv").values()
    assert list(shard.header.neurons.region) == ["CA1", "void", "void", "CA3"]
    np.testing.assert_array_equal(shard.header.neurons.depth_um, [100, np.nan, np.nan, 120])


def test_without_curated_clusters_the_templates_are_the_clusters(session, tmp_path):
    (session / "spike_clusters.npy").unlink()
    (session / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n3\tgood\n")
    (shard,) = prepare(tmp_path, session).values()
    np.testing.assert_array_equal(shard.counts.sum((0, 1)), [20, 80])


def test_subfolders_of_a_session_are_its_probes(tmp_path):
    whole, (samples, clusters) = tmp_path / "day 1", spikes()
    for probe, shift in (("imec0", 0), ("imec1", 100)):
        write_sorting(whole / probe / "sorter_output", samples + shift, clusters)
    (whole / "session.json").write_text(json.dumps({"session": "m1-day1", "subject": "m1", "lab": "mine"}))
    (whole / "trials.csv").write_text("tone,light,choice,kind\n" + TRIALS)
    regions = "".join(f"imec{p}/sorter_output,{cluster},R{p}\n" for p in (0, 1) for cluster in CLUSTERS)
    (whole / "regions.csv").write_text("probe,cluster,region\n" + regions)
    (shard,) = prepare(tmp_path, whole).values()
    assert (shard.header.eid, shard.header.subject, shard.header.lab) == ("mine_m1_m1-day1", "m1", "mine")
    assert list(shard.header.neurons.region) == ["R0"] * 4 + ["R1"] * 4
    np.testing.assert_array_equal(shard.counts[:, 0, :4], shard.counts[:, 1, 4:])
    assert shard.counts[:, 1, 4:].any()


def test_subfolders_without_a_session_around_them_are_sessions(tmp_path):
    for name in ("a", "b"):
        folder = write_sorting(tmp_path / "all" / name, *spikes())
        (folder / "trials.csv").write_text("tone,light,choice,kind\n" + TRIALS)
    (tmp_path / "all" / "notes").mkdir()
    assert sorted(prepare(tmp_path, tmp_path / "all")) == ["a", "b"]


def test_splits_observed_times_and_traces_beside_the_spikes_are_kept(session, tmp_path):
    names = ["train"] * 10 + ["val"] * 4 + ["test"] * 5 + [""]
    lines = [line + f",{name}\n" for line, name in zip(TRIALS.splitlines(), names, strict=True)]
    (session / "trials.csv").write_text("tone,light,choice,kind,split\n" + "".join(lines))
    (session / "observed.csv").write_text("start_s,end_s\n0,5\n7,60\n")
    (session / "traces").mkdir()
    times_s = np.arange(0, 60, 0.01)
    np.savez(session / "traces" / "wheel.npz", times_s=times_s, values=2 * times_s)
    (shard,) = prepare(tmp_path, session).values()
    assert {name: len(trials) for name, trials in shard.header.splits.items()} == {"train": 9, "val": 4, "test": 5}
    assert 6.0 not in shard.header.trials.event_s
    expected = 2 * (shard.header.trials.event_s[:, None] + 0.1 * (np.arange(5) + 0.5))
    np.testing.assert_allclose(shard.behavior["wheel"], expected, rtol=1e-6)


def test_inspect_says_what_is_there_and_its_command_prepares_it(session, tmp_path, capsys):
    assert main(["phy", "--folder", str(session), "--inspect"]) == 0
    text = capsys.readouterr().out
    assert "4 of 4 clusters taken; cluster_group.tsv has 4 good" in text
    assert "tone, light" in text.replace("events    ", "")
    assert "python -m data_prep phy" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == [session.name]


@pytest.mark.parametrize(
    "code",
    [
        "sample_rate = 30000. * 1",
        "import os\nsample_rate = 30000.",
        "sample_rate = float(open('FLAG', 'w').write('x'))",
        "sample_rate = [open('FLAG', 'w') for _ in (1,)]",
        "a = b = 3",
        "dat_path = 'C:\\Users\\x'",
        "sample_rate = " + "-" * 5000 + "1",
    ],
)
def test_params_that_would_run_code_are_refused_and_never_run(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.py").write_text(code)
    with pytest.raises(SourceError, match="NAME = VALUE") as error:
        read_params(tmp_path / "params.py")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "FLAG").exists()


def spoil(name, values, **options):
    return lambda folder: np.save(folder / name, values, **options)


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


BAD = {
    "params that would run code": (text("params.py", b"import os\nsample_rate = 1e3\n"), "is never run"),
    "no params": (lambda folder: (folder / "params.py").unlink(), "--sample-rate-hz"),
    "a rate of 0": (text("params.py", b"sample_rate = 0\n"), "not a number above 0"),
    "pickled times": (spoil("spike_times.npy", np.array([{}], object), allow_pickle=True), "pickles"),
    "cut short": (text("spike_clusters.npy", b"\x93NUMPY\x01\x00v"), "cannot be read"),
    "times in seconds": (spoil("spike_times.npy", np.arange(200) + 0.5), "whole numbers"),
    "NaN": (spoil("spike_times.npy", np.full(200, np.nan)), "whole numbers"),
    "unequal": (spoil("spike_clusters.npy", np.zeros(7, np.int32)), "200 spike times, but 7"),
    "no spikes": (
        lambda folder: [
            np.save(folder / f"spike_{n}.npy", np.zeros(0, int)) for n in ("times", "clusters", "templates")
        ],
        "no spikes",
    ),
    "template out of range": (spoil("spike_templates.npy", np.full(200, 9)), "spikes of template 9"),
    "no good cluster": (text("cluster_group.tsv", b"cluster_id\tgroup\n3\tmua\n"), "3 unsorted"),
    "twice the same cluster": (text("cluster_group.tsv", b"cluster_id\tgroup\n3\tgood\n3\tmua\n"), "in 2 rows"),
    "no clusters named": (text("cluster_group.tsv", b"a\tgroup\n3\tgood\n"), "no column cluster_id"),
    "unknown event": (text("trials.csv", b"go,choice\n1,1\n2,1\n"), "It has: go"),
    "text for a choice": (text("trials.csv", b"tone,choice\n2,left\n"), "the column choice is not of numbers"),
    "a ragged row": (text("trials.csv", b"tone,choice\n2,1\n3\n"), "row 3 has 1 fields"),
    "not UTF-8": (text("trials.csv", b"tone,art\n2,\xfc\n"), "UTF-8"),
    "no JSON": (text("session.json", b"{"), "not readable JSON"),
    "region without its number": (text("regions.csv", b"region\nCA1\n"), "no column channel or cluster"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(session, tmp_path, capsys, what):
    damage, sentence = BAD[what]
    damage(session)
    assert sentence in refused(tmp_path, capsys, session)


def test_events_in_samples_are_told_by_their_range(session, tmp_path, capsys):
    (session / "trials.csv").write_text("tone_s\n" + "".join(f"{1000 * onset_s:.0f}\n" for onset_s in ONSET_S))
    assert main(["phy", "--folder", str(session), "--inspect"]) == 0
    assert "likely in milliseconds" in capsys.readouterr().out


def test_times_that_go_backwards_are_put_in_order_and_told(session, tmp_path, capsys):
    for name in ("spike_times", "spike_clusters", "spike_templates"):
        values = np.load(session / f"{name}.npy").ravel()
        np.save(session / f"{name}.npy", np.roll(values, 7))
    (shard,) = prepare(tmp_path, session).values()
    assert "go backwards 1 times" in capsys.readouterr().out
    np.testing.assert_array_equal(shard.counts.sum(1), np.tile([1, 2, 3, 4], (20, 1)))


def test_a_file_of_one_session_is_refused_for_several(tmp_path, capsys):
    for name in ("a", "b"):
        write_sorting(tmp_path / "all" / name, *spikes())
    (tmp_path / "regions.csv").write_text("cluster,region\n3,CA1\n")
    line = refused(tmp_path, capsys, tmp_path / "all", "--regions", tmp_path / "regions.csv")
    assert "a file of one session, but" in line
