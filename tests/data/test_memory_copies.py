"""`cache: memory` is one copy of the data for a machine, whatever the number of workers, and after a resume."""

import multiprocessing
import sys
from pathlib import Path

import pytest
from small_shards import Session, ready, write_folder

from neuromtm.data.dataset import SessionDataset
from neuromtm.data.loader import ResumableLoader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads how much memory is whose from /proc")
N_BYTES = 80 * 100 * 6000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One session of 48 MB."""
    folder = tmp_path_factory.mktemp("large")
    write_folder(folder, Session("a", n_trials=80, n_bins=100, regions=["CA1"] * 6000, behaviors=[]))
    return folder


def memory_of(processes: list) -> dict[str, int]:
    """Bytes of these processes: their own, and their shares of what they share."""
    total = {"Private_Dirty": 0, "Pss": 0}
    for process in processes:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += 1024 * int(rest.split()[0])
    return total


def growth_of(loader: ResumableLoader, *, n_epochs: int = 3) -> dict[str, int]:
    """How much the workers grow while they read some epochs."""
    before, others = None, set(multiprocessing.active_children())  # of tests before this one
    for epoch in range(n_epochs):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            workers = [child for child in multiprocessing.active_children() if child not in others]
            before = memory_of(workers) if before is None else before
    assert len(workers) == loader.num_workers
    after = memory_of(workers)
    return {name: after[name] - before[name] for name in after}


@pytest.mark.parametrize("n_workers", [2, 4])
def test_workers_hold_no_copies_of_their_own(folder, n_workers):
    for resumed in (False, True):
        loader = ready(folder, cache="memory", n_workers=n_workers, batch_size=2).train_dataloader()
        if resumed:
            loader.load_state_dict({"epoch": 0, "given": 5})
        growth = growth_of(loader)
        assert growth["Private_Dirty"] < 0.3 * N_BYTES
        assert growth["Pss"] < 1.3 * N_BYTES
        del loader


class Keeps(SessionDataset):
    """Keeps a copy of what it reads."""

    def read(self, plan):
        group = super().read(plan)
        self.kept = [*getattr(self, "kept", ()), group.counts.clone()]
        return group


def test_copies_would_be_seen(folder):
    data = ready(folder, batch_size=2)
    loader = ResumableLoader(
        Keeps(data._opened.sources),
        sampler=data.train_dataloader().sampler,
        num_workers=2,
        persistent_workers=True,
    )
    assert growth_of(loader)["Private_Dirty"] > N_BYTES
