"""A ``train`` block to a plan: loss, optimizers, metrics and settings, with functions that emit their graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import Span
from ...grammar.suggest import did_you_mean
from .. import ops
from ..graph import ROWS, DType, Graph, TensorType, Value, show_shape
from .builtins import BUILTINS
from .expressions import CONSTANTS, call, evaluate
from .findings import Findings
from .metrics import UNFIT, Metric
from .network import Network
from .optimizers import Group, Optimizers
from .precision import read_precision
from .states import StateSpec
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
)

SETTINGS = (
    "loss", "optimizer", "batch", "epochs", "steps", "seed", "log_every", "shuffle", "metrics", "stop", "clip",
    "ema", "save", "precision", "device", "replicas",
)  # fmt: skip
DEVICES = ("cpu", "cuda")
MOST_REPLICAS = 65536
"""How many networks may be trained side by side."""


_KINDS = {
    "fn": "a function", "init": "an initialiser", "schedule": "a schedule", "layer": "a layer",
    "optimizer": "an optimizer", "metric": "a metric",
}  # fmt: skip
TARGET = "target"
Goal = Mapping[str, TensorType]
"""What a loss compares the output with, by leaf: ``target``, and ``target.<name>`` for other entries of the data."""


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """The settings of a run. batch None: all rows. Exactly one of epochs and steps is set.

    others: the entries of the data block, besides the target, that the loss names.
    """

    definitions: Definitions
    dtype: DType
    written_loss: s.Expr
    optimizers: Optimizers
    others: tuple[str, ...] = ()
    batch: int | None = None
    epochs: int | None = None
    steps: int | None = None
    seed: int = 0
    log_every: int = 1
    shuffle: bool = True
    patience: int | None = None
    metrics: tuple[Metric, ...] = ()
    save: str | None = None
    device: str | None = None
    device_span: Span | None = None
    replicas: int | None = None
    span: Span | None = None

    @property
    def trains(self) -> bool:
        return bool(self.optimizers.groups)

    @property
    def loss_span(self) -> Span:
        return self.written_loss.span

    @property
    def goals(self) -> dict[str, str]:
        """The leaves that the loss reads besides the output, with the entries of the data they come from."""
        return {TARGET: TARGET} | {f"{TARGET}.{name}": name for name in self.others}

    def loss(self, graph: Graph, output: Value, goal: Mapping[str, Value]) -> Value:
        """The loss of an output against the goal's leaves; raises Failed with E0404 when they do not fit."""
        ctx = Context(graph, self.dtype, self.definitions, path="loss")
        try:
            value = self._loss(ctx, output, goal)
        except Failed as failure:
            d = failure.diagnostic
            if d.code not in UNFIT or not (in_library(d.primary.span) or d.primary.span == self.loss_span):
                raise
            raise Failed(self._unfit(output.type, {n: v.type for n, v in goal.items()}, d)) from None
        return as_tensor(ctx, value, self.loss_span)

    def _loss(self, ctx: Context, output: Value, goal: Mapping[str, Value]) -> Any:
        if isinstance(self.written_loss, s.Call) and not spelled_out(self.written_loss):
            return call(ctx, self.written_loss, [output, goal[TARGET]])
        ctx.names |= {"output": output} | {self.goals[leaf]: value for leaf, value in goal.items()}
        return evaluate(ctx, self.written_loss)

    def _unfit(self, output: TensorType, goal: Goal, cause: Diagnostic) -> Diagnostic:
        name = self.written_loss.function.id if isinstance(self.written_loss, s.Call) else "the loss"
        target = goal[TARGET]
        types = ", ".join(f"{self.goals[leaf]} {kind}" for leaf, kind in goal.items())
        return Diagnostic(
            "E0404",
            f"the target {show_shape(target.shape)} does not fit the output {show_shape(output.shape)} in {name}",
            Label(self.loss_span, f"output {output}, {types}"),
            notes=(cause.message,),
            help=_advice(name, output, target),
        )

    def goal(self, output: TensorType) -> Goal:
        """What loss and metrics take when no data tell: the output's own type, else class indices; of other entries a
        number for each observation."""
        shape = (output.shape[0], *output.shape[2:])
        numbers = {leaf: TensorType(self.dtype, (ROWS,)) for leaf in self.goals}
        fitting: list[Goal] = []
        for candidate in (output, TensorType(DType.int64, shape)):
            graph, goal = Graph("target"), numbers | {TARGET: candidate}
            x = ops.input(graph, "output", output.dtype, output.shape)
            leaves = leaves_of(graph, goal)
            try:
                self.loss(graph, x, leaves)
                fitting.append(goal)
                for metric in self.metrics:
                    metric.totals(graph, x, leaves[TARGET])
            except Failed as failure:
                last = failure
            else:
                return goal
        if fitting:
            return fitting[0]
        raise last

    def with_learning_rate(self, lr: float) -> TrainPlan:
        """The plan with the optimizer's ``lr`` replaced by a number; raises ValueError for an optimizer without one."""
        return replace(self, optimizers=self.optimizers.with_learning_rate(lr))

    def states(self, network: Network) -> tuple[StateSpec, ...]:
        """The optimizers' states."""
        return self.optimizers.states(network.parameters)

    def update(
        self, graph: Graph, network: Network, gradients: Mapping[str, Value], loss: Value
    ) -> dict[str, Value]:
        """New contents of ``param.*`` and ``state.*`` leaves from the gradients by path and the loss."""
        if not self.trains:
            fail(
                "E0507", "the train block names no optimizer", self.loss_span, help="add `optimizer = adam()`"
            )
        return self.optimizers.update(graph, network.parameters, gradients, loss)


