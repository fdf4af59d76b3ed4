"""``netc bench``: how fast a program trains and predicts on this machine, beside what the plan predicts and the CPU's peak.

On a CUDA device there is neither a prediction nor a peak to set beside it: the line says by what plan the run was spread.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from ..compiler.backends.llvm.target import CPUS, NATIVE
from ..compiler.elaborate import Precision
from ..compiler.plan import duration
from ..devices import CPU, CUDA, DEVICES, plan_of
from ..forecast import forecast
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..model import Model
from ..runtime.cuda.plans import Plan
from ..runtime.cuda.run import Run as CudaRun
from ..runtime.peak import peak_flops
from ..training import Trainer, file_data
from .train import Options, batch_size, open_model

if TYPE_CHECKING:
    from ..peers import Case, Result

SAMPLES = 5
MOST_EPOCHS = 100_000
FIRST_RUNS = {CPU: 1, CUDA: 3}
"""Runs from which the length of a sample is found: on a device the first ones are mostly copies and launches."""
PEERS = ("torch", "jax")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured. Times in seconds, the best and the median of several samples; peak in operations a second.

    flops: of a training step, by the plan. On the CPU alone there are threads, ``predicted``, the plan's time for one of
    them, and ``peak``, in the program's type; on a CUDA device ``plan``, how the run was spread over it.
    """

    program: str
    batch: int
    device: str
    plan: str | None
    threads: int | None
    step: float
    step_median: float
    predicted: float | None
    flops: int
    peak: float | None
    predict_batch: float
    predict_row: float

    @property
    def rows_per_second(self) -> float:
        return self.batch / self.step

    @property
    def share(self) -> float | None:
        """The part of the peak that the plan's operations make of a step."""
        return None if self.peak is None else self.flops / self.step / self.peak


def peer_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names with commas, each of a peer that is installed."""
    names = tuple(dict.fromkeys(x.strip() for x in (value or "").split(",") if x.strip()))
    for name in names:
        if name not in PEERS:
            raise click.BadParameter(f"there is no {name}; there is {' and '.join(PEERS)}", ctx, param)
        if importlib.util.find_spec(name) is None:
            message = f'{name} is not installed: pip install "netc[bench]"'
            raise click.BadParameter(message, ctx, param)
    return names


@click.command("bench")
@click.argument("file")
@click.option("--batch", callback=batch_size, metavar="ROWS", help="Rows a step, or full.")
@click.option("--threads", type=click.IntRange(1, 1024), help="At most so many.")
@click.option("--seconds", type=click.FloatRange(0.01), default=2.0, show_default=True, help="For the steps.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option(
    "--precision", type=click.Choice(list(Precision)), help="Of products, whatever the program says."
)
@click.option(
    "--cpu", type=click.Choice(CPUS), default=NATIVE, help="What code is made for; by default this machine."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Replace a constant of the program."
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=CPU,
    show_default=True,
    help="Where to compute, whatever the program says.",
)
@click.option(
    "--plan", type=click.Choice(list(Plan)), help="How a CUDA device runs it; by default as a step is worth."
)
@click.option(
    "--against",
    callback=peer_names,
    metavar="PEERS",
    help="Also time the same steps in torch, jax or torch,jax.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    file: str, batch: int | str | None, threads: int | None, seconds: float, dtype: str,
    precision: str | None, cpu: str, pairs: tuple[str, ...], against: tuple[str, ...], as_json: bool,
    device: str, plan: str | None,
) -> None:  # fmt: skip
    """Time training steps and predictions of a .net file on its own data. Nothing is saved."""
    if against and device == CUDA:
        raise click.UsageError("--against compares on the CPU, --device cuda is timed alone")
    options = Options(file, None, batch, None, None, dtype, pairs, threads, cpu, precision, device, plan)
    model = open_model(options)
    if model.plan is not None and not model.plan.trains:
        label = Label(model.program.net.name.span)
        raise CompileError(
            (Diagnostic("E0802", "the train block has no optimizer: there are no steps to time", label),)
        )
    fresh = copy.deepcopy(model) if against else model
    found = measured(model, batch, threads, seconds, plan_of(plan))
    peers = beside(fresh, found, against, seconds)
    if as_json:
        extra: dict[str, Any] = {"rows_per_second": found.rows_per_second, "share_of_peak": found.share}
        if against:
            extra["against"] = {name: asdict(result) for name, result in peers.items()}
        click.echo(json.dumps(asdict(found) | extra))
    else:
        click.echo("\n".join([text(found), *(peer_line(n, r, found) for n, r in peers.items())]))


def beside(model: Model, found: Figures, names: tuple[str, ...], seconds: float) -> dict[str, Result]:
    """What came of each peer, on the same data with the model's initial weights and as many threads."""
    if not names:
        return {}
    from ..peers import NoCounterpart, Result, case_of, compared
    from ..peers.measure import keep_to

    training, _ = file_data(model)
    try:
        case: Case = case_of(model, training, found.batch)
    except NoCounterpart as error:
        return {name: Result(None, None, str(error)) for name in names}
    cores = found.threads or 1
    with keep_to(cores):
        losses = case.losses()
        return {name: compared(name, case, losses, seconds, cores) for name in names}


