"""Functional connectivity in a test of a model that was trained with region drop-out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning
import numpy as np
from einops import rearrange
from lightning.pytorch.utilities import rank_zero_info

from neuromtm.batch import SessionInfo
from neuromtm.callbacks.plots import save_plot, show_plot
from neuromtm.data.datamodule import data_of
from neuromtm.evaluation.connectivity import (
    CONNECTIVITY_FILE,
    MEAN_FILE,
    Pair,
    connectivity_text,
    matrices_of,
    mean_text,
    pairs_of,
    predict_from_each,
)
from neuromtm.files import keep_previous, write_whole
from neuromtm.metrics.spikes import BitsPerSpike, scored_log_rates
from neuromtm.plots.connectivity import connectivity_plot
from neuromtm.training.masked_modeling import MaskedModeling


class RegionConnectivity(lightning.Callback):
    """Writes bits per spike of every ordered pair of regions, as `connectivity.csv` and `figures/*connectivity.png`.

    A model that was trained without region drop-out has not learned to see one region alone. Its test writes none of
    these, and spends no time on them.
    """

    def __init__(self):
        self._n_rows: dict[str, int] = {}
        """eid -> sources: the regions, nothing, all others"""
        self._offsets: dict[str, int] = {}
        self._bps: BitsPerSpike | None = None

    def on_test_start(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        self._n_rows, self._offsets, self._bps, total = {}, {}, None, 0
        if pl_module.objective is None or pl_module.objective.region_dropout == 0:  # None: the module refuses the test
            return
        # every rank has room for every session, so that the sums of all ranks can be added
        for eid, session in data_of(trainer).sessions.items():
            n_regions = len(session.region_names)
            if n_regions < 2:
                rank_zero_info(f"{eid}: no functional connectivity, because it has fewer than two known regions.")
                continue
            self._n_rows[eid], self._offsets[eid] = n_regions + 2, total
            total += self._n_rows[eid] * session.n_neurons
        if total:
            self._bps = BitsPerSpike(total).to(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if self._bps is None:
            return
        bin_size_s = data_of(trainer).bin_size_s
        with trainer.precision_plugin.forward_context():
            for group in batch.groups:
                if group.eid not in self._offsets:
                    continue
                for source, held_out in predict_from_each(pl_module.built_model, pl_module.known_objective, group):
                    row = source % self._n_rows[group.eid]
                    places = self._offsets[group.eid] + row * group.counts.shape[2] + held_out.neurons
                    log_rates = scored_log_rates(held_out.log_rates, bin_size_s=bin_size_s)
                    self._bps.update(log_rates, held_out.counts, neurons=places)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if self._bps is None:
            return
        bps = self._bps.compute().cpu().numpy()
        self._bps = None
        if trainer.is_global_zero:
            sessions = {eid: self._pairs(data_of(trainer).sessions[eid], bps) for eid in self._offsets}
            _write(trainer, {eid: pairs for eid, pairs in sessions.items() if pairs})

    def _pairs(self, session: SessionInfo, bps: np.ndarray) -> list[Pair]:
        n_rows = self._n_rows[session.eid]
        own = bps[self._offsets[session.eid] :][: n_rows * session.n_neurons]
        return pairs_of(session, rearrange(own, "(source neuron) -> source neuron", source=n_rows))


def _write(trainer: lightning.Trainer, sessions: Mapping[str, Sequence[Pair]]) -> None:
    run_dir, every = Path(trainer.default_root_dir), [pair for pairs in sessions.values() for pair in pairs]
    if not every:
        rank_zero_info("No functional connectivity: no session has a scored neuron in two regions.")
        return
    tables = {CONNECTIVITY_FILE: connectivity_text(every)}
    plots = {f"{eid}.connectivity": (pairs, eid) for eid, pairs in sessions.items()}
    if len(sessions) > 1:
        tables[MEAN_FILE] = mean_text(every)
        plots["connectivity"] = (every, f"Mean of {len(sessions)} sessions, each pair over those that have both")
    for name, text in tables.items():
        keep_previous(run_dir / name)
        write_whole(run_dir / name, text)
    for name, (pairs, title) in plots.items():
        plot = connectivity_plot(
            **matrices_of(pairs)._asdict(), title=f"{title}: one region visible, another predicted"
        )
        show_plot(trainer, f"test/{name}", plot)
        save_plot(plot, run_dir / "figures" / f"{name}.png")
    rank_zero_info(f"Functional connectivity: {run_dir / CONNECTIVITY_FILE}")
