"""What a step does to the parameters: the optimizers of a ``train`` block as graph values.

In: groups (an optimizer's call with the paths it is for), parameters, their gradients. Out: the new contents of ``param.*``
and ``state.*`` leaves, and the specifications of those states that something reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from ...grammar import syntax as s
from ...grammar.diagnostics import Label
from ...grammar.source import NOWHERE, Span
from ...grammar.suggest import did_you_mean
from .. import ops
from ..graph import Call, DType, Graph, Value
from .declarations import TensorSpec, elements
from .expressions import CLOCK, bind
from .schedules import clock
from .states import StateSpec, average_of
from .steps import Steps
from .updates import AGAIN, Found, apply
from .values import Context, Definitions, Failed, fail, in_library, seen_from


@dataclass(frozen=True, slots=True)
class Group:
    """An optimizer for the parameters whose paths match one of the patterns; without patterns for all others."""

    call: s.Call
    patterns: tuple[str, ...] = ()
    span: Span = NOWHERE

    def takes(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Optimizers:
    """All groups of a train block, how gradients are cut before, and the decay of the weights' moving average after them."""

    definitions: Definitions
    dtype: DType
    groups: tuple[Group, ...] = ()
    clip_norm: float | None = None
    clip_value: float | None = None
    ema: float | None = None
    known: dict[tuple[TensorSpec, ...], tuple[StateSpec, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def states(self, parameters: tuple[TensorSpec, ...]) -> tuple[StateSpec, ...]:
        """The states of every parameter; those that nothing reads are left out."""
        if parameters not in self.known:
            graph = Graph("states")
            gradients = {p.path: ops.input(graph, f"gradient.{p.path}", p.dtype, p.shape) for p in parameters}
            loss = ops.input(graph, "loss", self.dtype, ())
            self.known[parameters] = tuple(self._step(graph, parameters, gradients, loss).specs)
        return self.known[parameters]

    def check(self) -> None:
        """Applies each optimizer to a single number; raises Failed when that cannot be done."""
        weight = TensorSpec("weight", (1,), self.dtype, "", NOWHERE)
        for group in self.groups:
            graph = Graph("check")
            gradients = {"weight": ops.input(graph, "gradient.weight", self.dtype, (1,))}
            loss = ops.input(graph, "loss", self.dtype, ())
            self._group(graph, group, [weight], gradients, loss, Found())

    def update(
        self, graph: Graph, parameters: Sequence[TensorSpec], gradients: Mapping[str, Value], loss: Value
    ) -> dict[str, Value]:
        """New contents of ``param.*`` and ``state.*`` leaves from the gradients by path, and ``again``, which is not 0
        where the step is to go on with another evaluation on the same rows."""
        found = self._step(graph, parameters, self._clipped(graph, parameters, gradients), loss)
        return found.outputs | ({} if found.again is None else {AGAIN: found.again})

    def with_learning_rate(self, lr: float) -> Optimizers:
        """With the ``lr`` of the group without patterns replaced; raises ValueError where there is no such argument."""
        main = next((g for g in self.groups if not g.patterns), None)
        definition = self.definitions.find(main.call.function.id) if main is not None else None
        if main is None or definition is None or all(p.name.id != "lr" for p in definition.parameters):
            raise ValueError("the optimizer has no learning rate `lr`")
        place = [p.name.id for p in definition.parameters].index("lr")
        positional = [a for a in main.call.arguments if a.name is None]
        old = next((a for a in main.call.arguments if a.name == "lr"), None) or dict(
            enumerate(positional)
        ).get(place)
        kept = tuple(a for a in main.call.arguments if a is not old)
        rate = s.Argument("lr", s.Number(lr, span=main.span), span=main.span)
        call = replace(main.call, arguments=(*kept, rate))
        groups = tuple(replace(g, call=call) if g is main else g for g in self.groups)
        return replace(self, groups=groups)

    def members(self, parameters: Sequence[TensorSpec]) -> list[list[TensorSpec]]:
        """The parameters of each group: the first that names a path takes it, one without patterns what is left."""
        if not self.groups:
            return []
        found: list[list[TensorSpec]] = [[] for _ in self.groups]
        rest = next((i for i, g in enumerate(self.groups) if not g.patterns), None)
        for p in parameters:
            place = next((i for i, g in enumerate(self.groups) if g.takes(p.path)), rest)
            if place is None:
                fail("E0507", f"no optimizer is for the parameter `{p.path}`", self.groups[-1].span,
                     "the last of those with `for`", secondary=(Label(p.span, "declared here"),),
                     help="add one without `for`, or `optimizer = frozen() for \"...\"`")  # fmt: skip
            found[place].append(p)
        for group in self.groups:
            for pattern in group.patterns:
                if not any(fnmatchcase(p.path, pattern) for p in parameters):
                    paths = [p.path for p in parameters]
                    fail("E0506", f'no parameter has a path like "{pattern}"', group.span, "for nothing",
                         help=did_you_mean(pattern, paths, "there are " + ", ".join(paths[:8])))  # fmt: skip
        return found

    def _step(
        self, graph: Graph, parameters: Sequence[TensorSpec], gradients: Mapping[str, Value], loss: Value
    ) -> Found:
        found = Found()
        for group, members in zip(self.groups, self.members(parameters), strict=True):
            self._group(graph, group, members, gradients, loss, found)
        if self.ema is not None and self.groups:
            _average(graph, self.ema, parameters, found)
        found.specs += found.schedules.specs
        found.outputs |= found.schedules.outputs
        return found

    def _group(
        self,
        graph: Graph,
        group: Group,
        members: Sequence[TensorSpec],
        gradients: Mapping[str, Value],
        loss: Value,
        found: Found,
    ) -> None:
        ctx = Context(graph, self.dtype, self.definitions, path="optimizer", memory=found.schedules)
        ctx.names |= clock(ctx)
        name = group.call.function
        definition = ctx.definitions.find(name.id)
        if definition is None or definition.kind != "optimizer":
            fail("E0202", f"there is no optimizer `{name.id}`", name.span, "unknown")
        arguments = bind(ctx, definition, group.call.arguments, group.call.span)
        if in_library(definition.name.span):
            graph.calls.append(Call(name.id, arguments, None, f"optimizer.{self.groups.index(group)}"))
        names = arguments | {n: ctx.names[n] for n in CLOCK} | {"loss": loss}
        pattern = next((x for x in definition.body if isinstance(x, s.Input)), None)
        try:
            if pattern is None:
                steps = Steps(replace(ctx, names=names), definition, group.call.span)
                for p in members:
                    leaf = ops.input(graph, f"param.{p.path}", p.dtype, p.shape)
                    found.outputs[leaf.attrs["name"]] = steps.step(p.path, leaf, gradients[p.path], found)
            elif members:
                owner = f"group.{self.groups.index(group)}"
                inner = ctx.inside(names, group.call.span, f"optimizer.{owner}", definition)
                _joined(inner, definition, pattern, owner, members, gradients, found)
        except Failed as failure:
            failure.diagnostic = seen_from(failure.diagnostic, group.call.span)
            raise
        if found.again is not None and (len(self.groups) > 1 or self.ema is not None):
            fail("E0503", f"`{name.id}` evaluates the network several times a step", group.call.span, "not alone",
                 help="it can stand neither beside other optimizers nor with `ema`")  # fmt: skip

    # clipping

    def _clipped(
        self, graph: Graph, parameters: Sequence[TensorSpec], gradients: Mapping[str, Value]
    ) -> Mapping[str, Value]:
        if self.clip_value is not None:
            limit = self.clip_value
            return {path: _within(graph, value, limit) for path, value in gradients.items()}
        if self.clip_norm is None:
            return gradients
        read = {
            p.path
            for group, members in zip(self.groups, self.members(parameters), strict=True)
            for p in members
            if self._reads_gradient(group)
        }
        total: Value | None = None
        for path, value in gradients.items():
            if path in read:
                part = ops.sum(graph, ops.mul(graph, value, value), range(len(value.shape)))
                total = part if total is None else ops.add(graph, total, part)
        if total is None:
            return gradients
        norm = ops.add(graph, ops.sqrt(graph, total), ops.constant(graph, 1e-6, total.dtype))
        one = ops.constant(graph, 1.0, total.dtype)
        scale = ops.binary(
            graph, "minimum", one, ops.div(graph, ops.constant(graph, self.clip_norm, total.dtype), norm)
        )
        return {p: ops.mul(graph, v, ops.broadcast(graph, scale, v.shape, ())) for p, v in gradients.items()}

    def _reads_gradient(self, group: Group) -> bool:
        """A frozen parameter's gradient does not count for the norm."""
        definition = self.definitions.find(group.call.function.id)
        return definition is not None and any("grad" in s.names(statement) for statement in definition.body)


def _joined(
    ctx: Context,
    definition: s.Definition,
    pattern: s.Input,
    owner: str,
    members: Sequence[TensorSpec],
    gradients: Mapping[str, Value],
    found: Found,
) -> None:
    """A step of all members at once, as one vector in their order."""
    graph = ctx.graph
    counts = [elements(p.shape) for p in members]
    size = pattern.shape.items[0] if len(pattern.shape.items) == 1 else None
    if pattern.name.id != "param" or not isinstance(size, s.Name):
        fail("E0503", "an optimizer of all parameters at once says `input param: [size]`", pattern.span)
    leaves = [ops.input(graph, f"param.{p.path}", p.dtype, p.shape) for p in members]
    ctx.names |= {
        "param": _flat(graph, leaves), "grad": _flat(graph, [gradients[p.path] for p in members]), size.id: sum(counts)
    }  # fmt: skip
    new = apply(ctx, definition, owner, ctx.names["param"], found)
    start = 0
    for p, count in zip(members, counts, strict=True):
        piece = ops.slice(graph, new, [start], (start + count,), [1])
        found.outputs[f"param.{p.path}"] = ops.reshape(graph, piece, p.shape)
        start += count


def _flat(graph: Graph, tensors: Sequence[Value]) -> Value:
    return ops.concat(graph, [ops.reshape(graph, v, (elements(v.shape),)) for v in tensors], 0)


def _average(graph: Graph, decay: float, parameters: Sequence[TensorSpec], found: Found) -> None:
    """Moving averages of the new parameters; the first step's are the parameters themselves."""
    step = ops.input(graph, "scalar.step", DType.int64, ())
    first = ops.binary(graph, "eq", step, ops.constant(graph, 1, DType.int64))
    for p in parameters:
        spec = StateSpec(average_of(p.path), p.shape, p.dtype, 0.0)
        old, new = ops.input(graph, spec.leaf, p.dtype, p.shape), found.outputs[f"param.{p.path}"]
        rate = ops.full(graph, 1 - decay, p.dtype, p.shape)
        moved = ops.add(graph, old, ops.mul(graph, rate, ops.binary(graph, "sub", new, old)))
        found.specs.append(spec)
        found.outputs[spec.leaf] = ops.where(graph, ops.broadcast(graph, first, p.shape, ()), new, moved)


def _within(graph: Graph, value: Value, limit: float) -> Value:
    least = ops.binary(graph, "minimum", value, ops.full_like(graph, value, limit))
    return ops.binary(graph, "maximum", least, ops.full_like(graph, value, -limit))
