"""File systems without locks: files are written without HDF5's lock, and the folder's own lock falls back to a file."""

import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from neuromtm import files
from neuromtm.errors import UserError
from neuromtm.files import locked
from tests.running import SIMULATE, WINDOW


@pytest.fixture
def without_locks(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(files, "_SAID", set())


@pytest.fixture(scope="module")
def nolock(tmp_path_factory):
    """A library that makes every lock fail, to be loaded before all others."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and Linux")
    library = tmp_path_factory.mktemp("nolock") / "nolock.so"
    source = Path(__file__).with_name("nolock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    return library


def test_a_folder_is_prepared_and_checked_where_nothing_can_be_locked(nolock, tmp_path):
    out = tmp_path / "data"
    environment = {**os.environ, "LD_PRELOAD": str(nolock)}
    said = ""
    for words in (["simulate", "--out", out, *SIMULATE, *WINDOW], ["check", out]):
        command = [sys.executable, "-m", "data_prep", *map(str, words)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        said += result.stderr
    assert said.count("its file system has no locks; the file .lock.held takes their place.") == 1
    assert not (out / ".lock.held").exists()


def test_every_hdf5_file_is_opened_without_a_lock(root):
    """A call without `locking=False` asks the file system for one."""
    calls = []
    for path in (*(root / "src").rglob("*.py"), *(root / "data_prep").rglob("*.py")):
        calls += re.findall(r"h5py\.File\(.*\)", path.read_text(encoding="utf-8"))
    assert len(calls) >= 5
    assert [call for call in calls if "locking=False" not in call] == []


def test_one_at_a_time_holds_a_folder_without_locks(without_locks, tmp_path):
    inside, most, errors = 0, 0, []

    def work():
        nonlocal inside, most
        try:
            for _ in range(5):
                with locked(tmp_path):
                    inside += 1
                    most = max(most, inside)
                    inside -= 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, errors) == (1, [])
    assert not (tmp_path / ".lock.held").exists()


def test_the_file_of_a_process_that_was_killed_is_removed(without_locks, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / ".lock.held").write_text(f"{socket.gethostname()} {ended.pid}")
    with locked(tmp_path):
        assert (tmp_path / ".lock.held").read_text() == f"{socket.gethostname()} {os.getpid()}"


def test_the_file_of_another_machine_stays_and_is_named(without_locks, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE_S", 0.0)
    (tmp_path / ".lock.held").write_text("another-machine 17")
    with (
        pytest.raises(UserError, match=r"\.lock\.held: another process holds this folder, .* remove it"),
        locked(tmp_path),
    ):
        pass
    assert (tmp_path / ".lock.held").read_text() == "another-machine 17"


def test_another_fault_of_the_lock_is_not_hidden(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(tmp_path):
        pass
