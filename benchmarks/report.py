"""Results of the benchmarks, as a table and as JSON.

In: ``Row`` and ``Timing`` records. Out: text; a JSON object. Times are microseconds a step, best over median.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from netc.peers.measure import Samples

from .ours import Compilation
from .place import FULL
from .startup import Timing


@dataclass(frozen=True, slots=True)
class PeerResult:
    """``difference``: the largest relative difference of the first losses; ``samples`` None where it is too large, or where
    there is a ``failure``."""

    difference: float | None
    samples: Samples | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One workload; ``flops`` a step. predicted: seconds of a step on one thread, by the plan. ``failure`` says why there
    is no time of ours. compilation: measured on a device, where nothing is predicted."""

    name: str
    flops: float
    ours: Samples | None
    peers: dict[str, PeerResult] = field(default_factory=dict)
    failure: str = ""
    predicted: float = 0.0
    precision: str = FULL
    compilation: Compilation | None = None


COMPILATION = f"{'first s':>10}{'kept s':>8}"
"""Compilation until the first step, with nothing kept from before and with everything."""


CPU_SHARES, DEVICE_RATE = f"{'FMA':>7}{'planned':>9}", f"{'TFLOP/s':>9}"
"""What stands behind our time."""


def heading(peers: Sequence[str], shares: str = CPU_SHARES) -> str:
    columns = "".join(f"{p + ' us':>18}{'ratio':>8}" for p in peers)
    return f"{'workload':<16}{'netc us':>18}{shares}{columns}"


def line(row: Row, peers: Sequence[str], peak: float | None) -> str:
    """A row of the table: ours; our share of the peak and the predicted time over the measured one, or without a peak our
    TFLOP/s; each peer with how many times slower it is."""
    if row.ours is None:
        return f"{row.name:<16}  {row.failure}"
    rate = row.flops / row.ours.best
    text = f"{row.name:<16}{pair(row.ours):>18}"
    if peak is None:
        text += f"{number(rate / 1e12):>9}"
    else:
        text += f"{rate / peak:>7.0%}{row.predicted / row.ours.best:>8.2f}x"
    for peer in peers:
        result = row.peers[peer]
        if result.difference is None:
            text += f"  {peer}: {result.failure}"
        elif result.samples is None:
            text += f"  losses differ by {result.difference:.0e}"
        else:
            text += f"{pair(result.samples):>18}{result.samples.best / row.ours.best:>7.2f}x"
    if row.compilation is not None:
        text += f"{number(row.compilation.cold):>10}{number(row.compilation.kept):>8}"
    return text


def pair(samples: Samples) -> str:
    return f"{number(samples.best * 1e6)} / {number(samples.median * 1e6)}"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def startup_line(timing: Timing) -> str:
    unit, scale = ("us", 1e6) if timing.seconds < 1e-3 else ("ms", 1e3)
    return f"{timing.name:<34}{number(timing.seconds * scale):>9} {unit}{timing.peak_bytes / 2**20:>9.0f} MiB"


def machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": processor(), "cores": os.cpu_count()}


def processor() -> str:
    """The CPU's name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                (x.split(":")[1].strip() for x in file if x.startswith("model name")), platform.machine()
            )
    except OSError:
        return platform.processor() or platform.machine()


def as_json(rows: Sequence[Row], timings: Sequence[Timing], peak: float, threads: int) -> dict[str, Any]:
    """Everything that was measured, seconds as floats."""
    return {
        "machine": machine(),
        "threads": threads,
        "peak_flops": peak,
        "rows": [asdict(r) for r in rows],
        "startup": [asdict(t) for t in timings],
    }
