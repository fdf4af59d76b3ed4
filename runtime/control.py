"""The control block of a training run on the host: numbers, the cursor among them, by name.

In: the names of its slots (``artifact.py``). Out: an array that compiled code, or a copy of it on a device, reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Control:
    """slots: where each number stands; extra: how many integers stand behind them."""

    def __init__(self, slots: Mapping[str, int], extra: int) -> None:
        self._slots = slots
        self.control = np.zeros(len(slots) + extra, np.int64)
        self.doubles = self.control.view(np.float64)

    def get(self, name: str) -> int:
        return int(self.control[self._slots[name]])

    def set(self, name: str, value: int) -> None:
        self.control[self._slots[name]] = value

    def double(self, name: str) -> float:
        return float(self.doubles[self._slots[name]])

    def set_double(self, name: str, value: float) -> None:
        self.doubles[self._slots[name]] = value


__all__ = ["Control"]
