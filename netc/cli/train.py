"""``netc train``: compile, run, report, save."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .. import __version__
from ..api import make_model, open_program, runnable
from ..compiler.backends.llvm.target import CPUS, NATIVE
from ..compiler.elaborate import Precision
from ..compiler.elaborate.training import MOST_REPLICAS
from ..devices import CPU, CUDA, DEVICES, plan_of
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span
from ..model import Model
from ..runs import refuse, restore, save_best, save_run, settings
from ..runtime.cuda.plans import Plan
from ..runtime.rundir import HistoryFile, create, latest, write_json
from ..training import Diverged, EpochRow, History, Trainer
from .main import settings_of
from .output import print_diagnostics
from .reporters import Reporter, make_reporter

SAVE_SECONDS = 10.0
CODES = {"interrupted": 130, "diverged": 3}
LATEST = "the latest"
ALLOWED_WITH_RESUME = ("file", "epochs", "threads", "device", "plan", "out", "resume", "quiet", "as_json")


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is started with; kept in run.json, from which a resumed run takes it."""

    file: str
    epochs: int | None = None
    batch: int | str | None = None
    lr: float | None = None
    seed: int | None = None
    dtype: str = "float32"
    set: tuple[str, ...] = ()
    threads: int | None = None
    cpu: str = NATIVE
    precision: str | None = None
    device: str | None = None
    plan: str | None = None
    replicas: int | None = None


def stored(options: Options) -> dict[str, Any]:
    """The options as run.json keeps them, from wherever it is resumed."""
    return {**asdict(options), "file": str(Path(options.file).resolve())}


def batch_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """A number of rows, or ``full``."""
    if value is None or value == "full":
        return value
    number: int = click.IntRange(1, 2**40)(value, param, ctx)
    return number


