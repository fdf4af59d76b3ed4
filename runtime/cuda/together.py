"""Training runs side by side on a device: one block for each, in one launch after the other until all runs are over.

In: runs of the same code on the same rows, that differ in their weights and seeds. Out: the same effects as each has alone,
to the bit. The rows lie on the device once. Runs that are wide (``Plan.grid``) take turns instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import RUNNING, STOPPED
from ..job import Job
from .arena import ALIGNMENT, Arena, Share
from .plans import Plan
from .run import Run, paced, sizes, undisturbed
from .units import Library

Array = NDArray[Any]
COMMON = ("data", "held")
"""Parts of the memory that all runs read."""


class Together:
    """The memory of so many runs, planned before any is taken, and their launches."""

    def __init__(self, library: Library, job: Job, count: int, plan: Plan) -> None:
        """job: the first one; all have its sizes. Raises NotEnough when the device has not enough memory."""
        self.library, self.plan = library, plan
        self.arena = Arena(library.executor, sizes_of(job, count))
        self.runs: list[Run] = []
        apart = -(-sizes(job)["run.control"] // ALIGNMENT) * ALIGNMENT
        self.controls = np.zeros((count, apart // 8), np.int64)
        self.steps = 1

    def add(self, job: Job) -> Run:
        """The next run, with its share of the memory."""
        run = Run(self.library, job, self.plan, Share(self.arena, len(self.runs)))
        self.runs.append(run)
        return run

    def execute(self, poll: Callable[[], None] | None = None) -> None:
        """Goes on with all runs until each has ended or any is asked to stop. ``poll`` is called between two launches; what it
        raises (KeyboardInterrupt too) ends them after the present launch and is raised again."""
        if self.plan is not Plan.block:
            for run in self.runs:
                run.execute(poll)
            return
        with self.library.lock:
            for run in self.runs:
                run.send()
            try:
                while self._goes_on():
                    self._advance()
                    if poll is not None:
                        poll()
            finally:
                for run in self.runs:
                    asked = run.get("stop")
                    undisturbed(run.fetch)
                    run.set("stop", asked)
                    if run.get("status") == RUNNING:
                        run.set("status", STOPPED)

    def _goes_on(self) -> bool:
        stop = any(run.get("stop") for run in self.runs)
        return not stop and any(run.get("status") == RUNNING for run in self.runs)

    def _advance(self) -> None:
        """One launch for the runs that are not over."""
        before, start = self._done(), time.perf_counter()
        self.launch(self.steps)
        seconds = time.perf_counter() - start
        self.steps = paced(self.steps, self._done() - before, seconds)

    def _done(self) -> int:
        """Steps of the run that has done most."""
        return max(run.get("step") for run in self.runs)

    def launch(self, steps: int) -> None:
        """Starts every run from its cursor on, for at most so many steps, and waits for what they leave."""
        first, library = self.runs[0], self.library
        for run, line in zip(self.runs, self.controls, strict=True):
            run.set("pause", run.get("step") + steps)
            line[: len(run.control)] = run.control
        address = first.arena.address("run.control")
        library.executor.upload(address, self.controls)
        given = (address, self.controls.shape[1], 0, 0)
        library.executor.launch(first.module, first.entry, len(self.runs), first.shared, given, alone=True)
        library.executor.download(self.controls, address)
        for run, line in zip(self.runs, self.controls, strict=True):
            run.control[...] = line[: len(run.control)]
            run.receive_lines()


def sizes_of(job: Job, count: int) -> dict[str, int]:
    """What so many runs need: the rows once, all else for each. The control blocks stand one behind the other."""
    found: dict[str, int] = {}
    for name, size in sizes(job).items():
        if name.split(".")[0] in COMMON:
            found[name] = size
        else:
            found |= {f"{name}@{i}": size for i in range(count)}
    return found


__all__ = ["Together", "sizes_of"]
