"""One workload measured: netc, then whatever it is set beside.

In: a workload, names of rivals, seconds to spend on each. Out: ``report.Row``. Losses come first: unless the first twenty
agree with a rival's from the same weights on the same data, that one's time is not shown. Rivals are the peers; netc in full
precision; and on a device netc by each of its plans.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from netc.peers import AGREEMENT, difference
from netc.peers.case import STEPS
from netc.peers.measure import Samples, sample
from netc.runtime.cuda.plans import Plan

from . import peers, report
from .ours import Array, Ours, compilation, empty_cache
from .place import CUDA, FULL, Place
from .workloads import Workload

ROUNDED_AGREEMENT = 2e-2
"""Of products of rounded factors with others that are rounded elsewhere."""
SLOW = 2.0
"""Seconds that a first run may take, an epoch at least, for others to follow it."""


def measured(
    workload: Workload, names: Sequence[str], budget: float, place: Place, peak: float = 0.0
) -> report.Row:
    """peak: of one thread of the CPU, from which a step is predicted. A failure of ours becomes part of the table. On a device everything is compiled anew, and timed."""
    if place.device != CUDA:
        return _measured(workload, names, budget, place, peak)
    with empty_cache():
        return _measured(workload, names, budget, place, peak)


def _measured(
    workload: Workload, names: Sequence[str], budget: float, place: Place, peak: float
) -> report.Row:
    data = workload.data()
    row = report.Row(workload.name, workload.flops, None, precision=place.precision)
    clock = sample if place.device != CUDA else patient_sample
    try:
        compiled = compilation(workload, data, place) if place.device == CUDA else None
        ours = Ours(workload, data, place)
        losses = ours.losses(STEPS)
        samples = clock(ours.train, budget)
        predicted = ours.predicted(peak) if place.device != CUDA else 0.0
    except Exception as error:  # the table must be whole even where a workload cannot be compiled yet
        return replace(row, failure=first_line(error))

    def beside(name: str) -> report.PeerResult:
        runner = rival(name, workload, ours, data)
        worst = difference(losses, runner.losses(STEPS))
        fits = worst <= agreement(name, place)
        return report.PeerResult(worst, clock(runner.train, budget) if fits else None)

    results = {name: beside(name) if place.device != CUDA else _or_failure(name, beside) for name in names}
    return replace(row, ours=samples, peers=results, compilation=compiled, predicted=predicted)


def patient_sample(run: Callable[[int], float], budget: float) -> Samples:
    """Samples that fill the budget; a single one of what takes long, such as a large network in one block."""
    start = time.perf_counter()
    first = run(1)
    return Samples((first,)) if time.perf_counter() - start > SLOW else sample(run, budget)


def rival(name: str, workload: Workload, ours: Ours, data: tuple[Array, Array]) -> peers.Runner:
    if name == FULL:
        return Ours(workload, data, replace(ours.place, precision=FULL))
    if name in list(Plan):
        return Ours(workload, data, replace(ours.place, plan=name))
    return peers.make(name, workload, ours.state, data, ours.place)


def agreement(name: str, place: Place) -> float:
    """How far losses may lie apart: netc by another plan rounds alike."""
    return ROUNDED_AGREEMENT if place.rounded and name not in list(Plan) else AGREEMENT


def _or_failure(name: str, beside: Callable[[str], report.PeerResult]) -> report.PeerResult:
    try:
        return beside(name)
    except Exception as error:  # a framework without the device, or too large for it
        return report.PeerResult(None, None, first_line(error))


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:120]


__all__ = ["measured", "patient_sample"]