def leaves_of(graph: Graph, goal: Goal) -> dict[str, Value]:
    """The leaves of a goal."""
    return {leaf: ops.input(graph, leaf, kind.dtype, kind.shape) for leaf, kind in goal.items()}


def spelled_out(loss: s.Expr) -> bool:
    """Whether a loss is an expression of ``output``, in place of a function's name and settings."""
    return "output" in s.names(loss)


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
    entries, groups = _entries(block, definitions, findings)
    loss: s.Expr | None = None
    if "loss" in entries:
        with findings.collecting(entries["loss"].span):
            written = entries["loss"].value
            loss = written if spelled_out(written) else _call(definitions, written, "fn")
    return _plan(block, definitions, dtype, findings, entries, loss, groups)


def _entries(
    block: s.Settings, definitions: Definitions, findings: Findings
) -> tuple[dict[str, s.Entry], tuple[Group, ...]]:
    """The entries by name, and the optimizers, of which there may be several for different parameters."""
    entries: dict[str, s.Entry] = {}
    groups: list[Group] = []
    for entry in block.entries:
        name = entry.name.id
        with findings.collecting(entry.span):
            if name not in SETTINGS:
                fail("E0506", f"`train` has no setting `{name}`", entry.name.span, "unknown",
                     help=did_you_mean(name, SETTINGS, "it has " + ", ".join(SETTINGS)))  # fmt: skip
            if entry.members is not None and name != "optimizer":
                fail("E0503", "`for` stands behind an optimizer alone", entry.members.span, "not here")
            if name in entries and entry.members is None:
                fail("E0203", f"`{name}` is set twice", entry.name.span, "again here",
                     secondary=(Label(entries[name].name.span, "first here"),),
                     help='for other parameters: `optimizer = ... for "*.bias"`' if name == "optimizer" else "")  # fmt: skip
            if entry.members is None:
                entries[name] = entry
            if name == "optimizer":
                call = _call(definitions, entry.value, "optimizer")
                groups.append(Group(call, _patterns(entry.members), entry.span))
    head = Span(block.span.source, block.span.start, block.span.start + len(block.kind))
    with findings.collecting(block.span):
        if "loss" not in entries:
            fail("E0507", "the train block names no loss", head, "no loss", help="add `loss = mse_loss()`")
    return entries, tuple(groups)


