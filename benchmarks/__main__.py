"""``python -m benchmarks``: runs the workloads, prints the table, writes JSON.

In: options. Out: a line for each workload as soon as it is done. Losses come first: unless the first twenty agree to
1e-4 with a peer's from the same weights on the same data, that peer's time is not shown. With ``--precision bf16`` the peer is
netc in full precision, and the losses must agree to what rounded factors allow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from netc.peers import AGREEMENT, difference
from netc.peers.case import STEPS
from netc.peers.measure import keep_to, peak_flops, sample

from . import compare, peers, report, startup
from .ours import Ours
from .workloads import WORKLOADS, Workload

ROUNDED_AGREEMENT = 2e-2
FULL = "full"
"""netc in full precision, as a peer."""
COMMITTED = "the committed run"


def run(
    workload: Workload, names: list[str], budget: float, threads: int, peak: float, precision: str = FULL
) -> report.Row:
    """Measures one workload; a failure of ours becomes part of the table. peak: of one thread."""
    data = workload.data()
    try:
        ours = Ours(workload, data, threads, precision)
        losses = ours.losses(STEPS)
        samples = sample(ours.train, budget)
        predicted = ours.predicted(peak)
    except Exception as error:  # the table must be whole even where a workload cannot be compiled yet
        return report.Row(
            workload.name,
            workload.flops,
            None,
            failure=f"{type(error).__name__}: {error}".split("\n")[0][:120],
        )
    results = {}
    for name in names:
        full = name == FULL
        runner = (
            Ours(workload, data, threads) if full else peers.make(name, workload, ours.state, data, threads)
        )
        worst = difference(losses, runner.losses(STEPS))
        fits = worst <= (ROUNDED_AGREEMENT if full else AGREEMENT)
        results[name] = report.PeerResult(worst, sample(runner.train, budget) if fits else None)
    return report.Row(workload.name, workload.flops, samples, results, predicted=predicted)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Shorter samples; figures within some ten percent.")
@click.option(
    "--threads", default=1, show_default=True, help="Threads of netc, of the peers and of the peak."
)
@click.option("--rows", default="", help="Workloads by name, with commas; all of them otherwise.")
@click.option("--peers", "wanted", default="torch,jax", show_default=True, help="Peers, where installed.")
@click.option(
    "--precision", type=click.Choice([FULL, "bf16"]), default=FULL, show_default=True,
    help="bf16: products of rounded factors, beside netc in full precision instead of the peers.",
)  # fmt: skip
@click.option("--startup/--no-startup", "with_startup", default=True, help="Processes, compilation, memory.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Also write everything here.")
@click.option(
    "--compare", "against", metavar="[RUN]", is_flag=False, flag_value=COMMITTED, type=click.Path(path_type=Path),
    help="Fail where a row has lost more than 15 % since an earlier run (JSON), by default the committed one.",
)  # fmt: skip
def main(
    quick: bool,
    threads: int,
    rows: str,
    wanted: str,
    precision: str,
    with_startup: bool,
    path: Path | None,
    against: Path | None,
) -> None:
    """Time a training step of netc and of its peers."""
    before = None if against is None else _earlier(against, threads)
    chosen = [x for x in rows.split(",") if x] or list(WORKLOADS)
    unknown = [x for x in chosen if x not in WORKLOADS]
    if unknown:
        raise click.BadParameter(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    names = [p for p in peers.installed() if p in wanted.split(",")] if precision == FULL else [FULL]
    found = []
    with keep_to(threads):
        peak = peak_flops(threads)
        alone = peak if threads == 1 else peak_flops(1)
        click.echo(
            f"{report.processor()}, {threads} thread{'s' if threads > 1 else ''}: {peak / 1e9:.0f} GFLOP/s of FMA"
        )
        click.echo(report.heading(names))
        for name in chosen:
            budget = 0.4 if quick else 3.0
            found.append(run(WORKLOADS[name], names, budget, threads, alone, precision))
            click.echo(report.line(found[-1], names, peak))
    timings = startup.measure(2 if quick else 7) if with_startup else []
    for timing in timings:
        click.echo(report.startup_line(timing))
    result = report.as_json(found, timings, peak, threads)
    if path is not None:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if before is not None:
        slower = _compared(before, result)
        if slower:
            raise click.ClickException(f"slower than before: {', '.join(slower)}")


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
