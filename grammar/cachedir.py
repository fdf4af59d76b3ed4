"""Where netc keeps what it can make again: parser tables, object code."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Where netc keeps what can be rebuilt: $NETC_CACHE_DIR, $XDG_CACHE_HOME/netc or ~/.cache/netc."""
    given = os.environ.get("NETC_CACHE_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netc"
