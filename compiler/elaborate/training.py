"""A ``train`` block to a plan: loss, optimizer, metrics and settings, with functions that emit their graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import NOWHERE, Span
from ...grammar.suggest import did_you_mean
from .. import ops
from ..graph import ROWS, DType, Graph, TensorType, Value, show_shape
from .declarations import TensorSpec
from .expressions import IMPLICIT, bind, call, check_requirement, evaluate
from .findings import Findings
from .network import Network
from .values import (
    Context,
    Definitions,
    Failed,
    as_bool,
    as_int,
    as_tensor,
    describe,
    fail,
    in_library,
    is_number,
    seen_from,
    spread,
)

SETTINGS = (
    "loss", "optimizer", "batch", "epochs", "steps", "seed", "log_every", "shuffle", "metrics", "stop", "clip",
    "save",
)  # fmt: skip


_KINDS = {
    "fn": "a function", "init": "an initialiser", "schedule": "a schedule", "layer": "a layer",
    "optimizer": "an optimizer", "metric": "a metric",
}  # fmt: skip
_UNFIT = ("E0401", "E0402", "E0305", "E0406", "E0407")


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One optimizer state of one parameter."""

    leaf: str
    path: str
    name: str
    shape: tuple[int, ...]
    dtype: DType
    value: Any

    def initial(self, graph: Graph) -> Value:
        return ops.full(graph, self.value, self.dtype, self.shape)


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
            if cause.code in _UNFIT and in_library(cause.primary.span):
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


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """The settings of a run. batch None: all rows. Exactly one of epochs and steps is set."""

    definitions: Definitions
    dtype: DType
    loss_call: s.Call
    optimizer_call: s.Call | None
    batch: int | None = None
    epochs: int | None = None
    steps: int | None = None
    seed: int = 0
    log_every: int = 1
    shuffle: bool = True
    patience: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    metrics: tuple[Metric, ...] = ()
    save: str | None = None
    span: Span | None = None
    known_states: dict[tuple[TensorSpec, ...], tuple[StateSpec, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def loss(self, graph: Graph, output: Value, target: Value) -> Value:
        """The loss of an output against a target; raises Failed with E0404 when they do not fit."""
        ctx = Context(graph, self.dtype, self.definitions, path="loss")
        try:
            value = call(ctx, self.loss_call, [output, target])
        except Failed as failure:
            d = failure.diagnostic
            if d.code not in _UNFIT or not (
                in_library(d.primary.span) or d.primary.span == self.loss_call.span
            ):
                raise
            raise Failed(self._unfit(output.type, target.type, d)) from None
        return as_tensor(ctx, value, self.loss_call.span)

    def _unfit(self, output: TensorType, target: TensorType, cause: Diagnostic) -> Diagnostic:
        name = self.loss_call.function.id
        return Diagnostic(
            "E0404",
            f"the target {show_shape(target.shape)} does not fit the output {show_shape(output.shape)} in {name}",
            Label(self.loss_call.span, f"output {output}, target {target}"),
            notes=(cause.message,),
            help=_advice(name, output, target),
        )

    def target_type(self, output: TensorType) -> TensorType:
        """What loss and metrics take when no data tell: the output's own type, else class indices."""
        shape = (output.shape[0], *output.shape[2:])
        fitting: list[TensorType] = []
        for candidate in (output, TensorType(DType.int64, shape)):
            graph = Graph("target")
            x = ops.input(graph, "output", output.dtype, output.shape)
            y = ops.input(graph, "target", candidate.dtype, candidate.shape)
            try:
                self.loss(graph, x, y)
                fitting.append(candidate)
                for metric in self.metrics:
                    metric.totals(graph, x, y)
            except Failed as failure:
                last = failure
            else:
                return candidate
        if fitting:
            return fitting[0]
        raise last

    # optimizer

    def _optimizer(self, ctx: Context) -> tuple[s.Definition, dict[str, Any], s.Call]:
        if self.optimizer_call is None:
            fail(
                "E0507",
                "the train block names no optimizer",
                self.loss_call.span,
                help="add `optimizer = adam()`",
            )
        name = self.optimizer_call.function
        definition = ctx.definitions.find(name.id)
        if definition is None or definition.kind != "optimizer":
            fail("E0202", f"there is no optimizer `{name.id}`", name.span, "unknown")
        return (
            definition,
            bind(ctx, definition, self.optimizer_call.arguments, self.optimizer_call.span),
            self.optimizer_call,
        )

    def _context(self, graph: Graph) -> Context:
        ctx = Context(graph, self.dtype, self.definitions, path="optimizer")
        for name in IMPLICIT[1:]:
            ctx.names[name] = ops.cast(graph, ops.input(graph, f"scalar.{name}", DType.int64, ()), self.dtype)
        return ctx

    def states(self, network: Network) -> tuple[StateSpec, ...]:
        """The optimizer's states for every parameter; those that nothing reads are left out."""
        if self.optimizer_call is None:
            return ()
        if network.parameters not in self.known_states:
            self.known_states[network.parameters] = self._states(network.parameters)
        return self.known_states[network.parameters]

    def check_optimizer(self) -> None:
        """Applies the optimizer to a single number; raises Failed when that cannot be done."""
        self._states((TensorSpec("weight", (1,), self.dtype, "", NOWHERE),))

    def _states(self, parameters: Sequence[TensorSpec]) -> tuple[StateSpec, ...]:
        graph = Graph("states")
        grads = {p.path: ops.input(graph, f"gradient.{p.path}", p.dtype, p.shape) for p in parameters}
        return self._update(graph, parameters, grads)[1]

    def update(self, graph: Graph, network: Network, gradients: Mapping[str, Value]) -> dict[str, Value]:
        """New contents of ``param.*`` and ``state.*`` leaves from the gradients by path."""
        return self._update(graph, network.parameters, self._clipped(graph, gradients))[0]

    def _clipped(self, graph: Graph, gradients: Mapping[str, Value]) -> Mapping[str, Value]:
        if self.clip_value is not None:
            limit = self.clip_value
            return {
                p: ops.binary(
                    graph,
                    "maximum",
                    ops.binary(graph, "minimum", v, ops.full_like(graph, v, limit)),
                    ops.full_like(graph, v, -limit),
                )
                for p, v in gradients.items()
            }
        if self.clip_norm is None:
            return gradients
        total: Value | None = None
        for value in gradients.values():
            part = ops.sum(graph, ops.mul(graph, value, value), range(len(value.shape)))
            total = part if total is None else ops.add(graph, total, part)
        assert total is not None
        norm = ops.add(graph, ops.sqrt(graph, total), ops.constant(graph, 1e-6, total.dtype))
        one = ops.constant(graph, 1.0, total.dtype)
        scale = ops.binary(
            graph, "minimum", one, ops.div(graph, ops.constant(graph, self.clip_norm, total.dtype), norm)
        )
        return {p: ops.mul(graph, v, ops.broadcast(graph, scale, v.shape, ())) for p, v in gradients.items()}

    def _update(
        self, graph: Graph, parameters: Sequence[TensorSpec], gradients: Mapping[str, Value]
    ) -> tuple[dict[str, Value], tuple[StateSpec, ...]]:
        ctx = self._context(graph)
        definition, arguments, written = self._optimizer(ctx)
        outputs: dict[str, Value] = {}
        specs: list[StateSpec] = []
        for parameter in parameters:
            leaf = ops.input(graph, f"param.{parameter.path}", parameter.dtype, parameter.shape)
            names = dict(arguments) | {n: ctx.names[n] for n in IMPLICIT[1:]}
            names |= {"param": leaf, "grad": gradients[parameter.path]}
            inner = ctx.inside(names, written.span, f"optimizer.{parameter.path}", definition)
            try:
                self._one(inner, definition, parameter.path, leaf, outputs, specs)
            except Failed as failure:
                failure.diagnostic = seen_from(failure.diagnostic, written.span)
                raise
        return outputs, tuple(specs)

    def _one(
        self,
        ctx: Context,
        definition: s.Definition,
        path: str,
        leaf: Value,
        outputs: dict[str, Value],
        specs: list[StateSpec],
    ) -> None:
        graph, states, updated = ctx.graph, {}, {}
        for statement in definition.body:
            match statement:
                case s.State():
                    value = evaluate(ctx, statement.init)
                    if not is_number(value):
                        fail(
                            "E0405",
                            f"a state begins with a known number, not {describe(value)}",
                            statement.span,
                        )
                    name = statement.name.id
                    state = f"state.{path}.{name}"
                    states[name] = StateSpec(state, path, name, leaf.shape, leaf.dtype, value)  # type: ignore[arg-type]
                    ctx.names[name] = ops.input(graph, state, leaf.dtype, leaf.shape)
                case s.Let():
                    ctx.names[statement.name.id] = evaluate(ctx, statement.value)
                case s.Require():
                    check_requirement(ctx, statement)
                case s.Update():
                    value = as_tensor(ctx, evaluate(ctx, statement.value), statement.span, leaf.dtype)
                    with ctx.at(statement.span):
                        ready = spread(ctx, ops.cast(graph, value, leaf.dtype), leaf.shape)
                    ctx.names[statement.name.id] = updated[statement.name.id] = ready
                case _:
                    fail("E0503", "this statement cannot stand in an optimizer", statement.span)
        for name, spec in states.items():
            initial = graph.inputs.get(spec.leaf)
            if updated.get(name) in (None, initial):
                graph.inputs.pop(spec.leaf, None)
                continue
            specs.append(spec)
            outputs[spec.leaf] = updated[name]
        outputs[f"param.{path}"] = updated.get("param", leaf)


def _advice(loss: str, output: TensorType, target: TensorType) -> str:
    if "cross_entropy" in loss and target.dtype.is_float and target.rank <= 2:
        return "classes are whole numbers, one a row: `target = categories(table[...])`"
    if "cross_entropy" not in loss and not target.dtype.is_float:
        return "for classes choose `cross_entropy_loss()`, with as many outputs as there are classes"
    if target.rank == 2 and isinstance(target.shape[1], int) and output.rank == 2:
        return f"end the network with `linear({target.shape[1]})`, or choose a loss for this kind of target"
    return "make the last layer as wide as the target, or choose a loss for this kind of target"


def plan(block: s.Settings, definitions: Definitions, dtype: DType, findings: Findings) -> TrainPlan | None:
    """The plan of a ``train`` block, None without a loss; all that is wrong goes to ``findings``."""
    entries: dict[str, s.Let] = {}
    for entry in block.entries:
        name = entry.name.id
        with findings.collecting(entry.span):
            if name in entries:
                fail("E0203", f"`{name}` is set twice", entry.name.span, "again here",
                     secondary=(Label(entries[name].name.span, "first here"),))  # fmt: skip
            if name not in SETTINGS:
                fail("E0506", f"`train` has no setting `{name}`", entry.name.span, "unknown",
                     help=did_you_mean(name, SETTINGS, "it has " + ", ".join(SETTINGS)))  # fmt: skip
            entries[name] = entry
    calls: dict[str, s.Call] = {}
    head = Span(block.span.source, block.span.start, block.span.start + len(block.kind))
    with findings.collecting(block.span):
        if "loss" not in entries:
            fail("E0507", "the train block names no loss", head, "no loss", help="add `loss = mse_loss()`")
    for name, kind in (("loss", "fn"), ("optimizer", "optimizer")):
        if name in entries:
            with findings.collecting(entries[name].span):
                calls[name] = _call(definitions, entries[name].value, kind)
    return _plan(block, definitions, dtype, findings, entries, calls)


def _plan(
    block: s.Settings,
    definitions: Definitions,
    dtype: DType,
    findings: Findings,
    entries: Mapping[str, s.Let],
    calls: Mapping[str, s.Call],
) -> TrainPlan | None:
    nothing = s.Call(s.Name("none"), ())
    result = TrainPlan(
        definitions, dtype, calls.get("loss", nothing), calls.get("optimizer"), span=block.span
    )
    ctx = Context(Graph("settings"), dtype, definitions)
    for name, entry in entries.items():
        if name not in ("loss", "optimizer"):
            with findings.collecting(entry.span):
                result = _set(result, ctx, name, entry.value)
    with findings.collecting(block.span):
        if result.optimizer_call is not None:
            result.check_optimizer()
    if result.epochs is None and result.steps is None:
        result = replace(result, epochs=10)
    return result if "loss" in calls else None


def _call(definitions: Definitions, e: s.Expr, kind: str) -> s.Call:
    word = "loss" if kind == "fn" else kind
    written = e if isinstance(e, s.Call) else s.Call(e, (), span=e.span) if isinstance(e, s.Name) else None
    if written is None:
        fail("E0303", f"{'an' if word[0] == 'o' else 'a'} {word} is needed here", e.span, f"not {'an' if word[0] == 'o' else 'a'} {word}",
             help=f"write its name and its arguments: `{'mse_loss()' if kind == 'fn' else 'adam(lr = 1e-3)'}`")  # fmt: skip
    name = written.function
    definition = definitions.find(name.id)
    if definition is None or definition.kind != kind:
        other = "unknown" if definition is None else f"this is {_KINDS.get(definition.kind, definition.kind)}"
        known = definitions.names(kind)
        if kind == "fn":
            known = [n for n in known if n.endswith("_loss") or n in definitions.items]
        fail("E0202", f"there is no {word} `{name.id}`", name.span, other,
             help=did_you_mean(name.id, known, "there are " + ", ".join(known)))  # fmt: skip
    return written


def _set(plan: TrainPlan, ctx: Context, name: str, e: s.Expr) -> TrainPlan:
    if name == "batch" and isinstance(e, s.Name) and e.id == "full":
        return plan
    if name == "metrics":
        return replace(plan, metrics=_metrics(plan, e))
    if name == "stop":
        if not isinstance(e, s.Call) or e.function.id != "early_stop" or len(e.arguments) != 1:
            fail("E0303", "`stop` takes `early_stop(patience = 10)`", e.span)
        return replace(plan, patience=_positive(evaluate(ctx, e.arguments[0].value), e.span))
    if (
        name == "clip"
        and isinstance(e, s.Call)
        and e.function.id in ("clip_norm", "clip_value")
        and e.arguments
    ):
        limit = evaluate(ctx, e.arguments[0].value)
        return replace(plan, **{e.function.id: _limit(limit, e.span)})  # type: ignore[arg-type]
    value = evaluate(ctx, e)
    if name == "clip":
        return replace(plan, clip_norm=_limit(value, e.span))
    if name == "save":
        return replace(plan, save=_weights_path(value, e.span))
    if name == "shuffle":
        return replace(plan, shuffle=as_bool(value, e.span))
    if name == "seed":
        return replace(plan, seed=as_int(value, e.span))
    return replace(plan, **{name: _positive(value, e.span)})  # type: ignore[arg-type]


def _weights_path(value: Any, span: Span) -> str:
    """A .safetensors file beside the program or in a folder there."""
    if not isinstance(value, str):
        fail("E0303", f"a file name in quotes is needed here, not {describe(value)}", span)
    path = PurePath(value)
    if (
        path.suffix != ".safetensors"
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in value
        or ":" in value
    ):
        fail("E0304", f"weights cannot be saved as {value}", span,
             help='name a file in the program\'s folder, such as "weights.safetensors"')  # fmt: skip
    return value


def _limit(value: Any, span: Span) -> float:
    if not is_number(value) or not value > 0:
        fail("E0304", f"a positive number is needed here, not {describe(value)}", span)
    return float(value)


def _positive(value: Any, span: Span) -> int:
    number = as_int(value, span)
    if not 1 <= number <= 2**40:
        fail("E0304", f"{number} is out of range: at least 1 is needed", span)
    return number


def _metrics(plan: TrainPlan, e: s.Expr) -> tuple[Metric, ...]:
    items = e.items if isinstance(e, s.ListOf) else (e,)
    found = []
    for item in items:
        name = item.id if isinstance(item, s.Name) else item.span.text
        definition = plan.definitions.find(name)
        if definition is None or definition.kind != "metric":
            known = plan.definitions.names("metric")
            fail("E0202", f"there is no metric `{name}`", item.span, "unknown",
                 help=did_you_mean(name, known, "there are " + ", ".join(known)))  # fmt: skip
        found.append(Metric(name, definition, plan.definitions, plan.dtype, item.span))
    return tuple(found)


__all__ = ["ROWS", "Metric", "StateSpec", "TrainPlan", "plan"]
