"""A training run as the host describes it, for whatever executes it.

In: a model's memory, observations and settings. Out: ``Job``, which ``cpu.py`` and ``cuda/run.py`` carry out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .artifact import Artifact

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Job:
    """settings: numbers of the control block. data, held: observations to train on and to validate on, by leaf.

    model: the block of parameters, buffers and states, offsets: where each lies in it. history: a line for each epoch;
    best: a block like the model's; order: of the rows in the running epoch. All of these are filled by the run.
    """

    artifact: Artifact
    settings: Mapping[str, int]
    data: Mapping[str, Array]
    held: Mapping[str, Array]
    model: Array
    offsets: Mapping[str, int]
    history: Array
    best: Array
    order: Array

    @property
    def batch(self) -> int:
        return self.settings["batch"]

    @property
    def chunk(self) -> int:
        return self.settings["chunk"]

    def tensors(self) -> list[str]:
        """The observations that a step reads, in the order of their addresses behind the control block."""
        return sorted(t.name for t in self.artifact.units["step"].table if t.space == "data")


__all__ = ["Job"]
