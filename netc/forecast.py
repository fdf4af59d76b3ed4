"""What a training step should take by the plan, at the speed that this machine has now.

In: a ``Trainer`` and the CPU's measured peak. Out: the plan's last line; its time is that of one thread.
"""

from __future__ import annotations

from .compiler.cost import Machine
from .compiler.loops.arrangement import MANY_ROWS
from .compiler.loops.lower import lower
from .compiler.plan import LayerPlan, make_plan
from .runtime.peak import vector_width
from .training import Trainer


def forecast(trainer: Trainer, peak: float) -> LayerPlan:
    """peak: float32 operations a second of fused multiply-adds on one thread (``runtime/peak.py``)."""
    model, graph = trainer.model, trainer.graphs["step"]
    width = model.target.vector_bytes
    unit = lower(graph, model.orders, vector_bytes=width, many_rows=trainer.batch >= MANY_ROWS)
    machine = Machine.of_peak(peak, lanes=vector_width(), vector_bytes=width)
    return make_plan(model.network, graph, unit, trainer.batch, machine).total


__all__ = ["forecast"]
