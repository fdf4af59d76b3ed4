"""Stages that are met again, as the copies of a ``repeat`` are: evaluated into a graph of their own, once, then drawn from
it under the path of each copy.

In: a stage, its input and its context. Out: what evaluating the stage would add to the graph and the record, value by
value and in the same order. A stage that depends on another tensor than its input is never drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ...grammar import syntax as s
from .. import ops
from ..graph import ROWS, Call, Graph, Origin, Value, reachable
from .declarations import MAX_PARAMETERS, LayerInfo, Record, TensorSpec, join
from .values import Context, Failed, Unknown, stream_number

MAX_STAGES = 5_000
Evaluate = Callable[[Context, s.Stage, Value, Record], Value | Unknown]
"""The walk over one stage, with a record of its own and no place in the network."""


@dataclass(frozen=True, slots=True)
class Template:
    """A stage's graph on the leaf ``x``; all paths in it begin at the stage."""

    x: Value
    result: Value
    values: tuple[Value, ...]
    leaves: dict[str, Value]
    random: tuple[Value, ...]
    draws: dict[str, int]
    record: Record
    calls: tuple[Call, ...]

    def draw(self, ctx: Context, record: Record, x: Value, path: str) -> Value | None:
        """The stage's result at a path; None where it does not fit there, and evaluating it will tell why."""
        own = self.record
        names = [_renamed(name, path) for name in own.names]
        if (
            record.stages + own.stages > MAX_STAGES
            or record.elements + own.elements > MAX_PARAMETERS
            or len(self.values) > ctx.budget[0]
            or not record.names.isdisjoint(names)
        ):
            return None
        ctx.budget[0] -= len(self.values)
        new = self._values(ctx, x, path)
        record.stages += own.stages
        record.elements += own.elements
        record.names.update(names)
        self._declarations(record, path)
        ctx.graph.calls += [_again(call, new, path) for call in self.calls]
        for target, found in ((record.values, own.values), (record.updates, own.updates)):
            target.update({_renamed(name, path): new[v.id] for name, v in found.items()})
        return new[self.result.id]

    def _values(self, ctx: Context, x: Value, path: str) -> dict[int, Value]:
        """The values, by their ids in the template."""
        graph, before = ctx.graph, ctx.graph.origin
        new = {self.x.id: x}
        for name, leaf in self.leaves.items():
            new[leaf.id] = ops.input(graph, _renamed(name, path), leaf.dtype, leaf.shape)
        if self.random:
            streams = self._streams(ctx, path)
            for value in self.random:
                graph.origin = _moved(value.origin, path)
                new[value.id] = ops.random(graph, value.shape, streams[value.attrs["stream"]], value.dtype)
            graph.origin = before
        return graph.draw(self.values, new, lambda origin: _moved(origin, path))

    def _streams(self, ctx: Context, path: str) -> dict[int, int]:
        """For each random stream of the template the next one of the same layer in the network."""
        found: dict[int, int] = {}
        for layer, last in self.draws.items():
            place = _placed(layer, path)
            first = ctx.draws.get(place, -1) + 1
            for i in range(last + 1):
                found[stream_number(layer, i)] = stream_number(place, first + i)
            ctx.draws[place] = first + last
        return found

    def _declarations(self, record: Record, path: str) -> None:
        count = len(record.parameters) + len(record.buffers)
        for target, found in (
            (record.parameters, self.record.parameters),
            (record.buffers, self.record.buffers),
        ):
            target += [
                TensorSpec(
                    join(path, p.path), p.shape, p.dtype, _placed(p.layer, path), p.span, count + p.number
                )
                for p in found
            ]
        for layer in self.record.layers:
            place = _placed(layer.path, path)
            added = tuple([join(path, p) for p in layer.parameters])
            record.layers.append(
                LayerInfo(
                    place,
                    layer.name,
                    layer.span,
                    layer.input_shape,
                    layer.output_shape,
                    added,
                    place.count("."),
                )
            )


@dataclass(slots=True)
class Templates:
    """The templates of one walk. A stage gets one when it is met for the second time."""

    found: dict[Any, Template | None] = field(default_factory=dict)
    mentioned: dict[int, tuple[s.Stage, tuple[str, ...]]] = field(default_factory=dict)
    """For each stage, kept alive here, the names in it."""

    def find(
        self, ctx: Context, stage: s.Stage, x: Value, record: Record, evaluate: Evaluate
    ) -> Template | None:
        names = self._names(stage)
        known = [f"{n}={plain_text(ctx.names[n])}" for n in names if n in ctx.names]
        if any(text.endswith("=") for text in known):
            return None
        key = (id(stage), x.type, ctx.depth, *known)
        if key not in self.found:
            self.found[key] = None
            return None
        found = self.found[key]
        if found is None:
            found = self.found[key] = _made(ctx, stage, x, record, evaluate)
        return found

    def _names(self, stage: s.Stage) -> tuple[str, ...]:
        found = self.mentioned.get(id(stage))
        if found is None:
            found = self.mentioned[id(stage)] = stage, tuple(dict.fromkeys(s.names(stage)))
        return found[1]


def _made(ctx: Context, stage: s.Stage, x: Value, around: Record, evaluate: Evaluate) -> Template | None:
    """None where evaluating the stage fails, which its place in the network will tell better."""
    graph = Graph("stage")
    leaf = ops.input(graph, "x", x.dtype, x.shape)
    record = Record(around.training, around.initial)
    alone = replace(ctx, graph=graph, names=dict(ctx.names), path="", draws={})
    try:
        result = evaluate(alone, stage, leaf, record)
    except Failed:
        return None
    if isinstance(result, Unknown):
        return None
    leaves = {name: v for name, v in graph.inputs.items() if v is not leaf}
    roots = (result, *record.values.values(), *record.updates.values())
    live = {v.id for v in reachable(roots)}
    calls = tuple(call for call in graph.calls if call.result is not None and call.result.id in live)
    values = reachable((*roots, *(v for call in calls for v in _tensors(list(call.given.values())))))
    random = tuple(v for v in graph if v.op.name == "random")
    return Template(leaf, result, tuple(values), leaves, random, alone.draws, record, calls)


def _tensors(value: Any) -> list[Value]:
    if isinstance(value, list):
        return [v for item in value for v in _tensors(item)]
    return [value] if isinstance(value, Value) else []


def _again(call: Call, new: dict[int, Value], path: str) -> Call:
    """A call of the library inside of a template, as it is where the template is drawn."""

    def there(value: Any) -> Any:
        if isinstance(value, list):
            return [there(v) for v in value]
        return new[value.id] if isinstance(value, Value) else value

    return Call(
        call.name, {n: there(v) for n, v in call.given.items()}, there(call.result), _placed(call.path, path)
    )


def plain_text(value: Any) -> str:
    """A known value as a text that no other value has; empty for tensors and whatever else is not plain."""
    if isinstance(value, list):
        parts = [plain_text(v) for v in value]
        return f"[{','.join(parts)}]" if all(parts) else ""
    return repr(value) if value is None or value is ROWS or isinstance(value, (int, float, str)) else ""


def _renamed(name: str, path: str) -> str:
    """``param.weight`` at ``2.0`` is ``param.2.0.weight``."""
    kind, _, rest = name.partition(".")
    return f"{kind}.{join(path, rest)}"


def _placed(layer: str, path: str) -> str:
    return join(path, layer) if layer else path


def _moved(origin: Origin, path: str) -> Origin:
    return Origin(origin.span, _placed(origin.layer, path)) if origin != Origin() else origin


__all__ = ["MAX_STAGES", "Template", "Templates", "plain_text"]
