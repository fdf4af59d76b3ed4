"""Structural operations: the same elements at other places. Their lowering is index arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import ROWS, Dim, DType, Graph, Shape, TensorType, TypeRuleError, Value, show_shape
from ..loops.ir import Affine, Axis, ByRows, Condition, Constant, Expr, FloorDiv, Guarded, Remainder
from . import build as b
from .infer import size
from .record import Case, Operation, Reader

F64 = DType.float64
ANY = ((-3.0, 3.0),)


def _case(of: tuple[int, ...], /, **attrs: Any) -> Case:
    return Case((TensorType(F64, of),), tuple(attrs.items()), ANY)


def concrete(shape: Sequence[Dim], rows: int | None) -> tuple[int, ...]:
    """The shape with ROWS replaced by the actual number."""
    return tuple(rows if d is ROWS else d for d in shape)  # type: ignore[misc]


# broadcast


def _broadcast_type(x: TensorType, shape: Shape, dims: tuple[int, ...]) -> TensorType:
    fits = len(dims) == x.rank and list(dims) == sorted(set(dims)) and all(0 <= d < len(shape) for d in dims)
    if not fits or any(e not in (1, shape[d]) for e, d in zip(x.shape, dims, strict=True)):
        raise TypeRuleError(f"{show_shape(x.shape)} does not broadcast to {show_shape(shape)}")
    return TensorType(x.dtype, shape)


def _broadcast(xp: Any, x: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    spread = [1] * len(shape)
    for extent, dim in zip(x.shape, dims, strict=True):
        spread[dim] = extent
    return xp.broadcast_to(x.reshape(spread), shape)


def _broadcast_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    x, dims = n.inputs[0], n.attrs["dims"]
    kept = {d for e, d in zip(x.shape, dims, strict=True) if e == n.shape[d]}
    summed = b.sum(g, c, [d for d in range(len(n.shape)) if d not in kept])
    return (b.reshape(g, summed, x.shape),)


def _broadcast_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    x = n.inputs[0]
    picked = [Affine() if e == 1 else index[d] for e, d in zip(x.shape, n.attrs["dims"], strict=True)]
    return reader.read(x, picked)


BROADCAST = Operation(
    "broadcast", "repeated along new dimensions", _broadcast_type, _broadcast, _broadcast_vjp, _broadcast_element,
    (_case((2, 1), shape=(4, 2, 3), dims=(1, 2)), _case((3,), shape=(2, 3), dims=(1,))),
)  # fmt: skip


# reshape


def _reshape_type(x: TensorType, shape: Shape) -> TensorType:
    if size(x.shape) != size(shape):
        raise TypeRuleError(f"{show_shape(x.shape)} cannot be reshaped to {show_shape(shape)}")
    return TensorType(x.dtype, shape)


def _groups(source: Shape, result: Shape) -> list[tuple[list[int], list[int]]]:
    """The finest runs of source and result dimensions that hold the same elements."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(result):
        left: list[int] = []
        right: list[int] = []
        while True:
            a, c = size(source[k] for k in left), size(result[k] for k in right)
            if left and right and a == c:
                break
            if i < len(source) and (
                not left or j >= len(result) or a[1] * 10**9 ** a[0] < c[1] * 10**9 ** c[0]
            ):
                left.append(i)
                i += 1
            elif j < len(result):
                right.append(j)
                j += 1
            else:
                break
        groups.append((left, right))
    return groups


def split_index(position: Affine, extents: Sequence[int]) -> list[Affine]:
    """Row-major coordinates of a position; stays affine where the terms divide cleanly."""
    result: list[Affine] = []
    for extent in reversed(extents[1:]):
        quotient, rest = divide(position, extent)
        result.append(rest)
        position = quotient
    return [position, *reversed(result)]


