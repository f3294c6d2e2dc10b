"""Shards as programs of format 1 wrote them."""

from pathlib import Path

import h5py


def as_format_1(path: Path) -> None:
    """Rewrite a shard of format 2: texts of any length, and none of what format 2 added."""
    with h5py.File(path, "r+") as file:
        for name in ("neurons/mean_count", "neurons/count_variance", "neurons/principal_axes"):
            del file[name]
        for name in ("trials/start_s", "trials/event_s"):
            del file[name]
        for name in ("neurons/uuid", "neurons/region", "neurons/probe"):
            texts = file[name].asstr()[()].tolist()
            del file[name]
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
        file.attrs["format_version"] = 1
