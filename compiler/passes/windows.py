"""Rewrites of windows and their adjoints into forms without overlap.

In: a graph. Out: a graph whose finite values are the same but for the order of a sum's terms; where the original leaves
out a product with an infinite weight, the new form may multiply it by a zero of the padding.

The derivative of a convolution folds products back over the windows they came from. The same numbers are a convolution
of the padded cotangent with the flipped kernel, which needs no buffer for the products. Windows that do not overlap
fold back by a mere reshape. Slices move towards the leaves, so that what they cut off is never computed.
"""

from __future__ import annotations

from .. import ops
from ..graph import ROWS, Dim, Graph, Value
from ..ops.contraction import free_dims
from .rewrite import by_operation, rewrite
from .simplify import DOUBLE


def fold_apart(g: Graph, v: Value) -> Value | None:
    """The fold of windows side by side, each element in exactly one of them: the windows' elements put in place."""
    a, y = v.attrs, v.inputs[0]
    if a["strides"] != a["sizes"] or any(d != 1 for d in a["dilations"]):
        return None
    if any(e != y.shape[d] * s for d, e, s in zip(a["dims"], a["extents"], a["sizes"], strict=True)):
        return None
    rank = len(y.shape) - len(a["dims"])
    order: list[int] = []
    for dim in range(rank):
        order.append(dim)
        if dim in a["dims"]:
            order.append(rank + a["dims"].index(dim))
    return ops.reshape(g, ops.permute(g, y, order), v.shape)


def fold_product(g: Graph, v: Value) -> Value | None:
    """``fold(contract(x, w))`` with taps of w and positions of x: x padded, seen through windows, times w flipped."""
    a = v.attrs
    product, order = v.inputs[0], list(range(len(v.inputs[0].shape)))
    if product.op.name == "permute":
        product, order = product.inputs[0], list(product.attrs["dims"])
    if product.op.name != "contract" or product.attrs["batch"]:
        return None
    rank, count = len(v.shape), len(a["dims"])
    places = _free_places(product)
    for x_side in (0, 1):
        positions = [places[order[d]] for d in a["dims"]]
        taps = [places[order[rank + k]] for k in range(count)]
        if all(s == x_side for s, _ in positions) and all(s == 1 - x_side for s, _ in taps):
            break
    else:
        return None
    x, w = product.inputs[x_side], product.inputs[1 - x_side]
    seen = _spread_windows(g, x, [d for _, d in positions], v)
    flipped = ops.flip(g, w, [d for _, d in taps])
    pairs = [(p, q) if x_side == 0 else (q, p) for p, q in product.attrs["axes"]]
    pairs += [(len(x.shape) + k, d) for k, (_, d) in enumerate(taps)]
    result = ops.contract(g, seen, flipped, pairs)
    now = {(x_side, d): i for i, d in enumerate(free_dims(len(seen.shape), [p for p, _ in pairs]))}
    left = len(now)
    for i, d in enumerate(free_dims(len(w.shape), [q for _, q in pairs])):
        now[1 - x_side, d] = left + i
    return ops.permute(g, result, [now[places[order[d]]] for d in range(rank)])


def _free_places(product: Value) -> list[tuple[int, int]]:
    """For each dimension of a contraction without batch the operand and the dimension it comes from."""
    found = []
    for side in (0, 1):
        summed = [pair[side] for pair in product.attrs["axes"]]
        found += [(side, d) for d in free_dims(len(product.inputs[side].shape), summed)]
    return found


def _spread_windows(g: Graph, x: Value, dims: list[int], fold: Value) -> Value:
    """x with zeros between and around its positions, under windows of step 1: one position for each folded element."""
    a = fold.attrs
    low, high, interior = ([0] * len(x.shape) for _ in range(3))
    for dim, extent, size, stride, dilation in zip(
        dims, a["extents"], a["sizes"], a["strides"], a["dilations"], strict=True
    ):
        reach = (size - 1) * dilation
        low[dim], interior[dim] = reach, stride - 1
        high[dim] = extent + reach - (reach + (int(x.shape[dim]) - 1) * stride + 1)  # type: ignore[arg-type]
    padded = ops.pad(g, x, low, high, interior)
    return ops.window(g, padded, dims, a["sizes"], [1] * len(dims), a["dilations"])


def slice_inwards(g: Graph, v: Value) -> Value | None:
    """A slice moves through permutations, windows, padding and the products of windows."""
    if any(s != 1 for s in v.attrs["steps"]):
        return None
    x = v.inputs[0]
    ranges = list(zip(v.attrs["starts"], v.attrs["stops"], strict=True))
    if x.op.name == "permute":
        dims = x.attrs["dims"]
        inner = [ranges[dims.index(d)] for d in range(len(dims))]
        return ops.permute(g, _cut(g, x.inputs[0], inner), dims)
    if x.op.name == "window":
        return _slice_window(g, x, ranges)
    if x.op.name == "pad":
        return _slice_pad(g, x, ranges)
    if x.op.name == "contract" and any(y.op.name == "window" for y in x.inputs):
        return _slice_product(g, x, ranges)
    return None


Range = tuple[int, Dim]


def _cut(g: Graph, x: Value, ranges: list[Range]) -> Value:
    if all(r == (0, e) for r, e in zip(ranges, x.shape, strict=True)):
        return x
    result = ops.slice(g, x, [a for a, _ in ranges], [e for _, e in ranges], [1] * len(ranges))
    return slice_inwards(g, result) or result


def _slice_window(g: Graph, x: Value, ranges: list[Range]) -> Value | None:
    a, source = x.attrs, x.inputs[0]
    rank = len(source.shape)
    if any(r != (0, e) for r, e in zip(ranges[rank:], x.shape[rank:], strict=True)):
        return None
    inner: list[Range] = ranges[:rank]
    for dim, size, stride, dilation in zip(a["dims"], a["sizes"], a["strides"], a["dilations"], strict=True):
        start, stop = ranges[dim]
        last = (int(stop) - 1) * stride + (size - 1) * dilation
        inner[dim] = (start * stride, last + 1)
    return ops.window(g, _cut(g, source, inner), a["dims"], a["sizes"], a["strides"], a["dilations"])


def _slice_pad(g: Graph, x: Value, ranges: list[Range]) -> Value | None:
    """Less padding, where only padding is cut off."""
    a = x.attrs
    low, high = list(a["low"]), list(a["high"])
    for dim, ((start, stop), extent) in enumerate(zip(ranges, x.shape, strict=True)):
        if extent is ROWS or stop is ROWS:
            continue
        low[dim] -= start
        high[dim] -= extent - stop
        if (start or stop != extent) and (low[dim] < 0 or high[dim] < 0):
            return None
    return ops.pad(g, x.inputs[0], low, high, a["interior"], a["value"])


def _slice_product(g: Graph, x: Value, ranges: list[Range]) -> Value | None:
    if x.attrs["batch"]:
        return None
    operands = list(x.inputs)
    for side in (0, 1):
        inner: list[Range] = [(0, e) for e in operands[side].shape]
        for (where, dim), span in zip(_free_places(x), ranges, strict=True):
            if where == side:
                inner[dim] = span
        operands[side] = _cut(g, operands[side], inner)
    return ops.contract(g, operands[0], operands[1], x.attrs["axes"])


RULES = by_operation((fold_apart, ("fold",)), (fold_product, ("fold",)), (slice_inwards, ("slice",)), DOUBLE)


def rearrange_windows(graph: Graph) -> Graph:
    """The graph with these rules applied, if it has windows."""
    if not any(v.op.name in ("fold", "slice") for v in graph.live()):
        return graph
    return rewrite(graph, RULES)
