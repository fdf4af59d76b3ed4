"""Those that netc is measured against, on any program: PyTorch and JAX, imported only when they are asked for.

In: a model with its data. Out: ``Result`` for each peer: its time, or why there is none. The first losses come first:
unless they agree with netc's from the same weights on the same data, no time is shown.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from .case import STEPS, Case, Make, Runner, case_of
from .measure import Samples, sample
from .translation import NoCounterpart

AGREEMENT = 1e-4
"""The largest relative difference of losses that counts as the same computation."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a peer. difference: the largest relative one of the first losses. samples: None where there is no
    time, for the reason given."""

    difference: float | None
    samples: Samples | None
    reason: str = ""


def compared(name: str, case: Case, losses: list[float], budget: float, threads: int) -> Result:
    """A peer's losses against netc's, then its time in about so many seconds."""
    make: Make = importlib.import_module(f".{name}_peer", __package__).make
    try:
        runner = make(case, threads)
        worst = difference(losses, runner.losses(STEPS))
        if worst > AGREEMENT:
            return Result(worst, None, f"losses differ by {worst:.0e}")
        return Result(worst, sample(runner.train, budget))
    except NoCounterpart as error:
        return Result(None, None, str(error))
    except Exception as error:  # whatever another framework raises at a network that is not its own
        first = (str(error).strip() or "no message").splitlines()[0]
        return Result(None, None, f"{name} stopped with {type(error).__name__}: {first}")


def difference(a: list[float], b: list[float]) -> float:
    """The largest relative difference; infinite when the losses are not finite or not as many."""
    if len(a) != len(b):
        return float("inf")
    worst = max(abs(x - y) / max(abs(y), 1e-12) for x, y in zip(a, b, strict=True))
    return worst if worst == worst else float("inf")


__all__ = [
    "AGREEMENT",
    "STEPS",
    "Case",
    "NoCounterpart",
    "Result",
    "Runner",
    "Samples",
    "case_of",
    "compared",
    "difference",
]
