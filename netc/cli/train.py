"""``netc train``: compile, run, report, save."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from .. import __version__
from ..api import make_model, open_program
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..model import Model, with_learning_rate
from ..runs import restore, save_run, settings
from ..runtime.rundir import HistoryFile, create, write_json
from ..training import Diverged, EpochRow, History, Trainer
from .main import settings_of
from .reporters import Reporter, make_reporter

SAVE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is started with; kept in run.json, from which a resumed run takes it."""

    file: str
    epochs: int | None
    batch: int | None
    lr: float | None
    seed: int | None
    dtype: str
    set: tuple[str, ...]


@click.command("train")
@click.argument("file", required=False)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training rows.")
@click.option("--batch", type=click.IntRange(1), help="Rows a step.")
@click.option("--lr", type=float, help="The optimizer's learning rate.")
@click.option("--seed", type=int, help="Of weights, shuffling and dropout.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
@click.option("--out", default="runs", show_default=True, help="Where the run's folder is made.")
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run, by its folder.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an epoch.")
def command(
    file: str | None, epochs: int | None, batch: int | None, lr: float | None, seed: int | None, dtype: str,
    pairs: tuple[str, ...], out: str, resume: str | None, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train the network of a .net file on the data that it names."""
    if resume is not None:
        folder = Path(resume)
        known = settings(folder)
        options = Options(**{k: known["options"][k] for k in Options.__dataclass_fields__})
        options = Options(**{**asdict(options), "epochs": epochs or options.epochs})
    elif file is None:
        raise click.UsageError("name a .net file, or a run to --resume")
    else:
        options = Options(file, epochs, batch, lr, seed, dtype, pairs)
    model = open_model(options)
    trainer = Trainer(model, (), None, options.epochs, options.batch, None, None)
    if resume is None:
        folder = create(Path(out), model.program.name)
    else:
        restore(folder, model, trainer)
    code = _run(folder, model, trainer, options, make_reporter(model, quiet, as_json))
    if code:
        raise click.exceptions.Exit(code)


def open_model(options: Options) -> Model:
    """The model of a program that has data and training; raises CompileError."""
    program = open_program(options.file, settings_of(tuple(options.set)), options.dtype)
    for name, block in (("train", program.train_block), ("data", program.data_block)):
        if block is None:
            label = Label(program.net.name.span)
            raise CompileError((Diagnostic("E0802", f"the program has no {name} block", label),))
    model = make_model(program, Path(options.file).resolve().parent, options.seed)
    if options.lr is not None and model.plan is not None:
        model.plan = with_learning_rate(model.plan, options.lr)
    return model


def _run(folder: Path, model: Model, trainer: Trainer, options: Options, reporter: Reporter) -> int:
    """Runs to the end or an interruption, saves, and gives the exit code."""
    metrics = [m.name for m in model.plan.metrics] if model.plan else []
    history_file = HistoryFile(folder / "history.csv", ["epoch", "loss", "validation_loss", *metrics])
    started = time.time()
    status, code, history = "finished", 0, History()

    def record(state: str) -> None:
        content = {
            "netc": __version__, "status": state, "options": {**asdict(options), "file": str(Path(options.file).resolve())},
            "started": started, "seconds": time.time() - started, "epoch": trainer.native.get("epoch"),
            "step": trainer.native.get("step"), "best_epoch": trainer.native.get("best_epoch") + 1,
        }  # fmt: skip
        write_json(folder / "run.json", content)

    def on_save() -> None:
        save_run(folder, model, trainer)
        record("running")

    def on_epoch(row: EpochRow) -> None:
        history_file.add(row.epoch, row.loss, row.validation_loss, *(row.metrics.get(m) for m in metrics))
        reporter.epoch(row)

    on_save()
    reporter.begin(trainer.epochs)
    try:
        history = trainer.run(on_epoch, on_save=on_save, save_seconds=SAVE_SECONDS)
        status = history.status
    except KeyboardInterrupt:
        status, code = "interrupted", 130
    except Diverged as error:
        status, code = "diverged", 3
        reporter.close()
        click.echo(f"error[E0801]: {error}", err=True)
    history_file.close()
    save_run(folder, model, trainer)
    record(status)
    reporter.end(folder, status, history)
    return code


__all__ = ["Options", "command", "open_model"]
