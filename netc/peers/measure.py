"""Clocks: repeated samples of a step's time, on as many cores as are wanted.

In: callables. Out: ``Samples``.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..runtime.peak import peak_flops

MOST_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds a step, one entry for each sample of many steps."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def sample(run: Callable[[int], float], budget: float, samples: int = 7) -> Samples:
    """``run(steps)`` takes that many steps and returns its seconds; sizes samples to fill ``budget`` seconds."""
    run(1)  # caches, allocators, compilers
    steps, seconds = 1, run(1)
    while seconds < budget / samples / 4 and steps < MOST_STEPS:
        steps *= 4
        seconds = run(steps)
    steps = min(max(1, int(steps * budget / samples / max(seconds, 1e-9))), MOST_STEPS)
    return Samples(tuple(run(steps) / steps for _ in range(samples)))


@contextmanager
def keep_to(threads: int) -> Iterator[None]:
    """Keeps this process to that many cores, where the system allows it.

    Not every library honours the number of threads it is given; none can leave the cores of its process.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


__all__ = ["Samples", "keep_to", "peak_flops", "sample"]
