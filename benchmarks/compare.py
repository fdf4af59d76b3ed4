"""What has become slower since an earlier run, by ratios: absolute times say little on a machine that others share.

In: two runs as JSON objects, a tolerance. Out: ``Change`` records. A workload counts as slower when it has lost more than
the tolerance against the peak and against every peer that both runs timed: a peer that is faster on a day, or a peak that
is, is no fault of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
TOLERANCE = 0.15


@dataclass(frozen=True, slots=True)
class Change:
    """by: for the peak and each peer, our ratio to it now divided by that of before; below 1 is slower."""

    workload: str
    by: Mapping[str, float]
    failure: str = ""

    def slower(self, tolerance: float) -> bool:
        return bool(self.failure) or all(x < 1 - tolerance for x in self.by.values())

    def line(self) -> str:
        if self.failure:
            return f"{self.workload:<16}  {self.failure}"
        parts = "".join(f"  {name} {x:.2f}x" for name, x in self.by.items())
        return f"{self.workload:<16}{parts}"


def earlier(threads: int) -> Path:
    """The committed run with that many threads."""
    return RESULTS / f"threads{threads}.json"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """One for each workload of both; one that could be measured before and fails now is a change too."""
    known = {row["name"]: row for row in before["rows"]}
    found = []
    for row in now["rows"]:
        old = known.get(row["name"])
        if old is None or old["ours"] is None:
            continue
        if row["ours"] is None:
            found.append(Change(row["name"], {}, row["failure"]))
            continue
        a, b = _ratios(old, before["peak_flops"]), _ratios(row, now["peak_flops"])
        found.append(Change(row["name"], {name: b[name] / a[name] for name in a if name in b}))
    return found


def _ratios(row: Mapping[str, Any], peak: float) -> dict[str, float]:
    """How fast we are, in units of the peak and of each peer."""
    best = min(row["ours"]["seconds"])
    found = {"peak": 1 / (best * peak)}
    for name, result in row["peers"].items():
        if result["samples"] is not None:
            found[name] = min(result["samples"]["seconds"]) / best
    return found


def load(path: Path) -> dict[str, Any]:
    """A run; raises ValueError when the file is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not {"rows", "peak_flops", "threads"} <= found.keys():
            raise ValueError
    except (OSError, ValueError, AttributeError):
        raise ValueError(f"{path} is no run of the benchmarks (made by --json)") from None
    return found
