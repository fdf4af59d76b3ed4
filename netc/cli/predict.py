"""``netc predict``: saved weights on observations from a table or an array, to a table or an array."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from ..api import load, make_model, open_program, take_weights
from ..devices import CPU, DEVICES
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span
from ..model import Model
from ..observations import Given, inputs, refuse
from ..runtime import checkpoint, tables
from .main import settings_of

ARRAYS = {".npy": "npy", ".npz": "npz", ".safetensors": "safetensors"}


@click.command("predict")
@click.argument("run")
@click.argument("data", default="-", metavar="[INPUT|-]")
@click.option(
    "-o", "--output", metavar="FILE", help="A .csv or .npy file; CSV on standard output without it."
)
@click.option("--weights", metavar="FILE", help="Weights for the program that is named instead of a run.")
@click.option(
    "--device", type=click.Choice(DEVICES), default=CPU, show_default=True, help="Where to compute."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
def command(
    run: str, data: str, output: str | None, weights: str | None, device: str, pairs: tuple[str, ...]
) -> None:
    """Apply the weights of a run to observations.

    RUN is a run's folder (its best weights), a weights file that netc wrote, or a .net program with --weights.
    INPUT is a CSV, .npy, .npz or safetensors file with what the program's data block reads, or - for CSV on standard
    input. Columns are chosen, computed and scaled as they were for training; the target may be missing.
    """
    if output is not None and Path(output).suffix not in (".csv", ".npy"):
        raise click.UsageError(f"-o takes a .csv or .npy file, not {output}")
    model = _model(run, weights, pairs, device)
    given = read(data)
    ready = inputs(model, given)
    try:
        result = model.predict(**ready)
    except ValueError as error:
        refuse(given, "E0608", str(error))
    if "target" in model.scalers:
        result = model.scalers["target"].invert(result)
    if output is not None and output.endswith(".npy"):
        buffer = io.BytesIO()
        np.save(buffer, result)
        checkpoint.write_atomically(Path(output), buffer.getvalue())
        return
    text = table(result, model.classes.get("target"))
    if output is not None:
        checkpoint.write_atomically(Path(output), text.encode())
    else:
        sys.stdout.write(text)


def _model(run: str, weights: str | None, pairs: tuple[str, ...], device: str) -> Model:
    if run.endswith(".net"):
        if weights is None:
            raise click.UsageError(f"--weights FILE says with which weights; {run} is a program")
        program = open_program(run, settings_of(pairs))
        tensors, _ = checkpoint.load(weights_file(Path(weights)))
        model = make_model(program, Path(run).resolve().parent, device=device)
        take_weights(model, weights_file(Path(weights)), tensors)
        return model
    if weights is not None or pairs:
        raise click.UsageError("--weights and --set go with a .net program; a run has its own")
    return load(weights_file(Path(run)), device=device)


def weights_file(path: Path) -> Path:
    """A run's folder stands for its best weights, or its last where there are no best."""
    if not path.is_dir():
        return path
    best = path / "best.safetensors"
    return best if best.exists() else path / "last.safetensors"


def read(data: str) -> Given:
    """The observations in a file, or on standard input for ``-``; raises CompileError."""
    kind = ARRAYS.get(Path(data).suffix)
    where = Span(Source(data, ""), 0, 0)
    if kind is not None:
        arrays = tables.load_arrays(Path(data), kind, where)
        wrong = [n for n, a in arrays.items() if a.dtype.kind not in "biuf" or a.ndim == 0]
        if wrong:
            message = f"{data} holds {arrays[wrong[0]].dtype} values of shape {list(arrays[wrong[0]].shape)}"
            help_text = "rows of numbers are needed"
            raise CompileError((Diagnostic("E0604", message, Label(where), help=help_text),))
        return Given(data, arrays=arrays)
    if data != "-":
        return Given(data, tables.read_csv(Path(data), where))
    if sys.stdin.isatty():
        raise click.UsageError("name a file with observations, or pipe CSV into standard input")
    name = "standard input"
    try:
        return Given(name, tables.parse_csv(sys.stdin.read(), name, Span(Source(name, ""), 0, 0)))
    except UnicodeDecodeError:
        refuse(Given(name), "E0609", "standard input is no CSV text: it is not UTF-8 text")


def table(result: NDArray[np.floating], classes: list[str] | None) -> str:
    """CSV: the class of each row where the target is one, else the numbers of each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    flat = result.reshape(len(result), -1)
    if classes and result.ndim == 2 and flat.shape[1] in (1, len(classes)):
        writer.writerow(["class"])
        chosen = flat.argmax(1) if flat.shape[1] > 1 else (flat[:, 0] > 0).astype(np.int64)
        writer.writerows([classes[int(i)]] for i in chosen)
    else:
        writer.writerow([f"output{i}" for i in range(flat.shape[1])])
        writer.writerows([repr(float(v)) for v in row] for row in flat)
    return text.getvalue()
