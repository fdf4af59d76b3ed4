"""What a step costs: operations of a graph, bytes and time of its kernels, by a roofline.

In: graphs, kernels, a number of rows and a ``Machine``. Out: FLOPs and ``Cost`` records. A kernel takes as long as its
instructions (``cycles.py``) or its memory traffic at the bandwidth of the smallest cache that holds it, whichever is longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .cycles import cycles
from .graph import ROWS, Shape, Value
from .loops.ir import (
    Apply,
    Axis,
    Buffer,
    Combine,
    Expr,
    Kernel,
    Load,
    Random,
    Reduction,
    Scheduled,
    Store,
)
from .loops.picks import compares_places, is_one_hot, picks, scatters
from .loops.rewrite import walk
from .loops.work import COSTS, points_of, summed

FREE = frozenset({
    "input", "constant", "iota", "rows", "broadcast", "reshape", "permute", "slice", "flip", "pad", "concat", "window",
    "stop_gradient", "cast",
})  # fmt: skip
RANDOM_COST = 40


@dataclass(frozen=True, slots=True)
class Machine:
    """One core.

    levels: (bytes of a cache, bytes a second from it), the last one memory. start: cycles a kernel. reached: the part of
    what kernels reach alone that is left in a run, where they meet other data in the caches.
    """

    vector_bytes: int = 64
    hertz: float = 3.6e9
    units: int = 2
    levels: tuple[tuple[float, float], ...] = (
        (32e3, 200e9), (1e6, 110e9), (32e6, 90e9), (math.inf, 25e9),
    )  # fmt: skip
    start: float = 30
    reached: float = 0.85

    @staticmethod
    def of_peak(peak: float, *, lanes: int, vector_bytes: int) -> Machine:
        """A core that reaches so many float32 operations a second in vectors of that many lanes; bytes come from its caches
        as fast in proportion."""
        usual = Machine(vector_bytes=vector_bytes)
        hertz = peak / (2 * usual.units * lanes)
        levels = tuple((room, speed * hertz / usual.hertz) for room, speed in usual.levels)
        return replace(usual, hertz=hertz, levels=levels)

    def bandwidth(self, size: float) -> float:
        """Bytes a second for so many bytes used again and again."""
        return next(speed for room, speed in self.levels if size <= room)


@dataclass(frozen=True, slots=True)
class Cost:
    """bytes: read and written, each element of a buffer once a kernel. seconds: predicted."""

    operations: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.operations + other.operations, self.bytes + other.bytes, self.seconds + other.seconds
        )

    def __mul__(self, part: float) -> Cost:
        return Cost(self.operations * part, self.bytes * part, self.seconds * part)


def count(shape: Shape, rows: int) -> int:
    """The number of elements."""
    return math.prod(rows if d is ROWS else int(d) for d in shape)


def flops(value: Value, rows: int) -> int:
    """Floating-point operations of one graph value: a transcendental function counts as one, a copy as none."""
    name = value.op.name
    if name in FREE:
        return 0
    if picks(value) or compares_places(value):
        return 0
    if scatters(value):
        return count(value.inputs[0 if is_one_hot(value.inputs[1]) else 1].shape, rows)
    if name == "contract":
        summed = math.prod(count((value.inputs[0].shape[p],), rows) for p, _ in value.attrs["axes"])
        return count(value.shape, rows) * (2 * summed if value.attrs["axes"] else 1)
    if name in ("sum", "max", "argmax", "fold"):
        return count(value.inputs[0].shape, rows)
    return count(value.shape, rows)


def kernel_costs(scheduled: Scheduled, rows: int, machine: Machine) -> list[tuple[Store, Cost]]:
    """The cost of each store of a kernel; what several stores need is divided among them."""
    kernel = scheduled.kernel
    whole = kernel_cost(scheduled, rows, machine)
    own = shared_operations(kernel, rows)
    total = sum(own)
    parts = [x / total if total else 1 / len(own) for x in own]
    return [(store, whole * part) for store, part in zip(kernel.stores, parts, strict=True)]


def kernel_cost(scheduled: Scheduled, rows: int, machine: Machine) -> Cost:
    """The cost of a kernel: every expression once for each point of the axes it depends on."""
    kernel = scheduled.kernel
    parts = points_of(kernel)
    work = sum(operations(e, axes, rows) for e, axes in parts.items())
    moved = sum(_touched(kernel, parts, rows).values())
    computing = (cycles(scheduled, rows) + machine.start) / machine.hertz
    seconds = max(computing, moved / machine.bandwidth(moved)) / machine.reached
    times = 1 if kernel.repeat is None else int(kernel.repeat.axis.extent)  # type: ignore[arg-type]
    return Cost(work, moved, seconds) * times


def operations(e: Expr, axes: frozenset[Axis], rows: int) -> int:
    """Operations of an expression without its parts, weighted by how long they take. axes: it is evaluated along."""
    match e:
        case Apply():
            return COSTS.get(e.op, 1) * _points(axes, rows)
        case Random():
            return RANDOM_COST * _points(axes, rows)
        case Reduction():
            return (2 if e.combine is Combine.argmax else 1) * _points(axes | summed(e), rows)
        case _:
            return 0


def shared_operations(kernel: Kernel, rows: int) -> list[float]:
    """For each store the operations of its expressions, divided by the number of stores that use them."""
    uses = [set(walk(s.value)) for s in kernel.stores]
    users: dict[Expr, int] = {}
    for e in (e for use in uses for e in use):
        users[e] = users.get(e, 0) + 1
    axes = points_of(kernel)
    return [sum(operations(e, axes[e], rows) / users[e] for e in use) for use in uses]


def _points(axes: Iterable[Axis], rows: int) -> int:
    return math.prod(rows if a.extent is ROWS else int(a.extent) for a in axes)


def _touched(kernel: Kernel, parts: Mapping[Expr, frozenset[Axis]], rows: int) -> dict[Buffer, float]:
    """Bytes of each buffer that a kernel reads or writes; twice where it does both."""
    found: dict[Buffer, float] = {}
    for e, axes in parts.items():
        if isinstance(e, Load):
            size = min(_points(axes, rows), count(e.buffer.shape, rows)) * e.buffer.dtype.itemsize
            found[e.buffer] = max(found.get(e.buffer, 0), size)
    for store in kernel.stores:
        size = count(store.buffer.shape, rows) * store.buffer.dtype.itemsize
        found[store.buffer] = found.get(store.buffer, 0) + size
    return found
