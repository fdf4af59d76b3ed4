"""``netc show``: a stage of compilation, as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..api import make_model, open_program
from ..compiler import units
from ..compiler.backends.llvm.compile import assembly
from ..compiler.backends.llvm.module import Entry, Module
from ..compiler.backends.llvm.target import CPUS, NATIVE, Target, named
from ..compiler.cost import Machine
from ..compiler.drawing import FORMATS, draw
from ..compiler.elaborate import Goal, Precision, check_fit
from ..compiler.formula import formulas
from ..compiler.graph import Graph
from ..compiler.listing import listing
from ..compiler.loops.arrangement import many
from ..compiler.loops.lower import lower
from ..compiler.loops.text import unit_text
from ..compiler.loops.unit import Unit
from ..compiler.pipeline import build_cuda, module_text
from ..compiler.plan import make_plan, table
from ..compiler.program import outline as program_outline
from ..compiler.program import training
from ..devices import CPU
from ..grammar.diagnostics import CompileError, Diagnostic
from ..grammar.files import read_source
from ..grammar.outline import outline
from ..grammar.parser import parse
from ..model import Model
from ..runtime.cuda.units import whole_text
from .entry import PREFIX, show_entry
from .main import settings_of
from .probe import prober

STAGES = ("ast", "graph", "gradient", "loops", "program", "llvm", "asm", "cuda", "plan")
UNITS = ("step", "gradient", "evaluate", "predict", "forward", "backward", "train")
DEFAULT_ROWS = 64


@click.command("show")
@click.argument("file")
@click.option("--stage", type=click.Choice(STAGES), default="plan", show_default=True)
@click.option("--graph", "form", type=click.Choice(FORMATS), help="Draw the graph for Mermaid or Graphviz.")
@click.option(
    "--unit", type=click.Choice(UNITS), help="What is compiled; by default step, or predict without a train block."
)  # fmt: skip
@click.option(
    "--rows", type=click.IntRange(1), help="Observations a step for the plan; by default the batch."
)
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
@click.option(
    "--cpu", type=click.Choice(CPUS), default=NATIVE, help="What code is made for; by default this machine."
)
@click.option(
    "--precision", type=click.Choice(list(Precision)), help="Of products, whatever the program says."
)
@click.option("-o", "output", metavar="FILE", help="Write to a file.")
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
def command(
    file: str, stage: str, form: str | None, unit: str | None, rows: int | None, as_json: bool, cpu: str,
    precision: str | None, output: str | None, pairs: tuple[str, ...],
) -> None:  # fmt: skip
    """Print a stage of the compilation of a .net file, or an entry of the library: `netc show library:gelu`."""
    if as_json and stage != "plan":
        raise click.UsageError("--json is for --stage plan")
    if file.startswith(PREFIX):
        text = show_entry(file.removeprefix(PREFIX))
    elif stage == "ast" and form is None:
        text = _syntax(file)
    else:
        shown = _Shown(file, settings_of(pairs), named(cpu), precision)
        text = shown.drawing(form, unit) if form is not None else shown.text(stage, unit, rows, as_json)
    if output is None:
        click.echo(text)
    else:
        Path(output).write_text(text + "\n", encoding="utf-8")


def _syntax(file: str) -> str:
    source = read_source(file)
    if isinstance(source, Diagnostic):
        raise CompileError((source,))
    tree, found = parse(source)
    if found:
        raise CompileError(found)
    return outline(tree)


class _Shown:
    """A program, elaborated: its stages on demand."""

    def __init__(self, file: str, settings: dict[str, Any], target: Target, precision: str | None) -> None:
        program = open_program(file, settings, precision=precision)
        folder = Path(file).resolve().parent
        self.target = target
        self.model: Model = make_model(program, folder, target=target, device=CPU)
        self.plan = self.model.plan
        self.goal: Goal | None = None
        if self.plan is not None:
            self.goal = check_fit(self.model.network, self.plan, program.data(prober(folder)))
        names = {x.path: f"{x.path}  {x.name}" for x in self.model.network.layers}
        self.layer_name: Callable[[str], str] = lambda path: names.get(path, path)

    def text(self, stage: str, unit: str | None, rows: int | None, as_json: bool) -> str:
        if stage in ("llvm", "asm"):
            text = self._module(unit)[0]
            return text if stage == "llvm" else assembly(text, self.target)
        if stage == "cuda":
            return self._cuda(unit)
        if stage == "program":
            return self._program()
        if stage == "gradient":
            return formulas(self.graph(unit or "gradient"))
        graph = self.graph(unit)
        if stage == "graph":
            return listing(graph, self.layer_name)
        many_rows = graph.name in self._many_rows(rows)
        lowered = lower(graph, self.model.orders, vector_bytes=self.target.vector_bytes, many_rows=many_rows)
        if stage == "loops":
            return unit_text(lowered, self.layer_name)
        machine = Machine(vector_bytes=self.target.vector_bytes)
        found = make_plan(self.model.network, graph, lowered, rows or self._rows(), machine)
        return json.dumps(asdict(found), indent=2) if as_json else table(found)

    def drawing(self, form: str, unit: str | None) -> str:
        return draw(self.graph(unit), form, self.layer_name)

    def graph(self, unit: str | None) -> Graph:
        """The graph of a unit; raises UsageError when the program has no such unit."""
        network, plan, goal = self.model.network, self.plan, self.goal
        trains = plan is not None and plan.trains
        unit = unit or ("step" if trains else "predict")
        if unit == "predict":
            return units.predict(network)
        if unit == "forward":
            return units.forward(network)
        if unit == "backward":
            return units.backward(network, training=True)
        if plan is None or goal is None:
            raise click.UsageError(f"a program without a train block has no {unit}")
        make = {"gradient": units.gradient, "evaluate": units.evaluate}.get(unit, units.step)
        return units.checked(lambda: make(network, plan, goal))

    def _module(self, unit: str | None) -> tuple[str, dict[str, Unit], dict[str, Entry], tuple[str, ...]]:
        """LLVM text, units, entries and names of metric totals: of one unit, or of the whole run."""
        lowered: dict[str, Unit] = {}
        entries: dict[str, Entry] = {}
        graphs = [self.graph(unit)]
        if unit == "train" and self.model.data is not None and self.model.data.validation is not None:
            graphs.append(self.graph("evaluate"))
        text, totals = module_text(
            {g.name: g for g in graphs},
            self.model.orders,
            Module(),
            lowered,
            entries,
            self.target,
            train=unit == "train",
            many_rows=self._many_rows(None),
        )
        return text, lowered, entries, totals

    def _cuda(self, unit: str | None) -> str:
        """The CUDA C++ of one unit."""
        if unit == "train":
            raise click.UsageError("--stage cuda shows one unit: step, gradient, evaluate, predict, ...")
        graph = self.graph(unit)
        artifact = build_cuda({graph.name: graph}, self.model.orders)
        return whole_text(artifact.code.decode()).rstrip()

    def _program(self) -> str:
        _, lowered, entries, totals = self._module("train")
        tables = {name: entry.buffers for name, entry in entries.items()}
        return f"{self._settings()}\n\n{program_outline(training(lowered, tables, totals), lowered)}"

    def _settings(self) -> str:
        """What the run is given when it starts, as remarks."""
        assert self.plan is not None
        length = f"{self.plan.steps} steps" if self.plan.steps else f"{self.plan.epochs} epochs"
        order = "in a new order every epoch" if self.plan.shuffle and self.plan.batch else "in their order"
        words = [
            f"# {self.model.network.name}: {length}, batches of {self.plan.batch or 'all rows'}, {order}"
        ]
        if self.model.data is not None:
            held = self.model.data.validation
            known = len(self.model.data.training["target"])
            words.append(f"# {known} rows, {0 if held is None else len(held['target'])} held out")
        if self.plan.patience:
            words.append(f"# ends after {self.plan.patience} epochs without a smaller loss")
        return "\n".join(words)

    def _many_rows(self, rows: int | None) -> frozenset[str]:
        """The units of a run that see many observations at a time."""
        return many(dict.fromkeys(("step", "evaluate"), rows or self._rows()))

    def _rows(self) -> int:
        """The observations of a step."""
        known = len(self.model.data.training["target"]) if self.model.data is not None else DEFAULT_ROWS
        batch = self.plan.batch if self.plan is not None else None
        return min(batch or known, known) if self.model.data is not None else batch or known