def peer_line(name: str, result: Result, found: Figures) -> str:
    """A peer's time and how many times it is slower, or why there is none."""
    if result.samples is None:
        return f"  {name:<18}not compared: {result.reason}"
    best = result.samples.best
    spread = "" if result.samples.median < 1.02 * best else f", median {duration(result.samples.median)}"
    return f"  {name:<18}{duration(best)}{spread}, {best / found.step:.2f} times netc's; losses agree to {result.difference:.0e}"


def measured(
    model: Model, batch: int | str | None, threads: int | None, seconds: float, plan: Plan | None = None
) -> Figures:
    """Steps without validation, in runs of several epochs; predictions as Python calls them, one at a time."""
    training, _ = file_data(model)
    inputs = training[: len(model.network.inputs)]
    run = _Timed(model, training, batch, threads, plan)
    epochs = 1
    for _ in range(FIRST_RUNS[model.device]):
        first, per_step = run(epochs)
        epochs = max(1, min(MOST_EPOCHS, int(seconds / SAMPLES / per_step / first.steps_per_epoch)))
    steps = [run(epochs)[1] for _ in range(SAMPLES)]
    total, native = forecast(first, peak_flops(1)), first.native
    on_cpu = model.device == CPU
    rows = [x[: first.batch] for x in inputs]
    one = [x[:1] for x in inputs]
    return Figures(
        model.program.name, first.batch, model.device, str(native.plan) if isinstance(native, CudaRun) else None,
        first.threads if on_cpu else None, min(steps), statistics.median(steps), total.seconds if on_cpu else None,
        total.forward + total.backward, _peak(model, first.threads) if on_cpu else None,
        called(lambda: model.predict(*rows)), called(lambda: model.predict(*one)),
    )  # fmt: skip


def _peak(model: Model, threads: int) -> float:
    """Of so many threads, in the program's type."""
    return peak_flops(threads) * 4 / model.program.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _Timed:
    """Runs of a model on the same rows, one after another."""

    model: Model
    training: tuple[object, ...]
    batch: int | str | None
    threads: int | None
    plan: Plan | None

    def __call__(self, epochs: int) -> tuple[Trainer, float]:
        """A run of so many epochs, and its seconds a step."""
        trainer = Trainer(
            self.model, self.training, None, epochs, self.batch, None, None, self.threads, self.plan
        )
        history = trainer.run()
        return trainer, history.seconds / max(trainer.native.get("step"), 1)


def called(run: Callable[[], object]) -> float:
    """The median of many calls."""
    run()
    seconds = []
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def text(x: Figures) -> str:
    spread = "" if x.step_median < 1.02 * x.step else f", median {duration(x.step_median)}"
    lines = [
        f"{x.program}: {x.batch:,} rows a step, {_where(x)}",
        f"  training step     {duration(x.step)}{spread}, {x.rows_per_second:,.0f} rows a second",
    ]
    if x.predicted is not None:
        lines.append(f"  predicted         {duration(x.predicted)} on one thread")
    if x.peak is not None:
        lines.append(
            f"  of the peak       {x.share:.0%} of {x.peak / 1e9:.0f} GFLOP/s, by the plan's operations"
        )
    predictions = (
        f"  predict a batch   {duration(x.predict_batch)}",
        f"  predict one row   {duration(x.predict_row)}",
    )
    return "\n".join([*lines, *predictions])


def _where(x: Figures) -> str:
    if x.threads is None:
        return f"on the CUDA device, plan {x.plan}"
    return f"{x.threads} thread{'s' if x.threads > 1 else ''}"
