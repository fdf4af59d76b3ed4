"""``netc predict``: saved weights on observations from a CSV or .npy file."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import click
import numpy as np

from ..api import load
from ..grammar.source import Source, Span
from ..runtime import tables
from ..runtime.checkpoint import write_atomically


@click.command("predict")
@click.argument("weights")
@click.argument("data")
@click.option("-o", "--output", help="A CSV file; standard output without it.")
def command(weights: str, data: str, output: str | None) -> None:
    """Apply the weights of a run (or a weights file) to the rows of DATA: a .npy file or a CSV with one column an input."""
    model = load(weights_file(Path(weights)))
    spec = model.network.inputs[0]
    rows = _rows(Path(data), int(np.prod(spec.shape)))
    rows = rows.reshape(len(rows), *spec.shape)
    if spec.name in model.scalers:
        rows = model.scalers[spec.name].apply(rows)
    result = model.predict(rows)
    if "target" in model.scalers:
        result = model.scalers["target"].invert(result)
    text = _table(result.reshape(len(result), -1), model.classes.get("target"))
    if output:
        write_atomically(Path(output), text.encode())
    else:
        sys.stdout.write(text)


def weights_file(path: Path) -> Path:
    """A run's folder stands for its best weights, or its last where there are no best."""
    if not path.is_dir():
        return path
    best = path / "best.safetensors"
    return best if best.exists() else path / "last.safetensors"


def _rows(path: Path, width: int) -> np.ndarray:
    span = Span(Source(str(path), ""), 0, 0)
    if path.suffix == ".npy":
        return np.asarray(tables.load_arrays(path, "npy", span)[""], np.float64)
    names, rows, _ = tables.read_csv(path, span)
    if len(names) != width:
        raise click.UsageError(f"{path} has {len(names)} columns, the network takes {width} numbers a row")
    tables.check_cells(path, range(width), span)
    return np.array([[float(cell) for cell in row] for row in rows])


def _table(result: np.ndarray, classes: list[str] | None) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if classes:
        writer.writerow(["class"])
        writer.writerows([classes[int(i)]] for i in result.argmax(1))
    else:
        writer.writerow([f"output{i}" for i in range(result.shape[1])])
        writer.writerows([repr(float(v)) for v in row] for row in result)
    return text.getvalue()