def _range(value: Affine) -> tuple[int, int] | None:
    low = high = value.constant
    if value.rows:
        return None
    for coefficient, atom in value.terms:
        if isinstance(atom, Axis):
            if not isinstance(atom.extent, int):
                return None
            bounds = (0, atom.extent - 1)
        elif isinstance(atom, Remainder):
            bounds = (0, atom.divisor - 1)
        elif isinstance(atom, ByRows):
            return None
        else:
            inner = _range(atom.value)
            if inner is None:
                return None
            bounds = (inner[0] // atom.divisor, inner[1] // atom.divisor)
        ends = sorted((coefficient * bounds[0], coefficient * bounds[1]))
        low, high = low + ends[0], high + ends[1]
    return low, high


def divide(value: Affine, divisor: int) -> tuple[Affine, Affine]:
    """Quotient and remainder of an index by a constant."""
    if divisor == 1:
        return value, Affine()
    whole = Affine(
        tuple((c // divisor, a) for c, a in value.terms if c % divisor == 0), value.constant // divisor
    )
    part = Affine(tuple((c, a) for c, a in value.terms if c % divisor), value.constant % divisor)
    bounds = _range(part)
    if value.rows % divisor == 0 and bounds is not None and 0 <= bounds[0] and bounds[1] < divisor:
        return Affine(whole.terms, whole.constant, value.rows // divisor), part
    return Affine(((1, FloorDiv(value, divisor)),)), Affine(((1, Remainder(value, divisor)),))


def _reshape_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    x = n.inputs[0]
    source: list[Affine] = [Affine()] * len(x.shape)
    for left, right in _groups(x.shape, n.shape):
        position = Affine()
        stride = 1
        for k in reversed(right):
            position = position + index[k] * stride
            extent = n.shape[k]
            stride *= extent if isinstance(extent, int) else 1
        real = [k for k in left if x.shape[k] != 1]
        extents = [e if isinstance(e := x.shape[k], int) else 0 for k in real]
        for k, i in zip(real, split_index(position, extents) if real else [], strict=True):
            source[k] = i
    return reader.read(x, source)


RESHAPE = Operation(
    "reshape", "the same elements in row-major order under another shape", _reshape_type,
    lambda xp, x, shape: x.reshape(shape), lambda g, n, c: (b.reshape(g, c, n.inputs[0].shape),), _reshape_element,
    (_case((2, 6), shape=(3, 4)), _case((4, 3), shape=(2, 2, 3)), _case((2, 2, 3), shape=(2, 6))),
)  # fmt: skip


# permute, slice, flip


def _permute_type(x: TensorType, dims: tuple[int, ...]) -> TensorType:
    if sorted(dims) != list(range(x.rank)):
        raise TypeRuleError(f"{list(dims)} is no order of the dimensions of {show_shape(x.shape)}")
    return TensorType(x.dtype, tuple(x.shape[d] for d in dims))


def inverse(dims: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes one."""
    return tuple(list(dims).index(i) for i in range(len(dims)))


def _permute_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    back = inverse(n.attrs["dims"])
    return reader.read(n.inputs[0], [index[i] for i in back])


PERMUTE = Operation(
    "permute", "dimensions in another order", _permute_type, lambda xp, x, dims: xp.transpose(x, dims),
    lambda g, n, c: (b.permute(g, c, inverse(n.attrs["dims"])),), _permute_element,
    (_case((2, 3, 4), dims=(2, 0, 1)),),
)  # fmt: skip


def _slice_type(x: TensorType, starts: tuple[int, ...], stops: Shape, steps: tuple[int, ...]) -> TensorType:
    shape: list[Dim] = []
    for extent, start, stop, step in zip(x.shape, starts, stops, steps, strict=True):
        if stop is ROWS or extent is ROWS:
            if (start, stop, step) != (0, ROWS, 1):
                raise TypeRuleError("the observations cannot be sliced")
            shape.append(ROWS)
        elif not 0 <= start <= stop <= extent or step < 1:
            raise TypeRuleError(
                f"{start}:{stop}:{step} leaves the {extent} elements of {show_shape(x.shape)}"
            )
        else:
            shape.append(-(-(stop - start) // step))
    return TensorType(x.dtype, tuple(shape))


def _slice(xp: Any, x: Any, starts: Any, stops: Any, steps: Any) -> Any:
    return x[tuple(slice(a, e, s) for a, e, s in zip(starts, stops, steps, strict=True))]


def _slice_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    x, starts, steps = n.inputs[0], n.attrs["starts"], n.attrs["steps"]
    high = []
    for extent, start, step, count in zip(x.shape, starts, steps, n.shape, strict=True):
        used = 0 if count is ROWS else start + (count - 1) * step + 1 if count else start
        high.append(0 if extent is ROWS else extent - used)
    return (b.pad(g, c, starts, high, [s - 1 for s in steps]),)


def _slice_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    moved = [i * s + a for i, a, s in zip(index, n.attrs["starts"], n.attrs["steps"], strict=True)]
    return reader.read(n.inputs[0], moved)


SLICE = Operation(
    "slice", "every step-th element from start to stop", _slice_type, _slice, _slice_vjp, _slice_element,
    (_case((5, 6), starts=(1, 0), stops=(4, 6), steps=(1, 2)), _case((7,), starts=(1,), stops=(7,), steps=(3,))),
)  # fmt: skip


def _flip_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    turned = list(index)
    for dim in n.attrs["dims"]:
        extent = n.shape[dim]
        last = Affine((), extent - 1) if isinstance(extent, int) else Affine((), -1, 1)
        turned[dim] = last - index[dim]
    return reader.read(n.inputs[0], turned)


FLIP = Operation(
    "flip", "the other way round", lambda x, dims: x, lambda xp, x, dims: xp.flip(x, dims),
    lambda g, n, c: (b.flip(g, c, n.attrs["dims"]),), _flip_element, (_case((3, 4), dims=(1,)),),
)  # fmt: skip


# pad, concat


def _padded(extent: Dim, low: int, high: int, interior: int) -> Dim:
    if extent is ROWS:
        if low or high or interior:
            raise TypeRuleError("the observations cannot be padded")
        return ROWS
    return low + high + extent + max(extent - 1, 0) * interior


def _pad_type(x: TensorType, low: Any, high: Any, interior: Any, value: float) -> TensorType:
    shape = tuple(_padded(*parts) for parts in zip(x.shape, low, high, interior, strict=True))
    if any(d is not ROWS and d < 0 for d in shape):
        raise TypeRuleError(f"padding {list(low)}, {list(high)} leaves nothing of {show_shape(x.shape)}")
    return TensorType(x.dtype, shape)


def _pad(xp: Any, x: Any, low: Any, high: Any, interior: Any, value: float) -> Any:
    for dim, (below, above, between) in enumerate(zip(low, high, interior, strict=True)):
        extent = x.shape[dim]
        spread = extent + max(extent - 1, 0) * between
        shape = list(x.shape)
        shape[dim] = spread + max(below, 0) + max(above, 0)
        result = xp.full(shape, value, dtype=x.dtype)
        at = [slice(None)] * x.ndim
        at[dim] = slice(max(below, 0), max(below, 0) + spread, between + 1)
        result[tuple(at)] = x
        at[dim] = slice(max(-below, 0), shape[dim] - max(-above, 0))
        x = result[tuple(at)]
    return x


def _pad_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    low, high, interior = n.attrs["low"], n.attrs["high"], n.attrs["interior"]
    uncropped = b.pad(g, c, [max(-v, 0) for v in low], [max(-v, 0) for v in high], [0] * len(low))
    starts = [max(v, 0) for v in low]
    stops: list[Dim] = []
    for extent, start, between in zip(n.inputs[0].shape, starts, interior, strict=True):
        stops.append(
            ROWS if extent is ROWS else start + max((extent - 1) * (between + 1) + 1, 0) if extent else start
        )
    return (b.slice(g, uncropped, starts, stops, [v + 1 for v in interior]),)


def _pad_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    x = n.inputs[0]
    conditions: list[Condition] = []
    moved: list[Affine] = []
    parts = zip(index, x.shape, n.attrs["low"], n.attrs["high"], n.attrs["interior"], strict=True)
    for i, extent, low, high, between in parts:
        i = i - low
        if between:
            i, rest = divide(i, between + 1)
            conditions.append(Condition(rest, 0, 1))
        if low or high or between:
            conditions.append(Condition(i, 0, extent))
        moved.append(i)
    fill = Constant(float(n.attrs["value"]) if n.dtype.is_float else int(n.attrs["value"]), n.dtype)
    return Guarded(tuple(conditions), reader.read(x, moved), fill)


PAD = Operation(
    "pad", "a value around and between the elements", _pad_type, _pad, _pad_vjp, _pad_element,
    (
        _case((3, 4), low=(1, 0), high=(2, 1), interior=(0, 2), value=0.0),
        _case((5,), low=(-1,), high=(-2,), interior=(0,), value=0.0),
        _case((3,), low=(-1,), high=(2,), interior=(1,), value=1.5),
    ),
)  # fmt: skip


def _concat_type(*parts: TensorType, dim: int) -> TensorType:
    first = parts[0]
    for part in parts:
        rest = (*part.shape[:dim], *part.shape[dim + 1 :])
        if part.dtype is not first.dtype or rest != (*first.shape[:dim], *first.shape[dim + 1 :]):
            raise TypeRuleError(f"{first} and {part} cannot be joined along dimension {dim}")
        if part.shape[dim] is ROWS:
            raise TypeRuleError("tensors cannot be joined along the observations")
    joined = sum(int(p.shape[dim]) for p in parts)  # type: ignore[misc,arg-type,unused-ignore]
    return TensorType(first.dtype, (*first.shape[:dim], joined, *first.shape[dim + 1 :]))


def _concat_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    dim, start, parts = n.attrs["dim"], 0, []
    for x in n.inputs:
        stop = start + int(x.shape[dim])
        starts = [start if d == dim else 0 for d in range(len(n.shape))]
        stops = [stop if d == dim else e for d, e in enumerate(n.shape)]
        parts.append(b.slice(g, c, starts, stops, [1] * len(starts)))
        start = stop
    return tuple(parts)


def _concat_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    dim, stop = n.attrs["dim"], int(n.shape[n.attrs["dim"]])
    result: Expr | None = None
    for x in reversed(n.inputs):
        start = stop - int(x.shape[dim])
        moved = [i - start if d == dim else i for d, i in enumerate(index)]
        part = reader.read(x, moved)
        rest = result if result is not None else Constant(0.0 if n.dtype.is_float else 0, n.dtype)
        result = Guarded((Condition(index[dim], start, stop),), part, rest)
        stop = start
    assert result is not None
    return result


CONCAT = Operation(
    "concat", "one behind the other along a dimension", _concat_type,
    lambda xp, *parts, dim: xp.concatenate(parts, axis=dim), _concat_vjp, _concat_element,
    (Case((TensorType(F64, (2, 3)), TensorType(F64, (2, 2))), (("dim", 1),), (*ANY, *ANY)),),
)  # fmt: skip

STRUCTURE = (BROADCAST, RESHAPE, PERMUTE, SLICE, FLIP, PAD, CONCAT)
