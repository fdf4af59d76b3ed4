"""What training remembers from step to step besides parameters: a state's place in memory and its first contents.

In: names. Out: leaves ``state.<parameter>.<name>`` of optimizers, ``state.schedule.<number>.<name>`` of schedules,
``state.average.<parameter>`` of averaged weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import ops
from ..graph import DType, Graph, Value


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One state; ``value`` is what every element begins with."""

    leaf: str
    shape: tuple[int, ...]
    dtype: DType
    value: float

    def initial(self, graph: Graph) -> Value:
        return ops.full(graph, self.value, self.dtype, self.shape)


def average_of(path: str) -> str:
    """The leaf of a parameter's moving average."""
    return f"state.average.{path}"
