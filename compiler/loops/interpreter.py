"""The loop interpreter: a lowered unit evaluated with NumPy. The definition of the Loop IR that backends are held to.

In: a ``Unit`` and arrays for its inputs. Out: arrays for its outputs. Schedules are ignored: they never say what is
computed. Memory is real: work buffers lie in one arena at the plan's offsets, with their order and their blocks, so that
a wrong lifetime overwrites what is still needed. The arena starts as NaN, loads out of bounds raise, and a kernel's
stores happen after all its loads.

Each axis is a dimension of its own in front of those outside it; all points of a kernel are evaluated at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime import philox
from ..graph import DType
from ..ops import TABLE
from .ir import (
    Affine,
    Apply,
    Atom,
    Axis,
    Buffer,
    ByRows,
    Combine,
    Condition,
    Constant,
    Expr,
    Extent,
    FloorDiv,
    Guarded,
    Kernel,
    Load,
    Position,
    Random,
    Reduction,
    Scalar,
    Space,
    Store,
)
from .unit import Unit

Array = NDArray[Any]
CAPACITY_STEP = 16

SCALARS: Mapping[Scalar, Callable[..., Any]] = {
    **{s: TABLE[s.value].reference for s in Scalar if s.value in TABLE},
    Scalar.select: lambda xp, c, a, b: xp.where(c, a, b),
    Scalar.fma: lambda xp, a, b, c: a * b + c,  # in two roundings
}
"""Each scalar operation in NumPy; where a graph operation has its name, that one's reference."""


def run(
    unit: Unit, inputs: Mapping[str, Array], *, rows: int = 1, seed: int = 0, step: int = 1
) -> dict[str, Array]:
    """The unit's outputs by name. inputs: an array in logical dimensions for each of the unit's inputs.

    Raises IndexError when a kernel reads outside a buffer, KeyError when an input is missing.
    """
    memory = _Memory(unit, inputs, rows)
    for repeat, group in groupby((s.kernel for s in unit.kernels), lambda k: k.repeat):
        kernels = list(group)
        for t in range(1 if repeat is None else int(repeat.axis.extent)):
            given = {} if repeat is None else {repeat.axis: np.asarray(t)}
            for kernel in kernels:
                with np.errstate(all="ignore"):
                    _Evaluation(memory, kernel, seed, step, given).run()
    return {name: memory.tensor(buffer) for name, buffer in unit.outputs.items()}


