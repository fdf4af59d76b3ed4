"""Sums of padded parts are the parts, joined.

The derivative of a slice pads; where a tensor was cut into parts, its cotangent is a sum of padded parts that nowhere
overlap. Joined they are written once, each to its own place, and nothing is added.

In: a graph. Out: a graph without such sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .. import ops
from ..graph import ROWS, Graph, Value
from .fold import constant_of
from .rewrite import by_operation, rewrite


@dataclass(frozen=True, slots=True)
class _Part:
    """What lies from ``start`` on along a dimension."""

    start: int
    stop: int
    value: Value


def join(g: Graph, v: Value) -> Value | None:
    """A sum of two tensors that are zero where the other is not."""
    for dim in range(len(v.shape)):
        if v.shape[dim] is ROWS or not v.dtype.is_float:
            continue
        found = [_parts(x, dim) for x in v.inputs]
        if all(found):
            parts = sorted((*found[0], *found[1]), key=lambda p: p.start)
            apart = all(a.stop <= b.start for a, b in pairwise(parts))
            return _joined(g, v, dim, parts) if apart else None
    return None


def _parts(value: Value, dim: int) -> list[_Part]:
    """What of a value is not zero along a dimension; empty where that is not known."""
    start, inner = 0, value
    if value.op.name == "pad":
        a = value.attrs
        others = [x for name in ("low", "high") for d, x in enumerate(a[name]) if d != dim]
        if a["value"] != 0 or any(others) or any(a["interior"]) or a["low"][dim] < 0 or a["high"][dim] < 0:
            return []
        start, inner = a["low"][dim], value.inputs[0]
    is_joined = inner.op.name == "concat" and inner.attrs["dim"] == dim
    if value is inner and not is_joined:
        return []
    parts = []
    for x in inner.inputs if is_joined else (inner,):
        stop = start + int(x.shape[dim])  # type: ignore[arg-type]
        if constant_of(x) != 0:
            parts.append(_Part(start, stop, x))
        start = stop
    return parts


def _joined(g: Graph, v: Value, dim: int, parts: list[_Part]) -> Value:
    pieces: list[Value] = []
    at = parts[0].start
    for part in parts:
        if at < part.start:
            shape = tuple(part.start - at if d == dim else e for d, e in enumerate(v.shape))
            pieces.append(ops.full(g, 0.0, v.dtype, shape))
        pieces.append(part.value)
        at = part.stop
    low = [parts[0].start if d == dim else 0 for d in range(len(v.shape))]
    high = [int(v.shape[dim]) - at if d == dim else 0 for d in range(len(v.shape))]  # type: ignore[arg-type]
    return ops.pad(g, ops.concat(g, pieces, dim), low, high, [0] * len(v.shape))


def join_parts(graph: Graph) -> Graph:
    """The graph with sums of padded parts joined."""
    return rewrite(graph, by_operation((join, ("add",))))
