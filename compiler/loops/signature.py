"""What kernels have in common: two of one signature are the same code, called with other buffers.

In: a scheduled kernel. Out: a value that is equal for kernels that differ in the names of axes and buffers alone, and the
buffers in the order in which the signature numbers them.
"""

from __future__ import annotations

from collections.abc import Hashable

from .ir import (
    Affine,
    Apply,
    Axis,
    Buffer,
    ByRows,
    Constant,
    Expr,
    Guarded,
    Kernel,
    Load,
    Position,
    Random,
    Reduction,
    Schedule,
    Scheduled,
)


def signature(scheduled: Scheduled) -> tuple[Hashable, tuple[Buffer, ...]]:
    """The signature of a kernel, and its buffers."""
    return _Numbers().of(scheduled)


def structure(kernel: Kernel) -> tuple[Hashable, tuple[Buffer, ...], tuple[str, ...]]:
    """The signature of a kernel without a schedule, its buffers, and the names of its axes in the order of their numbers."""
    numbers = _Numbers()
    key, buffers = numbers.of(Scheduled(kernel, Schedule()))
    return key, buffers, tuple(numbers.axes)


class _Numbers:
    """Numbers for axes, buffers and expressions, in the order in which they are met."""

    def __init__(self) -> None:
        self.axes: dict[str, int] = {}
        self.buffers: dict[Buffer, int] = {}
        self.expressions: dict[int, int] = {}
        self.parts: list[Hashable] = []

    def of(self, scheduled: Scheduled) -> tuple[Hashable, tuple[Buffer, ...]]:
        kernel, schedule = scheduled.kernel, scheduled.schedule
        if kernel.repeat is not None:
            self.parts.append((self._axis(kernel.repeat.axis), self._buffer(kernel.repeat.counter)))
        self.parts.append(tuple(self._axis(a) for a in kernel.axes))
        for store in kernel.stores:
            value = self._expression(store.value)
            self.parts.append((self._buffer(store.buffer), self._index(store.index), value, store.room))
        plan = (
            frozenset(self.axes[name] for name in schedule.lanes if name in self.axes),
            tuple((self.axes[name], points) for name, points in schedule.unroll if name in self.axes),
            (schedule.width, schedule.vectors, schedule.block, schedule.chunk, kernel.resident),
            frozenset(i for b, i in self.buffers.items() if b.name in schedule.ahead),
        )
        kinds = tuple((b.dtype, b.shape, b.order, b.space, b.block, b.panel) for b in self.buffers)
        return (tuple(self.parts), plan, kinds), tuple(self.buffers)

    def _axis(self, axis: Axis) -> Hashable:
        return self.axes.setdefault(axis.name, len(self.axes)), axis.extent, axis.given

    def _buffer(self, buffer: Buffer) -> int:
        return self.buffers.setdefault(buffer, len(self.buffers))

    def _index(self, index: tuple[Affine, ...]) -> Hashable:
        return tuple(self._affine(i) for i in index)

    def _affine(self, value: Affine) -> Hashable:
        terms = []
        for coefficient, atom in value.terms:
            if isinstance(atom, Axis):
                terms.append((coefficient, "", self.axes.setdefault(atom.name, len(self.axes)), atom.extent))
            else:
                inner = self._affine(atom.value)
                divisor = 0 if isinstance(atom, ByRows) else atom.divisor
                terms.append((coefficient, type(atom).__name__, divisor, inner))  # type: ignore[arg-type]
        return value.constant, value.rows, frozenset(terms)

    def _expression(self, e: Expr) -> int:
        known = self.expressions.get(id(e))
        if known is None:
            part = self._part(e)
            known = self.expressions[id(e)] = len(self.expressions)
            self.parts.append(part)
        return known

    def _part(self, e: Expr) -> Hashable:
        match e:
            case Load():
                return "load", self._buffer(e.buffer), self._index(e.index)
            case Constant():
                return e
            case Apply():
                return e.op, tuple(self._expression(a) for a in e.arguments), e.dtype
            case Reduction():
                axes = tuple(self._axis(a) for a in e.axes)
                return e.combine, axes, self._expression(e.body)
            case Guarded():
                conditions = tuple((self._affine(c.index), c.lower, c.upper) for c in e.conditions)
                return "guarded", conditions, self._expression(e.body), self._expression(e.otherwise)
            case Position():
                return "position", self._affine(e.index), e.dtype
            case Random():
                return "random", e.stream, self._affine(e.index), e.dtype
