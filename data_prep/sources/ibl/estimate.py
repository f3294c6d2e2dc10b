"""What a preparation will fetch, and whether the disk and the cap of raw files can hold it, before it begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.sources.ibl.remote_files import GB, RemoteFiles, free_bytes
from neuromtm.data.host_memory import size_text
from neuromtm.errors import ConfigError, SourceError


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the sessions that are not prepared yet."""

    n_done: int
    """sessions that are prepared already"""
    bytes_of: Mapping[str, int]
    """eid -> bytes to fetch, of the others"""
    n_unknown: int
    """those of the others whose files the database does not tell"""

    def sentence(self, cache_dir: Path) -> str:
        """One line for the user."""
        total, largest = sum(self.bytes_of.values()), max(self.bytes_of.values(), default=0)
        unknown = f", {self.n_unknown} of unknown size" if self.n_unknown else ""
        n_sessions = self.n_done + len(self.bytes_of)
        return (
            f"{n_sessions} session{'s' if n_sessions != 1 else ''}: {self.n_done} prepared already, "
            f"{len(self.bytes_of)} to prepare{unknown}. {size_text(total)} to fetch, {size_text(largest)} for the "
            f"largest session; {size_text(free_bytes(cache_dir))} are free for {cache_dir}."
        )


def estimate(files: Mapping[str, RemoteFiles], done: Mapping[str, bool]) -> Estimate:
    """Ask the database what each session lacks.

    Args:
        files: eid -> its files, in the order of the preparation. Each is told what comes after it.
        done: eid -> whether it is prepared already.
    """
    bytes_of, n_unknown = {}, 0
    for eid, own in files.items():
        if done[eid]:
            continue
        try:
            bytes_of[eid] = own.bytes_to_fetch()
        except SourceError:  # said again when its turn comes
            bytes_of[eid] = 0
            n_unknown += 1
    left = sum(bytes_of.values())
    for eid, size in bytes_of.items():
        left -= size
        files[eid].bytes_after = left
    return Estimate(n_done=sum(done.values()), bytes_of=bytes_of, n_unknown=n_unknown)


def require_disk(found: Estimate, *, cache_dir: Path, cap_bytes: float | None, n_at_once: int = 1) -> None:
    """Refuse what cannot end well.

    Args:
        found: of `estimate`.
        cache_dir: where raw files are fetched to.
        cap_bytes: of raw files that are kept at a time; None: all are kept.
        n_at_once: sessions that are prepared at a time.

    Raises:
        ConfigError: if a session is larger than the cap or the free disk, or all sessions together are larger than the
            free disk and there is no cap.
    """
    if not found.bytes_of:
        return
    largest = max(found.bytes_of, key=lambda eid: found.bytes_of[eid])
    needed, free = found.bytes_of[largest], free_bytes(cache_dir)
    if cap_bytes is not None and needed > cap_bytes:
        raise ConfigError(
            f"--max-raw-gb {cap_bytes / GB:g}: {largest} alone needs {size_text(needed)} of raw files. Give at least "
            f"as much."
        )
    together = sum(sorted(found.bytes_of.values())[-n_at_once:])
    if cap_bytes is not None and together > cap_bytes:
        raise ConfigError(
            f"--max-raw-gb {cap_bytes / GB:g}: the {n_at_once} largest sessions, which --jobs {n_at_once} "
            f"may prepare at a time, need {size_text(together)} of raw files. Give at least as much, or fewer jobs."
        )
    if needed > free:
        raise ConfigError(
            f"--cache-dir {cache_dir}: {size_text(free)} are free, but {largest} alone needs {size_text(needed)}."
        )
    total = sum(found.bytes_of.values())
    if cap_bytes is None and total > free:
        raise ConfigError(
            f"--cache-dir {cache_dir}: {size_text(free)} are free, but {size_text(total)} are to be fetched. Give "
            f"--max-raw-gb {max(1, 2 * needed / GB):.0f}, so that raw files are dropped session by session, or another "
            "--cache-dir."
        )
