"""Mappings: who computes one point of a kernel.

In: a kernel. Out: a ``Team``. Points are dealt out to teams in turn, so any number of blocks computes the same. A thread
adds up by itself what is short, or where points are many; sums that are long are divided among the threads of a warp or a
block. The choice depends on extents alone, never on the batch: a row gives the same bits in any batch.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from math import prod

from ...loops.ir import Axis, Kernel, Reduction
from ...loops.rewrite import walk

TYPICAL_ROWS = 256
"""For how many observations estimates are made; what is chosen must not depend on how many there are."""
MANY_POINTS = 4096
"""So many points keep threads busy without dividing sums."""
SHORT_SUM = 32
LONG_SUM = 2048
FEW_POINTS = 128


class Team(enum.StrEnum):
    thread = "thread"
    warp = "warp"
    block = "block"


def team(kernel: Kernel) -> Team:
    """The team for each point of a kernel."""
    points = size(kernel.axes)
    sums = (e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduction))
    longest = max((size(e.axes) for e in sums), default=0)
    if longest <= SHORT_SUM or points >= MANY_POINTS:
        return Team.thread
    return Team.block if longest >= LONG_SUM and points <= FEW_POINTS else Team.warp


def size(axes: Iterable[Axis]) -> int:
    """Points of some axes, for a typical number of observations."""
    return prod(a.extent if isinstance(a.extent, int) else TYPICAL_ROWS for a in axes)


__all__ = ["Team", "size", "team"]
