"""Stands in for the database of the International Brain Laboratory: a folder is the server, and it fails as it is told.

It is ONE-api itself but for the network: its search, its choice of revisions, its check of the cache. What fetches a
file behaves as ONE-api's own does, with its weaknesses: a short file is no error, and a half-fetched file under the
name with the dataset's id is taken for the whole one.
"""

import hashlib
import os
import shutil
import time
import urllib.error
import uuid
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from one.alf.cache import make_parquet_db
from one.api import One

from data_prep.recording import WHISKER
from neuromtm.data.shards import read_shard

# the first has one probe in the freeze of the Brain-Wide Map, the second has both
FIRST, SECOND = "dfd8e7df-dc51-4589-b6ca-7baccfeb94b4", "a8a8af78-16de-4841-ab07-fde4b5281a03"
EIDS = {"mouse-0-00": FIRST, "mouse-0-01": SECOND}
TAGS = {"Release1": ("mouse-0-00",)}
PLACE = "simlab/Subjects/mouse-0-00/2020-01-01/001/alf"
PARTS = 2
"""of a file, of which an interrupted fetch writes the first"""


def answer(status: int) -> Callable[..., None]:
    """A failure: the server answers with a status."""

    def fail(*_: object) -> None:
        raise urllib.error.HTTPError("https://server/file", status, "status", Message(), None)

    return fail


def timeout(*_: object) -> None:
    """A failure: the server says nothing."""
    raise TimeoutError("timed out")


def reset(*_: object) -> None:
    """A failure: the connection is lost."""
    raise ConnectionResetError("connection reset by peer")