class _Memory:
    """Every buffer as a flat array: inputs copied into their physical order, the others views of the arena."""

    def __init__(self, unit: Unit, inputs: Mapping[str, Array], rows: int) -> None:
        self.plan, self.rows = unit.memory, rows
        self.capacity = -(-rows // CAPACITY_STEP) * CAPACITY_STEP
        self.row_base = -(-self.plan.fixed_bytes // 64) * 64
        self.arena = np.full(self.row_base + self.plan.row_bytes * self.capacity, 0xFF, np.uint8)
        self.flat: dict[Buffer, Array] = {}
        for name, buffer in unit.inputs.items():
            given = np.asarray(inputs[name], buffer.dtype.value)
            self.flat[buffer] = np.zeros(self._elements(buffer), given.dtype)
            self.flat[buffer][self.place(buffer, list(np.indices(given.shape)))] = given

    def load(self, buffer: Buffer, place: Array) -> Array:
        """Elements by their places in memory."""
        found = self.of(buffer)[place]
        return (found.astype(np.uint32) << 16).view(np.float32) if _is_half(buffer) else found

    def store(self, buffer: Buffer, place: Array, value: Array) -> None:
        wanted = buffer.dtype.wide.value
        assert value.dtype == wanted, f"bug in netc: {value.dtype} stored in {buffer.name}"
        if _is_half(buffer):
            bits = np.ascontiguousarray(value).view(np.uint32)
            assert not np.any(bits & 0xFFFF), f"bug in netc: more than bfloat16 stored in {buffer.name}"
            value = (bits >> 16).astype(np.uint16)
        self.of(buffer)[place] = value

    def extent(self, extent: Extent) -> int:
        return extent if isinstance(extent, int) else self.rows

    def of(self, buffer: Buffer) -> Array:
        """The buffer's elements in physical order."""
        found = self.flat.get(buffer)
        if found is None:
            assert buffer.space is Space.work, f"bug in netc: {buffer.name} is no input"
            fixed, per_row = self.plan.offsets[buffer.name]
            start = (
                fixed if not per_row and not self._grows(buffer) else self.row_base + per_row * self.capacity
            )
            stop = start + self._elements(buffer) * buffer.dtype.itemsize
            found = self.flat[buffer] = self.arena[start:stop].view(
                np.uint16 if _is_half(buffer) else buffer.dtype.value
            )
        return found

    def _grows(self, buffer: Buffer) -> bool:
        return any(not isinstance(e, int) for e in buffer.shape)

    def _elements(self, buffer: Buffer) -> int:
        return buffer.elements * (-(-self.rows // buffer.block) * buffer.block if self._grows(buffer) else 1)

    def place(self, buffer: Buffer, positions: Sequence[Array]) -> Array:
        """Where elements lie, by the buffer's own rule."""
        axes = [Axis(f"d{d}", e) for d, e in enumerate(buffer.shape)]
        return self.index(
            buffer.offset([Affine.of(a) for a in axes]), dict(zip(axes, positions, strict=True))
        )

    def index(self, affine: Affine, axes: Mapping[Axis, Array]) -> Array:
        total = np.asarray(affine.constant + affine.rows * self.rows, np.int64)
        for coefficient, atom in affine.terms:
            total = total + coefficient * self._atom(atom, axes)
        return total

    def _atom(self, atom: Atom, axes: Mapping[Axis, Array]) -> Array:
        if isinstance(atom, Axis):
            return axes[atom]
        value = self.index(atom.value, axes)
        if isinstance(atom, ByRows):
            return value * self.rows
        return value // atom.divisor if isinstance(atom, FloorDiv) else value % atom.divisor

    def tensor(self, buffer: Buffer) -> Array:
        """A copy of the buffer's contents in logical dimensions."""
        shape = tuple(self.extent(e) for e in buffer.shape)
        return np.array(self.load(buffer, self.place(buffer, list(np.indices(shape)))))


def _is_half(buffer: Buffer) -> bool:
    return buffer.dtype is DType.bfloat16


@dataclass(slots=True)
class _Scope:
    """What is known inside some loops and guards. mask: where the guards hold; memo: values by expression."""

    axes: Mapping[Axis, Array]
    mask: Array
    memo: dict[int, Array] = field(default_factory=dict)
    inner: dict[Any, _Scope] = field(default_factory=dict)
    depth: int = 0

    def loops(self, axes: Sequence[Axis], extent: Callable[[Extent], int]) -> _Scope:
        """The scope inside more axes; the first of them is the outermost dimension."""
        found = self.inner.get(axes)
        if found is None:
            known = dict(self.axes)
            for i, axis in enumerate(reversed(axes)):
                known[axis] = np.arange(extent(axis.extent)).reshape(-1, *[1] * (self.depth + i))
            found = self.inner[axes] = _Scope(known, self.mask, depth=self.depth + len(axes))
        return found

    def guard(self, conditions: tuple[Condition, ...], holds: Array) -> _Scope:
        """The scope where conditions hold."""
        found = self.inner.get(conditions)
        if found is None:
            found = self.inner[conditions] = _Scope(self.axes, self.mask & holds, depth=self.depth)
        return found


class _Evaluation:
    """One kernel, all of its points."""

    def __init__(
        self, memory: _Memory, kernel: Kernel, seed: int, step: int, given: Mapping[Axis, Array]
    ) -> None:
        self.memory, self.kernel, self.seed, self.step, self.given = memory, kernel, seed, step, given

    def run(self) -> None:
        scope = _Scope(self.given, np.asarray(True)).loops(self.kernel.axes, self.memory.extent)
        values = [self.value(store.value, scope) for store in self.kernel.stores]
        for store, value in zip(self.kernel.stores, values, strict=True):
            self._store(store, value, scope)

    def _store(self, store: Store, value: Array, scope: _Scope) -> None:
        place = self.memory.place(store.buffer, self._positions(store.buffer, store.index, scope))
        shape = np.broadcast_shapes(place.shape, value.shape)
        message = f"bug in netc: kernel {self.kernel.name} stores several values in one element of"
        assert np.prod(shape) == place.size, f"{message} {store.buffer.name}"
        self.memory.store(store.buffer, np.broadcast_to(place, shape), np.broadcast_to(value, shape))

    def value(self, e: Expr, scope: _Scope) -> Array:
        """The expression at every point, in an array that broadcasts to the scope's axes."""
        found = scope.memo.get(id(e))
        if found is None:
            found = scope.memo[id(e)] = np.asarray(self._evaluate(e, scope), e.dtype.wide.value)
        return found

    def _evaluate(self, e: Expr, scope: _Scope) -> Array:
        match e:
            case Constant():
                return np.asarray(e.value, e.dtype.wide.value)
            case Position():
                return self.memory.index(e.index, scope.axes)
            case Load():
                positions = self._positions(e.buffer, e.index, scope)
                return self.memory.load(e.buffer, self.memory.place(e.buffer, positions))
            case Apply():
                to = {"dtype": e.dtype} if e.op is Scalar.cast else {}
                result: Array = SCALARS[e.op](np, *(self.value(a, scope) for a in e.arguments), **to)
                return result
            case Reduction():
                return self._reduce(e, scope)
            case Guarded():
                holds = self._holds(e.conditions, scope)
                body = self.value(e.body, scope.guard(e.conditions, holds))
                return np.where(holds, body, self.value(e.otherwise, scope))
            case Random():
                return self._draw(e, scope)

    def _positions(self, buffer: Buffer, index: Sequence[Affine], scope: _Scope) -> list[Array]:
        """Positions along each dimension; where a guard does not hold they are clamped."""
        positions = []
        for i, extent in zip(index, buffer.shape, strict=True):
            at, last = self.memory.index(i, scope.axes), self.memory.extent(extent) - 1
            if np.any(((at < 0) | (at > last)) & scope.mask):
                raise IndexError(f"bug in netc: kernel {self.kernel.name} leaves {buffer.name}")
            positions.append(np.clip(at, 0, last))
        return positions

    def _holds(self, conditions: Sequence[Condition], scope: _Scope) -> Array:
        holds = np.asarray(True)
        for c in conditions:
            at = self.memory.index(c.index, scope.axes)
            if c.lower is not None:
                holds = holds & (at >= c.lower)
            if c.upper is not None:
                holds = holds & (at < self.memory.extent(c.upper))
        return holds

    def _reduce(self, e: Reduction, scope: _Scope) -> Array:
        inside = scope.loops(e.axes, self.memory.extent)
        body = self.value(e.body, inside)
        extents = tuple(self.memory.extent(a.extent) for a in e.axes)
        whole = np.broadcast_shapes(body.shape, (*extents, *[1] * scope.depth))
        flat = np.broadcast_to(body, whole).reshape(-1, *whole[len(extents) :])
        if e.combine is Combine.argmax:
            return np.asarray(np.argmax(flat, axis=0))
        if e.combine is Combine.max:
            return np.asarray(np.max(flat, axis=0))
        return np.asarray(np.sum(flat, axis=0, dtype=flat.dtype))

    def _draw(self, e: Random, scope: _Scope) -> Array:
        at = self.memory.index(e.index, scope.axes)
        start, stop = int(at.min()), int(at.max()) + 1
        kind = np.dtype(e.dtype.value)
        drawn = philox.uniform(self.seed, e.stream, self.step, stop - start, kind, start)
        return np.asarray(drawn[at - start])


__all__ = ["SCALARS", "run"]
