"""A training that goes on and on holds no more files, plots and tensors than after its first validations."""

import gc
import os
from multiprocessing import active_children
from typing import ClassVar, NamedTuple

import lightning
import torch
from matplotlib.figure import Figure

from tests.running import neuromtm, pretrain


class Held(NamedTuple):
    """What the process holds."""

    n_files: int
    n_plots: int
    n_tensors: int
    n_workers: int


class Holds(lightning.Callback):
    """Notes what is held at the start of some epochs. Lightning builds it by its name; `last` is the one it built."""

    last: ClassVar["Holds"]

    def __init__(self):
        Holds.last = self
        self.held: dict[int, Held] = {}

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch in (8, 20):  # two validations are done, and five
            gc.collect()
            objects = gc.get_objects()
            n_plots, n_tensors = (sum(isinstance(one, kind) for one in objects) for kind in (Figure, torch.Tensor))
            n_files, n_workers = len(os.listdir("/proc/self/fd")), len(active_children())
            self.held[trainer.global_step] = Held(n_files, n_plots, n_tensors, n_workers)


def test_files_plots_and_tensors_do_not_become_more(root, sessions_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromtm.callbacks.plots.N_VAL_NEURONS", 3)
    neuromtm(
        *pretrain(root, sessions_dir, "--run_dir", tmp_path, "--checkpoint_every_n_minutes=0.001"),
        *("--data.n_workers=1", "--data.cache=none", "--trainer.max_epochs=21", "--trainer.check_val_every_n_epoch=4"),
        # of the same sessions as the read-outs: a file is opened when it is first read, and stays open
        *("--figures.n_val_sessions=2", "--trainer.callbacks=tests.faults.test_long_runs.Holds"),
    )
    from tests.faults import test_long_runs  # by the name by which Lightning imported it

    held = test_long_runs.Holds.last.held
    assert list(held) == [48, 120]
    early, late = held.values()
    assert early.n_plots == late.n_plots == 0
    assert early.n_workers == late.n_workers == 2  # of the training's loader and the validation's
    assert late.n_files <= early.n_files
    assert late.n_tensors <= early.n_tensors
