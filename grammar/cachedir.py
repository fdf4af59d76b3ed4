"""Where netc keeps what it can make again: parser tables, syntax trees, object code."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import get_ident


def cache_directory() -> Path:
    """Where netc keeps what can be rebuilt: $NETC_CACHE_DIR, $XDG_CACHE_HOME/netc or ~/.cache/netc."""
    given = os.environ.get("NETC_CACHE_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netc"


def keep(path: Path, content: bytes, limit: int) -> None:
    """Writes an entry, whole or not at all, and removes the oldest of its folder beyond so many. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{get_ident()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    with os.scandir(path.parent) as entries:
        found = sorted((e.stat().st_mtime, e.path) for e in entries)
    for _, oldest in found[: max(len(found) - limit, 0)]:
        with suppress(OSError):
            os.unlink(oldest)
