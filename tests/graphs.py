"""Random small graphs, built from the whole table of operations; strategies for hypothesis.

Out: graphs of float64 tensors of few elements whose operands are often constants, earlier results or the same operation
again, so that there is something to simplify; and inputs for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from netc.compiler import ops
from netc.compiler.graph import DType, Graph, Shape, Value
from netc.compiler.ops.recurrence import Body

Draw = Callable[[st.SearchStrategy[Any]], Any]
F64 = DType.float64
SHAPES: tuple[Shape, ...] = ((), (3,), (2, 3), (1, 3), (2, 4, 4))
NUMBERS = (0.0, 1.0, -1.0, 2.0, 0.5)
UNARY = (
    "neg", "abs", "sign", "floor", "sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf",
    "stop_gradient",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "pow", "mod", "maximum", "minimum")
COMPARE = ("lt", "le", "eq", "ne")
LOGIC = ("logical_and", "logical_or", "logical_not", "is_finite")


def sizes(value: Value) -> tuple[int, ...]:
    """The extents; no dimension of these graphs is the number of observations."""
    return tuple(e for e in value.shape if isinstance(e, int))


class Pool:
    """A graph that grows; ``pick`` takes one of its float64 values."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.graph = draw, Graph("random")
        self.values: list[Value] = []

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def pick(self, *, rank: int | None = None, least: int = 0) -> Value:
        """A value of the rank, or at least that rank; reshaped if there is none."""
        fitting = [
            v for v in self.values if (len(v.shape) == rank if rank is not None else len(v.shape) >= least)
        ]
        if fitting:
            return self.choose(fitting)  # type: ignore[no-any-return]
        shape = next(s for s in SHAPES if (len(s) == rank if rank is not None else len(s) >= least))
        return ops.full(self.graph, self.choose(NUMBERS), F64, shape)

    def like(self, value: Value) -> Value:
        """Another value of that type, or a constant."""
        same = [v for v in self.values if v.type == value.type]
        if same and self.draw(st.booleans()):
            return self.choose(same)  # type: ignore[no-any-return]
        return ops.full_like(self.graph, value, self.choose(NUMBERS))

    def condition(self) -> tuple[Value, Value]:
        """A value and a bool of its shape."""
        x = self.pick()
        kind = self.choose((*COMPARE, *LOGIC))
        if kind == "is_finite":
            return x, ops.unary(self.graph, kind, x)
        first = ops.binary(self.graph, self.choose(COMPARE), x, self.like(x))
        if kind == "logical_not":
            return x, ops.logical_not(self.graph, first)
        second = ops.binary(self.graph, kind if kind in COMPARE else "lt", x, self.like(x))
        return x, ops.binary(self.graph, kind, first, second) if kind in LOGIC else second


def _unary(p: Pool) -> Value:
    return ops.unary(p.graph, p.choose(UNARY), p.pick())


def _binary(p: Pool) -> Value:
    x = p.pick()
    operands = (x, p.like(x))
    a, b = operands if p.draw(st.booleans()) else operands[::-1]
    return ops.binary(p.graph, p.choose(BINARY), a, b)


def _where(p: Pool) -> Value:
    x, condition = p.condition()
    return ops.where(p.graph, condition, p.like(x), x)


def _cast(p: Pool) -> Value:
    return ops.cast(p.graph, p.condition()[1], F64)


def _iota(p: Pool) -> Value:
    return ops.cast(p.graph, ops.iota(p.graph, (2, 3), p.choose((0, 1))), F64)


def _rows(p: Pool) -> Value:
    return ops.cast(p.graph, ops.rows(p.graph), F64)


def _random(p: Pool) -> Value:
    return ops.random(p.graph, p.choose(SHAPES), p.choose((1, 2)), F64)


def _broadcast(p: Pool) -> Value:
    x = p.pick()
    if len(x.shape) > 2:
        x = ops.sum(p.graph, x, [0])
    return ops.broadcast(p.graph, x, (2, *x.shape), range(1, len(x.shape) + 1))


def _reshape(p: Pool) -> Value:
    x = p.pick()
    count = math.prod(sizes(x))
    return ops.reshape(p.graph, x, p.choose(((count,), (1, count), (count, 1), x.shape)))


def _permute(p: Pool) -> Value:
    x = p.pick(least=2)
    return ops.permute(p.graph, x, p.draw(st.permutations(range(len(x.shape)))))


