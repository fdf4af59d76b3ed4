"""Graph passes: the interpreter's results before and after, and that the rewrite took place."""

from __future__ import annotations

import pytest

from netc.compiler import ops
from netc.compiler.graph import DType, Graph
from netc.compiler.passes import optimise


def names(graph: Graph) -> list[str]:
    return [v.op.name for v in graph.live()]


@pytest.mark.parametrize("dtype", [DType.float32, DType.float64])
def test_constants_are_folded_in_the_graphs_precision(dtype: DType) -> None:
    graph = Graph()
    x = ops.input(graph, "x", dtype, (3,))
    exponent = ops.sub(graph, ops.full_like(graph, x, 2.0), ops.full_like(graph, x, 1.0))
    third = ops.add(graph, ops.full_like(graph, x, 1.0), ops.full_like(graph, x, 1e-9))
    graph.outputs["y"] = ops.mul(graph, ops.pow(graph, x, exponent), third)
    result = optimise(graph)
    assert "pow" not in names(result)
    # 1 + 1e-9 is 1 in float32, so that nothing is left to do there.
    assert ("mul" in names(result)) == (dtype is DType.float64)


def test_constants_that_overflow_stay() -> None:
    graph = Graph()
    big = ops.constant(graph, 3e38, DType.float32)
    graph.outputs["y"] = ops.mul(graph, big, big)
    assert "mul" in names(optimise(graph))
