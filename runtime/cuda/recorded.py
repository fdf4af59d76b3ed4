"""A training step as a CUDA graph: recorded once, replayed as often as steps are wanted.

In: the launches of a step (``RoundLayout``), the address of the control block. Out: ``replay(steps)``. Nothing of a step is
in a graph but entries, their blocks and that address: where the run stands, each launch reads on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..artifact import LaunchLayout, RoundLayout
from ..job import Job
from .executor import DeviceFailed, Executor, Launch

MOST_STEPS = 16
"""Steps of a graph: starting one is shared among so many."""
MOST_NODES = 4096
"""Nodes of a graph of several steps; the driver keeps some memory for each."""


def count(rounds: Sequence[RoundLayout]) -> int:
    """The launches of a step."""
    return sum(r.times * len(r.launches) for r in rounds)


def steps_of(rounds: Sequence[RoundLayout], steps_per_epoch: int) -> int:
    """How many steps a graph has: no more than an epoch, since something else happens behind its last one."""
    return max(1, min(MOST_STEPS, steps_per_epoch, MOST_NODES // max(count(rounds), 1)))


class Recorded:
    """Two graphs: of several steps, and of one for what is left over."""

    def __init__(self, executor: Executor, module: Any, job: Job, shared: int, control: int) -> None:
        self.executor = executor
        self.module, self.shared, self.control, self.batch = module, shared, control, job.batch
        rounds = job.artifact.step
        self.steps = steps_of(rounds, -(-job.settings["rows"] // job.batch))
        step = list(self._step(rounds))
        self.one = self._recorded(step)
        self.several = self._recorded(step * self.steps) if self.steps > 1 else self.one

    def _recorded(self, launches: Sequence[Launch]) -> Any:
        """How much memory a graph takes is the driver's affair, and not known beforehand."""
        try:
            return self.executor.record(launches)
        except MemoryError as error:
            message = f"a graph of {len(launches):,} launches does not fit into its memory ({error})"
            raise DeviceFailed(message) from None

    def _step(self, rounds: Sequence[RoundLayout]) -> Iterator[Launch]:
        for part in rounds:
            blocks = [self._blocks(x) for x in part.launches]
            for repetition in range(part.times):
                for launch, many in zip(part.launches, blocks, strict=True):
                    arguments = (self.control, repetition, 0, 0)
                    yield Launch(self.module, launch.entry, many, self.shared, arguments)

    def _blocks(self, launch: LaunchLayout) -> int:
        """As many as its threads fill, and as the device holds at once: points are dealt out to these in turn."""
        fixed, per_row = launch.threads
        threads = max(fixed, per_row * self.batch)
        wanted = -(-threads // self.executor.threads)
        return max(1, min(wanted, self.executor.most_blocks(self.module, launch.entry, self.shared)))

    def replay(self, steps: int) -> None:
        """Starts so many steps."""
        self.executor.replay(self.several, steps // self.steps)
        self.executor.replay(self.one, steps % self.steps)


__all__ = ["MOST_NODES", "MOST_STEPS", "Recorded", "count", "steps_of"]
