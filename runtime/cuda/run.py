"""A training run on a device: launches of some milliseconds each, one behind the other, until the run is over.

In: a ``Job`` and a ``Plan``. Out: the same effects as ``runtime/cpu.py`` has: the model's block, the history, the best
weights and the control block on the host are those of the step where the run was left. Observations, parameters and states
stay on the device while ``execute`` runs; between two launches only the control block and the finished lines of the history
come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import DEVICE_SLOT, RUNNING, SCALARS, SHARED_BYTES, STOPPED
from ..control import Control
from ..job import Job
from .arena import Arena, Share
from .plans import Plan
from .recorded import Recorded
from .units import Library, addresses

Array = NDArray[Any]
LAUNCH_SECONDS = 0.02
"""What a launch should last: long beside its start, short for someone who waits for its end."""
GROWTH = 8
"""How many times longer than the one before a launch may be: the first ones are slow for reasons of their own."""


class Run(Control):
    """The control block's copy on the host, and the device's memory."""

    def __init__(self, library: Library, job: Job, plan: Plan, arena: Arena | Share | None = None) -> None:
        """arena: this run's share of the memory of several. Raises NotEnough when the device has not enough memory."""
        self.library, self.job, self.plan = library, job, plan
        self.tensors = job.tensors()
        super().__init__(DEVICE_SLOT, 3 * len(self.tensors))
        layouts = job.artifact.units
        tables = sum(len(layouts[n].table) for n in ("step", "evaluate") if n in layouts)
        self.shared = SHARED_BYTES + 8 * (tables + len(SCALARS))
        self.arena = arena or Arena(library.executor, sizes(job))
        rows = max(job.batch, job.chunk if job.held else 0)
        recorded = plan is Plan.graph
        self.module = library.module(rows, nodes=recorded, alone=plan is Plan.block)
        self.blocks = 1
        if plan is not Plan.block:
            self.blocks = library.executor.most_blocks(self.module, self.entry, self.shared)
        self.recorded: Recorded | None = None
        self.steps = 1
        self.known = 0
        """Epochs whose lines of the history are on the host."""
        self._settle()
        if recorded:
            control = self.arena.address("run.control")
            self.recorded = Recorded(library.executor, self.module, job, self.shared, control)

    @property
    def entry(self) -> str:
        """What runs on from the cursor; of a run by graphs, what happens between two epochs."""
        artifact = self.job.artifact
        entry = artifact.between if self.plan is Plan.graph else artifact.train
        assert entry is not None, "bug in netc: a run without an entry"
        return entry

    # memory

    def _settle(self) -> None:
        """What stays the same during the run goes to the device; the control block learns where everything lies."""
        job, arena = self.job, self.arena
        for name, value in job.settings.items():
            self.set(name, value)
        self.set_double("best", float("inf"))
        names = {
            "model": "model", "best_model": "model.best", "history": "run.history", "scalars": "run.scalars",
            "step_table": "run.step", "evaluate_table": "run.evaluate", "permutation": "order.rows",
            "partners": "order.partners", "holders": "order.holders", "waiting": "order.waiting",
        }  # fmt: skip
        for slot, name in names.items():
            self.set(slot, arena.address(name) if name in arena.offsets else 0)
        self._write_tables()
        for i, name in enumerate(self.tensors):
            places = [arena.address(f"{part}.{name}") if f"{part}.{name}" in arena.offsets else 0
                      for part in ("data", "held", "batch")]  # fmt: skip
            self.control[len(DEVICE_SLOT) + 3 * i : len(DEVICE_SLOT) + 3 * i + 3] = places
            for part, arrays in (("data", job.data), ("held", job.held)):
                if name in arrays:
                    arena.upload(f"{part}.{name}", arrays[name])

    def _write_tables(self) -> None:
        arena, job = self.arena, self.job
        arena.upload("run.zeros", np.zeros(len(SCALARS), np.int64))
        for name, scalars in (("step", "run.scalars"), ("evaluate", "run.zeros")):
            layout = job.artifact.units.get(name)
            if layout is not None:
                rows = capacity(job.batch if name == "step" else job.chunk)
                places = (arena.address("model"), arena.address("work"), arena.address(scalars))
                arena.upload(f"run.{name}", addresses(layout, job.offsets, rows, *places))

    def send(self) -> None:
        """The state of the host, from which the run goes on."""
        self.arena.upload("model", self.job.model)
        self.arena.upload("model.best", self.job.best)
        self.arena.upload("run.history", self.job.history)
        self.set("drawn", -1)
        self.arena.upload("run.control", self.control)
        self.known = self.get("epoch")

    def _receive(self) -> None:
        """The cursor, and the lines of the history that are new."""
        self.arena.download(self.control, "run.control")
        self.receive_lines()

    def receive_lines(self) -> None:
        epoch = self.get("epoch")
        lines = self.job.history[self.known : epoch]
        if len(lines):
            self.arena.download(lines, "run.history", self.known * self.job.history.strides[0])
        self.known = epoch

    def fetch(self) -> None:
        """Everything that the host knows of the run, as it is now."""
        if self.recorded is not None:
            self._start()  # an interruption may have come before the one behind an epoch's last step
        self._receive()
        self.arena.download(self.job.model, "model")
        self.arena.download(self.job.best, "model.best")
        if self.job.settings["shuffle"] and self.get("drawn") >= 0:
            order = np.empty(len(self.job.order), np.int32)
            self.arena.download(order, "order.rows")
            self.job.order[...] = order

    # running

    def execute(self, poll: Callable[[], None] | None = None) -> None:
        """Runs until the end, the stop flag, or divergence. ``poll`` is called between two launches; what it raises
        (KeyboardInterrupt too) ends the run after the present launch and is raised again."""
        with self.library.lock:
            self.send()
            try:
                while self.get("status") == RUNNING and not self.get("stop"):
                    self._advance()
                    if poll is not None:
                        poll()
            finally:
                asked = self.get("stop")
                undisturbed(self.fetch)
                self.set("stop", asked)
                if self.get("status") == RUNNING:
                    self.set("status", STOPPED)

    def _advance(self) -> None:
        """One launch, and from the time it took how many steps the next one should have."""
        before, start = self.get("step"), time.perf_counter()
        self.launch(self.steps)
        self._receive()
        done, seconds = self.get("step") - before, time.perf_counter() - start
        self.steps = paced(self.steps, done, seconds)

    def launch(self, steps: int) -> None:
        """Starts the run from the cursor on, for at most so many steps."""
        self.set("pause", self.get("step") + steps)
        self.arena.upload("run.control", self.control)
        self._start()
        if self.recorded is not None:
            self._replay(self.recorded, steps)

    def _start(self) -> None:
        arguments = (self.arena.address("run.control"), 0, 0, 0)
        self.library.executor.launch(self.module, self.entry, self.blocks, self.shared, arguments)

    def _replay(self, recorded: Recorded, steps: int) -> None:
        """Steps by graphs, and a launch wherever an epoch or they all end; none is waited for. What the device finds out
        meanwhile (a loss that is not finite, patience at its end) makes what is left of them do nothing."""
        rows, batch, row = (self.get(name) for name in ("rows", "batch", "row"))
        left, epochs = (
            min(steps, self.get("end_step") - self.get("step")),
            self.get("end_epoch") - self.get("epoch"),
        )
        while left > 0 and epochs > 0:
            here = min(left, -(-(rows - row) // batch))
            recorded.replay(here)
            self._start()
            left -= here
            row += here * batch
            if row >= rows:
                row, epochs = 0, epochs - 1


def paced(steps: int, done: int, seconds: float) -> int:
    """How many steps the next launch should have, after one of ``steps`` that did so many in so much time."""
    if not done:
        return steps
    return max(1, min(int(done * LAUNCH_SECONDS / max(seconds, 1e-9)), GROWTH * steps))


def capacity(rows: int) -> int:
    """Rows of work memory."""
    return -(-max(rows, 1) // 16) * 16


def sizes(job: Job) -> dict[str, int]:
    """What a run needs of the device, in bytes: by purpose, then by name."""
    units, rows = job.artifact.units, job.settings["rows"]
    work = [
        units[n].work_bytes(capacity(r))
        for n, r in (("step", job.batch), ("evaluate", job.chunk))
        if n in units
    ]
    tables = {f"run.{n}": 8 * max(len(u.table), 1) for n, u in units.items()}
    found = {
        "model": job.model.nbytes, "model.best": job.best.nbytes, "work": max(work),
        "run.history": job.history.nbytes, "run.control": 8 * (len(DEVICE_SLOT) + 3 * len(job.tensors())),
        "run.scalars": 8 * len(SCALARS), "run.zeros": 8 * len(SCALARS), **tables,
    }  # fmt: skip
    if job.settings["shuffle"]:
        found |= {"order.rows": 4 * rows, "order.partners": 4 * rows, "order.holders": 8 * rows}
        found["order.waiting"] = 16
    for name in job.tensors():
        found[f"data.{name}"] = job.data[name].nbytes
        found[f"batch.{name}"] = job.data[name][:1].nbytes * job.batch
        if name in job.held:
            found[f"held.{name}"] = job.held[name].nbytes
    return found


def undisturbed(action: Callable[[], None]) -> None:
    """Does it whole, however often a user interrupts meanwhile."""
    while True:
        try:
            action()
            return
        except KeyboardInterrupt:
            continue


__all__ = ["LAUNCH_SECONDS", "Run", "paced", "sizes", "undisturbed"]
