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

from .startup import Timing


@dataclass(frozen=True, slots=True)
class PeerResult:
    """``difference``: the largest relative difference of the first losses; ``samples`` None where it is too large."""

    difference: float
    samples: Samples | None


@dataclass(frozen=True, slots=True)
class Row:
    """One workload; ``flops`` a step. predicted: seconds of a step on one thread, by the plan. ``failure`` says why there
    is no time of ours."""

    name: str
    flops: float
    ours: Samples | None
    peers: dict[str, PeerResult] = field(default_factory=dict)
    failure: str = ""
    predicted: float = 0.0


def heading(peers: Sequence[str]) -> str:
    columns = "".join(f"{p + ' us':>18}{'ratio':>8}" for p in peers)
    return f"{'workload':<16}{'netc us':>18}{'FMA':>7}{'planned':>9}{columns}"


def line(row: Row, peers: Sequence[str], peak: float) -> str:
    """A row of the table: ours, our share of the peak, the predicted time over the measured one, each peer with how many
    times slower it is."""
    if row.ours is None:
        return f"{row.name:<16}  {row.failure}"
    share, planned = row.flops / row.ours.best / peak, row.predicted / row.ours.best
    text = f"{row.name:<16}{pair(row.ours):>18}{share:>7.0%}{planned:>8.2f}x"
    for peer in peers:
        result = row.peers[peer]
        if result.samples is None:
            text += f"  losses differ by {result.difference:.0e}"
        else:
            text += f"{pair(result.samples):>18}{result.samples.best / row.ours.best:>7.2f}x"
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