@click.command("train")
@click.argument("file", required=False)
@click.option("--epochs", type=click.IntRange(1, 2**40), help="Passes over the training rows.")
@click.option("--batch", callback=batch_size, metavar="ROWS", help="Rows a step, or full.")
@click.option("--lr", type=float, help="The optimizer's learning rate.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of weights, shuffling and dropout.")
@click.option("--threads", type=click.IntRange(1, 1024), help="At most so many; results do not depend on it.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option(
    "--precision", type=click.Choice(list(Precision)), help="Of products, whatever the program says."
)
@click.option(
    "--cpu", type=click.Choice(CPUS), default=NATIVE, help="What code is made for; by default this machine."
)
@click.option("--device", type=click.Choice(DEVICES), help="Where to compute, whatever the program says.")
@click.option(
    "--plan", type=click.Choice(list(Plan)), help="How a CUDA device runs it; by default as a step is worth."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
@click.option(
    "--replicas", type=click.IntRange(1, MOST_REPLICAS), metavar="N",
    help="Train N networks side by side, with the seeds from --seed on.",
)  # fmt: skip
@click.option("--out", default="runs", show_default=True, help="Where the run's folder is made.")
@click.option(
    "--resume", metavar="[RUN]", is_flag=False, flag_value=LATEST,
    help="Go on with an interrupted run: its folder, or the latest run of FILE.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an epoch.")
@click.pass_context
def command(
    ctx: click.Context, file: str | None, epochs: int | None, batch: int | str | None, lr: float | None,
    seed: int | None, threads: int | None, dtype: str, precision: str | None, cpu: str, pairs: tuple[str, ...],
    out: str, resume: str | None, quiet: bool, as_json: bool, device: str | None, plan: str | None,
    replicas: int | None,
) -> None:  # fmt: skip
    """Train the network of a .net file on the data that it names."""
    if resume is not None:
        _refuse_other_options(ctx)
        folder = _run_folder(file, resume, Path(out))
        options = _resumed(folder, epochs, threads, device, plan)
        options = replace(options, file=file) if file is not None else options
    elif file is None:
        raise click.UsageError("name a .net file, or a run to --resume")
    else:
        options = Options(
            file, epochs, batch, lr, seed, dtype, pairs, threads, cpu, precision, device, plan, replicas
        )
    model = open_model(options)
    count = options.replicas or (model.plan.replicas if model.plan is not None else None) or 1
    if count > 1:
        from .replicas import train_replicas

        if resume is None:
            folder = create(Path(out), model.program.name)
        code = train_replicas(
            model, replace(options, replicas=count), folder, resume is not None, quiet, as_json
        )
        if code:
            raise click.exceptions.Exit(code)
        return
    trainer = Trainer(
        model, (), None, options.epochs, options.batch, None, None, options.threads, plan_of(options.plan)
    )
    if resume is None:
        folder = create(Path(out), model.program.name)
    else:
        restore(folder, model, trainer)
    code = _run(folder, model, trainer, options, make_reporter(model, trainer.rows, quiet, as_json))
    if code:
        raise click.exceptions.Exit(code)


def _refuse_other_options(ctx: click.Context) -> None:
    for parameter in ctx.command.params:
        name = parameter.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in ALLOWED_WITH_RESUME:
            raise click.UsageError(
                f"a resumed run keeps its {parameter.opts[0]}; start a new one to change it"
            )


def _run_folder(file: str | None, resume: str, out: Path) -> Path:
    """The run that is meant: by its folder, or the latest one of a program."""
    if resume.endswith(".net") and file is None:
        file, resume = resume, LATEST
    if resume != LATEST:
        return Path(resume)
    if file is None:
        raise click.UsageError("--resume needs a run's folder, or a .net file whose latest run is meant")
    name = open_program(file).name
    found = latest(out, name)
    if found is None:
        raise refuse(out, f"{out} holds no run of `{name}`", f"start one: netc train {file}")
    return found


def _resumed(
    folder: Path, epochs: int | None, threads: int | None, device: str | None, plan: str | None
) -> Options:
    """What the run was started with, and what is asked for now. On the CPU its plan is forgotten."""
    try:
        known = dict(settings(folder)["options"])
        fields = {k: v for k, v in known.items() if k in Options.__dataclass_fields__}
        options = Options(**{**fields, "set": tuple(fields.get("set", ()))})
        plan_of(options.plan)
    except (KeyError, TypeError, ValueError):
        raise refuse(folder, f"{folder}/run.json does not tell how the run was started") from None
    return replace(
        options, epochs=epochs or options.epochs, threads=threads or options.threads, device=device or options.device,
        plan=plan or (None if device == CPU else options.plan),
    )  # fmt: skip


def open_model(options: Options) -> Model:
    """The model of a program that has data and training; raises CompileError."""
    try:
        constants = settings_of(tuple(options.set))
        program = open_program(options.file, constants, options.dtype, options.precision)
    except ValueError as error:
        raise click.UsageError(f"--precision: {error}") from None
    for name, block in (("train", program.train_block), ("data", program.data_block)):
        if block is None:
            label = Label(program.net.name.span)
            raise CompileError((Diagnostic("E0802", f"the program has no {name} block", label),))
    try:
        target = runnable(options.cpu)
    except ValueError as error:
        raise click.UsageError(f"--cpu: {error}") from None
    folder = Path(options.file).resolve().parent
    model = make_model(program, folder, options.seed, target=target, device=options.device)
    if options.plan is not None and model.device != CUDA:
        raise click.UsageError("--plan is for a CUDA device, and this runs on the CPU: add --device cuda")
    if options.lr is not None and model.plan is not None:
        try:
            model.plan = model.plan.with_learning_rate(options.lr)
        except ValueError as error:
            raise click.UsageError(f"--lr: {error}") from None
    return model


class Record:
    """The files of a run in progress."""

    def __init__(self, folder: Path, model: Model, trainer: Trainer, options: Options) -> None:
        self.folder, self.model, self.trainer, self.options = folder, model, trainer, options
        self.metrics = [m.name for m in model.plan.metrics] if model.plan else []
        self.started = time.time()
        self.history: HistoryFile | None = None

    def begin(self) -> None:
        self.save("running")
        self.history = HistoryFile(
            self.folder / "history.csv", ["epoch", "loss", "validation_loss", *self.metrics]
        )

    def epoch(self, row: EpochRow) -> None:
        assert self.history is not None
        self.history.add(
            row.epoch, row.loss, row.validation_loss, *(row.metrics.get(m) for m in self.metrics)
        )

    def save(self, status: str) -> None:
        """Weights and run.json, each whole or not at all."""
        if self.history is not None:
            self.history.flush()
        save_run(self.folder, self.model, self.trainer)
        native, now = self.trainer.native, time.time()
        content = {
            "netc": __version__, "status": status,
            "options": stored(self.options),
            "started": self.started, "seconds": now - self.started, "epoch": native.get("epoch"),
            "step": native.get("step"), "best_epoch": native.get("best_epoch") + 1,
        }  # fmt: skip
        write_json(self.folder / "run.json", content)

    def finish(self, status: str) -> None:
        """The last save."""
        if self.history is not None:
            self.history.close()
        self.save(status)

    def end(self, status: str) -> list[str]:
        """The last save, and the weights where the program wants them; gives the names of what was written."""
        self.finish(status)
        files = [n for n in ("best.safetensors", "last.safetensors") if (self.folder / n).exists()]
        written = [str(self.folder / n) for n in (*files, "history.csv", "run.json")]
        place = self.model.plan.save if self.model.plan else None
        if place is not None and self.model.folder is not None:
            save_best(self.model.folder / place, self.model, self.trainer)
            written.append(str(self.model.folder / place))
        return written


def _run(folder: Path, model: Model, trainer: Trainer, options: Options, reporter: Reporter) -> int:
    """Runs to the end or an interruption, saves, and gives the exit code."""
    record = Record(folder, model, trainer, options)
    try:
        record.begin()
        status, history = _train(trainer, record, reporter, options)
        written = record.end(status)
    except CompileError as error:
        raise with_way_back(error, folder) from None
    reporter.end(folder, status, history, written)
    return CODES.get(status, 0)


def _train(trainer: Trainer, record: Record, reporter: Reporter, options: Options) -> tuple[str, History]:
    """The run itself: how it ended and, where it was not cut short, its history."""

    def on_epoch(row: EpochRow) -> None:
        record.epoch(row)
        reporter.epoch(row)

    reporter.begin(trainer.epochs)
    try:
        history = trainer.run(on_epoch, on_save=lambda: record.save("running"), save_seconds=SAVE_SECONDS)
        return history.status, history
    except KeyboardInterrupt:
        return "interrupted", History()
    except Diverged as error:
        reporter.close()
        print_diagnostics((_diverged(error, options),), "full")
        return "diverged", History()
    finally:
        reporter.close()


def with_way_back(error: CompileError, folder: Path) -> CompileError:
    """A run that cannot be saved any more is whole on disk as of its last save: the message says how to go on."""
    if not (folder / "run.json").exists():
        with contextlib.suppress(OSError):
            folder.rmdir()
        return error
    advice = f"the run is as it was last saved; make room, then go on with: netc train --resume {folder}"
    return CompileError(tuple(replace(d, help=advice) if d.code == "E0705" else d for d in error.diagnostics))


def _diverged(error: Diverged, options: Options) -> Diagnostic:
    span = error.span if error.span is not None else Span(Source(options.file, ""), 0, 0)
    advice = "a smaller learning rate (--lr), a warm-up, or `clip` in the train block"
    return Diagnostic("E0801", str(error), Label(span, "not finite from here on"), help=advice)


__all__ = ["CODES", "SAVE_SECONDS", "Options", "Record", "command", "open_model", "stored", "with_way_back"]
