"""Those we are measured against, one module each, imported only when they are installed.

In: a workload, initial weights by PyTorch's names, data. Out: a ``Runner``: the first losses, and timed steps.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from ..place import CPU, CUDA, Place
from ..workloads import Workload

Array = NDArray[Any]
NAMES = {CPU: ("torch", "jax"), CUDA: ("torch", "torch-graphs", "jax")}
"""By device, in the order of the columns; what is in front of a hyphen is imported."""


class Runner(Protocol):
    """A model with its optimizer, ready to train."""

    def losses(self, steps: int) -> list[float]:
        """Losses of that many steps on the first batch, again and again, from the initial weights."""

    def train(self, steps: int) -> float:
        """Seconds for that many steps over shuffled batches."""


def installed(device: str = CPU) -> list[str]:
    """Peers that can be imported; nothing is imported to find out."""
    return [name for name in NAMES[device] if importlib.util.find_spec(name.split("-")[0])]


def make(
    name: str, workload: Workload, state: Mapping[str, Array], data: tuple[Array, Array], place: Place
) -> Runner:
    """The peer's runner for a workload."""
    module = importlib.import_module(f".{name.replace('-', '_')}_peer", __package__)
    runner: Runner = module.make(workload, state, data, place)
    return runner
