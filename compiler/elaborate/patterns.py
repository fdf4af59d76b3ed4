"""The input pattern of a layer against the shape it is given: names are bound, sizes are compared."""

from __future__ import annotations

from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import Span
from ...grammar.suggest import did_you_mean
from ..graph import ROWS, DType, Shape, Value, show_shape
from .expressions import evaluate
from .values import Context, Failed, describe, fail


class Misfit(Failed):
    """The input does not fit the pattern. ``shape`` is one that would, when it can be told."""

    def __init__(self, diagnostic: Diagnostic, shape: Shape | None) -> None:
        super().__init__(diagnostic)
        self.shape = shape


def dtype_named(name: s.Name | None, default: DType) -> DType:
    """``float`` is the program's precision."""
    if name is None or name.id == "float":
        return default
    if name.id not in DType.__members__:
        known = ["float", *DType.__members__]
        fail("E0406", f"there is no element type `{name.id}`", name.span, "unknown",
             help=did_you_mean(name.id, known, "there are " + ", ".join(known)))  # fmt: skip
    return DType[name.id]


def match_shape(ctx: Context, pattern: s.Input, x: Value, stage: s.Apply, definition: s.Definition) -> None:
    """Binds the names of a layer's input pattern to the sizes of its input, or raises Misfit."""
    items = list(pattern.shape.items)
    shape = list(x.shape)
    name, text = definition.name.id, pattern.shape.span.text
    given = f"the input is {show_shape(x.shape)}"
    declared = (Label(pattern.shape.span, f"`{name}` takes {text}"),)
    dots = [i for i, item in enumerate(items) if isinstance(item, s.Ellipsis_)]
    if len(dots) > 1:
        fail("E0303", "an input pattern has at most one `...`", items[dots[1]].span, "a second one")
    fits = len(shape) >= len(items) - 1 if dots else len(shape) == len(items)
    if not fits:
        message = f"`{name}` needs an input {text}, not {show_shape(x.shape)}"
        advice = _reshaping(len(items), len(shape)) if not dots else ""
        raise Misfit(Diagnostic("E0401", message, Label(stage.span, given), declared, help=advice), None)
    middle: list[Any] = []
    if dots:
        last = len(shape) - len(items) + 1 + dots[0]
        middle = shape[dots[0] : last]
        shape[dots[0] : last] = []
        items.pop(dots[0])
    wanted = [_extent(ctx, item, extent) for item, extent in zip(items, shape, strict=True)]
    for item, extent, expected in zip(items, shape, wanted, strict=True):
        if expected != extent:
            at = dots[0] if dots else len(wanted)
            corrected = (*wanted[:at], *middle, *wanted[at:])
            possible = all(d is ROWS or (isinstance(d, int) and d > 0) for d in corrected)
            raise Misfit(
                _different(definition, stage, item, expected, extent, given, declared),
                corrected if possible else None,
            )
    if pattern.dtype is not None and x.dtype is not dtype_named(pattern.dtype, ctx.dtype):
        message = f"`{name}` needs an input of {pattern.dtype.id}, not of {x.dtype.value}"
        fail("E0406", message, stage.span, f"the input is {x.type}", secondary=declared)


def _extent(ctx: Context, item: s.Expr, extent: Any) -> Any:
    """What the pattern wants of one dimension; a name that is not bound takes the size it meets."""
    if isinstance(item, s.Name) and item.id not in ctx.names:
        ctx.names[item.id] = extent
    return evaluate(ctx, item)


def _different(
    definition: s.Definition, stage: s.Apply, item: s.Expr, expected: Any, extent: Any, given: str,
    declared: tuple[Label, ...],
) -> Diagnostic:  # fmt: skip
    name = definition.name.id
    if not isinstance(expected, int) and expected is not ROWS:
        return Diagnostic(
            "E0303",
            f"a size is needed for `{name}`, not {describe(expected)}",
            Label(stage.span, given),
            declared,
        )
    if not isinstance(item, s.Name) or item.id not in (p.name.id for p in definition.parameters):
        message = f"`{name}` needs a size of {expected} where its input has {extent}"
        return Diagnostic("E0401", message, Label(stage.span, given), declared)
    message = f"`{name}` is given {item.id} = {expected}, but its input has {extent}"
    where = _argument(stage, definition, item.id)
    advice = f"write {extent}"
    if any(p.inferred and p.name.id == item.id for p in definition.parameters):
        advice = f"leave it out, it is inferred from the input, or write {extent}"
    labels = (*((Label(stage.span, given),) if where != stage.span else ()), *declared)
    primary = Label(where, f"the input has {extent}") if where != stage.span else Label(where, given)
    return Diagnostic("E0403", message, primary, labels, help=advice)


def _argument(stage: s.Apply, definition: s.Definition, name: str) -> Span:
    """Where a stage gives a parameter, or the stage."""
    for argument in stage.call.arguments:
        if argument.name == name:
            return argument.span
    positional = [p.name.id for p in definition.parameters if not p.keyword_only]
    written = [a for a in stage.call.arguments if a.name is None]
    if name in positional and positional.index(name) < len(written):
        return written[positional.index(name)].span
    return stage.span


def _reshaping(wanted: int, given: int) -> str:
    if wanted == 4 and given == 2:
        return "rows become images with `unflatten(1, [channels, height, width])`"
    if wanted == 4 and given == 3:
        return "a channel is added with `unflatten(1, [1, height])`"
    if wanted == 2 and given > 2:
        return "`flatten` makes rows of images"
    return ""
