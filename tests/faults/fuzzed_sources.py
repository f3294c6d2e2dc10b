"""Good files of every source of recordings, how they are changed, and the preparation that reads them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.faults.changed_arrays import hdf5_changes, npy_changes
from tests.faults.changes import Change, json_changes, table_changes, texts
from tests.faults.fuzzed_files import ROOT, Kind, Read, by_preparation, in_spite_of

RATE = "sample_rate = 1e9"
RATES = (
    "'30000'", "None", "True", "-1", "[1e9]", "float('nan')", "1e999", "30000.", "10**9", "1_000_000_000", "1e9  # Hz",
    "0x3B9ACA00", "1e9,", "1e9j", "1e-9", "1e9\nsample_rate = 1e3", "(" * 300 + "1" + ")" * 300,
)  # fmt: skip
LINES = ("sample_rate: float = 1e9", "Sample_rate = 1e9", "# sample_rate = 1e9", "if True:\n    sample_rate = 1e9")


def params_changes(_: Path) -> st.SearchStrategy[Change]:
    """Changes of `params.py`."""

    def change(line: str) -> Change:
        return Change(line[:40], True, lambda file: file.write_text(file.read_text().replace(RATE, line)))

    lines = [*(f"sample_rate = {value}" for value in RATES), *LINES]
    return st.one_of(st.sampled_from(lines).map(change), texts())


def _writers() -> Any:
    folder = str(ROOT / "tests" / "data_prep" / "contract")
    if folder not in sys.path:
        sys.path.append(folder)
    import spoiling

    return spoiling


OF_SOURCES: dict[str, dict[str, Callable[[Path], st.SearchStrategy[Change]]]] = {
    "arrays": {
        "trials.csv": table_changes, "units.csv": table_changes, "observed.csv": table_changes,
        "session.json": json_changes, "spikes.npz": npy_changes, "wheel_speed.npz": npy_changes,
    },
    "phy": {
        "params.py": params_changes, "spike_times.npy": npy_changes, "spike_clusters.npy": npy_changes,
        "spike_templates.npy": npy_changes, "templates.npy": npy_changes, "channel_positions.npy": npy_changes,
        "cluster_group.tsv": lambda path: table_changes(path, delimiter="\t"), "regions.csv": table_changes,
    },
    "nwb": {"*.nwb": hdf5_changes},
    "nlb": {"*train.nwb": hdf5_changes},
    "bwb": {"*.h5": hdf5_changes},
    "ibl": {
        "spikes.times.npy": npy_changes, "spikes.clusters.npy": npy_changes, "clusters.uuids.csv": table_changes,
        "clusters.channels.npy": npy_changes, "clusters.depths.npy": npy_changes,
        "channels.brainLocationIds_ccf_2017.npy": npy_changes,
        "_ibl_leftCamera.times.npy": npy_changes, "clusters.metrics.pqt": lambda path: texts(),
    },
}  # fmt: skip


def source_kinds(root: Path, sources: Sequence[str]) -> Iterator[tuple[str, Kind]]:
    """Write a good session of some sources; name -> kind of each of its files."""
    spoiling = _writers()
    for source in sources:
        folder = root / source
        argv = [word.replace(str(root), "HERE") for word in spoiling.write_good(source, folder)]
        prepare = in_spite_of(by_preparation(*argv, "--out", f"HERE/out_{source}"), "not there (")
        for pattern, changes in OF_SOURCES[source].items():
            if found := sorted(folder.rglob(pattern)):
                file = found[0].relative_to(root).as_posix()
                read = {source: _prepared(prepare, f"out_{source}")}
                # or the session is named, and in words what of it is wrong
                named = (Path(file).stem, Path(file).parent.name, ": skipped: ")
                yield f"{source}: {pattern}", Kind(file, changes, read, named=named)


def _prepared(prepare: Read, out: str) -> Read:
    from neuromtm.data.shards import read_shard, shard_problems

    def read(root: Path) -> Any:
        prepare(root)
        shards = sorted((root / out).glob("*.h5"))
        if problems := [problem for path in shards for problem in shard_problems(path)]:
            raise ValueError(f"a bad shard was written: {problems[0]}")
        return [vars(read_shard(path)) for path in shards]

    return read
