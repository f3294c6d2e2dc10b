"""What `describe` says of a folder of shards, and the slow twins of its numbers."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.description import facts
from data_prep.description.facts import read_facts
from data_prep.description.page import description_page
from data_prep.description.remarks import remarks_of
from data_prep.description.tables import sessions_table
from neuromtm.data.manifest import add_shard, read_manifest
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials, write_shard
from neuromtm.errors import ShardError

N_TRIALS, N_BINS, N_NEURONS = 80, 10, 6


def a_shard(eid="a", *, subject="m1", starts_s=None, splits=None, change=None, **trials) -> Shard:
    """Independent Poisson counts of five spikes a trial and neuron; `change(counts)` may spoil them."""
    counts = np.random.default_rng(0).poisson(0.5, (N_TRIALS, N_BINS, N_NEURONS)).astype(np.uint8)
    if change is not None:
        change(counts)
    start_s = 10.0 * np.arange(N_TRIALS) if starts_s is None else starts_s
    nothing = np.full(N_TRIALS, np.nan)
    columns = dict.fromkeys(("stimulus_onset_s", "contrast", "block", "reward", "reaction_time_s"), nothing)
    choice = np.resize([-1, 1, 0], N_TRIALS).astype(np.int8)
    own = {"choice": choice, "index": np.arange(N_TRIALS), "start_s": start_s, "event_s": start_s}
    rows = np.arange(N_TRIALS, dtype=np.int32)
    header = ShardHeader(
        eid=eid,
        subject=subject,
        lab="lab",
        source="test",
        bin_size_s=0.1,
        window_s=(0.0, 1.0),
        align_event="go",
        created_by="test",
        neurons=Neurons(
            uuid=np.array([f"{eid}-{n}" for n in range(N_NEURONS)]),
            region=np.resize(["CA1", "VISp", "root"], N_NEURONS),
            probe=np.repeat("p", N_NEURONS),
            firing_rate_hz=counts[rows % 4 < 2].mean((0, 1)) / 0.1,
            label=np.ones(N_NEURONS),
            depth_um=np.ones(N_NEURONS),
        ),
        trials=Trials(**(columns | own | trials)),
        splits=splits or {"train": rows[rows % 4 < 2], "val": rows[rows % 4 == 2], "test": rows[rows % 4 == 3]},
        behaviors=("wheel",),
    )
    wheel = np.tile(np.arange(N_BINS, dtype=np.float32), (N_TRIALS, 1))
    wheel[:8, 0] = np.nan
    return Shard(header, counts=counts, behavior={"wheel": wheel})


@pytest.fixture
def described(tmp_path):
    """Write shards into a folder, and read what is in them."""

    def describe(*shards: Shard, roles=("pretrain",) * 9):
        for shard, role in zip(shards, roles, strict=False):
            path = tmp_path / "data" / f"{shard.header.eid}.h5"
            write_shard(path, shard)
            add_shard(path, role)
        return [read_facts(tmp_path / "data", entry) for entry in read_manifest(tmp_path / "data")]

    return describe


def test_the_numbers_of_good_independent_neurons(described):
    (one,) = described(shard := a_shard())
    np.testing.assert_allclose(one.rate_hz, shard.counts.mean((0, 1)) / 0.1, rtol=1e-6)
    np.testing.assert_allclose(one.population_hz, shard.counts.mean((1, 2)) / 0.1, rtol=1e-6)
    assert not one.silent.any()
    assert not one.comes_or_goes.any()
    assert one.duplicates == ()
    assert (one.n_overlapping, one.shared) == (0, {})
    assert abs(one.drift) < 0.2
    assert one.behaviors["wheel"].missing == pytest.approx(8 / (N_TRIALS * N_BINS))
    np.testing.assert_allclose(one.behaviors["wheel"].mean, np.arange(N_BINS))
    assert remarks_of([one]) == []


def test_reading_a_few_trials_at_a_time_changes_nothing(described, monkeypatch):
    def mirror(counts):
        counts[:, :, 4] = counts[:, :, 2]

    shard = a_shard(change=mirror)
    (whole,) = described(shard)
    monkeypatch.setattr(facts, "READ_BYTES", 1)
    (slow,) = described(shard)
    np.testing.assert_array_equal(slow.rate_hz, whole.rate_hz)
    np.testing.assert_array_equal(slow.behaviors["wheel"].mean, whole.behaviors["wheel"].mean)
    assert [pair.uuids for pair in slow.duplicates] == [pair.uuids for pair in whole.duplicates] == [("a-2", "a-4")]


def test_one_neuron_sorted_twice_is_found(described):
    def miss_some_spikes(counts):
        counts[:, :, 4] = np.random.default_rng(1).binomial(counts[:, :, 2], 0.8)

    (one,) = described(shard := a_shard(change=miss_some_spikes))
    (pair,) = one.duplicates
    assert pair.uuids == ("a-2", "a-4")
    rest = shard.counts - shard.counts.mean(0)
    twin = np.corrcoef(rest[:, :, 2].ravel(), rest[:, :, 4].ravel())[0, 1]
    assert pair.correlation == pytest.approx(twin, abs=1e-4)
    assert "may be one neuron each: a (1)" in " ".join(remarks_of([one]))


def test_neurons_that_an_event_drives_alike_are_no_duplicates(described):
    def burst(counts):
        counts[:, 3, :3] = 9

    (one,) = described(a_shard(change=burst))
    assert one.duplicates == ()


def test_a_few_coincidences_of_sparse_neurons_are_no_duplicate(described):
    def sparse(counts):
        counts[:, :, :2] = 0
        counts[5, 5, :2] = counts[50, 2, :2] = 1

    (one,) = described(a_shard(change=sparse))
    assert one.duplicates == ()


def test_silent_neurons_and_those_that_come_are_counted_by_time_not_by_row(described):
    order = np.random.default_rng(3).permutation(N_TRIALS)

    def spoil(counts):
        counts[:, :, 0] = 0
        counts[order < 30, :, 1] = 0

    (one,) = described(a_shard(change=spoil, starts_s=10.0 * order))
    np.testing.assert_array_equal(one.silent, [True] + [False] * 5)
    np.testing.assert_array_equal(one.comes_or_goes, [False, True] + [False] * 4)
    said = " ".join(remarks_of([one]))
    assert "without a spike in the training trials: a (1 of 6)" in said
    assert "come or go" in said


def test_a_drift_is_the_change_of_the_mean_rate(described):
    def double(counts):
        counts[60:] = 2 * counts[:20]

    (one,) = described(a_shard(change=double))
    assert one.drift == pytest.approx(1.0)
    assert "the mean rate changes by more than 30% over the session: a (+100%)" in " ".join(remarks_of([one]))


def test_windows_that_share_time_are_told_within_a_split_and_between_splits(described):
    starts_s = 10.0 * np.arange(N_TRIALS)
    starts_s[1] = starts_s[0] + 0.5  # both train
    starts_s[6] = starts_s[5] + 0.5  # train and val
    (one,) = described(a_shard(starts_s=starts_s))
    assert (one.n_overlapping, one.shared) == (4, {("train", "val"): 1})
    said = remarks_of([one])
    assert said[0].endswith("a test trial is known from training: a (1 val with train).")
    row = dict(zip(sessions_table([one]).head, sessions_table([one]).rows[0], strict=True))
    assert (row["overlap"], row["shared"]) == ("4", "1")


def test_without_times_nothing_is_said_about_overlap(described):
    (one,) = described(a_shard(starts_s=np.full(N_TRIALS, np.nan)))
    row = dict(zip(sessions_table([one]).head, sessions_table([one]).rows[0], strict=True))
    assert (row["overlap"], row["shared"]) == ("-", "-")


def test_choices_that_the_contrast_decides_are_told(described):
    contrast = np.resize([-1.0, 1.0, 0.0], N_TRIALS)
    (one,) = described(a_shard(contrast=contrast))
    assert any("the choice follows from the contrast alone" in sentence for sentence in remarks_of([one]))
    (one,) = described(a_shard(contrast=contrast, choice=np.resize([1, 1, -1, -1, 1], N_TRIALS).astype(np.int8)))
    assert not any("contrast" in sentence for sentence in remarks_of([one]))


def test_an_animal_in_both_roles_and_unequal_sessions_are_told(described):
    other = a_shard("b")
    other = replace(other, header=replace(other.header, align_event="stop"))
    said = " ".join(remarks_of(described(a_shard(), other, roles=("pretrain", "heldout"))))
    assert "Sessions of the same animal are pretrained on and held out: m1." in said
    assert "The sessions have different events: go, stop." in said


def test_the_page_holds_all_plots_and_escapes_names(described):
    sessions = described(a_shard("a", contrast=np.resize([-1.0, 1.0], N_TRIALS)), a_shard("b", subject="<i>m"))
    page = description_page("<b>data", sessions)
    pictures = re.findall(r'alt="(\w+):', page)
    assert pictures == ["sizes", "rates", "drift", "regions", "choices", "behaviours"]
    assert "<b>data" not in page
    assert "&lt;i&gt;m" in page
    assert "http" not in page


def test_the_command_prints_tables_and_keeps_an_earlier_page(described, tmp_path, capsys):
    described(a_shard(), a_shard("b", subject="m2"), roles=("pretrain", "heldout"))
    command = ["describe", str(tmp_path / "data"), "--out", str(tmp_path / "page")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "| pretrain |        1 |       1 |     80 |" in said
    assert "Nothing stands out." in said
    first = (tmp_path / "page" / "description.html").read_text(encoding="utf-8")
    assert main(command) == 0
    kept = [path for path in (tmp_path / "page").iterdir() if path.name != "description.html"]
    assert [path.read_text(encoding="utf-8") for path in kept] == [first]


def test_without_a_folder_to_write_to_nothing_is_written(described, tmp_path, monkeypatch):
    described(a_shard())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["describe", "data"]) == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "a file for --out"])
def test_what_cannot_be_read_or_written_is_one_sentence(described, tmp_path, capsys, damage):
    described(a_shard())
    path, out = tmp_path / "data" / "a.h5", tmp_path / "page"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        out.write_text("a file")
    assert main(["describe", str(tmp_path / "data"), "--out", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(out if damage.startswith("a file") else path) in lines[0]


def test_a_shard_in_the_place_of_another_is_refused(described, tmp_path):
    described(a_shard())
    (entry,) = read_manifest(tmp_path / "data")
    with pytest.raises(ShardError, match=r"a\.h5: holds 'a' and not 'b'"):
        read_facts(tmp_path / "data", replace(entry, eid="b"))


def test_a_shard_of_format_1_is_described(described, tmp_path):
    described(a_shard())
    with h5py.File(tmp_path / "data" / "a.h5", "r+") as file:
        file.attrs["format_version"] = 1
        for name in ("neurons/mean_count", "neurons/count_variance", "neurons/principal_axes"):
            del file[name]
        for name in ("trials/start_s", "trials/event_s"):
            del file[name]
    assert main(["describe", str(tmp_path / "data"), "--out", str(tmp_path / "page")]) == 0


def test_names_of_a_stranger_are_text_in_the_page_and_no_markup(tmp_path, capsys):
    tag = "<script>alert(1)</script>"
    shard = a_shard(subject=tag)
    neurons = shard.header.neurons
    names = {name: np.array([*getattr(neurons, name)[:-1], f"{tag}{name}"]) for name in ("uuid", "region", "probe")}
    header = replace(shard.header, lab=tag, align_event=tag, behaviors=(tag.replace("/", ""),))
    header = replace(header, neurons=replace(neurons, **names))
    # the last two neurons are one, so that their names are listed, too
    shard.counts[..., -1] = shard.counts[..., -2]
    named = replace(shard, header=header, behavior={tag.replace("/", ""): shard.behavior["wheel"]})
    write_shard(tmp_path / "a.h5", named)
    add_shard(tmp_path / "a.h5", "pretrain")
    text = description_page(f"{tag} & co", [read_facts(tmp_path, entry) for entry in read_manifest(tmp_path)])
    assert not re.search(r"<script>alert", text)
    shown = text.count("&lt;script&gt;alert(1)")
    # folder, animal, region, the pair of neurons, behaviour
    assert shown >= 5
    for name in ("uuid", "region"):
        assert f"&lt;script&gt;alert(1)&lt;/script&gt;{name}" in text
