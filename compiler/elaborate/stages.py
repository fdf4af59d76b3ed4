"""The walk over stages: layers, functions and blocks on a tensor, parameters found on the way, the flow of shapes.

In: the statements of a net or a layer and the input's value. Out: the output's value and a ``Record``. With
``Findings`` the walk goes on behind a stage that fails: with the shape the stage would have given where that can be
told, else with ``UNKNOWN``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import Span
from ...grammar.suggest import closest
from .. import ops
from ..graph import Call, Value, show_shape
from .declarations import LayerInfo, Record, declare, elements, join, update
from .expressions import bind, call, check_requirement, evaluate
from .findings import Findings
from .patterns import Misfit, match_shape
from .templates import MAX_STAGES as MAX_STAGES
from .templates import Templates
from .values import (
    MAX_ELEMENTS_OF_ONE,
    UNKNOWN,
    Context,
    Exhausted,
    Failed,
    Unknown,
    as_int,
    describe,
    fail,
    in_library,
    poisoned,
    seen_from,
    within_limit,
)

HERE = "_"
"""The label of a stage whose parameters live in the path of the block around it."""
MAX_RECURSION = 20
FLOW = 8
_SHAPE_ERRORS = ("E0305", "E0401", "E0402", "E0403", "E0406", "E0407", "E0505")


Maybe = Value | Unknown


@dataclass(slots=True)
class _Body:
    """Where the statements of one body stand: the tensor that flows, the number of stages, what was returned."""

    x: Maybe
    path: str
    position: int = 0
    returned: Maybe | None = None
    labels: dict[str, Span] = field(default_factory=dict)


class Walker:
    """Carries the record through stages and layers."""

    def __init__(self, record: Record, findings: Findings | None = None, *, check: bool = False) -> None:
        """check: initial values are evaluated too."""
        self.record, self.findings = record, findings
        self.check = check or (findings is not None and record.training)
        self.templates = Templates()
        self.flow: list[tuple[str, str]] = []
        self.layers = 0
        self.inside: list[str] = []
        self.unmet: Failed | None = None

    def begin(self, name: str, x: Maybe) -> None:
        """The first line of the flow of shapes."""
        self.flow.append((f"input {name}", _shown(x)))

    def body(
        self, ctx: Context, statements: tuple[s.Statement, ...], x: Maybe, path: str, where: Span
    ) -> Maybe | None:
        """Statements of a net, layer or block: declarations, bindings, stages, at most one return."""
        body = _Body(x, path)
        begun = len(self.flow)
        for statement in statements:
            with self._collecting(statement.span):
                self._statement(ctx, statement, body)
                if body.returned is not None:
                    break
                continue
            self._poison(ctx, statement, body)
        del self.flow[begun:]
        if body.returned is not None:
            return body.returned
        return body.x if body.position else None

    @contextmanager
    def _collecting(self, span: Span) -> Iterator[None]:
        """In a net's own blocks failures are collected; inside a layer's definition they fail the layer."""
        if self.findings is None or self.layers:
            yield
        else:
            with self.findings.collecting(span, self._with_flow):
                yield

    def _require(self, ctx: Context, statement: s.Require) -> None:
        """A requirement that does not hold is told when the layer is done, whose output may be known all the same."""
        try:
            check_requirement(ctx, statement)
        except Failed as failure:
            if self.findings is None or self.layers != 1 or failure.diagnostic.code != "E0305":
                raise
            self.unmet = self.unmet or failure

    def _poison(self, ctx: Context, statement: s.Statement, body: _Body) -> None:
        match statement:
            case s.Let() | s.Param() | s.Buffer():
                ctx.names[statement.name.id] = UNKNOWN
            case s.Return():
                body.returned = UNKNOWN
            case s.Apply() | s.Sequential() | s.Residual() | s.Repeat() | s.Concat():
                body.x = UNKNOWN
                body.position += 1
                self.flow.append((_title(statement), "?"))

    def _statement(self, ctx: Context, statement: s.Statement, body: _Body) -> None:
        match statement:
            case s.Input():
                if self.layers == 0 and body.path:
                    fail("E0503", "an input is declared in the net itself, not in a block", statement.span)
            case s.Param() | s.Buffer():
                declare(ctx, self.record, statement, body.path, check=self.check)
            case s.Let():
                made = len(ctx.graph.values)
                ctx.names[statement.name.id] = evaluate(ctx, statement.value)
                _bounded(ctx, made, statement.value.span)
            case s.Update():
                update(ctx, self.record, statement, body.path)
            case s.Require():
                self._require(ctx, statement)
            case s.Return():
                body.returned = self._returned(ctx, statement.value, body.path)
            case s.Apply() | s.Sequential() | s.Residual() | s.Repeat() | s.Concat():
                label = _label(statement, body)
                path = body.path if label == HERE else join(body.path, label)
                body.x = self.stage(ctx, statement, body.x, path)
                self.flow.append((_title(statement), _shown(body.x)))
                body.position += 1
            case _:
                word = type(statement).__name__.lower()
                fail("E0503", f"`{word}` cannot stand here", statement.span, "misplaced",
                     help=_PLACES.get(word, ""))  # fmt: skip

    def _returned(self, ctx: Context, e: s.Expr, path: str) -> Maybe:
        """A tensor; a layer may return what another layer gives, whose parameters are then its own."""
        definition = ctx.find(e.function.id) if isinstance(e, s.Call) and self.inside else None
        if isinstance(e, s.Call) and definition is not None and definition.kind == "layer":
            return self._delegated(ctx, definition, e, path)
        result = evaluate(ctx, e)
        if not isinstance(result, Value):
            fail("E0303", f"a tensor must be returned, not {describe(result)}", e.span)
        return result

    def _delegated(self, ctx: Context, definition: s.Definition, e: s.Call, path: str) -> Maybe:
        if not e.arguments or e.arguments[0].name is not None:
            fail("E0301", f"`{definition.name.id}` needs its input as first argument", e.span)
        x = evaluate(ctx, e.arguments[0].value)
        if not isinstance(x, Value):
            fail("E0303", f"the input is a tensor, not {describe(x)}", e.arguments[0].span)
        stage = s.Apply(replace(e, arguments=e.arguments[1:]), True, span=e.span)
        self.layers += 1
        try:
            return self._layer(ctx, definition, stage, x, path)
        except Misfit as misfit:
            raise Failed(misfit.diagnostic) from None
        finally:
            self.layers -= 1

    def stage(self, ctx: Context, stage: s.Stage, x: Maybe, path: str) -> Maybe:
        """One stage on its input; ``path`` is where its parameters live."""
        if isinstance(x, Value):
            template = self.templates.find(ctx, stage, x, self.record, self._alone)
            drawn = template.draw(ctx, self.record, x, path) if template is not None else None
            if drawn is not None:
                return drawn
        return self._stage(ctx, stage, x, path)

    def _alone(self, ctx: Context, stage: s.Stage, x: Value, record: Record) -> Maybe:
        """A stage as a template."""
        walker = Walker(record, check=self.check)
        walker.layers, walker.inside, walker.templates = self.layers, list(self.inside), self.templates
        return walker._stage(ctx, stage, x, "")

    def _stage(self, ctx: Context, stage: s.Stage, x: Maybe, path: str) -> Maybe:
        self.record.stages += 1
        self._bounded(0, stage.span)
        ctx.spend(stage.span)
        match stage:
            case s.Apply():
                return self._apply(ctx, stage, x, path)
            case s.Sequential():
                return self._block(ctx, stage.stages, x, path, stage.span)
            case s.Residual():
                return self._residual(ctx, stage, x, path)
            case s.Repeat():
                return self._repeat(ctx, stage, x, path)
            case s.Concat():
                return self._concat(ctx, stage, x, path)

    def _bounded(self, more: int, span: Span) -> None:
        """more: the stages that are sure to follow."""
        if self.record.stages + more > MAX_STAGES:
            message = f"the network has more than {MAX_STAGES:,} stages"
            raise Exhausted(Diagnostic("E0505", message, Label(span, "too many" if more else "one too many")))

    # blocks

    def _block(self, ctx: Context, stages: tuple[Any, ...], x: Maybe, path: str, span: Span) -> Maybe:
        result = self.body(ctx.inside(dict(ctx.names), span, path), stages, x, path, span)
        return x if result is None else result

    def _repeat(self, ctx: Context, stage: s.Repeat, x: Maybe, path: str) -> Maybe:
        times = as_int(evaluate(ctx, stage.count), stage.count.span, "a number of copies")
        if not 0 <= times <= MAX_STAGES:
            fail("E0304", f"{times} copies are out of range", stage.count.span, f"from 0 to {MAX_STAGES:,}")
        around = ctx.names.get("copy")
        own = sum(isinstance(part, s.Stage) for part in stage.stages)
        for i in range(times):
            if i == 1:  # the first copy's own errors come first
                self._bounded((times - 1) * own, stage.span)
            ctx.spend(stage.span)
            ctx.names["copy"] = i
            before = len(self.findings.found) if self.findings else 0
            flat = stage.label is not None and stage.label.id == HERE
            x = self._block(ctx, stage.stages, x, path if flat else join(path, str(i)), stage.span)
            if isinstance(x, Unknown) or (self.findings and len(self.findings.found) > before):
                break
        ctx.names.pop("copy", None)
        if around is not None:
            ctx.names["copy"] = around
        return x

    def _residual(self, ctx: Context, stage: s.Residual, x: Maybe, path: str) -> Maybe:
        branch = self._block(ctx, stage.stages, x, path, stage.span)
        base = x
        if stage.shortcut is not None:
            base = self._block(ctx, stage.shortcut, x, join(path, "shortcut"), stage.span)
        if isinstance(branch, Unknown) or isinstance(base, Unknown):
            return UNKNOWN
        if base.type != branch.type:
            what = "changes the shape" if base.shape != branch.shape else "changes the element type"
            where = (
                "the shortcut and the block differ" if stage.shortcut else f"the block of a residual {what}"
            )
            fail(
                "E0401", where, stage.span, f"{_shown(base)} + {_shown(branch)}",
                help="" if stage.shortcut else "project the input: `residual { ... } shortcut { ... }`",
            )  # fmt: skip
        with ctx.at(stage.span):
            return ops.add(ctx.graph, base, branch)

    def _concat(self, ctx: Context, stage: s.Concat, x: Maybe, path: str) -> Maybe:
        dim = as_int(evaluate(ctx, stage.dim), stage.dim.span, "a dimension")
        found: list[tuple[s.Branch, Maybe]] = []
        for i, branch in enumerate(stage.branches):
            label = branch.label.id if branch.label else str(i)
            found.append((branch, self._block(ctx, branch.stages, x, join(path, label), branch.span)))
        if not found:
            fail(
                "E0401", "there is nothing to join", stage.span, "no branches", help="`branch { ... }` is one"
            )
        parts = [(b, v) for b, v in found if isinstance(v, Value)]
        if len(parts) < len(found):
            return UNKNOWN
        first = parts[0][1].shape
        if not -len(first) <= dim < len(first):
            fail(
                "E0407",
                f"there is no dimension {dim} to join along",
                stage.dim.span,
                f"of {show_shape(first)}",
            )
        dim %= len(first)
        for branch, value in parts[1:]:
            if value.shape[:dim] + value.shape[dim + 1 :] != first[:dim] + first[dim + 1 :] or len(
                value.shape
            ) != len(first):
                fail(
                    "E0402", f"{show_shape(first)} and {_shown(value)} cannot be joined along dimension {dim}",
                    branch.span, f"this branch gives {_shown(value)}",
                    secondary=(Label(parts[0][0].span, f"the first one {show_shape(first)}"),),
                    help="all other dimensions must be equal",
                )  # fmt: skip
        with ctx.at(stage.span):
            return ops.concat(ctx.graph, [v for _, v in parts], dim)

    # layers and functions

    def _apply(self, ctx: Context, stage: s.Apply, x: Maybe, path: str) -> Maybe:
        before, made = len(self.record.parameters), len(ctx.graph.values)
        text = "" if isinstance(x, Unknown) else f"the input is {_shown(x)}"
        self.layers += 1
        try:
            y = self._applied(ctx, stage, x, path)
            _bounded(ctx, made, stage.span)
        except Misfit:
            raise
        except Failed as failure:
            failure = self.unmet or failure
            failure.diagnostic = _told_at(failure.diagnostic, stage.span, text)
            self.unmet = None
            raise failure from None
        finally:
            self.layers -= 1
        if self.unmet is not None and self.findings is not None and self.layers == 0:
            self.findings.add(self._with_flow(_told_at(self.unmet.diagnostic, stage.span, text)))
            self.unmet = None
        if isinstance(x, Unknown) or isinstance(y, Unknown):
            return y
        added = tuple(p.path for p in self.record.parameters[before:])
        name = stage.call.span.text or stage.call.function.id
        self.record.layers.append(LayerInfo(path, name, stage.span, x.shape, y.shape, added, path.count(".")))
        return y

    def _applied(self, ctx: Context, stage: s.Apply, x: Maybe, path: str) -> Maybe:
        name = stage.call.function
        definition = ctx.find(name.id)
        if definition is not None and definition.kind == "layer":
            return self._layer(ctx, definition, stage, x, path)
        if definition is not None and definition.kind != "fn":
            fail(
                "E0202", f"`{name.id}` is {_article(definition.kind)}, not a layer", name.span, "not a layer",
                secondary=(Label(definition.name.span, "defined here"),),
            )  # fmt: skip
        inner = ctx.inside(dict(ctx.names), stage.span, path)
        try:
            result = call(inner, stage.call, [x])
        except Failed as failure:
            d = failure.diagnostic
            if d.code == "E0202" and d.primary.span == name.span:
                return self._guessed(ctx, stage, x, path)
            raise
        if not isinstance(result, Value):
            fail("E0303", f"a stage must give a tensor, not {describe(result)}", stage.span)
        return result

    def _guessed(self, ctx: Context, stage: s.Apply, x: Maybe, path: str) -> Maybe:
        """An unknown name is told; the walk goes on with the one that was probably meant."""
        name = stage.call.function
        known = ctx.definitions.names("layer", "fn")
        guess = closest(name.id, known)
        d = Diagnostic("E0202", f"there is no layer or function `{name.id}`", Label(name.span, "unknown"),
                       help=f"did you mean `{guess}`?" if guess else "")  # fmt: skip
        if guess is None or self.findings is None or self.layers != 1:
            raise Failed(d)
        self.findings.add(d)
        meant = replace(stage, call=replace(stage.call, function=s.Name(guess, span=name.span)))
        try:
            return self._applied(ctx, meant, x, path)
        except Failed:
            poisoned(stage.span)

    def _layer(self, ctx: Context, definition: s.Definition, stage: s.Apply, x: Maybe, path: str) -> Maybe:
        name = definition.name
        pattern = next((p for p in definition.body if isinstance(p, s.Input)), None)
        if pattern is None:
            fail("E0501", f"the layer `{name.id}` declares no input", name.span, "no input",
                 help="begin with its pattern: `input x: [..., in_features]`")  # fmt: skip
        names = bind(ctx, definition, stage.call.arguments, stage.call.span)
        if isinstance(x, Unknown):
            return UNKNOWN
        names["training"] = self.record.training
        inner = ctx.inside(dict(names), stage.span, path, definition)
        try:
            match_shape(inner, pattern, x, stage, definition)
        except Misfit as misfit:
            if self.findings is None or self.layers > 1 or misfit.shape is None:
                raise
            self.findings.add(self._with_flow(misfit.diagnostic))
            x = ops.input(ctx.graph, f"instead.{path}", x.dtype, misfit.shape)
            inner = ctx.inside(dict(names), stage.span, path, definition)
            match_shape(inner, pattern, x, stage, definition)
        if self.inside.count(name.id) >= MAX_RECURSION:
            fail(
                "E0204", f"the layer `{name.id}` contains itself without end", stage.span, "here once more",
                help="`repeat` makes copies in a row",
            )  # fmt: skip
        inner.names[pattern.name.id] = x
        for parameter in definition.parameters:
            if parameter.name.id not in inner.names:
                fail(
                    "E0403", f"`{parameter.name.id}` of `{name.id}` cannot be inferred", stage.span,
                    "it must be given", secondary=(Label(parameter.span, "no input pattern names it"),),
                )  # fmt: skip
        given = {pattern.name.id: x} | {p.name.id: inner.names[p.name.id] for p in definition.parameters}
        self.inside.append(name.id)
        try:
            result = self.body(inner, definition.body, x, path, stage.span)
        finally:
            self.inside.pop()
        if result is None:
            fail("E0504", f"the layer `{name.id}` returns nothing", name.span, "no stage, no `return`")
        if isinstance(result, Value) and in_library(name.span):
            ctx.graph.calls.append(Call(name.id, given, result, path))
        return result

    def _with_flow(self, d: Diagnostic) -> Diagnostic:
        """A shape error with the shapes that led to it."""
        if d.code not in _SHAPE_ERRORS or len(self.flow) < 2:
            return d
        rows = self.flow if len(self.flow) <= FLOW else [self.flow[0], ("...", ""), *self.flow[2 - FLOW :]]
        width = max(len(title) for title, _ in rows)
        lines = [f"{title.ljust(width)}  {shape}".rstrip() for title, shape in rows]
        return replace(d, notes=("\n".join(["the shapes up to here", *lines]), *d.notes))


_PLACES = {
    "state": "states stand in optimizers",
    "total": "totals stand in metrics",
}


def _bounded(ctx: Context, made: int, span: Span) -> None:
    """Refuses values beyond those made before that no memory would hold."""
    for value in ctx.graph.values[made:]:
        if elements(value.shape) > MAX_ELEMENTS_OF_ONE:
            within_limit(value.shape, value.dtype, span)


def _told_at(d: Diagnostic, span: Span, text: str) -> Diagnostic:
    """A failure inside a definition, with the stage that led there."""
    if in_library(d.primary.span):
        return seen_from(d, span, text)
    inside = span.source is d.primary.span.source and span.start <= d.primary.span.start < span.end
    if inside or any(x.span == span for x in d.secondary):
        return d
    return replace(
        d, secondary=(*d.secondary, Label(span, f"in this stage: {text}" if text else "in this stage"))
    )


def _label(stage: s.Stage, body: _Body) -> str:
    """A stage's place in parameter paths: its label, or its number."""
    if stage.label is None:
        return str(body.position)
    name, span = stage.label.id, stage.label.span
    if name in body.labels and name != HERE:
        fail("E0203", f"two stages are labelled `{name}`", span, "again here",
             secondary=(Label(body.labels[name], "first here"),))  # fmt: skip
    body.labels[name] = span
    return name


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _shown(x: Maybe) -> str:
    return "?" if isinstance(x, Unknown) else show_shape(x.shape)


def _title(stage: s.Stage) -> str:
    text = stage.span.text.split("\n")[0].strip()
    if text.endswith("{"):
        text += " ... }"
    return text if len(text) <= 40 else text[:37] + "..."
