"""``python -m benchmarks``: runs the workloads, prints the table, writes JSON.

In: options. Out: a line for each workload as soon as it is done. With ``--precision bf16`` the peer is netc in full
precision. With ``--device cuda`` the rows are those of ``gpu.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from netc.peers.measure import keep_to, peak_flops

from . import compare, gpu, peers, report, startup
from .place import BF16, CPU, CUDA, FULL, Place
from .rows import measured
from .workloads import WORKLOADS

COMMITTED = "the committed run"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Shorter samples; figures within some ten percent.")
@click.option(
    "--threads", default=1, show_default=True, help="Threads of netc, of the peers and of the peak."
)
@click.option("--rows", default="", help="Workloads by name, with commas; all of them otherwise.")
@click.option(
    "--peers", "wanted", default="torch,torch-graphs,jax", show_default=True, help="Peers, where installed."
)
@click.option(
    "--device", type=click.Choice([CPU, CUDA]), default=CPU, show_default=True, help="Where all compute."
)
@click.option(
    "--precision", type=click.Choice([FULL, BF16]), default=FULL, show_default=True,
    help="bf16: products of rounded factors, beside netc in full precision instead of the peers.",
)  # fmt: skip
@click.option("--startup/--no-startup", "with_startup", default=True, help="Processes, compilation, memory.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Also write everything here.")
@click.option(
    "--compare", "against", metavar="[RUN]", is_flag=False, flag_value=COMMITTED, type=click.Path(path_type=Path),
    help="Fail where a row has lost more than 15 % since an earlier run (JSON), by default the committed one.",
)  # fmt: skip
@click.pass_context
def main(
    ctx: click.Context,
    quick: bool,
    threads: int,
    rows: str,
    wanted: str,
    device: str,
    precision: str,
    with_startup: bool,
    path: Path | None,
    against: Path | None,
) -> None:
    """Time a training step of netc and of its peers."""
    budget = 0.4 if quick else 3.0
    asked = [p for p in peers.installed(device) if p in wanted.split(",")]
    if device == CUDA:
        _refuse(ctx, "threads", "precision", "with_startup", "against")
        result = gpu.run(_chosen(rows, gpu.ROWS), asked, budget)
        _write(path, result)
        return
    before = None if against is None else _earlier(against, threads)
    names = asked if precision == FULL else [FULL]
    with keep_to(threads):
        peak = peak_flops(threads)
        alone = peak if threads == 1 else peak_flops(1)
        place = Place(threads, CPU, precision)
        found = _on_the_cpu(_chosen(rows, WORKLOADS), names, budget, place, (peak, alone))
    timings = startup.measure(2 if quick else 7) if with_startup else []
    for timing in timings:
        click.echo(report.startup_line(timing))
    result = report.as_json(found, timings, peak, threads)
    _write(path, result)
    if before is not None:
        slower = _compared(before, result)
        if slower:
            raise click.ClickException(f"slower than before: {', '.join(slower)}")


def _on_the_cpu(
    names: list[str], beside: list[str], budget: float, place: Place, peaks: tuple[float, float]
) -> list[report.Row]:
    """peaks: of all threads, and of one."""
    peak, alone = peaks
    plural = "s" if place.threads > 1 else ""
    click.echo(f"{report.processor()}, {place.threads} thread{plural}: {peak / 1e9:.0f} GFLOP/s of FMA")
    click.echo(report.heading(beside))
    found = []
    for name in names:
        found.append(measured(WORKLOADS[name], beside, budget, place, alone))
        click.echo(report.line(found[-1], beside, peak))
    return found


def _chosen(rows: str, known: Mapping[str, Any]) -> list[str]:
    """The rows that are asked for, or all."""
    chosen = [x for x in rows.split(",") if x] or list(known)
    unknown = [x for x in chosen if x not in known]
    if unknown:
        raise click.BadParameter(f"no workload {', '.join(unknown)}; there are {', '.join(known)}")
    return chosen


def _refuse(ctx: click.Context, *names: str) -> None:
    """Options that have no meaning on a device."""
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name in names:
            raise click.UsageError(f"{parameter.opts[0]} is for --device cpu")


def _write(path: Path | None, result: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def _earlier(path: Path, threads: int) -> dict[str, Any]:
    try:
        before = compare.load(compare.earlier(threads) if str(path) == COMMITTED else path)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--compare") from None
    if before["threads"] != threads:
        message = f"it was made with --threads {before['threads']}"
        raise click.BadParameter(message, param_hint="--compare")
    return before


def _compared(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Prints how the ratios have changed; gives the names of workloads that are slower."""
    found = compare.changes(before, json.loads(json.dumps(now)))
    click.echo(f"against the run on {before['machine']['processor']}, times as fast as then:")
    for change in found:
        click.echo(change.line())
    return [x.workload for x in found if x.slower(compare.TOLERANCE)]


if __name__ == "__main__":
    main()
