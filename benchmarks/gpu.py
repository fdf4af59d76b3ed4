"""``python -m benchmarks --device cuda``: the rows of a GPU, behind what the device charges for launches and barriers.

In: names of rows and of peers. Out: lines as soon as they are known, and everything as a JSON object. Beside the peers stands
netc by each of its plans, so that what it chooses for itself can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from netc.runtime.cuda import device
from netc.runtime.cuda.driver import MissingDevice
from netc.runtime.cuda.plans import Plan

from . import costs, report
from .place import BF16, CUDA, FULL, Place
from .rows import measured
from .workloads import WORKLOADS, Workload

BATCHES = (128, 1024, 8192)
STEPS_PER_EPOCH = 4
"""Of the largest batch: as many rows are made for it."""


def _of_batch(batch: int) -> Workload:
    mlp = WORKLOADS["mlp"]
    rows = max(mlp.rows, STEPS_PER_EPOCH * batch)
    return replace(mlp, name=f"mlp-{batch}", rows=rows, batch=batch)


def _rows() -> dict[str, tuple[Workload, str]]:
    """Workloads with their precision; a name tells of the one that is not exact."""
    mlps = [_of_batch(batch) for batch in BATCHES]
    before, behind = ([WORKLOADS[n] for n in names] for names in (("seed", "mexp"), ("lenet", "cnn", "wide")))
    exact = {w.name: (w, FULL) for w in (*before, *mlps, *behind)}
    rounded = {f"{w.name}-bf16": (replace(w, name=f"{w.name}-bf16"), BF16) for w in (*mlps, behind[-1])}
    return exact | rounded


ROWS = _rows()


def found_device() -> Any:
    """The device; ends with a line and code 1 where there is none."""
    try:
        return device.find()
    except MissingDevice as error:
        raise click.ClickException(f"no CUDA device: {error}; {error.help}") from None


def run(names: Sequence[str], beside: Sequence[str], budget: float) -> dict[str, Any]:
    """Measures the rows beside the peers and the plans."""
    found = found_device()
    columns = [*beside, *Plan]
    click.echo(described(found))
    charged = costs.measure(found)
    for text in costs.lines(charged):
        click.echo(text)
    click.echo(report.heading(columns, report.DEVICE_RATE) + report.COMPILATION)
    rows = []
    for name in names:
        workload, precision = ROWS[name]
        rows.append(measured(workload, columns, budget, Place(device=CUDA, precision=precision)))
        click.echo(report.line(rows[-1], columns, None))
    return {
        "machine": report.machine(), "device": asdict(found.machine), "costs": asdict(charged),
        "compiler": list(found.compiler), "rows": [asdict(row) for row in rows],
    }  # fmt: skip


def described(found: Any) -> str:
    machine, compiler = found.machine, found.compiler
    driver = ".".join(map(str, machine.version))
    return (
        f"{machine.name}, sm_{machine.architecture}, {machine.processors} processors, driver for CUDA {driver}, "
        f"NVRTC {compiler[0]}.{compiler[1]}"
    )


__all__ = ["ROWS", "run"]
