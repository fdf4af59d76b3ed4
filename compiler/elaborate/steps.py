"""The steps of a group's parameters: an optimizer's body is evaluated for the first parameters of a type, in a graph of its
own for the second, and drawn from that for all others.

In: the definition, its arguments, parameters with their gradients. Out: new contents; states go to ``Found``. A body that
draws random numbers, or depends on more than tensors and plain values, is evaluated for each parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...grammar import syntax as s
from ...grammar.source import Span
from .. import ops
from ..graph import Graph, Origin, Value, reachable
from .states import StateSpec
from .templates import plain_text
from .updates import Found, apply
from .values import Context

OWN = "own"
"""The path of the parameter in such a graph."""


@dataclass(frozen=True, slots=True)
class _State:
    """name: that of its declaration. leaf, new: its contents before and after."""

    name: str
    spec: StateSpec
    leaf: Value
    new: Value


@dataclass(frozen=True, slots=True)
class _Step:
    """A step in a graph of its own, on leaves for all tensors that the body can name."""

    names: dict[str, Value]
    states: tuple[_State, ...]
    values: tuple[Value, ...]
    result: Value


@dataclass(slots=True)
class Steps:
    """ctx: where the arguments' names are bound, the same for all parameters. span: the optimizer's call."""

    ctx: Context
    definition: s.Definition
    span: Span
    known: dict[object, _Step | None] = field(default_factory=dict)

    def step(self, path: str, param: Value, gradient: Value, found: Found) -> Value:
        """The parameter's new contents."""
        names = self.ctx.names | {"param": param, "grad": gradient}
        kind = param.type, gradient.type
        step = None
        if kind in self.known:
            step = self.known[kind] = self.known[kind] or self._alone(names)
        else:
            self.known[kind] = None
        if step is not None:
            return self._drawn(step, path, names, found)
        inner = self.ctx.inside(names, self.span, f"optimizer.{path}", self.definition)
        return apply(inner, self.definition, path, param, found)

    def _alone(self, given: dict[str, object]) -> _Step | None:
        tensors = {n: v for n, v in given.items() if isinstance(v, Value)}
        if not all(n in tensors or plain_text(v) for n, v in given.items()):
            return None
        graph, found = Graph("step"), Found()
        names = {n: ops.input(graph, f"name.{n}", v.dtype, v.shape) for n, v in tensors.items()}
        alone = replace(self.ctx, graph=graph, memory=found.schedules, draws={})
        inner = alone.inside({**given, **names}, self.span, OWN, self.definition)
        result = apply(inner, self.definition, OWN, names["param"], found)
        states = tuple(
            _State(
                spec.leaf.removeprefix(f"state.{OWN}."),
                spec,
                graph.inputs[spec.leaf],
                found.outputs[spec.leaf],
            )
            for spec in found.specs
        )
        values = tuple(reachable((result, *(state.new for state in states))))
        leaves = {v.id for v in graph.inputs.values()}
        known = all(v.op.name != "input" or v.id in leaves for v in values)
        if alone.draws or found.again is not None or found.schedules.calls or not known:
            return None
        return _Step(names, states, values, result)

    def _drawn(self, step: _Step, path: str, given: dict[str, object], found: Found) -> Value:
        graph = self.ctx.graph
        new = {leaf.id: value for n, leaf in step.names.items() if isinstance(value := given[n], Value)}
        specs = [replace(state.spec, leaf=f"state.{path}.{state.name}") for state in step.states]
        for state, spec in zip(step.states, specs, strict=True):
            new[state.leaf.id] = ops.input(graph, spec.leaf, spec.dtype, spec.shape)
        graph.draw(step.values, new, lambda origin: _moved(origin, path))
        for state, spec in zip(step.states, specs, strict=True):
            found.specs.append(spec)
            found.outputs[spec.leaf] = new[state.new.id]
        return new[step.result.id]


def _moved(origin: Origin, path: str) -> Origin:
    return Origin(origin.span, f"optimizer.{path}") if origin.layer == OWN else origin


__all__ = ["Steps"]
