"""Many training runs at once: on the CPU on threads, on a CUDA device as blocks of one launch.

In: models, the settings of ``fit``. Out: a ``Team``, whose ``run`` carries all of them out and gives a history for each. Runs
of one program share code and rows. A run gives the same bits as it does alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from . import devices
from .engines import SideBySide
from .model import Model
from .runtime.artifact import RUNNING, STOPPED
from .runtime.cores import physical_cores
from .runtime.cuda.plans import Plan
from .training import EpochRow, History, Trainer

POLL_SECONDS = 0.02
SLICE_SECONDS = 0.2
"""After how long a run makes room for one that waits for a thread, so that all advance alike."""
OnEpoch = Callable[[int, EpochRow], None]


class Team:
    """The trainers of some models, in their order; ``run`` may be called again after an interruption."""

    def __init__(
        self, models: Sequence[Model], arrays: tuple[Any, ...] = (), validation: tuple[Any, ...] | None = None, *,
        epochs: int | None = None, batch: int | str | None = None, shuffle: bool | None = None,
        seeds: Sequence[int] | None = None, threads: int | None = None, spread: Plan | None = None,
    ) -> None:  # fmt: skip
        """seeds: of each run, by default those of the models. threads: how many runs are carried out at once on the CPU.

        Raises CompileError (E0505) when there is too little memory for all, and what ``Trainer`` raises."""
        self.threads = min(physical_cores() if threads is None else threads, len(models))
        self.over: dict[int, str] = {}
        """Runs that take no further part, with how they ended: those of an earlier part that was resumed."""
        self.groups: list[SideBySide] = []
        leaders: dict[int, tuple[Trainer, SideBySide]] = {}
        self.trainers: list[Trainer] = []
        for i, model in enumerate(models):
            seed = None if seeds is None else seeds[i]
            known = leaders.get(id(model.network))
            if known is None:
                count = sum(m.network is model.network for m in models)
                executor = devices.executor(model) if model.device == devices.CUDA else None
                group = SideBySide(model, count, executor, spread)
                trainer = Trainer(
                    model, arrays, validation, epochs, batch, shuffle, seed, 1, spread, begin=group.begin
                )
                leaders[id(model.network)] = trainer, group
                self.groups.append(group)
            else:
                like, group = known
                trainer = Trainer(
                    model, (), None, epochs, batch, shuffle, seed, 1, spread, like=like, begin=group.begin
                )
            self.trainers.append(trainer)

    def run(
        self, on_epoch: OnEpoch | None = None, *, on_save: Callable[[int], None] | None = None,
        save_seconds: float = float("inf"),
    ) -> list[History]:  # fmt: skip
        """Carries out all runs to their ends. on_epoch: called on this thread with the number of a run and what is known after
        an epoch of it. on_save: called with the number of a run that rests, every ``save_seconds``, from any thread.

        A run that diverges ends alone. KeyboardInterrupt stops all after their present steps and is raised again."""
        start = time.perf_counter()
        told = [0] * len(self.trainers)

        def report() -> None:
            for i, trainer in enumerate(self.trainers):
                known = trainer.native.get("epoch") if on_epoch is not None else 0  # it goes on meanwhile
                while on_epoch is not None and told[i] < known:
                    told[i] += 1
                    on_epoch(i, trainer.row(told[i] - 1))

        for i, trainer in enumerate(self.trainers):
            trainer.native.set("stop", 0)
            trainer.native.set("status", STOPPED if i in self.over else RUNNING)
        try:
            if self.groups[0].executor is None:
                numbers = [i for i in range(len(self.trainers)) if i not in self.over]
                _Threads(self.trainers, numbers, self.threads, on_save, save_seconds).run(report)
            else:
                self._on_device(report, on_save, save_seconds)
        finally:
            for trainer in self.trainers:
                if trainer.native.get("status") == RUNNING:
                    trainer.native.set("status", STOPPED)
            report()
        seconds = time.perf_counter() - start
        found = [t.outcome(seconds) for t in self.trainers]
        for i, status in self.over.items():
            found[i].status = status
        return found

    def take_averages(self) -> None:
        """Gives each model that has been trained its averaged weights, where the program wants that."""
        for trainer in self.trainers:
            if trainer.native.get("step"):
                trainer.model.memory.take(trainer.model.averages())

    def _on_device(
        self, report: Callable[[], None], on_save: Callable[[int], None] | None, save_seconds: float
    ) -> None:
        for group in self.groups:
            members = [i for i, t in enumerate(self.trainers) if t.model.network is group.model.network]
            self._launches(group, members, report, on_save, save_seconds)

    def _launches(
        self, group: SideBySide, members: Sequence[int], report: Callable[[], None],
        on_save: Callable[[int], None] | None, save_seconds: float,
    ) -> None:  # fmt: skip
        """Those of one program; they rest, all at once, when they are to be saved."""
        engines = [self.trainers[i].native for i in members]
        over = [self.trainers[i].native for i in members if i in self.over]
        saved = time.perf_counter()

        def poll() -> None:
            report()
            if on_save is not None and time.perf_counter() - saved > save_seconds:
                for engine in engines:
                    engine.set("stop", 1)

        assert group.group is not None
        while True:
            with devices.reported(group.model, "the run"):
                group.group.execute(poll)
            if on_save is None or not engines[0].get("stop"):
                return
            for i in members:
                on_save(i)
            for engine in engines:
                engine.set("stop", 0)
                if engine.get("status") == STOPPED and engine not in over:
                    engine.set("status", RUNNING)
            saved = time.perf_counter()


class _Threads:
    """Runs on threads of the CPU, at most so many at once; those that wait take turns with those that run."""

    def __init__(
        self, trainers: Sequence[Trainer], numbers: Sequence[int], threads: int, on_save: Callable[[int], None] | None, save_seconds: float
    ) -> None:  # fmt: skip
        self.trainers, self.on_save, self.save_seconds = trainers, on_save, save_seconds
        self.waiting = deque(numbers)
        self.saved = {i: time.perf_counter() for i in numbers}
        self.stopping = False
        self.failures: list[BaseException] = []
        self.workers = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def run(self, report: Callable[[], None]) -> None:
        """Until all have ended. What ``report`` raises stops them and is raised again."""
        turn = time.perf_counter()
        try:
            for worker in self.workers:
                worker.start()
            while any(worker.is_alive() for worker in self.workers):
                self._join(POLL_SECONDS)
                report()
                now = time.perf_counter()
                if self.stopping:
                    self._pause()
                if now - turn > SLICE_SECONDS and (self.waiting or self._due(now)):
                    self._pause()
                    turn = now
        except BaseException:
            self.stopping = True
            while any(worker.is_alive() for worker in self.workers):
                with contextlib.suppress(KeyboardInterrupt):
                    self._pause()  # again and again: a run that is about to begin takes the flag back
                    self._join(POLL_SECONDS)
            raise
        if self.failures:
            raise self.failures[0]

    def _join(self, seconds: float) -> None:
        alive = [worker for worker in self.workers if worker.is_alive()]
        if alive:
            alive[0].join(seconds)

    def _due(self, now: float) -> bool:
        return self.on_save is not None and now - min(self.saved.values(), default=now) > self.save_seconds

    def _pause(self) -> None:
        """Asks every run to rest after its present step."""
        for trainer in self.trainers:
            trainer.native.set("stop", 1)

    def _work(self) -> None:
        """Carries out what waits. Who finds nothing has no more to do: there are never more runs than threads then."""
        while not self.stopping:
            try:
                number = self.waiting.popleft()
            except IndexError:
                return
            try:
                self._slice(number)
            except BaseException as error:
                self.failures.append(error)
                self.stopping = True

    def _slice(self, number: int) -> None:
        native = self.trainers[number].native
        native.set("stop", 0)
        native.set("status", RUNNING)
        native.execute()
        now = time.perf_counter()
        if native.get("status") != STOPPED or not native.get("stop"):
            self.saved[number] = float("inf")
            return
        if self.on_save is not None and now - self.saved[number] > self.save_seconds:
            self.on_save(number)
            self.saved[number] = now
        self.waiting.append(number)


__all__ = ["OnEpoch", "Team"]
