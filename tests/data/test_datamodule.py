"""The data module: which sessions and neurons, what a loader gives, and where it goes on."""

import json
import os
import shutil
from dataclasses import replace
from itertools import islice, pairwise

import lightning
import numpy as np
import pytest
import torch
from format_1 import as_format_1
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_shards import N_BINS, Session, contents, make_shard, ready, without_trials, write_folder

from neuromtm.batch import Batch
from neuromtm.data.chunks import ShardReader
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.dataset import SessionDataset
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import write_shard
from neuromtm.data.statistics import training_statistics
from neuromtm.errors import ConfigError, DataError, ShardError
from neuromtm.metrics.spikes import bits_per_spike, poisson_nll
from tests.trainers import quiet_trainer

SESSIONS = (
    Session("a"),
    Session("b", n_trials=30, regions=["MOs", "CA1"], behaviors=["paw"]),
    Session("c", n_trials=11, regions=["CA1"], behaviors=[]),
    Session("held", role="heldout"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of four sessions and what was written to it; not to be changed."""
    folder = tmp_path_factory.mktemp("shards")
    return folder, write_folder(folder, *SESSIONS)


@pytest.fixture(scope="module")
def folder(written):
    return written[0]


def epoch_of(loader, epoch: int = 0) -> list[Batch]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_loader_gives_every_trial_of_its_split_as_it_was_written(written, split):
    folder, shards = written
    data = ready(folder, batch_size=3, eval_batch_size=2, role="all")
    seen = {eid: [] for eid in shards}
    for batch in getattr(data, f"{split}_dataloader")():
        (group,) = batch.groups
        trials, shard = group.trial.tolist(), shards[group.eid]
        seen[group.eid] += trials
        np.testing.assert_array_equal(group.counts, shard.counts[trials])
        np.testing.assert_array_equal(group.choice, shard.header.trials.choice[trials])
        assert group.behavior.keys() == shard.behavior.keys()
        for name, trace in group.behavior.items():
            np.testing.assert_array_equal(trace, shard.behavior[name][trials])
        assert len(trials) <= (3 if split == "train" else 2)
    splits = {eid: sorted(shard.header.splits[split].tolist()) for eid, shard in shards.items()}
    assert {eid: sorted(trials) for eid, trials in seen.items()} == splits


def test_prediction_reads_the_test_trials(folder):
    data = ready(folder)
    assert contents(epoch_of(data.predict_dataloader())) == contents(epoch_of(data.test_dataloader()))


def test_several_sessions_share_a_batch_in_training_only(folder):
    data = ready(folder, sessions=["a", "held"], batch_size=6, sessions_per_batch=2)
    assert all({group.eid for group in batch.groups} == {"a", "held"} for batch in data.train_dataloader())
    assert all(len(batch.groups) == 1 for batch in data.val_dataloader())


def test_setup_reads_no_counts_and_a_batch_reads_its_own_trials_only(folder, monkeypatch):
    n_read, read = [], ShardReader.read
    monkeypatch.setattr(ShardReader, "read", lambda *of: n_read.append(len(of[3])) or read(*of))
    data = ready(folder, sessions=["c"], batch_size=2)
    batches = iter(data.train_dataloader())
    assert n_read == []
    next(batches)
    assert n_read == [2]


@pytest.mark.parametrize("n_workers", [0, 1, 2])
@pytest.mark.parametrize("cache", ["auto", "device", "memory", "none"])
def test_wherever_the_counts_lie_the_batches_are_the_same(folder, n_workers, cache):
    plain = ready(folder, batch_size=4, sessions_per_batch=2, cache="none")
    data = ready(folder, batch_size=4, sessions_per_batch=2, n_workers=n_workers, cache=cache)
    data.mean_counts("a")  # opens a file here, before the workers start
    for split in ("train", "val", "test"):
        loader, expected = getattr(data, f"{split}_dataloader")(), getattr(plain, f"{split}_dataloader")()
        for epoch in range(2):
            assert contents(epoch_of(loader, epoch)) == contents(epoch_of(expected, epoch))


def test_epochs_differ_and_the_seed_sets_them(folder):
    loader, again, other = (ready(folder, seed=seed).train_dataloader() for seed in (0, 0, 1))
    first = contents(epoch_of(loader, 0))
    assert contents(epoch_of(loader, 1)) != first
    assert contents(epoch_of(again, 0)) == first
    assert contents(epoch_of(other, 0)) != first


# ---- resuming


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("n_given", [0, 3])
def test_a_loader_goes_on_at_the_very_batch(folder, n_workers, n_given):
    loader = ready(folder, batch_size=3, n_workers=n_workers).train_dataloader()
    whole = contents(epoch_of(loader, 2))
    stopped = iter(loader)
    for _ in range(n_given):
        next(stopped)
    state = json.loads(json.dumps(loader.state_dict()))
    again = ready(folder, batch_size=3, n_workers=n_workers).train_dataloader()
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert len(again) == len(whole)
    assert contents(epoch_of(again, 2)) == whole[n_given:]
    assert len(epoch_of(again, 3)) == len(whole)


def test_a_loader_stopped_twice_in_an_epoch_goes_on_at_the_very_batch(folder):
    whole = contents(epoch_of(ready(folder, batch_size=3).train_dataloader()))
    state, given_out = {"epoch": 0, "given": 0}, []
    for n_given in (3, 2, len(whole) - 5):
        loader = ready(folder, batch_size=3).train_dataloader()
        loader.load_state_dict(state)
        given_out += contents(islice(loader, n_given))
        state = loader.state_dict()
    assert given_out == whole


def test_a_loader_stopped_at_the_end_of_an_epoch_goes_on_with_a_whole_one(folder):
    loader = ready(folder).train_dataloader()
    n_batches = len(epoch_of(loader, 0))
    again = ready(folder).train_dataloader()
    again.load_state_dict(loader.state_dict())
    assert len(epoch_of(again, 1)) == n_batches


class Recorder(lightning.LightningModule):
    """Trains nothing; notes the trials of every batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple] = []

    def training_step(self, batch: Batch, batch_idx: int):
        self.seen.append((self.current_epoch, batch_idx, *((g.eid, tuple(g.trial.tolist())) for g in batch.groups)))
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveOften(lightning.Callback):
    """Saves after every batch and at the end of every epoch, as a run does that may be stopped."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}-epoch.ckpt")


def recorded(folder, saved, *, ckpt_path=None, limit: int | None = None, cache="auto") -> list[tuple]:
    """What three epochs see; without a checkpoint to go on from, one is saved at every step."""
    module = Recorder()
    trainer = quiet_trainer(
        saved, max_epochs=3, limit_train_batches=limit, callbacks=[] if ckpt_path else [SaveOften(saved)]
    )
    trainer.fit(module, datamodule=SessionDataModule(root=str(folder), batch_size=4, cache=cache), ckpt_path=ckpt_path)
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("n_batches", "limit", "stops"),
    [(12, None, ("5", "12", "12-epoch", "15", "24-epoch")), (7, 7, ("3", "7", "7-epoch", "9", "14-epoch"))],
    ids=["whole epochs", "limited epochs"],
)
def test_a_training_stopped_anywhere_goes_on_at_the_very_batch(folder, tmp_path, n_batches, limit, stops):
    whole = recorded(folder, tmp_path, limit=limit)
    assert [place[:2] for place in whole] == [divmod(step, n_batches) for step in range(3 * n_batches)]
    for stop in stops:
        n_done = int(stop.removesuffix("-epoch"))
        after = recorded(folder, tmp_path, ckpt_path=tmp_path / f"{stop}.ckpt", limit=limit)
        assert whole[:n_done] + after == whole, stop


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cache", ["device", "memory", "none"])
def test_wherever_the_counts_lie_a_training_goes_on_at_the_very_batch(folder, tmp_path, cache):
    whole = recorded(folder, tmp_path)
    assert recorded(folder, tmp_path, ckpt_path=tmp_path / "15.ckpt", cache=cache) == whole[15:]


# ---- which sessions, which neurons


def test_subjects_select_the_sessions_of_their_animals_within_the_role(folder):
    assert list(ready(folder, subjects=["mouse c", "mouse a"]).sessions) == ["a", "c"]
    assert list(ready(folder, role="all", subjects=["mouse a", "mouse held"]).sessions) == ["a", "held"]
    assert list(ready(folder, role="heldout", subjects=["mouse held"]).sessions) == ["held"]
    assert set(ready(folder, subjects=["mouse a", "mouse b"], n_sessions=1).sessions) < {"a", "b"}


def test_a_role_selects_its_sessions_and_names_win_over_it(folder):
    assert list(ready(folder).sessions) == ["a", "b", "c"]
    assert list(ready(folder, role="heldout").sessions) == ["held"]
    assert list(ready(folder, role="all").sessions) == ["a", "b", "c", "held"]
    assert set(ready(folder, sessions=["held", "b", "held"]).sessions) == {"held", "b"}


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fewer_sessions_are_among_more_for_every_seed(folder, seed):
    chosen = [set(ready(folder, role="all", n_sessions=n, seed=seed).sessions) for n in range(1, 5)]
    assert [len(eids) for eids in chosen] == [1, 2, 3, 4]
    assert all(few < many for few, many in pairwise(chosen))


def test_the_seed_sets_which_sessions_are_taken_and_further_ones_do_not_reshuffle_them(folder):
    first = {seed: next(iter(ready(folder, role="all", n_sessions=1, seed=seed).sessions)) for seed in range(20)}
    assert set(first.values()) == {"a", "b", "c", "held"}
    without_c = {seed: ready(folder, sessions=["a", "b", "held"], n_sessions=1, seed=seed).sessions for seed in first}
    assert all(list(without_c[seed]) == [eid] for seed, eid in first.items() if eid != "c")


@pytest.mark.parametrize("format_version", [1, 2])
def test_neurons_that_are_quiet_in_the_training_trials_are_left_out_whatever_they_do_in_a_test(
    tmp_path, format_version
):
    """The rate in the shard says otherwise, as it does in shards of format 1 and upgraded ones."""
    shard = make_shard(Session("a"))
    train, counts = shard.header.splits["train"], shard.counts.copy()
    counts[..., 0] = 5
    counts[train, :, 0] = 0
    counts[train[0], 0, 0] = 1
    counts[..., 2] = 0
    counts[train, :, 2] = 1
    rate_hz = counts.mean((0, 1)) / 0.02
    neurons = replace(shard.header.neurons, firing_rate_hz=rate_hz)
    path = tmp_path / "a.h5"
    write_shard(path, replace(shard, header=replace(shard.header, neurons=neurons), counts=counts))
    add_shard(path, "pretrain")
    if format_version == 1:
        as_format_1(path)
    lowest_hz = 49.9
    assert rate_hz[0] > lowest_hz > rate_hz[2]
    data = ready(tmp_path, min_firing_rate_hz=lowest_hz)
    assert data.headers["a"].format_version == format_version
    assert data.sessions["a"].neurons == ("a-1", "a-2", "a-3")
    assert data.sessions["a"].regions == ("VISp", "CA1", "root")
    for batch in data.train_dataloader():
        (group,) = batch.groups
        np.testing.assert_array_equal(group.counts, counts[group.trial.tolist()][..., 1:])
        assert group.region.number.tolist() == [1, 0, -1]
    data.teardown("fit")
    # one spike in 14 trials of 4 bins of 20 ms is 0.893 Hz
    assert len(ready(tmp_path, min_firing_rate_hz=0.892).sessions["a"].neurons) == 4
    assert len(ready(tmp_path, min_firing_rate_hz=0.893).sessions["a"].neurons) == 3


def test_without_training_trials_no_neuron_is_left_out_as_quiet(tmp_path):
    write_shard(tmp_path / "a.h5", without_trials(make_shard(Session("a")), "train"))
    add_shard(tmp_path / "a.h5", "pretrain")
    assert len(ready(tmp_path, min_firing_rate_hz=1000.0).sessions["a"].neurons) == 4


def test_only_neurons_of_the_regions_asked_for_are_read(written):
    folder, shards = written
    data = ready(folder, regions=["CA1"])
    assert {eid: session.neurons for eid, session in data.sessions.items()} == {
        "a": ("a-0", "a-2"),
        "b": ("b-1",),
        "c": ("c-0",),
    }
    group = next(data.groups("a", "test"))
    np.testing.assert_array_equal(group.counts, shards["a"].counts[group.trial.tolist()][..., [0, 2]])


def test_mean_counts_are_those_of_the_training_trials_and_never_0(written):
    folder, shards = written
    data = ready(folder, eval_batch_size=3)
    for eid in data.sessions:
        counts = shards[eid].counts[shards[eid].header.splits["train"]]
        n_entries = counts.shape[0] * counts.shape[1]
        np.testing.assert_allclose(data.mean_counts(eid), counts.mean((0, 1)) + 0.5 / n_entries, rtol=1e-6)


def test_mean_counts_of_the_shard_are_the_very_numbers_that_counting_gives(written):
    folder, _ = written
    for options in ({}, {"regions": ["CA1"]}):
        data = ready(folder, **options)
        for eid in data.sessions:
            assert data.mean_counts(eid).tolist() == data.counted_means(eid).tolist()


def test_mean_counts_read_no_counts(written, monkeypatch):
    data = ready(written[0])

    def read(self, plan):
        raise AssertionError("read")

    monkeypatch.setattr(SessionDataset, "read", read)
    assert all(len(data.mean_counts(eid)) == session.n_neurons for eid, session in data.sessions.items())


def test_shards_of_format_1_give_the_same_data(tmp_path):
    write_folder(tmp_path, Session("a"), Session("b", n_trials=30))
    new = ready(tmp_path)
    expected = {eid: new.mean_counts(eid).tolist() for eid in new.sessions}
    batches = contents(new.train_dataloader())
    new.teardown("fit")
    for path in tmp_path.glob("*.h5"):
        as_format_1(path)
    old = ready(tmp_path)
    for eid in new.sessions:
        assert old.headers[eid].format_version == 1
        assert old.fingerprint(eid) == new.fingerprint(eid)
        assert old.mean_counts(eid).tolist() == expected[eid]
    assert contents(old.train_dataloader()) == batches


def test_mean_counts_without_training_trials_are_half_a_spike(tmp_path):
    write_shard(tmp_path / "a.h5", without_trials(make_shard(Session("a")), "train"))
    add_shard(tmp_path / "a.h5", "pretrain")
    data = ready(tmp_path)
    assert data.mean_counts("a").tolist() == data.counted_means("a").tolist() == 4 * [0.5]


def test_mean_counts_are_worth_zero_bits_per_spike_on_the_training_trials(written):
    folder, shards = written
    counts = torch.from_numpy(shards["b"].counts[shards["b"].header.splits["train"]]).double()
    log_rates = ready(folder).mean_counts("b").double().log().expand_as(counts)
    entries = torch.full((2,), counts[..., 0].numel())
    bps = bits_per_spike(poisson_nll(log_rates, counts).sum((0, 1)), counts.sum((0, 1)), entries)
    assert (bps.abs() < 1e-4).all()


def test_groups_give_a_split_in_the_order_of_the_shard(written):
    folder, shards = written
    data = ready(folder, eval_batch_size=4)
    parts = [group.trial.tolist() for group in data.groups("b", "train")]
    assert [len(part) for part in parts] == [4, 4, 4, 4, 4, 1]
    assert [trial for part in parts for trial in part] == shards["b"].header.splits["train"].tolist()


def test_choice_and_traces_are_those_of_all_trials_in_the_shard(written):
    folder, shards = written
    data = ready(folder)
    np.testing.assert_array_equal(data.choice("a"), shards["a"].header.trials.choice)
    np.testing.assert_array_equal(data.behavior("b", "paw"), shards["b"].behavior["paw"])
    assert data.behavior("c", "paw") is None


def test_the_number_of_batches_is_what_every_rank_gets(folder):
    data = ready(folder, batch_size=4)
    assert data.n_train_batches(1) == len(epoch_of(data.train_dataloader())) == 12
    assert data.n_train_batches(5) == 3
    assert (data.n_bins, data.bin_size_s) == (N_BINS, 0.02)


@pytest.mark.parametrize("cache", ["none", "memory", "device"])
def test_a_shard_replaced_after_its_header_was_read_is_refused(tmp_path, cache):
    write_folder(tmp_path, Session("a"))
    data = ready(tmp_path, cache=cache)
    path = data.path("a")
    other = path.with_suffix(".new")
    shutil.copy(path, other)
    os.replace(other, path)
    with pytest.raises(ShardError, match=r"file0\.h5: the file has changed since this run opened it"):
        next(iter(data.groups("a", "train")))


# ---- what the training trials say of the neurons, and fewer of them


def assert_statistics(found, counts):
    expected = training_statistics(counts, np.arange(len(counts)))
    np.testing.assert_allclose(found.mean, counts.mean((0, 1)) + 0.5 / counts[..., 0].size, rtol=1e-6)
    np.testing.assert_allclose(found.variance, expected.count_variance, rtol=1e-6)
    np.testing.assert_allclose(found.axes, expected.principal_axes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"regions": ["CA1"]}, {"n_train_trials": 5}])
def test_statistics_are_those_of_the_neurons_and_training_trials_that_are_used(written, options):
    folder, shards = written
    data = ready(folder, eval_batch_size=3, **options)
    for eid in data.sessions:
        shard, regions = shards[eid], options.get("regions")
        neurons = np.isin(shard.header.neurons.region, regions) if regions else slice(None)
        train = np.sort(shard.header.splits["train"])
        if most := options.get("n_train_trials"):
            train = train[np.linspace(0, len(train) - 1, most).round().astype(int)]
        assert_statistics(data.statistics(eid), shard.counts[train][..., neurons])


def test_statistics_of_the_whole_session_are_read_and_not_computed_anew(written, monkeypatch):
    data = ready(written[0])

    def read(self, plan):
        raise AssertionError("read")

    monkeypatch.setattr(SessionDataset, "read", read)
    assert all(data.statistics(eid).axes.shape[1] == session.n_neurons for eid, session in data.sessions.items())


def test_statistics_of_a_shard_of_format_1_are_the_same(tmp_path):
    shards = write_folder(tmp_path, Session("a"))
    as_format_1(tmp_path / "file0.h5")
    train = shards["a"].header.splits["train"]
    assert_statistics(ready(tmp_path).statistics("a"), shards["a"].counts[np.sort(train)])


def test_statistics_without_training_trials_have_no_axes(tmp_path):
    write_shard(tmp_path / "a.h5", without_trials(make_shard(Session("a")), "train"))
    add_shard(tmp_path / "a.h5", "pretrain")
    for options in ({}, {"regions": ["CA1"]}):
        found = ready(tmp_path, **options).statistics("a")
        assert len(found.axes) == 0
        assert torch.equal(found.variance, found.mean)


def test_fewer_training_trials_are_spread_over_the_session_and_leave_the_other_splits(written):
    folder, shards = written
    whole, few = ready(folder), ready(folder, n_train_trials=4)
    for eid in whole.sessions:
        every, chosen = sorted(shards[eid].header.splits["train"]), few.trials("train")[eid].tolist()
        places = [every.index(trial) for trial in chosen]
        assert (places[0], places[-1], len(places)) == (0, len(every) - 1, 4)
        assert max(np.diff(places)) - min(np.diff(places)) <= 1
        assert few.fingerprint(eid) != whole.fingerprint(eid)
        for split in ("val", "test"):
            assert few.trials(split)[eid].tolist() == whole.trials(split)[eid].tolist()
        trained = shards[eid].counts[few.trials("train")[eid]]
        np.testing.assert_allclose(few.mean_counts(eid), trained.mean((0, 1)) + 0.5 / trained[..., 0].size, rtol=1e-6)


def test_a_session_with_as_many_training_trials_as_asked_for_is_whole(written):
    folder, shards = written
    fewest = min(len(shard.header.splits["train"]) for shard in shards.values())
    whole, same = ready(folder), ready(folder, n_train_trials=fewest)
    exact = [eid for eid, shard in shards.items() if len(shard.header.splits["train"]) == fewest]
    assert all(same.fingerprint(eid) == whole.fingerprint(eid) for eid in exact if eid in whole.sessions)


def test_more_training_trials_than_a_session_has_are_refused(tmp_path):
    write_folder(tmp_path, Session("long", n_trials=60), Session("short", n_trials=20), Session("mid", n_trials=40))
    lengths = {eid: len(trials) for eid, trials in ready(tmp_path).trials("train").items()}
    assert min(lengths, key=lengths.get) == "short"
    ready(tmp_path, n_train_trials=lengths["short"])
    with pytest.raises(DataError, match=f"n_train_trials is 31, but the session short has only {lengths['short']} "):
        ready(tmp_path, n_train_trials=31)
    ready(tmp_path, n_train_trials=31, sessions=["long"])


def test_a_number_of_training_trials_below_1_is_refused(written):
    with pytest.raises(ConfigError, match="n_train_trials is 0, less than 1"):
        ready(written[0], n_train_trials=0)