def partial(source: Path, target: Path) -> None:
    """A failure: the connection ends early, and ONE-api takes what came for the file."""
    target.write_bytes(source.read_bytes()[: source.stat().st_size // PARTS])


def damaged(source: Path, target: Path) -> None:
    """A failure: the file has its size and another content."""
    data = source.read_bytes()
    target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def slow(source: Path, target: Path) -> None:
    """No failure: the file comes slowly."""
    time.sleep(0.05)
    shutil.copyfile(source, target)


def interrupted(source: Path, target: Path) -> None:
    """The user presses Ctrl-C while the file comes."""
    partial(source, target)
    raise KeyboardInterrupt


def killed(source: Path, target: Path) -> None:
    """The process is killed while the file comes."""
    partial(source, target)
    os._exit(9)


def full_disk(*_: object) -> None:
    """The disk is full."""
    raise OSError(28, "No space left on device")


class Server:
    """What the database and its file server have, and how they fail.

    Args:
        tree: folder of the files.
        eids: name of the animal -> eid of its session, in the place of the eid that the tables are built with.
        tags: release tag -> animals of its sessions.
    """

    def __init__(self, tree: Path, *, eids: Mapping[str, str] = EIDS, tags: Mapping[str, tuple[str, ...]] = TAGS):
        self.tree = tree
        self.eids = dict(eids)
        self.tags = dict(tags)
        self.failures: dict[str, list[Any]] = {}
        """part of a file's path, or name of a method of ONE -> what happens at each request; the last one stays"""
        self.fetched: list[str] = []
        """path of each file that was asked for"""
        self.refuses_login = False
        self.index()

    def index(self) -> None:
        """Build the tables anew, with sizes and hashes. A file keeps its id, which is its own in the database."""
        make_parquet_db(self.tree, hash_files=False)
        sessions = pd.read_parquet(self.tree / "sessions.pqt")
        new = {old: self.eids.get(row["subject"], str(old)) for old, row in sessions.iterrows()}
        self._sessions = sessions.rename(index={old: uuid.UUID(eid) for old, eid in new.items()})
        datasets = pd.read_parquet(self.tree / "datasets.pqt")
        sessions_of = [uuid.UUID(new[eid]) for eid, _ in datasets.index]
        renamed = [(eid, uuid.uuid5(eid, path)) for eid, path in zip(sessions_of, datasets["rel_path"], strict=True)]
        # not by ONE-api, which clears a large buffer for each file
        places = {uuid.UUID(new[old]): self._place(row) for old, row in sessions.iterrows()}
        paths = zip(sessions_of, datasets["rel_path"], strict=True)
        datasets["hash"] = [hashlib.md5((places[eid] / path).read_bytes()).hexdigest() for eid, path in paths]
        datasets.index = pd.MultiIndex.from_tuples(renamed, names=["eid", "id"])
        self._datasets = datasets.sort_index()

    def _place(self, session: Any) -> Path:
        date = str(session["date"])
        return self.tree / session["lab"] / "Subjects" / session["subject"] / date / f"{session['number']:03d}"

    def happen(self, name: str, *arguments: Any) -> bool:
        """Let the next failure of a name happen. Returns False if there is none."""
        for part, failures in self.failures.items():
            if part in name and failures:
                failure = failures[0] if len(failures) == 1 else failures.pop(0)
                if failure is None:
                    return False
                failure(*arguments)
                return True
        return False

    def open(self, *, mode: str, silent: bool, cache_dir: Path | None = None, **login: Any) -> "StandInOne":
        """In the place of `OneAlyx`."""
        assert (mode, silent) == ("remote", True)
        assert cache_dir is not None
        if self.refuses_login:
            answer(403)()
        return StandInOne(self, cache_dir)


class StandInOne(One):
    """ONE-api in remote mode, with a `Server` in the place of the network."""

    def __init__(self, server: Server, cache_dir: Path):
        super().__init__(cache_dir=cache_dir, mode="remote")
        self.server = server
        self._web_client = server
        self._fill(None)

    def __del__(self) -> None:
        """No tables are written into the cache."""

    def _fill(self, tag: str | None) -> None:
        self._reset_cache()
        sessions, datasets = self.server._sessions, self.server._datasets
        if tag is not None:
            animals = self.server.tags.get(tag, ())
            sessions = sessions[sessions["subject"].isin(animals)]
            datasets = datasets[datasets.index.get_level_values("eid").isin(sessions.index)]
        self._cache["sessions"], self._cache["datasets"] = sessions.copy(), datasets.copy()

    def load_cache(self, tables_dir: Any = None, clobber: bool = False, tag: str | None = None) -> None:  # type: ignore[override]
        """As `OneAlyx` does, an unknown tag leaves the tables empty."""
        self.server.happen("load_cache")
        self._fill(tag)

    def search_terms(self, query_type: str | None = None, endpoint: str | None = None) -> tuple:
        own = super().search_terms()
        return own if query_type == "local" else (*own, "users", "location", "dataset_types", "tag")

    def search(self, details: bool = False, **query: Any) -> list:
        self.server.happen("search")
        return super().search(details=details, **query)

    def get_details(self, eid: Any, full: bool = False) -> Any:
        self.server.happen("get_details")
        return super().get_details(eid, full=full)

    def list_datasets(self, *arguments: Any, **filters: Any) -> Any:
        self.server.happen("list_datasets")
        return super().list_datasets(*arguments, **filters)

    def _download_datasets(self, dsets: Any, **_: Any) -> list:
        found = []
        for (eid, own), record in dsets.iterrows():
            folder = self.server._place(self._cache["sessions"].loc[eid])
            name = (folder / record["rel_path"]).relative_to(self.server.tree).as_posix()
            found.append(self._download(name, str(own)))
        return found

    def _download(self, name: str, own: str) -> Path:
        source, target = self.server.tree / name, self.cache_dir / name
        self.server.fetched.append(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        coming = target.with_name(f"{target.stem}.{own}{target.suffix}")
        # as ONE-api: a file of this name is not fetched again, whole or not
        if not coming.exists() and not self.server.happen(name, source, coming):
            shutil.copyfile(source, coming)
        return coming.replace(target)


def counts(out: Path, local: Path) -> None:
    """The shard of the first session holds what the folder of the server holds."""
    found, expected = read_shard(out / f"{FIRST}.h5"), read_shard(local / "simlab_mouse-0-00_2020-01-01_001.h5")
    kept = [np.sort(shard.header.trials.index) for shard in (found, expected)]
    np.testing.assert_array_equal(*kept)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.header.behaviors == expected.header.behaviors == (WHISKER,)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
