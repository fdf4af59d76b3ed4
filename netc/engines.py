"""What carries out a training run: a native function of the CPU, or launches on a device.

In: a model, the graphs of a run, a ``Trainer``'s settings as a ``Job``, and for a device its ``Executor``. Out: an ``Engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from . import devices
from .compiler.graph import Graph
from .compiler.loops.arrangement import many
from .compiler.pipeline import build, build_cuda
from .grammar.diagnostics import CompileError
from .runtime.artifact import GRAIN, SLOT, Artifact
from .runtime.cpu import Frame, Library, Run, aligned
from .runtime.cuda import run as cuda_run
from .runtime.cuda.executor import Executor
from .runtime.cuda.plans import Plan, choose
from .runtime.cuda.recorded import count
from .runtime.cuda.together import Together
from .runtime.cuda.units import Library as CudaLibrary
from .runtime.job import Job

if TYPE_CHECKING:
    from .model import Model

Array = NDArray[Any]


class Engine(Protocol):
    """A run that may be left between any two steps; its control block says where it stands."""

    control: NDArray[Any]

    def get(self, name: str) -> int:
        """A number of the control block."""

    def set(self, name: str, value: int) -> None: ...

    def double(self, name: str) -> float: ...

    def execute(self, poll: Callable[[], None] | None = None) -> None:
        """Goes on until the run is over or is asked to stop; calls ``poll`` now and then."""


def compiled(
    model: Model, graphs: Mapping[str, Graph], executor: Executor | None, rows: Mapping[str, int]
) -> Artifact:
    """The code of a run, for where it will be carried out. rows: how many observations each graph sees at a time."""
    if executor is not None:
        return build_cuda(graphs, model.orders, executor.threads, train=True)
    return build(graphs, model.orders, train=True, target=model.target, many_rows=many(rows))


def engine(model: Model, job: Job, threads: int, executor: Executor | None, plan: Plan | None) -> Engine:
    """Raises CompileError: E0505 where the device's memory is too small, E0805 for a plan that the step does not allow."""
    if executor is None:
        return on_cpu(model, job, threads, Library(job.artifact))
    if plan is Plan.graph and not job.artifact.step:
        raise CompileError((devices.no_graph(model),))
    with devices.reported(model, "the run"):
        return on_device(job, executor, plan)


def on_device(job: Job, executor: Executor, plan: Plan | None) -> cuda_run.Run:
    return cuda_run.Run(CudaLibrary(job.artifact, executor), job, plan or plan_for(job))


def plan_for(job: Job) -> Plan:
    """As wide as a step is worth."""
    fixed, per_row = job.artifact.units["step"].work
    return choose(fixed + per_row * job.batch, count(job.artifact.step))


class SideBySide:
    """Makes the engines of runs that share their code and their rows, on the CPU with a thread for each. ``group``: their
    common launches on a device."""

    def __init__(self, model: Model, count: int, executor: Executor | None, plan: Plan | None) -> None:
        self.model, self.count, self.executor, self.plan = model, count, executor, plan
        self.group: Together | None = None
        self._library: Library | None = None

    def begin(self, model: Model, job: Job) -> Engine:
        """The next engine. Raises CompileError (E0505) where the memory of all is too small, at the first."""
        if self.executor is None:
            if self._library is None:
                self._expect_memory(job)
                self._library = Library(job.artifact)
            return on_cpu(model, job, 1, self._library)
        if self.plan is Plan.graph and not job.artifact.step:
            raise CompileError((devices.no_graph(self.model),))
        if self.group is None:
            with devices.reported(self.model, f"the run of {self.count:,} replicas"):
                library = CudaLibrary(job.artifact, self.executor)
                self.group = Together(library, job, self.count, self.plan or plan_for(job))
        return self.group.add(job)

    def _expect_memory(self, job: Job) -> None:
        units = job.artifact.units
        rows = {"step": job.batch, "evaluate": job.chunk}
        work = sum(u.work_bytes(rows[n]) for n, u in units.items())
        gathered = sum(job.data[n][:1].nbytes * job.batch for n in job.tensors())
        each = work + gathered + job.best.nbytes + job.history.nbytes + job.order.nbytes
        devices.expect_memory(self.model, f"the run of {self.count:,} replicas", each * self.count)


def threads_of(job: Job, most: int) -> int:
    """As many threads as a step's largest kernel is worth."""
    fixed, per_row = job.artifact.units["step"].work
    return max(1, min(most, (fixed + per_row * job.batch) // GRAIN))


def on_cpu(model: Model, job: Job, threads: int, library: Library) -> Run:
    """library: the job's code, loaded; several runs may share it."""
    layouts = job.artifact.units
    rows = {"step": job.batch, "evaluate": job.chunk}
    frames = {n: Frame(layouts[n], model.memory, rows[n]) for n in layouts}
    keep = [job.history, job.best, job.order, *job.data.values(), *job.held.values()]
    run = Run(library, "train", list(frames.values()), keep, threads)
    step = frames["step"]
    addresses = {
        "history": job.history.ctypes.data, "permutation": job.order.ctypes.data,
        "model": job.model.ctypes.data, "best_model": job.best.ctypes.data,
        "scalars": step.scalars.ctypes.data, "step_table": step.table.ctypes.data,
        "evaluate_table": frames["evaluate"].table.ctypes.data if "evaluate" in frames else 0,
    }  # fmt: skip
    for name, value in {**job.settings, **addresses}.items():
        run.set(name, value)
    run.set_double("best", float("inf"))
    for i, name in enumerate(job.tensors()):
        source, held = job.data[name], job.held.get(name)
        gathered = aligned(source[:1].nbytes * job.batch + 64)
        keep.append(gathered)
        places = (source.ctypes.data, held.ctypes.data if held is not None else 0, gathered.ctypes.data)
        run.control[len(SLOT) + 3 * i : len(SLOT) + 3 * i + 3] = places
    return run


__all__ = ["Engine", "SideBySide", "compiled", "engine", "threads_of"]
