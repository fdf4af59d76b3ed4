"""The graph interpreter: every operation by its NumPy reference. The definition that all else is tested against.

In: a graph and arrays for its leaves. Out: arrays for its outputs. It also computes initial values and data
expressions, and finds where a NaN came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime import philox
from .graph import ROWS, DType, Graph, Value, reachable
from .ops.recurrence import Body, time_dim

Arrays = Mapping[str, NDArray[Any]]


class Interpreter:
    """Evaluates values of one graph on given leaves; ``dtype`` float64 runs a float32 graph in double precision, but
    still rounds to bfloat16 where the graph does."""

    def __init__(
        self,
        inputs: Arrays,
        *,
        rows: int | None = None,
        seed: int = 0,
        step: int = 1,
        dtype: DType | None = None,
    ) -> None:
        self.inputs, self.rows, self.seed, self.step, self.dtype = inputs, rows, seed, step, dtype
        self.results: dict[int, NDArray[Any]] = {}
        self.scans: dict[Any, list[NDArray[Any]]] = {}

    def run(self, values: Sequence[Value]) -> None:
        for value in values:
            if value.id not in self.results:
                with np.errstate(all="ignore"):
                    self.results[value.id] = np.asarray(self._evaluate(value))

    def _element_type(self, dtype: DType) -> DType:
        free = dtype.is_float and dtype is not DType.bfloat16
        return self.dtype if self.dtype is not None and free else dtype

    def _evaluate(self, value: Value) -> Any:
        name = value.op.name
        if name == "input":
            return np.asarray(
                self.inputs[value.attrs["name"]], dtype=self._element_type(value.dtype.wide).value
            )
        if name == "rows":
            return np.asarray(self.rows, dtype=np.int64)
        if name == "scan":
            return self._scan(value)
        attrs = {k: self._concrete(v) for k, v in value.attrs.items()}
        if name == "random":
            return self._draw(attrs["shape"], attrs["stream"], value.dtype)
        operands = [self.results[v.id] for v in value.inputs]
        found = value.op.reference(np, *operands, **attrs)
        if value.dtype is DType.bfloat16 and self.dtype is not None:
            return np.asarray(found).astype(self.dtype.value)
        return found

    def _scan(self, value: Value) -> Any:
        """One of a scan's results; the others are kept, since they differ in ``result`` alone."""
        attrs = dict(value.attrs)
        result = attrs.pop("result")
        key = value.inputs, tuple(sorted(attrs.items(), key=lambda item: item[0]))
        if key not in self.scans:
            operands = [self.results[v.id] for v in value.inputs]
            self.scans[key] = scanned(
                attrs["body"], operands, attrs["length"], attrs["reverse"],
                rows=self.rows, seed=self.seed, step=self.step, dtype=self.dtype,
            )  # fmt: skip
        return self.scans[key][result]

    def _concrete(self, attr: Any) -> Any:
        if attr is ROWS:
            return self.rows
        if isinstance(attr, DType):
            return self._element_type(attr)
        if isinstance(attr, tuple):
            return tuple(self._concrete(a) for a in attr)
        return attr

    def _draw(self, shape: tuple[int, ...], stream: int, dtype: DType) -> NDArray[Any]:
        count = int(np.prod(shape, dtype=np.int64))
        drawn = philox.uniform(self.seed, stream, self.step, count, np.dtype(dtype.value)).reshape(shape)
        return drawn.astype(self._element_type(dtype).value)


def scanned(
    body: Body, operands: Sequence[Any], length: int, reverse: bool, **options: Any
) -> list[NDArray[Any]]:
    """All results of a scan: the states, the first ones included, then what the steps give."""
    k, m = body.count("carry"), body.count("each")
    states = [np.asarray(a) for a in operands[:k]]
    const = {f"const.{i}": a for i, a in enumerate(operands[k + m :])}
    sequences = [
        np.moveaxis(a, time_dim(body.graph.inputs[f"each.{j}"].shape), 0)
        for j, a in enumerate(operands[k : k + m])
    ]
    found: list[list[NDArray[Any]]] = [[s] for s in states] + [[] for _ in range(body.count("out"))]
    for t in reversed(range(length)) if reverse else range(length):
        leaves = {f"carry.{i}": s for i, s in enumerate(states)} | const
        leaves |= {f"each.{j}": s[t] for j, s in enumerate(sequences)}
        outputs = evaluate(body.graph, leaves, **options)
        states = [outputs[f"next.{i}"] for i in range(k)]
        for kept, name in zip(
            found,
            (*(f"next.{i}" for i in range(k)), *(f"out.{j}" for j in range(len(found) - k))),
            strict=True,
        ):
            kept.append(outputs[name])
    dims = [time_dim(body.graph.inputs[f"carry.{i}"].shape) for i in range(k)]
    dims += [time_dim(body.graph.outputs[f"out.{j}"].shape) for j in range(len(found) - k)]
    return [np.stack(kept[::-1] if reverse else kept, axis=d) for kept, d in zip(found, dims, strict=True)]


def infer_rows(graph: Graph, inputs: Arrays) -> int | None:
    """The number of observations, read off the first leaf that has any."""
    for name, leaf in graph.inputs.items():
        if leaf.shape and leaf.shape[0] is ROWS and name in inputs:
            return int(np.asarray(inputs[name]).shape[0])
    return None


def evaluate(
    graph: Graph,
    inputs: Arrays,
    *,
    rows: int | None = None,
    seed: int = 0,
    step: int = 1,
    dtype: DType | None = None,
) -> dict[str, NDArray[Any]]:
    """The outputs of a graph. inputs: an array for each leaf that the outputs need."""
    count = rows if rows is not None else infer_rows(graph, inputs)
    interpreter = Interpreter(inputs, rows=count, seed=seed, step=step, dtype=dtype)
    interpreter.run(graph.live())
    return {name: interpreter.results[value.id] for name, value in graph.outputs.items()}


def trace_nonfinite(graph: Graph, inputs: Arrays, *, seed: int = 0, step: int = 1) -> Value | None:
    """The first value in topological order that is not finite although all its operands are."""
    interpreter = Interpreter(inputs, rows=infer_rows(graph, inputs), seed=seed, step=step)
    for value in reachable(graph.outputs.values()):
        interpreter.run([value])
        if not _finite(interpreter.results[value.id]) and all(
            _finite(interpreter.results[v.id]) for v in value.inputs
        ):
            return value
    return None


def _finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
