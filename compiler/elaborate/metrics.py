"""A metric of a ``train`` block: what is summed over batches, and how the sums become its number.

In: a ``metric`` definition. Out: graphs of its totals from output and target, and of its value from the totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import Span
from .. import ops
from ..graph import DType, Graph, Value, show_shape
from .expressions import evaluate
from .values import Context, Definitions, Failed, as_tensor, fail, in_library, seen_from

UNFIT = ("E0401", "E0402", "E0305", "E0406", "E0407")
"""Codes of shapes and types that do not go together."""


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    definition: s.Definition
    definitions: Definitions
    dtype: DType
    span: Span

    def totals(self, graph: Graph, output: Value, target: Value) -> dict[str, Value]:
        """What is summed over batches, as float64 scalars."""
        ctx = self._context(graph, {"input": output, "target": target})
        found = {}
        for statement in self.definition.body:
            if isinstance(statement, s.Let):
                ctx.names[statement.name.id] = evaluate(ctx, statement.value)
            elif isinstance(statement, s.Total):
                value = as_tensor(ctx, evaluate(ctx, statement.value), statement.span)
                if value.shape:
                    fail(
                        "E0402", f"a total is a single number, not {show_shape(value.shape)}", statement.span
                    )
                found[statement.name.id] = ops.cast(graph, value, DType.float64)
        return found

    def check(self, graph: Graph, output: Value, target: Value) -> None:
        """Raises Failed when output, target and metric do not fit."""
        try:
            self.finish(graph, self.totals(graph, output, target))
        except Failed as failure:
            cause = failure.diagnostic
            text = f"output {output.type}, target {target.type}"
            if cause.code in UNFIT and in_library(cause.primary.span):
                message = f"the metric `{self.name}` does not fit: {cause.message}"
                labels = (Label(cause.primary.span, cause.primary.text),)
                raise Failed(Diagnostic("E0404", message, Label(self.span, text), labels)) from None
            failure.diagnostic = seen_from(cause, self.span, text)
            raise

    def finish(self, graph: Graph, totals: Mapping[str, Value]) -> Value:
        ctx = self._context(graph, dict(totals))
        for statement in self.definition.body:
            if isinstance(statement, s.Return):
                return ops.cast(
                    graph, as_tensor(ctx, evaluate(ctx, statement.value), statement.span), DType.float64
                )
        fail("E0504", f"the metric `{self.name}` returns nothing", self.definition.name.span)

    def _context(self, graph: Graph, names: dict[str, Any]) -> Context:
        library = in_library(self.definition.name.span)
        return Context(graph, self.dtype, self.definitions, names, path="metric", library=library)
