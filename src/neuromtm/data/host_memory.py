"""How much memory of the host is free."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def free_host_memory() -> int:
    """Bytes that new data can take: what the system calls available, or what the control groups allow if less."""
    limits = [*_available(Path("/proc/meminfo")), *_cgroup_limits(Path("/proc/self/cgroup"))]
    return min(limits, default=2**62)


def _available(meminfo: Path) -> list[int]:
    if not meminfo.exists():  # not Linux
        return []
    lines = [line.split() for line in meminfo.read_text().splitlines()]
    return [1024 * int(words[1]) for words in lines if words[0] == "MemAvailable:"]


def _cgroup_limits(own: Path) -> list[int]:
    """The limits of the process's control group and of those around it, for both versions of control groups."""
    limits = []
    for line in own.read_text().splitlines() if own.exists() else ():
        number, controllers, place = line.split(":", 2)
        if number == "0":
            root, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / place.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (folder / name).is_file():
                found = (folder / name).read_text().strip()
                limits += [] if found == "max" else [int(found)]
    return limits


def size_text(n_bytes: int) -> str:
    """A number of bytes in words, e.g. `1.5 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:,} bytes"
