"""``netc eval``: the loss and metrics of saved weights, on the validation rows of the run's own data or on all of them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..api import load, make_model, open_program, take_weights
from ..data import Known
from ..devices import CPU, DEVICES
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..runtime.checkpoint import failure
from ..training import file_data
from .predict import weights_file


@click.command("eval")
@click.argument("weights")
@click.argument("program", required=False)
@click.option(
    "--device", type=click.Choice(DEVICES), default=CPU, show_default=True, help="Where to compute."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(weights: str, program: str | None, device: str, as_json: bool) -> None:
    """Loss and metrics of a run's best weights (or a weights file) on the data of its program, or of another PROGRAM."""
    file = weights_file(Path(weights))
    if file.suffix == ".net":
        raise click.UsageError(
            "name a run or a weights file, then the program: netc eval WEIGHTS PROGRAM.net"
        )
    saved = load(file)
    path = Path(program) if program else Path(saved.folder or ".") / Path(saved.program.source.name).name
    if program is None and not path.exists():
        advice = f"name it where it is now: netc eval {weights} PROGRAM.net"
        raise failure("E0001", f"the program of these weights is no longer at {path}", path, advice)
    model = make_model(
        open_program(
            path, dict(saved.program.definitions.constants), saved.program.dtype.value, saved.program.asked
        ),
        path.resolve().parent,
        known=Known(saved.scalers, saved.classes),
        device=device,
    )
    take_weights(model, file, saved.state_dict())
    if model.data is None or model.plan is None:
        missing = "train" if model.plan is None else "data"
        label = Label(model.program.net.name.span)
        raise CompileError((Diagnostic("E0802", f"the program has no {missing} block", label),))
    training, validation = file_data(model)
    found = {"training": model.evaluate(*training)}
    if validation is not None:
        found["validation"] = model.evaluate(*validation)
    if as_json:
        click.echo(json.dumps(found))
        return
    for rows, numbers in found.items():
        click.echo(f"{rows:<11}" + "  ".join(f"{name} {value:.6g}" for name, value in numbers.items()))
