"""The Loop IR: kernels over named axes that store pure scalar expressions.

In: nothing. Out: the records that lowering builds, schedules annotate, the loop interpreter runs and the
backends print. Its whole grammar:

    Kernel     = axes, stores             for every point of the axes: evaluate all stores' expressions, store
    Store      = buffer[index, ...] <- Expr
    Expr       = Constant | Position | Load | Apply | Reduction | Guarded | Random
    Index      = Affine over axes, floor divisions and remainders of Affine by constants
    Reduction  = sum | max | argmax of an Expr over axes of its own; usable anywhere in an expression

An expression belongs to the outermost loop level at which all its free axes are known: the emitter hoists it
there. That single rule gives softmax its row maximum once a row and a matrix product its accumulators once a
tile. Expressions are compared by structure, so equal subexpressions are computed once.

Extents are integers or ``ROWS`` (known when running). Both backends read only these records.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ...grammar.source import NOWHERE, Span
from ..graph import ROWS, DType
from .affine import Affine as Affine
from .affine import Atom as Atom
from .affine import Axis as Axis
from .affine import ByRows as ByRows
from .affine import Extent as Extent
from .affine import FloorDiv as FloorDiv
from .affine import Remainder as Remainder


class Scalar(enum.StrEnum):
    """The scalar operations. A backend has a row for each; a test asserts that no row is missing or extra.

    ``lt le eq ne`` give bool and are false (``ne``: true) on NaN; ``maximum`` and ``minimum`` give NaN if either
    side is NaN; ``select(c, a, b)``; ``cast`` takes its target from the Apply's dtype (float to int64
    truncates); ``sign(0) = 0`` and ``sign(nan) = nan``; ``mod`` is Python's; ``fma(a, b, c)``
    is ``a * b + c`` in one rounding.
    """

    neg = "neg"
    abs = "abs"
    sign = "sign"
    floor = "floor"
    sqrt = "sqrt"
    exp = "exp"
    expm1 = "expm1"
    log = "log"
    log1p = "log1p"
    sin = "sin"
    cos = "cos"
    tanh = "tanh"
    sigmoid = "sigmoid"
    erf = "erf"
    logical_not = "logical_not"
    is_finite = "is_finite"
    cast = "cast"
    add = "add"
    sub = "sub"
    mul = "mul"
    div = "div"
    pow = "pow"
    mod = "mod"
    maximum = "maximum"
    minimum = "minimum"
    lt = "lt"
    le = "le"
    eq = "eq"
    ne = "ne"
    logical_and = "logical_and"
    logical_or = "logical_or"
    select = "select"
    fma = "fma"


@dataclass(frozen=True, slots=True)
class Buffer:
    """A tensor in memory.

    shape: logical extents. order: logical dimensions from outermost to innermost in memory (a permutation);
    the batch dimension, where there is one, is always outermost. space: which base pointer it hangs on.
    block: so many observations lie together, element by element: what one observation holds at ``rest`` is found at
    ``(row // block * row_size + rest) * block + row % block``.
    panel: so many neighbours along the innermost dimension lie together, and behind them the same neighbours of what
    follows along the dimension around it: a matrix of panels, each of which is read from end to end by a sum along its rows.
    """

    name: str
    dtype: DType
    shape: tuple[Extent, ...]
    order: tuple[int, ...]
    space: Space
    block: int = 1
    panel: int = 1

    def __post_init__(self) -> None:
        if ROWS in self.shape and self.shape[self.order[0]] is not ROWS:
            raise ValueError(
                f"the observations of {self.name} are not outermost: {self.shape} as {self.order}"
            )

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def pitch(self) -> int:
        """Elements from one run of the innermost dimension to the next. Runs that would begin at the same place of every
        page, and so push each other out of the cache, are set apart by the elements of a cache line."""
        run = self.shape[self.order[-1]] if self.order else 1
        if not isinstance(run, int):
            return 1
        own = (
            self.space in (Space.model, Space.work) and self.block == self.panel == 1 and len(self.shape) > 1
        )
        return run + 64 // self.dtype.itemsize if own and run * self.dtype.itemsize % 1024 == 0 else run

    @property
    def elements(self) -> int:
        """Elements of memory, of one row where it holds observations; the gaps between runs included."""
        count = self.pitch
        for dim in self.order[:-1]:
            extent = self.shape[dim]
            count *= extent if isinstance(extent, int) else 1
        return count

    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each logical dimension."""
        strides = [0] * len(self.shape)
        step = 1
        for dim in reversed(self.order):
            strides[dim] = step
            extent = self.shape[dim]
            step = self.pitch if dim == self.order[-1] else step * (extent if isinstance(extent, int) else 1)
        return tuple(strides)

    def offset(self, index: Sequence[Affine]) -> Affine:
        """Where an element lies, in elements from the buffer's start."""
        if self.panel > 1:
            return self._panel_offset(index)
        total = Affine()
        first = 0 if self.block == 1 else 1
        strides = self.strides()
        for i, stride in zip(index[first:], strides[first:], strict=True):
            total = total + i * stride
        if first == 0:
            return total
        block = Affine(((1, FloorDiv(index[0], self.block)),))
        within = Affine(((1, Remainder(index[0], self.block)),))
        return (total + block * strides[0]) * self.block + within

    def _panel_offset(self, index: Sequence[Affine]) -> Affine:
        around, inner = (index[d] for d in self.order)
        extent = self.shape[self.order[0]]
        number = Affine(((1, FloorDiv(inner, self.panel)),))
        before = number * extent if isinstance(extent, int) else Affine(((1, ByRows(number)),))
        return (before + around) * self.panel + Affine(((1, Remainder(inner, self.panel)),))


class Space(enum.StrEnum):
    """``data``: observations given by the caller, row-major. ``model``: parameters, buffers and optimizer
    states, kept between steps. ``work``: the arena of one step. ``scalar``: step, epoch and the like."""

    data = "data"
    model = "model"
    work = "work"
    scalar = "scalar"


@dataclass(frozen=True)
class Constant:
    value: float | int | bool
    dtype: DType

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and (repr(self.value), self.dtype) == (
            repr(other.value),
            other.dtype,
        )

    def __hash__(self) -> int:
        return hash((repr(self.value), self.dtype))

    @cached_property
    def free(self) -> frozenset[Axis]:
        return frozenset()


@dataclass(frozen=True)
class Position:
    """An index as a number of the given dtype (``iota``; with ``rows=1`` alone the number of observations)."""

    index: Affine
    dtype: DType

    @cached_property
    def free(self) -> frozenset[Axis]:
        return self.index.axes()


@dataclass(frozen=True)
class Load:
    """One index per logical dimension. Always in bounds, but inside ``Guarded``, where it is clamped."""

    buffer: Buffer
    index: tuple[Affine, ...]

    @cached_property
    def _hash(self) -> int:
        return hash((self.buffer, self.index))

    def __hash__(self) -> int:
        return self._hash

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype

    @cached_property
    def free(self) -> frozenset[Axis]:
        return frozenset[Axis]().union(*(i.axes() for i in self.index))


@dataclass(frozen=True)
class Apply:
    op: Scalar
    arguments: tuple[Expr, ...]
    dtype: DType

    @cached_property
    def _hash(self) -> int:
        return hash((self.op._value_, self.arguments))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def free(self) -> frozenset[Axis]:
        return frozenset[Axis]().union(*(a.free for a in self.arguments))


class Combine(enum.StrEnum):
    """How a reduction combines. ``sum`` of nothing is 0; ``max`` keeps NaN; ``argmax`` is the row-major position
    (int64) of the first largest element over the reduction's axes, a NaN counting as largest."""

    sum = "sum"
    max = "max"
    argmax = "argmax"


@dataclass(frozen=True)
class Reduction:
    combine: Combine
    axes: tuple[Axis, ...]
    body: Expr

    @property
    def dtype(self) -> DType:
        return DType.int64 if self.combine is Combine.argmax else self.body.dtype

    @cached_property
    def _hash(self) -> int:
        return hash((self.axes, self.body))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def free(self) -> frozenset[Axis]:
        return self.body.free - set(self.axes)


@dataclass(frozen=True)
class Condition:
    """``lower <= index < upper``; a bound of None does not apply; ``upper`` may be ROWS."""

    index: Affine
    lower: int | None
    upper: Extent | None


@dataclass(frozen=True)
class Guarded:
    """``body`` where all conditions hold, else ``otherwise``. Loads in ``body`` never leave their buffers."""

    conditions: tuple[Condition, ...]
    body: Expr
    otherwise: Expr

    @property
    def dtype(self) -> DType:
        return self.body.dtype

    @cached_property
    def _hash(self) -> int:
        return hash((self.conditions, self.body, self.otherwise))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def free(self) -> frozenset[Axis]:
        return self.body.free.union(self.otherwise.free, *(c.index.axes() for c in self.conditions))


@dataclass(frozen=True)
class Random:
    """Uniform in [0, 1): Philox4x32-10 with key (seed) and counter (index, stream, step); see ``philox.py``."""

    stream: int
    index: Affine
    dtype: DType

    @cached_property
    def free(self) -> frozenset[Axis]:
        return self.index.axes()


Expr = Constant | Position | Load | Apply | Reduction | Guarded | Random


@dataclass(frozen=True, slots=True)
class Store:
    """room: the buffer is only where a sum may wait that is not finished at once; nobody reads it."""

    buffer: Buffer
    index: tuple[Affine, ...]
    value: Expr
    room: bool = False


@dataclass(frozen=True, slots=True)
class Repeat:
    """Neighbouring kernels of one repetition run in turn for each value of its axis; ``counter`` holds that value."""

    axis: Axis
    counter: Buffer


@dataclass(frozen=True, slots=True)
class Kernel:
    """For every point of ``axes`` (outermost first) all stores. Stores of one kernel never feed its loads, but
    at the very same element (an update in place). A resident kernel's points are few enough for the registers:
    they make one tile, and its stores may each have fewer axes than the kernel."""

    name: str
    axes: tuple[Axis, ...]
    stores: tuple[Store, ...]
    span: Span = NOWHERE
    layer: str = ""
    resident: bool = False
    repeat: Repeat | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """A recurrence among the kernels of a unit while these are put in order: ``before`` runs once, then ``kernels`` for
    each value of the axis. Nothing is fused into it, and none of its buffers is reused while it runs."""

    repeat: Repeat
    before: tuple[Kernel, ...]
    kernels: tuple[Kernel, ...]

    @property
    def name(self) -> str:
        return self.repeat.axis.name

    @property
    def axes(self) -> tuple[Axis, ...]:
        return ()

    @property
    def resident(self) -> bool:
        return True

    @property
    def stores(self) -> tuple[Store, ...]:
        return tuple(s for k in (*self.before, *self.kernels) for s in k.stores)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a kernel is run: data, chosen by the cost model, obeyed by every backend.

    lanes: the axes whose neighbours share a vector of ``width`` elements, at most one in any expression.
    vectors: how many such vectors of the parallel lanes axis make a tile. unroll: parallel axis -> points of the
    register tile. block: so many points of the outermost axis are finished, tile by tile of the other axes, before the
    next; 0 when that axis is simply the outermost loop. chunk: so many terms of the kernel's sum are added at all points of a
    block before the next ones, and sums wait in what the kernel stores; 0 when each sum is finished at once. ahead: the buffers whose elements a tile asks the memory for before
    its reductions, to find them there afterwards. None of these changes the order in which one element is computed.
    """

    lanes: frozenset[str] = frozenset()
    width: int = 1
    vectors: int = 1
    unroll: tuple[tuple[str, int], ...] = ()
    block: int = 0
    chunk: int = 0
    ahead: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scheduled:
    kernel: Kernel
    schedule: Schedule
