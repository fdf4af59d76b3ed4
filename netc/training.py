"""Training a model: the native run with its memory, history and interruptions.

In: a model and its data. Out: ``History``. Everything between two epochs' reports happens in one native call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import devices
from .compiler import units
from .compiler.elaborate import Goal
from .compiler.graph import Graph
from .compiler.interpreter import trace_nonfinite
from .engines import Engine, compiled, engine, threads_of
from .grammar.source import Span
from .metrics import finish_metrics
from .runtime.artifact import DIVERGED, EXHAUSTED, RUNNING, STOPPED, Artifact
from .runtime.cores import physical_cores
from .runtime.cpu import aligned
from .runtime.cuda.plans import Plan
from .runtime.job import Job

if TYPE_CHECKING:
    from .model import Model

Array = NDArray[Any]
UNLIMITED = 2**62
Begin = Callable[["Model", Job], Engine]


class Diverged(ArithmeticError):
    """The loss is no longer finite."""

    def __init__(self, step: int, epoch: int, where: str, span: Span | None = None) -> None:
        super().__init__(f"the loss is not finite at step {step} (epoch {epoch}){where}")
        self.step, self.epoch, self.where, self.span = step, epoch, where, span


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What is known after an epoch. ``epoch`` counts from 1; without validation rows its loss is None."""

    epoch: int
    loss: float
    validation_loss: float | None
    metrics: dict[str, float]


@dataclass(slots=True)
class History:
    rows: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0
    best_epoch: int = 0
    status: str = "finished"
    problem: str = ""
    """Where the loss stopped to be finite, of one among several runs."""

    @property
    def loss(self) -> list[float]:
        return [r.loss for r in self.rows]


