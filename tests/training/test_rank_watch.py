"""Ranks that watch each other, in one process, with a clock that the test moves."""

import socket
import subprocess
import sys
import time

import pytest
from torch.distributed import TCPStore

from neuromtm.training import rank_watch
from neuromtm.training.rank_watch import ChildWatch, RankLoss, RankWatch, comes_from_another_rank

HOST = socket.gethostname()


class Ended(RankLoss):
    """Says that the process would end, and does not."""

    def __init__(self, rank, children=()):
        super().__init__(rank, children)
        self.ended = 0

    def tell(self, reason, *, grace_s):
        super().tell(reason, grace_s=0.0)

    def end(self):
        self.ended += 1


@pytest.fixture
def ranks():
    """Makes two ranks that watch each other; the clock of the first, in a list, is moved by hand."""
    stores, made = [], []

    def make(timeout_s=30.0, clock=time.monotonic):
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        stores.append(store)
        for rank in (0, 1):
            options = {"rank": rank, "n_ranks": 2, "timeout_s": timeout_s, "loss": Ended(rank)}
            made.append(RankWatch(("127.0.0.1", store.port), **options, **({"clock": clock} if rank == 0 else {})))
            made[-1].every_s = 0.02
        return made

    yield make
    for watch in made:
        watch._stops.set()


def until(condition):
    """Wait for what must come; a test that waits in vain fails by its own limit of time."""
    while not condition():
        time.sleep(0.01)


def test_a_rank_without_a_sign_of_life_is_lost(ranks):
    first, second = ranks(timeout_s=0.5)
    first.start()  # the second one never gives a sign
    until(lambda: first.loss.ended)
    assert first.loss.reason.startswith(f"rank 1 on {HOST} has given no sign of life for ")
    second.start()
    until(lambda: second.loss.ended)
    assert second.loss.reason == first.loss.reason


def test_ranks_that_live_are_not_lost_however_long_they_work(ranks):
    first, second = ranks(timeout_s=0.5)
    for watch in (first, second):
        watch.start()
    for _ in range(3):
        before = first._signs[1]
        until(lambda before=before: first._signs[1] != before)
    assert not first.loss.ended
    assert not second.loss.ended


def test_a_process_that_was_stopped_itself_does_not_take_others_for_lost(ranks):
    now_s = [0.0]
    first, second = ranks(timeout_s=30.0, clock=lambda: now_s[0])
    for watch in (first, second):
        watch.start()
    until(lambda: first._signs[1][0])
    now_s[0] += 1000.0  # as after SIGCONT
    before = first._signs[1][0]
    until(lambda: first._signs[1][0] != before)
    assert not first.loss.ended


def test_a_rank_that_was_stopped_until_the_others_had_ended_does_not_blame_them(ranks):
    first, second = ranks(timeout_s=30.0)
    now_s = [0.0]
    second._clock = lambda: now_s[0]
    for watch in (first, second):
        watch.start()
    until(lambda: first._signs[1][0])
    assert second._why_alone() == f"rank 0 on {HOST} is gone"
    now_s[0] += 100.0  # as after SIGCONT
    until(lambda: second._stopped_s)
    said = f"rank 1 on {HOST} was stopped for 100 s, and the others have ended without it"
    assert second._why_alone() == said


def test_a_rank_that_fails_tells_the_others_why(ranks):
    first, second = ranks()
    for watch in (first, second):
        watch.start()
    second.report(MemoryError("CUDA out\nof memory"))
    until(lambda: first.loss.ended)
    assert first.loss.reason == f"rank 1 on {HOST} failed with MemoryError: CUDA out of memory"


def test_ranks_that_end_in_order_are_not_lost(ranks):
    first, second = ranks()
    for watch in (first, second):
        watch.start()
    second.stop()
    first.stop()
    assert first.loss.reason is None
    assert second.loss.reason is None


def test_the_others_notice_that_the_first_rank_is_silent(ranks, monkeypatch):
    _, second = ranks(timeout_s=0.5)
    monkeypatch.setattr(second, "_talk", lambda: None)  # its question is never answered
    second.start()
    until(lambda: second.loss.ended)
    assert second.loss.reason.startswith(f"rank 0 on {HOST} has given no sign of life for ")


def test_a_started_rank_that_ends_badly_is_noticed():
    code = "import sys; sys.exit(3)"
    loss = Ended(0, [subprocess.Popen([sys.executable, "-c", "pass"]), subprocess.Popen([sys.executable, "-c", code])])
    ChildWatch(loss).run()
    assert loss.reason == f"rank 2 on {HOST} ended with exit status 3"
    assert loss.ended == 1


def test_the_first_rank_speaks_for_all(capsys, monkeypatch):
    monkeypatch.setattr(rank_watch.os, "_exit", lambda status: None)
    for rank in (0, 1):
        loss = RankLoss(rank)
        loss.tell("rank 2 on host is gone", grace_s=0)
    assert capsys.readouterr().err == "neuromtm: rank 2 on host is gone, so the run ends.\n"
    RankLoss(1).tell("rank 0 on host is gone", grace_s=0)
    assert "rank 0 on host is gone" in capsys.readouterr().err


def test_errors_of_an_exchange_are_told_from_others():
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"
    assert comes_from_another_rank(RuntimeError(gloo))
    assert not comes_from_another_rank(RuntimeError("CUDA out of memory"))
    assert not comes_from_another_rank(ValueError("gloo"))