def _slice(p: Pool) -> Value:
    x = p.pick(least=1)
    starts = [p.draw(st.integers(0, e - 1)) for e in sizes(x)]
    stops = [p.draw(st.integers(a + 1, e)) for a, e in zip(starts, sizes(x), strict=True)]
    return ops.slice(p.graph, x, starts, stops, [p.choose((1, 1, 2)) for _ in starts])


def _flip(p: Pool) -> Value:
    return ops.flip(p.graph, p.pick(least=1), [0])


def _pad(p: Pool) -> Value:
    x = p.pick(least=1)
    low, high, interior = ([p.choose(c) for _ in x.shape] for c in ((0, 1), (0, 2), (0, 0, 1)))
    return ops.pad(p.graph, x, low, high, interior, p.choose(NUMBERS))


def _concat(p: Pool) -> Value:
    x = p.pick(least=1)
    return ops.concat(p.graph, [x, p.like(x)], 0)


def _windows(p: Pool) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Sizes, strides and dilations of windows over 4 x 4."""
    return p.choose((((2, 2), (2, 2), (1, 1)), ((3, 2), (1, 2), (1, 1)), ((2, 2), (1, 1), (2, 1))))  # type: ignore[no-any-return]


def _window(p: Pool) -> Value:
    found = [v for v in p.values if v.shape == (2, 4, 4)]
    x = p.choose(found) if found else ops.random(p.graph, (2, 4, 4), 3, F64)
    return ops.sum(p.graph, ops.window(p.graph, x, (1, 2), *_windows(p)), (3, 4))


def _fold(p: Pool) -> Value:
    """The derivative of a convolution: products folded back over the windows they came from."""
    sizes, strides, dilations = _windows(p)
    at = [(4 - (s - 1) * d - 1) // t + 1 for s, t, d in zip(sizes, strides, dilations, strict=True)]
    x, w = ops.random(p.graph, (3, 2, *at), 4, F64), ops.random(p.graph, (3, *sizes), 5, F64)
    products = ops.contract(p.graph, x, w, [(0, 0)])
    return ops.fold(p.graph, products, (1, 2), (4, 4), sizes, strides, dilations)


def _contract(p: Pool) -> Value:
    x = p.pick(least=1)
    batch = [(0, 0)] if len(x.shape) > 1 and p.draw(st.booleans()) else []
    last = len(x.shape) - 1
    return ops.contract(p.graph, x, p.like(x), [(last, last)], batch)


def _reduction(p: Pool) -> Value:
    x = p.pick(least=1)
    if p.draw(st.booleans()):
        return ops.sum(p.graph, x, range(len(x.shape)))
    return ops.max(p.graph, x, [0])


def _argmax(p: Pool) -> Value:
    return ops.cast(p.graph, ops.argmax(p.graph, p.pick(least=1), [0]), F64)


def _algebra(p: Pool) -> Value:
    """What simplification looks for: a factor, divisor or exponent that is a whole number, or two negations."""
    x = p.pick()
    one, two = (ops.full_like(p.graph, x, n) for n in (1.0, 2.0))
    match p.draw(st.integers(0, 5)):
        case 0:
            return ops.mul(p.graph, x, one)
        case 1:
            return ops.mul(p.graph, one, x)
        case 2:
            return ops.div(p.graph, x, one)
        case 3:
            return ops.pow(p.graph, x, p.choose((one, two)))
        case 4:
            return ops.neg(p.graph, ops.neg(p.graph, x))
        case _:
            return ops.sub(p.graph, ops.full_like(p.graph, x, p.choose(NUMBERS)), two)


def _twice(p: Pool) -> Value:
    """Two permutations, reshapes or broadcasts behind each other."""
    x = p.pick(rank=3)
    match p.draw(st.integers(0, 2)):
        case 0:
            once = ops.permute(p.graph, x, p.draw(st.permutations(range(3))))
            return ops.permute(p.graph, once, p.draw(st.permutations(range(3))))
        case 1:
            return ops.reshape(p.graph, ops.reshape(p.graph, x, (math.prod(sizes(x)),)), sizes(x)[::-1])
        case _:
            once = ops.broadcast(p.graph, ops.sum(p.graph, x, [0, 1]), (2, *x.shape[2:]), [1])
            return ops.broadcast(p.graph, once, (2, 3, *x.shape[2:]), [0, 2])


def _decided(p: Pool) -> Value:
    """A choice that is known."""
    x = p.pick()
    a, b = (ops.full_like(p.graph, x, p.choose(NUMBERS)) for _ in range(2))
    return ops.where(p.graph, ops.binary(p.graph, p.choose(COMPARE), a, b), x, p.like(x))


def _swapped(p: Pool) -> Value:
    """One operation on two operands in either order."""
    x = p.pick()
    y, name = ops.exp(p.graph, x), p.choose(BINARY)
    both = [ops.binary(p.graph, name, *pair) for pair in ((x, y), (y, x))]
    return ops.add(p.graph, both[0], ops.mul(p.graph, both[1], ops.full_like(p.graph, x, 0.5)))


def _cut(p: Pool) -> Value:
    """A part of something padded, turned, seen through windows or multiplied."""
    x = ops.random(p.graph, (2, 4, 4), 6, F64)
    around = ops.pad(p.graph, x, (0, 1, 0), (0, 0, 2), (0, 0, 0), p.choose(NUMBERS))
    turned = ops.permute(p.graph, around, (1, 0, 2))
    seen = ops.window(p.graph, around, (1, 2), (2, 3), (2, 1), (1, 1))
    weights = ops.random(p.graph, (5, 2, 3), 7, F64)
    product = ops.contract(p.graph, seen, weights, [(3, 1), (4, 2)])
    whole = p.choose((around, turned, seen, product))
    starts = [p.draw(st.integers(0, min(e - 1, 1))) for e in sizes(whole)]
    stops = [max(e - p.draw(st.integers(0, 2)), a + 1) for a, e in zip(starts, sizes(whole), strict=True)]
    part = ops.slice(p.graph, whole, starts, stops, [1] * len(starts))
    return ops.sum(p.graph, part, range(3, len(part.shape)))


def _scan(p: Pool) -> Value:
    """A recurrence over the first dimension of something, with sums in its step that passes can simplify."""
    x = p.pick(least=2)
    length, *rest = sizes(x)
    step = Graph("step")
    h, e, c = (ops.input(step, n, F64, tuple(rest)) for n in ("carry.0", "each.0", "const.0"))
    one = ops.mul(step, h, ops.full_like(step, h, p.choose(NUMBERS)))
    step.outputs["next.0"] = ops.add(step, ops.unary(step, "tanh", one), ops.mul(step, e, c))
    first = ops.full(p.graph, p.choose(NUMBERS), F64, tuple(rest))
    other = ops.max(p.graph, x, [0])
    body, reverse = Body(step), p.draw(st.booleans())
    states = ops.scan(p.graph, (first, x, other), body, 0, length, reverse)
    return ops.sum(p.graph, states, [0]) if p.draw(st.booleans()) else states


MAKERS: dict[Callable[[Pool], Value], tuple[str, ...]] = {
    _unary: UNARY, _binary: BINARY, _where: ("where", "constant", *COMPARE, *LOGIC), _cast: ("cast",), _iota: ("iota",),
    _rows: ("rows",), _random: ("random",), _broadcast: ("broadcast",), _reshape: ("reshape",), _permute: ("permute",),
    _slice: ("slice",), _flip: ("flip",), _pad: ("pad",), _concat: ("concat",), _window: ("window",),
    _fold: ("fold",), _contract: ("contract",), _reduction: ("sum", "max"), _argmax: ("argmax",),
    _scan: ("scan",), _algebra: (), _twice: (), _decided: (), _swapped: (), _cut: (),
}  # fmt: skip
"""What grows a graph, and the operations each brings."""


@st.composite
def random_graphs(draw: Draw, most: int = 14) -> Graph:
    """A graph with a leaf of each shape and a few operations; the last and some others are outputs."""
    pool = Pool(draw)
    pool.values = [ops.input(pool.graph, f"x{i}", F64, s) for i, s in enumerate(SHAPES)]
    for _ in range(draw(st.integers(2, most))):
        pool.values.append(draw(st.sampled_from(list(MAKERS)))(pool))
    for i, value in enumerate(reversed(pool.values[len(SHAPES) :])):
        if i == 0 or draw(st.booleans()):
            pool.graph.outputs[f"y{i}"] = value
    return pool.graph


def inputs_for(graph: Graph, *, finite: bool) -> dict[str, Any]:
    """Arrays for the leaves; unless finite, every third element is not a finite number, or a zero of either sign."""
    rng = np.random.default_rng(0)
    strange = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])
    arrays: dict[str, Any] = {}
    for name, leaf in graph.inputs.items():
        shape = sizes(leaf)
        drawn = np.asarray(rng.normal(size=shape))
        arrays[name] = (
            drawn if finite else np.where(rng.random(shape) < 0.3, rng.choice(strange, shape), drawn)
        )
    return arrays
