"""Plans: how a training run is spread over a device.

In: how much a step computes, and in how many launches it could be cut. Out: a ``Plan``, the one whose step is expected to
take the least time. The constants are estimates from what others report of GPUs of the last years; this project has
measured none of them.
"""

from __future__ import annotations

import enum

BLOCK_RATE = 1.5e11
"""Scalar operations that one block does in a second."""
DEVICE_RATE = 8e12
"""Scalar operations that all blocks together do in a second."""
GRID_LOSS = 0.04
"""By what part a step takes longer when all its kernels run in one entry: each has the registers, and so the number of
blocks, of the one that needs the most."""
BARRIER_SECONDS = 1.2e-6
"""For all blocks to wait for each other."""
NODE_SECONDS = 1.8e-6
"""From the end of one node of a graph to the begin of the next."""
USUAL_BARRIERS = 10
"""Of a step that cannot be cut into launches."""


class Plan(enum.StrEnum):
    """block: one block runs everything, and waits for nobody. grid: as many blocks as the device holds run everything, and
    wait for each other between kernels. graph: every kernel is a launch with blocks of its own, steps are replayed as a
    CUDA graph."""

    block = "block"
    grid = "grid"
    graph = "graph"


def seconds(plan: Plan, work: int, launches: int) -> float:
    """What a step of so many scalar operations is expected to take; between two launches lies what is a barrier in a grid."""
    match plan:
        case Plan.block:
            return work / BLOCK_RATE
        case Plan.grid:
            barriers = launches or USUAL_BARRIERS
            return barriers * BARRIER_SECONDS + (1 + GRID_LOSS) * work / DEVICE_RATE
        case Plan.graph:
            return launches * NODE_SECONDS + work / DEVICE_RATE


def choose(work: int, launches: int) -> Plan:
    """The plan for a step of so many scalar operations. launches: 0 where it cannot be a graph."""
    possible = [p for p in Plan if launches or p is not Plan.graph]
    return min(possible, key=lambda plan: seconds(plan, work, launches))


__all__ = ["Plan", "choose", "seconds"]
