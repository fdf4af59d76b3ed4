"""How many processor cores this process may use, two hardware threads of one core counted once."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@cache
def physical_cores() -> int:
    """At least 1. Where the system does not tell which hardware threads share a core, it counts them all."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    found = set()
    for cpu in allowed:
        try:
            found.add(Path(_TOPOLOGY.format(cpu)).read_text(encoding="ascii").strip())
        except OSError:
            found.add(str(cpu))
    return max(len(found), 1)