def _patterns(e: s.Expr | None) -> tuple[str, ...]:
    """The texts behind ``for``."""
    items = () if e is None else e.items if isinstance(e, s.ListOf) else (e,)
    for item in items:
        if not isinstance(item, s.String):
            fail("E0303", "a path of parameters in quotes is needed here, or a list of them", item.span,
                 help='for example `for "*.bias"`; `*` stands for any part of a path')  # fmt: skip
    if e is not None and not items:
        fail("E0303", "this names no parameters", e.span, help='write a path: `for "*.bias"`')
    return tuple(item.value for item in items if isinstance(item, s.String))


def _plan(
    block: s.Settings,
    definitions: Definitions,
    dtype: DType,
    findings: Findings,
    entries: Mapping[str, s.Entry],
    loss: s.Expr | None,
    groups: tuple[Group, ...],
) -> TrainPlan | None:
    others = () if loss is None or not spelled_out(loss) else _others(loss, definitions)
    result = TrainPlan(
        definitions,
        dtype,
        loss or s.Name("none"),
        Optimizers(definitions, dtype, groups),
        others,
        span=block.span,
    )
    ctx = Context(Graph("settings"), dtype, definitions)
    for name, entry in entries.items():
        if name not in ("loss", "optimizer"):
            with findings.collecting(entry.span):
                result = _set(result, ctx, name, entry.value)
    with findings.collecting(block.span):
        result.optimizers.check()
    if result.epochs is None and result.steps is None:
        result = replace(result, epochs=10)
    return result if loss is not None else None


def _others(loss: s.Expr, definitions: Definitions) -> tuple[str, ...]:
    """The names of a loss that nothing else explains: entries of the data block."""
    known = {"output", TARGET, *definitions.constants, *CONSTANTS, *BUILTINS}
    named = dict.fromkeys(s.names(loss, called=False))
    return tuple(n for n in named if n not in known and definitions.find(n) is None)


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
    if name == "precision":
        read_precision(e)  # the network's, not the run's: see Program.precision
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
        return _clip(plan, e.function.id, _limit(limit, e.span))
    value = evaluate(ctx, e)
    if name == "clip":
        return _clip(plan, "clip_norm", _limit(value, e.span))
    if name == "ema":
        if not is_number(value) or not 0 < value < 1:
            fail(
                "E0304",
                f"the decay of a moving average lies between 0 and 1, it is not {describe(value)}",
                e.span,
            )
        return replace(plan, optimizers=replace(plan.optimizers, ema=float(value)))
    if name == "save":
        return replace(plan, save=_weights_path(value, e.span))
    if name == "device":
        return replace(plan, device=_device(value, e.span), device_span=e.span)
    if name == "replicas":
        return replace(plan, replicas=_replicas(value, e.span))
    if name == "shuffle":
        return replace(plan, shuffle=as_bool(value, e.span))
    if name == "seed":
        return replace(plan, seed=as_int(value, e.span))
    return replace(plan, **{name: _positive(value, e.span)})  # type: ignore[arg-type]


def _clip(plan: TrainPlan, kind: str, limit: float) -> TrainPlan:
    by_norm, by_value = (limit, None) if kind == "clip_norm" else (None, limit)
    return replace(plan, optimizers=replace(plan.optimizers, clip_norm=by_norm, clip_value=by_value))


def _device(value: Any, span: Span) -> str:
    known = " or ".join(f'`device = "{d}"`' for d in DEVICES)
    if not isinstance(value, str):
        fail("E0303", f"a device in quotes is needed here, not {describe(value)}", span, help=known)
    if value not in DEVICES:
        advice = did_you_mean(value, DEVICES, known)
        fail("E0304", f"there is no device `{value}`", span, "unknown", help=advice)
    return value


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


def _replicas(value: Any, span: Span) -> int:
    number = as_int(value, span)
    if not 1 <= number <= MOST_REPLICAS:
        fail(
            "E0304", f"{number} is out of range: 1 to {MOST_REPLICAS} networks are trained side by side", span
        )
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


__all__ = ["Goal", "Metric", "StateSpec", "TrainPlan", "leaves_of", "plan"]