def fit(
    model: Model,
    arrays: tuple[Any, ...],
    *,
    epochs: int | None = None,
    batch: int | str | None = None,
    validation: tuple[Any, ...] | None = None,
    shuffle: bool | None = None,
    seed: int | None = None,
    threads: int | None = None,
    spread: Plan | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> History:
    """Trains in place. arrays: inputs and target; none to use the file's data block. batch: rows or "full".

    threads: at most so many; by default one for each processor core, where the network is large enough to gain by it.
    Results do not depend on it. spread: over how many of a CUDA device's blocks, where the model is on one; by default as
    many as a step is worth.

    With ``ema`` the model has the averaged weights afterwards. Raises Diverged when the loss is not finite (the parameters are those before that step), ValueError for arrays
    that do not fit. KeyboardInterrupt stops after the current step and is raised again.
    """
    trainer = Trainer(model, arrays, validation, epochs, batch, shuffle, seed, threads, spread)
    try:
        return trainer.run(on_epoch)
    finally:
        if trainer.native.get("step"):
            model.memory.take(model.averages())


class Trainer:
    """One run: its compiled entry, memory and control block; ``run`` may be called again after an interruption."""

    goal: Goal
    data: dict[str, Array]
    held: dict[str, Array]
    rows: int
    graphs: dict[str, Graph]
    end: Graph

    def __init__(
        self, model: Model, arrays: tuple[Any, ...], validation: tuple[Any, ...] | None, epochs: int | None,
        batch: int | str | None, shuffle: bool | None, seed: int | None, threads: int | None = None,
        spread: Plan | None = None, like: Trainer | None = None, begin: Begin | None = None,
    ) -> None:  # fmt: skip
        """like: a run of the same program on the same rows, whose code and rows this one shares; arrays and validation count
        no more. begin: makes the engine, where this run is one of several that share a device or loaded code."""
        self.model = model
        plan = self.plan = model._need_plan()
        if like is None:
            self._observe(arrays, validation)
        else:
            self.goal, self.data, self.rows, self.held = like.goal, like.data, like.rows, like.held
        size = plan.batch if batch is None else None if batch == "full" else int(batch)
        self.batch = min(size or self.rows, self.rows)
        self.steps_per_epoch = -(-self.rows // self.batch)
        self.steps = plan.steps if epochs is None and plan.steps else UNLIMITED
        self.epochs = epochs or plan.epochs or -(-self.steps // self.steps_per_epoch)
        wanted = plan.shuffle if shuffle is None else shuffle
        self.shuffle = wanted and self.batch < self.rows
        self.seed = model.seed if seed is None else seed
        self.most_threads = physical_cores() if threads is None else threads
        if spread is not None and model.device != devices.CUDA:
            raise ValueError(
                f"plan = {spread} is for a CUDA device, and the model computes on the CPU: model.cuda() moves it"
            )
        self.spread = spread
        self.executor = devices.executor(model) if model.device == devices.CUDA else None
        model.memory.take({average: parameter for parameter, average in model.averages().items()})
        if like is None:
            self.artifact = self._compile()
        else:
            self.graphs, self.artifact = like.graphs, like.artifact
            if self.held:
                self.end = like.end
        self.totals = self.artifact.totals
        job = self.job = self._job()
        self.threads = threads_of(job, self.most_threads)
        if begin is not None:
            self.native = begin(model, job)
        else:
            self.native = engine(model, job, self.threads, self.executor, self.spread)

    def _observe(self, arrays: tuple[Any, ...], validation: tuple[Any, ...] | None) -> None:
        """The rows to train on and to validate on."""
        model = self.model
        if not arrays:
            arrays, validation = file_data(model)
        self.goal, self.data, self.rows = model._observations(arrays)
        if self.rows == 0:
            raise ValueError("there are no rows to train on")
        self.held = {}
        if validation is not None and len(validation[0]):
            _, self.held, _ = model._observations(validation)

    def _compile(self) -> Artifact:
        model, plan = self.model, self.plan
        graphs = {"step": units.checked(lambda: units.step(model.network, plan, self.goal))}
        if self.held:
            graphs["evaluate"] = units.evaluate(
                model.network, plan, self.goal, averaged=plan.optimizers.ema is not None
            )
            self.end = units.epoch_end(plan, graphs["evaluate"])
        self.graphs = graphs
        chunk = min(max(self.batch, 64), 1024)
        return compiled(model, graphs, self.executor, {"step": self.batch, "evaluate": chunk})

    def _job(self) -> Job:
        model, plan, block = self.model, self.plan, self.model.memory.block
        chunk = min(max(self.batch, 64), 1024)
        settings = {
            "rows": self.rows, "batch": self.batch, "end_epoch": self.epochs, "end_step": self.steps, "seed": self.seed,
            "shuffle": int(self.shuffle), "validation_rows": len(self.held["target"]) if self.held else 0,
            "chunk": chunk, "patience": plan.patience or 0, "model_bytes": len(block),
            "epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch,
            "total_steps": min(self.steps, self.epochs * self.steps_per_epoch),
        }  # fmt: skip
        self.history = np.zeros((self.epochs, 2 + len(self.totals)), np.float64)
        self.best = aligned(len(block))
        self.order = np.zeros(self.rows, np.int64)
        offsets = {x.name: x.fixed for x in model.memory.layouts}
        return Job(
            self.artifact, settings, self.data, self.held, block, offsets, self.history, self.best, self.order
        )

    def run(
        self,
        on_epoch: Callable[[EpochRow], None] | None = None,
        *,
        on_save: Callable[[], None] | None = None,
        save_seconds: float = float("inf"),
    ) -> History:
        """Goes on from the cursor to the end. ``on_save`` is called between two steps every ``save_seconds``."""
        history = History()
        first = self.native.get("epoch")
        native = self.native
        native.set("stop", 0)
        native.set("status", RUNNING)
        start = time.perf_counter()

        saved = start
        history.rows += [self.row(i) for i in range(first)]
        for row in history.rows:
            if on_epoch is not None:
                on_epoch(row)

        def report() -> None:
            while on_epoch is not None and len(history.rows) < native.get("epoch"):
                row = self.row(len(history.rows))
                history.rows.append(row)
                on_epoch(row)
                if time.perf_counter() - saved > save_seconds:
                    break
            if on_save is not None and time.perf_counter() - saved > save_seconds:
                native.set("stop", 1)

        try:
            self._execute(report)
            while native.get("status") == STOPPED and native.get("stop") and on_save is not None:
                on_save()
                saved = time.perf_counter()
                native.set("stop", 0)
                self._execute(report)
        finally:
            history.seconds = time.perf_counter() - start
            while len(history.rows) < native.get("epoch"):
                history.rows.append(self.row(len(history.rows)))
                if on_epoch is not None:
                    on_epoch(history.rows[-1])
        self._expect_finite()
        return self._told(history)

    def outcome(self, seconds: float) -> History:
        """The history of a run that others carried out with this trainer's engine; a loss that is not finite is told by its
        ``status`` and ``problem``."""
        history = History([self.row(i) for i in range(self.native.get("epoch"))], seconds)
        try:
            self._expect_finite()
        except Diverged as error:
            history.status, history.problem = "diverged", str(error)
            history.best_epoch = self.native.get("best_epoch") + 1 if history.rows else 0
            return history
        return self._told(history)

    def _expect_finite(self) -> None:
        native = self.native
        if native.get("status") == DIVERGED:
            raise Diverged(native.get("step") + 1, native.get("epoch") + 1, *self._blame())

    def _told(self, history: History) -> History:
        """With how the run ended."""
        names = {STOPPED: "stopped", EXHAUSTED: "early stop"}
        history.status = names.get(self.native.get("status"), "finished")
        history.best_epoch = self.native.get("best_epoch") + 1
        return history

    def _execute(self, report: Callable[[], None]) -> None:
        with devices.reported(self.model, "the run"):
            self.native.execute(report)

    def row(self, index: int) -> EpochRow:
        values = self.history[index]
        if not self.held:
            return EpochRow(index + 1, float(values[0]), None, {})
        totals = dict(zip(self.totals, values[2:], strict=True))
        metrics = finish_metrics(self.end, totals)
        return EpochRow(index + 1, float(values[0]), float(values[1]), metrics)

    def _blame(self) -> tuple[str, Span | None]:
        """The layer whose value is not finite first and its line, by interpreting the step that failed."""
        row, step = self.native.get("row"), self.native.get("step") + 1
        count = min(self.batch, self.rows - row)
        order = self.order if self.shuffle else np.arange(self.rows)
        chosen = order[row : row + count]
        leaves = {n: a[chosen] for n, a in self.data.items()} | dict(self.model.memory.views)
        leaves |= {f"scalar.{n}": np.asarray(1) for n in ("epoch", "steps", "epochs", "steps_per_epoch")}
        leaves["scalar.step"] = np.asarray(step)
        epoch = self.native.get("epoch")
        leaves["scalar.epoch_loss"] = self.history[epoch - 1, 1] if epoch else np.asarray(np.inf)
        for name, array in leaves.items():
            told = not name.startswith("scalar.") and array.dtype.kind == "f"
            if told and not np.isfinite(array).all():
                path = name.split(".", 1)[-1]
                after = f" after step {step - 1}" if name.startswith(("param.", "buffer.", "state.")) else ""
                return f": {path} holds values that are not finite{after}", self._line(path)
        found = trace_nonfinite(self.graphs["step"], leaves, seed=self.seed, step=step)
        if found is None:
            return "", None
        layer = found.origin.layer
        known = next((x for x in self.model.network.layers if x.path == layer), None)
        if known is None:
            return f": first in {layer or 'the loss'}, {found.origin.span}", self.plan.loss_span
        return f": first in layer {known.path}, {known.name}, {known.span}", known.span

    def _line(self, path: str) -> Span | None:
        """Where the layer of a parameter, or an input, is written."""
        layers = [x.span for x in self.model.network.layers if path in x.parameters]
        inputs = [x.span for x in self.model.network.inputs if x.name == path]
        return next(iter(layers + inputs), None)


def file_data(model: Model) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """The arrays of the file's own data block: training and validation."""
    data = getattr(model, "data", None)
    if data is None:
        raise ValueError("the program has no data block: give inputs and target")
    names = [*(s.name for s in model.network.inputs), *model._need_plan().goals.values()]
    held = None if data.validation is None else tuple(data.validation[n] for n in names)
    return tuple(data.training[n] for n in names), held
