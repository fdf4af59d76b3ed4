"""``netc show``: a stage of compilation, as text."""

from __future__ import annotations

from pathlib import Path

import click

from ..api import make_model, open_program
from ..compiler import units
from ..compiler.backends.llvm.compile import assembly
from ..compiler.backends.llvm.module import Module
from ..compiler.elaborate import check_fit
from ..compiler.formula import formulas
from ..compiler.graph import Graph
from ..compiler.pipeline import module_text
from .main import settings_of
from .probe import prober

STAGES = ("ast", "graph", "gradient", "llvm", "asm", "plan")


@click.command("show")
@click.argument("file")
@click.option("--stage", type=click.Choice(STAGES), default="plan", show_default=True)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
def command(file: str, stage: str, pairs: tuple[str, ...]) -> None:
    """Print a stage of the compilation of a .net file."""
    program = open_program(file, settings_of(pairs))
    if stage == "ast":
        click.echo(program.net)
        return
    folder = Path(file).resolve().parent
    model = make_model(program, folder)
    if stage == "plan":
        click.echo(model.summary())
        return
    if model.plan is None:
        graph = units.predict(model.network)
    else:
        target = check_fit(model.network, model.plan, program.data(prober(folder)))
        make = units.gradient if stage == "gradient" else units.step
        graph = make(model.network, model.plan, target)
    if stage == "gradient":
        click.echo(formulas(graph))
        return
    if stage == "graph":
        click.echo(_graph(graph))
        return
    text, _ = module_text({graph.name: graph}, model.orders, Module(), {}, {}, train=False)
    click.echo(text if stage == "llvm" else assembly(text))


def _graph(graph: Graph) -> str:
    lines = [
        f"{value!r}" + (f"    # {value.origin.layer}" if value.origin.layer else "") for value in graph.live()
    ]
    return "\n".join([*lines, *(f"{name} <- %{value.id}" for name, value in graph.outputs.items())])
