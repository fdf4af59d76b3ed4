"""Metrics from the totals that a run or an evaluation has added up.

In: the ``epoch_end`` graph and totals by name. Out: numbers by the metrics' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .compiler.graph import Graph
from .compiler.interpreter import evaluate


def finish_metrics(end: Graph, totals: Mapping[str, Any]) -> dict[str, float]:
    """Metrics from their totals, by the ``epoch_end`` graph."""
    if not end.outputs:
        return {}
    found = evaluate(end, {n: np.asarray(v, np.float64) for n, v in totals.items() if n.startswith("total.")})
    return {n.removeprefix("metric."): float(v) for n, v in found.items()}
