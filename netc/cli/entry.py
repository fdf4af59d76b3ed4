"""``netc show library:NAME``: one entry of the library: its text, its example with shapes, its formulas and derivative.

In: a name. Out: the text as it stands in ``library/*.net`` and what the compiler makes of its example. The example is the
last line of the comment above an entry; entries without one are parts of others:

    # Example: conv2d(8, 3) on [3, 16, 16]              a stage on observations of that shape (``: int64`` behind it)
    # Example: mse_loss() of [3] and [3]                a loss of output and target
    # Example: step_lr(0.1, 10)                         an optimizer, a schedule, an initialiser, a metric
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..compiler import units
from ..compiler.elaborate import Network, library_definition, library_names
from ..compiler.elaborate.program import load
from ..compiler.formula import formulas
from ..compiler.graph import ROWS, DType, Graph, TensorType, show_shape
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span
from ..grammar.suggest import did_you_mean
from ..grammar.syntax import Definition

PREFIX = "library:"
MOST_LINES = 16
"""Longer derivatives say nothing to a reader."""
_EXAMPLE = re.compile(r"^# Example: (.+)$", re.M)
_SHAPE = r"(\[[\d, ]*\](?:: \w+)?)"


@dataclass(frozen=True, slots=True)
class Example:
    """A use of an entry. shapes: of one observation: the input's, or those of output and target, or none."""

    call: str
    shapes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        joined = " and ".join(self.shapes)
        return self.call + (f" {'on' if len(self.shapes) == 1 else 'of'} {joined}" if joined else "")


def show_entry(name: str) -> str:
    """The entry; raises CompileError (E0202) when the library has no such name."""
    definition = library_definition(name)
    if definition is None:
        where = Label(Span(Source(PREFIX + name, ""), 0, 0))
        advice = did_you_mean(name, library_names())
        raise CompileError((Diagnostic("E0202", f"the library has no `{name}`", where, help=advice),))
    head = f"# {definition.span.source.name}, line {definition.span.line}"
    shown = derivative(definition)
    return "\n".join([head, "", written(definition), *(["", *shown] if shown else [])])


def comment(definition: Definition) -> str:
    """The comment above the definition, without its example."""
    return _EXAMPLE.sub("", _above(definition)).strip("\n")


def written(definition: Definition) -> str:
    """The definition with the comment above it, as they stand in the file."""
    above = _above(definition)
    return (above + "\n" if above else "") + body(definition)


def body(definition: Definition) -> str:
    """The definition's lines."""
    source, span = definition.span.source, definition.span
    last = source.text.count("\n", 0, span.end)
    return "\n".join(source.text.split("\n")[span.line - 1 : last + 1])


def _above(definition: Definition) -> str:
    lines = definition.span.source.text.split("\n")
    first = last = definition.span.line - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first:last])


def example(definition: Definition) -> Example | None:
    """The example of an entry, None for a part of others."""
    found = _EXAMPLE.search(_above(definition))
    if found is None:
        return None
    text = found.group(1)
    stage = re.fullmatch(rf"(.*) on {_SHAPE}", text)
    loss = re.fullmatch(rf"(.*) of {_SHAPE} and {_SHAPE}", text)
    call, *shapes = (stage or loss).groups() if stage or loss else (text,)  # type: ignore[union-attr]
    return Example(call, tuple(shapes))


def program(kind: str, use: Example) -> str:
    """A whole program around an example."""
    shape = use.shapes[0] if use.shapes else "[4]"
    stage, settings, before = "identity", "", ""
    match kind:
        case "layer" | "fn" if len(use.shapes) == 2:
            settings = f"loss = {use.call}"
        case "layer" | "fn" if use.shapes:
            stage = use.call
        case "fn":
            before = f"layer example() {{ input x: [...]; y = {use.call}; return x }}\n"
            stage = "example"
        case "init":
            weight = use.shapes[0] if use.shapes else "[4, 4]"
            before = f"layer example() {{ input x: [n, 4]; param weight: {weight} = {use.call}; return x + 0 * sum(weight) }}\n"
            shape, stage = "[4]", "example"
        case "optimizer":
            stage, settings = "linear(2)", f"loss = mse_loss(); optimizer = {use.call}"
        case "schedule":
            stage, settings = "linear(2)", f"loss = mse_loss(); optimizer = sgd(lr = {use.call})"
        case "metric":
            goal = "cross_entropy_loss()" if use.call == "accuracy" else "mse_loss()"
            settings = f"loss = {goal}; metrics = [{use.call}]"
    train = f"\ntrain {{ {settings} }}" if settings else ""
    return f"{before}net entry {{ input x: {shape}; {stage} }}{train}\n"


def network(use: Example) -> Network:
    """The network of an example on a shape. Raises CompileError when it does not fit."""
    return load(Source(Path(use.call).name, program("layer", use))).network()


def derivative(definition: Definition) -> list[str]:
    """Lines with the example, what it gives, and the formulas of output and gradients where they are short."""
    use = example(definition)
    if use is None or definition.kind not in ("fn", "layer") or not use.shapes:
        return []
    if len(use.shapes) == 2:
        graphs = _loss(use)
        given = f"output: {_batch(use.shapes[0])}, target: {_batch(use.shapes[1])}"
    else:
        made = network(use)
        graphs = (units.predict(made), units.backward(made, training=True))
        given = f"x: {_batch(use.shapes[0])} gives {show_shape(made.output_shape)}"
    lines = [line for graph in graphs for line in _formulas(graph)]
    return [f"# {use.call} on {given}", *(lines if len(lines) <= MOST_LINES else [])]


def _formulas(graph: Graph) -> list[str]:
    """Without the legend and the layers."""
    return [
        re.sub(r"\s+# .*$", "", line)
        for line in formulas(graph).split("\n")
        if line and not line.startswith("#")
    ]


def _batch(shape: str) -> str:
    """The shape with observations in front."""
    dims, _, kind = shape.partition(":")
    inner = dims.strip("[]")
    return f"[n, {inner}]" + (f":{kind}" if kind else "") if inner else f"[n]{f':{kind}' if kind else ''}"


def _loss(use: Example) -> tuple[Graph, Graph]:
    """A loss and its gradient by the output."""
    made = load(Source(use.call, program("fn", use)))
    plan = made.train()
    assert plan is not None
    kinds = []
    for shape in use.shapes:
        dims, _, kind = shape.partition(":")
        sizes = tuple(int(d) for d in re.findall(r"\d+", dims))
        kinds.append(TensorType(DType(kind.strip() or "float32"), (ROWS, *sizes)))
    goal = {"target": kinds[1]}
    return units.loss(plan, kinds[0], goal), units.loss_backward(plan, kinds[0], goal)
