"""The loader of batches: it can start an epoch at a later batch, and knows how long it was waited for."""

import time
from collections.abc import Iterator
from typing import cast

from torch.utils.data import DataLoader

from neuromtm.batch import Batch
from neuromtm.data.dataset import SessionDataset
from neuromtm.data.device_cache import DeviceDataset
from neuromtm.data.sampler import SessionBatchSampler
from neuromtm.errors import UserError


class ResumableLoader(DataLoader[Batch]):
    """A loader that can start an epoch at a later batch: Lightning keeps its state in the checkpoint."""

    def __init__(self, dataset: SessionDataset | DeviceDataset, sampler: SessionBatchSampler, **options):
        super().__init__(dataset, batch_size=None, sampler=sampler, **options)
        self._given = 0
        self.waited_s = 0.0
        """how long all batches so far were waited for"""

    @property
    def _plans(self) -> SessionBatchSampler:
        return cast(SessionBatchSampler, self.sampler)  # torch's own type is that of any sampler

    # torch's own type is that of its private iterators
    def __iter__(self) -> Iterator[Batch]:  # ty: ignore[incompatible-method-override]
        self._given = self._plans.first_batch
        try:
            for batch in self._timed(super().__iter__()):
                self._given += 1
                yield batch
        except UserError as error:
            # a worker's error comes as a traceback, whose last line is "class: sentence"
            last = str(error).strip().splitlines()[-1]
            raise type(error)(last.partition("Error: ")[2] or last) from error

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            started_s = time.perf_counter()
            batch = next(batches, None)
            self.waited_s += time.perf_counter() - started_s
            if batch is None:
                return
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been given out."""
        return {"epoch": self._plans.epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after those batches; if they were the whole epoch, with the next epoch."""
        self._given = state["given"]
        self._plans.set_epoch(state["epoch"])
        if state["given"] < len(self._plans):
            self._plans.resume(epoch=state["epoch"], first_batch=state["given"])
