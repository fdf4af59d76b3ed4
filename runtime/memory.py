"""How much memory is free, so that what does not fit is told before the system ends the process."""

from __future__ import annotations

from pathlib import Path

_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_bytes() -> int | None:
    """What the system and the limits of this container leave; None where neither tells."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass
    for limit, used in _LIMITS:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(min(found), 0) if found else None


def need(count: int) -> None:
    """Raises MemoryError when so many bytes are not free."""
    free = free_bytes()
    if free is not None and count > free:
        raise MemoryError(f"{gib(count)} are needed, {gib(free)} are free")


def gib(count: int) -> str:
    """``1.5 GiB``."""
    return f"{count / 2**30:,.1f} GiB"
