"""The stand-in of the database of the International Brain Laboratory, and the command that asks it."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from data_prep.__main__ import main

if TYPE_CHECKING:
    from tests.data_prep.sources.stand_in_one import Server


@pytest.fixture(scope="session")
def database(alf_tree, tmp_path_factory) -> "Server":
    """A server of two sessions. Tests must not change its files."""
    from tests.data_prep.sources import stand_in_one

    tree = Path(shutil.copytree(alf_tree, tmp_path_factory.mktemp("server") / "tree"))
    return stand_in_one.Server(tree)


@pytest.fixture
def server(database) -> "Server":
    """The same server, which fails as a test tells it."""
    own = copy.copy(database)
    own.failures, own.fetched = {}, []
    return own


@pytest.fixture
def own_server(database, tmp_path) -> "Server":
    """A server whose files a test may change."""
    return type(database)(Path(shutil.copytree(database.tree, tmp_path / "server")))


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """No time passes between two tries; the pauses are noted."""
    found: list[float] = []
    monkeypatch.setattr("data_prep.sources.ibl.patience.time", SimpleNamespace(sleep=found.append))
    return found


@pytest.fixture
def ibl(monkeypatch, tmp_path, pauses) -> Callable[..., int]:
    """Run the command on a server: ibl(server, *options), with the first session if no others are chosen."""
    from tests.data_prep.sources.stand_in_one import FIRST

    monkeypatch.setenv("ALYX_TOKEN", "token")
    for name in ("LOGIN", "PWD", "URL"):
        monkeypatch.delenv(f"ALYX_{name}", raising=False)

    def run(server: "Server", *options: str, out: str = "out", eids: tuple[str, ...] = (FIRST,)) -> int:
        monkeypatch.setattr("one.api.OneAlyx", server.open)
        chosen = ("--eids", *eids) if eids else ()
        place = "--cache-dir", str(tmp_path / "cache"), "--out", str(tmp_path / out)
        return main(["ibl", *place, *chosen, *options])

    return run


@pytest.fixture(scope="session")
def local(database, tmp_path_factory) -> Path:
    """The shards of the same files, read from their folder."""
    out = tmp_path_factory.mktemp("local") / "shards"
    assert main(["ibl", "--mode", "local", "--cache-dir", str(database.tree), "--out", str(out)]) == 0
    return out
