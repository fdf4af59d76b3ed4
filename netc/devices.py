"""Where a model computes: on the CPU, or on a CUDA device.

In: models, names of devices. Out: what runs a graph there; diagnostics where there is no such device (E0803), where it has
too little memory (E0505), where it fails (E0804). The arrays that Python sees are the host's in either case: with every
call the device is given the parameters as they are, and what it changes comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .compiler.elaborate.training import DEVICES
from .compiler.graph import Graph
from .compiler.pipeline import build_cuda
from .grammar.diagnostics import CompileError, Diagnostic, Label
from .grammar.source import Span
from .runtime.cpu import LARGE_BYTES
from .runtime.cuda import device
from .runtime.cuda.arena import NotEnough
from .runtime.cuda.driver import MissingDevice
from .runtime.cuda.executor import DeviceFailed, Executor
from .runtime.cuda.plans import Plan
from .runtime.cuda.units import Library, Unit
from .runtime.memory import free_bytes, gib

if TYPE_CHECKING:
    from .model import Model

Array = NDArray[Any]
CPU, CUDA = DEVICES
PARTS = {
    "model": "parameters and optimizer states, and the best ones", "work": "intermediate values",
    "data": "the training rows", "held": "the held-out rows", "batch": "the rows of a step",
    "order": "the order of the rows", "run": "the history", "inputs": "the given rows", "tables": "tables of addresses",
}  # fmt: skip


def checked(name: str) -> str:
    """The name of a device; raises ValueError for another word."""
    if name not in DEVICES:
        raise ValueError(f"device is {' or '.join(DEVICES)}, not {name!r}")
    return name


def plan_of(name: Plan | str | None) -> Plan | None:
    """The plan of that name; raises ValueError when there is none."""
    if name is None or isinstance(name, Plan):
        return name
    if name not in list(Plan):
        *first, last = Plan
        raise ValueError(f"plan is {', '.join(first)} or {last}, not {name!r}")
    return Plan(name)


def executor(model: Model) -> Executor:
    """The CUDA device; raises CompileError (E0803) at the place in the program that asks for it."""
    try:
        return device.find()
    except MissingDevice as error:
        message = f"there is no CUDA device to compute on: {error}"
        found = Diagnostic("E0803", message, Label(place(model)), help=error.help)
        raise CompileError((found,)) from None


def place(model: Model) -> Span:
    """Where the program says on what device it trains, or else the network's name."""
    plan = model.plan
    written = plan.device_span if plan is not None else None
    return written if written is not None else model.network.net.name.span


class DeviceUnit:
    """A graph of a model on the CUDA device."""

    def __init__(self, model: Model, graph: Graph) -> None:
        self.model = model
        found = executor(model)
        artifact = build_cuda({graph.name: graph}, model.orders, found.threads)
        with reported(model, "the network"):
            library = Library(artifact, found)
            self.unit = Unit(library, artifact.units[graph.name], model.memory)

    def call(
        self, inputs: Mapping[str, Array], rows: int, *, step: int = 0, seed: int = 0
    ) -> dict[str, Array]:
        with reported(self.model, f"a call with {rows:,} rows"):
            return self.unit.call(inputs, rows, step=step, seed=seed)


@contextmanager
def reported(model: Model, what: str) -> Iterator[None]:
    """Turns what the device reports into diagnostics: too little memory (E0505), with the numbers, and failures (E0804)."""
    try:
        yield
    except NotEnough as error:
        raise CompileError((_too_large(model, what, error),)) from None
    except DeviceFailed as error:
        message = f"the CUDA device failed: {error}"
        help = (
            "`nvidia-smi` shows its state; start anew, and report it to netc if the same program fails again"
        )
        raise CompileError((Diagnostic("E0804", message, Label(place(model)), help=help),)) from None


def no_graph(model: Model) -> Diagnostic:
    """For a run by graphs that the optimizer does not allow."""
    message = "plan graph needs steps of the same launches each, and this optimizer's line search evaluates as often as it must"
    help = "plan block or grid runs line searches; an optimizer without one, such as adam, runs by graphs"
    return Diagnostic("E0805", message, Label(model._need_plan().optimizers.groups[0].call.span), help=help)


def expect_memory(model: Model, what: str, needed: int) -> None:
    """Raises CompileError (E0505) for what the host's memory has no room for."""
    free = free_bytes()
    if needed > LARGE_BYTES and free is not None and needed > free:
        message = f"{what} takes {gib(needed)} of memory, {gib(free)} are free"
        span = model.network.net.name.span
        raise CompileError((Diagnostic("E0505", message, Label(span), help="train fewer at once"),))


def _too_large(model: Model, what: str, error: NotEnough) -> Diagnostic:
    message = f"{what} takes {gib(error.needed)} of the device's memory, {gib(error.free)} are free"
    parts = sorted(error.parts.items(), key=lambda part: -part[1])
    notes = tuple(f"{gib(size)} for {PARTS[name]}" for name, size in parts if size >= error.needed / 100)
    help = "a smaller batch, a smaller network or fewer rows take less; the CPU has its own memory"
    return Diagnostic("E0505", message, Label(place(model)), notes=notes, help=help)


__all__ = [
    "CPU", "CUDA", "DEVICES", "DeviceUnit", "checked", "executor", "expect_memory", "no_graph", "place", "plan_of", "reported",
]  # fmt: skip
