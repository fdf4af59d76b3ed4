"""Plans: how a training run is spread over a device.

In: how much a step computes. Out: a ``Plan``.
"""

from __future__ import annotations

import enum

BLOCK_WORK = 2_000_000


class Plan(enum.StrEnum):
    """block: one block runs everything, and waits for nobody. grid: as many blocks as the device holds run everything, and
    wait for each other between kernels."""

    block = "block"
    grid = "grid"


def choose(work: int) -> Plan:
    """The plan for a step of so many scalar operations: one block below some two million, where a barrier of the grid is
    expected to take longer than the rest."""
    return Plan.block if work <= BLOCK_WORK else Plan.grid


__all__ = ["Plan", "choose"]
