"""``netc train``: compile, run, report, save."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import __version__
from ..api import make_model, open_program
from ..model import Model
from ..runtime.checkpoint import save
from ..runtime.cpu import view
from ..runtime.rundir import HistoryFile, create, write_json
from ..training import Diverged, EpochRow, History, Trainer
from .main import settings_of


@click.command("train")
@click.argument("file")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training rows.")
@click.option("--batch", type=click.IntRange(1), help="Rows a step.")
@click.option("--seed", type=int, help="Of weights, shuffling and dropout.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
@click.option("--out", default="runs", show_default=True, help="Where the run's folder is made.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an epoch.")
def command(
    file: str, epochs: int | None, batch: int | None, seed: int | None, dtype: str, pairs: tuple[str, ...], out: str,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train the network of a .net file on the data that it names."""
    program = open_program(file, settings_of(pairs), dtype)
    if program.train_block is None or program.data_block is None:
        from ..grammar.diagnostics import CompileError, Diagnostic, Label

        missing = "train" if program.train_block is None else "data"
        raise CompileError(
            (Diagnostic("E0802", f"the program has no {missing} block", Label(program.net.name.span)),)
        )
    model = make_model(program, Path(file).resolve().parent, seed)
    folder = create(Path(out), program.name)
    printer = _Printer(model, quiet, as_json)
    printer.begin()
    columns = (
        ["epoch", "loss", "validation_loss", *(m.name for m in model.plan.metrics)] if model.plan else []
    )
    history_file = HistoryFile(folder / "history.csv", columns)
    started = time.time()
    settings: dict[str, Any] = {"file": file, "seed": model.seed, "dtype": dtype, "set": list(pairs)}
    trainer = Trainer(model, (), None, epochs, batch, None, None)

    def on_epoch(row: EpochRow) -> None:
        history_file.add(row.epoch, row.loss, row.validation_loss, *row.metrics.values())
        printer.epoch(row, trainer.epochs)

    status, code = "finished", 0
    history = History()
    try:
        history = trainer.run(on_epoch)
        status = history.status
    except KeyboardInterrupt:
        status, code = "interrupted", 130
    except Diverged as error:
        status, code = "diverged", 3
        click.echo(f"error[E0801]: {error}", err=True)
    history_file.close()
    _save(folder, model, trainer)
    record = {
        "netc": __version__, **settings, "status": status, "started": started, "seconds": time.time() - started,
        "best_epoch": trainer.native.get("best_epoch") + 1, "steps": trainer.native.get("step"),
    }  # fmt: skip
    write_json(folder / "run.json", record)
    printer.end(folder, status, history)
    if code:
        raise click.exceptions.Exit(code)


def _save(folder: Path, model: Model, trainer: Trainer) -> None:
    metadata = {
        "source": model.program.source.text,
        "name": model.program.source.name,
        "dtype": model.program.dtype.value,
    }
    data = model.data
    if data is not None:
        scalers = {n: [s.shift.tolist(), s.scale.tolist()] for n, s in data.scalers.items()}
        metadata |= {"scalers": json.dumps(scalers), "classes": json.dumps(data.classes)}
        widths = {s.name: list(s.shape) for s in model.network.inputs}
        metadata["widths"] = json.dumps(widths)
    save(folder / "last.safetensors", model.state_dict(), metadata)
    if np.isfinite(trainer.native.double("best")):
        views = {x.name: view(trainer.best, x, x.fixed) for x in model.memory.layouts}
        best = {n.split(".", 1)[1]: a for n, a in views.items() if not n.startswith("state.")}
        save(folder / "best.safetensors", {n: best[n] for n in model.state_dict()}, metadata)


class _Printer:
    """What training looks like: the shape table, a line now and then, and where everything was written."""

    def __init__(self, model: Model, quiet: bool, as_json: bool) -> None:
        self.model, self.quiet, self.as_json = model, quiet, as_json
        self.every = model.plan.log_every if model.plan else 1

    def begin(self) -> None:
        if not self.quiet and not self.as_json:
            click.echo(self.model.summary() + "\n")

    def epoch(self, row: EpochRow, epochs: int) -> None:
        if self.as_json:
            record = {
                "epoch": row.epoch,
                "loss": row.loss,
                "validation_loss": row.validation_loss,
                **row.metrics,
            }
            click.echo(json.dumps(record))
        elif not self.quiet and (row.epoch % self.every == 0 or row.epoch == epochs):
            click.echo(_line(row, epochs))

    def end(self, folder: Path, status: str, history: History) -> None:
        if self.quiet or self.as_json:
            return
        seconds = f" in {history.seconds:.2f} s" if history.rows else ""
        best = " and best.safetensors" if (folder / "best.safetensors").exists() else ""
        click.echo(f"\n{status}{seconds}; wrote {folder}/last.safetensors{best}, history.csv, run.json")
        click.echo(f"next: netc predict {folder} DATA.csv")


def _line(row: EpochRow, epochs: int) -> str:
    parts = [f"epoch {row.epoch:>{len(str(epochs))}}", f"loss {row.loss:.6g}"]
    if row.validation_loss is not None:
        parts.append(f"validation {row.validation_loss:.6g}")
    parts += [f"{name} {value:.4f}" for name, value in row.metrics.items()]
    return "  ".join(parts)


__all__ = ["command"]
