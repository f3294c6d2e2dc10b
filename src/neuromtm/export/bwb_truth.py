"""What the scorer of BrainWideBench holds predictions against, from the shards of its sessions.

The benchmark scores on its own server. With these files its scorer runs anywhere.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.decoding.targets import target_of
from neuromtm.errors import DataError
from neuromtm.export.bwb_activity import ActivityTask, what_is_scored
from neuromtm.export.bwb_files import entity_ids, holds
from neuromtm.export.bwb_regions import REGIONS
from neuromtm.files import keep_previous, whole_file

FILE = "ground_truth.safetensors"


def write_activity_truth(data: SessionDataModule, task: ActivityTask, folder: Path) -> list[Path]:
    """Write the spikes that are scored of every session: `<folder>/ts2-<task>/<eid>/ground_truth.safetensors`."""
    written = []
    for eid, header in data.headers.items():
        expected, units = what_is_scored(header, task)
        starts_s = header.trials.start_s
        assert starts_s is not None
        counts = torch.from_numpy(data.counts(eid, "test")[:, -expected.n_bins :, units]).float()
        tensors = {"targets": counts, "window_timestamps": torch.from_numpy(starts_s[header.splits["test"]])}
        written.append(_write(folder / f"ts2-{task}" / eid, tensors))
    return written


def write_behavior_truth(data: SessionDataModule, target: str, folder: Path) -> list[Path]:
    """Write the behaviour that is scored of every session: `<folder>/ts1-<task>/<eid>/ground_truth.safetensors`."""
    written = []
    for eid, header in data.headers.items():
        test = header.splits["test"]
        found = target_of(data, eid, target)
        if found is None:
            raise DataError(f"{eid}: has no known {target}.")
        trial_id = torch.from_numpy(header.trials.columns["trial_id"][test].astype(np.int64))
        values = found.values[test]
        if found.is_trace:
            known = np.isfinite(values)
            tensors = {"values": torch.from_numpy(np.where(known, values, 0))[..., None]}
            if "_paw_" in target:
                tensors["mask"] = torch.from_numpy(known)
        else:
            number = np.searchsorted(json.loads(header.attributes["classes"]), values)
            tensors = {"values": torch.from_numpy(number)[:, None]}
        written.append(_write(folder / f"ts1-{target}" / eid, {**tensors, "trial_id": trial_id}))
    return written


def write_regions_truth(data: SessionDataModule, eids: list[str], folder: Path) -> Path:
    """Write the known regions of some sessions' neurons: `<folder>/ts3-unit_cosmos/ground_truth.safetensors`."""
    ids, targets = [], []
    for eid in eids:
        session = data.sessions[eid]
        for unit, region in zip(session.neurons, session.regions, strict=True):
            if region in REGIONS:
                ids.append(f"{eid}/{unit}")
                targets.append(REGIONS.index(region))
    if not ids:
        raise DataError(f"{data.root}: no neuron of the sessions for evaluation lies in a known region.")
    tensors = {"entity_ids": entity_ids(ids), "targets": torch.tensor(targets)}
    return _write(folder / "ts3-unit_cosmos", tensors, label_names=",".join(REGIONS))


def _write(folder: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    from safetensors.torch import save

    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if holds(folder / FILE, plain, metadata):  # every seed of a task has the same
        return folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    keep_previous(folder / FILE)
    with whole_file(folder / FILE) as temporary:
        temporary.write_bytes(save(plain, metadata=metadata))  # a full disk is then an error of the system
    return folder / FILE
