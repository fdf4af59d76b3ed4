"""netc on a workload: one native call takes all steps of a sample.

In: a workload. Out: ``Ours``, a runner like those of ``peers``. Training uses the public interface alone; a sample's time is
``History.seconds``, the run without compilation.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

import netc
from netc.forecast import forecast
from netc.training import Trainer

from .workloads import Workload

Array = NDArray[Any]


class Ours:
    """A compiled workload with its data."""

    def __init__(
        self, workload: Workload, data: tuple[Array, Array], threads: int, precision: str = "full"
    ) -> None:
        self.workload, self.threads, self.precision = workload, threads, precision
        self.x, self.y = data
        self.model = netc.compile(source=workload.source(), seed=1, precision=precision)
        self.state: dict[str, Array] = self.model.state_dict()

    def losses(self, steps: int) -> list[float]:
        """Each epoch is one step on the first batch, so that an epoch's loss is that step's."""
        model = netc.compile(source=self.workload.source(), seed=1, precision=self.precision)
        rows = self.workload.batch_rows
        history = model.fit(self.x[:rows], self.y[:rows], epochs=steps, batch="full", threads=self.threads)
        return list(history.loss)

    def predicted(self, peak: float) -> float:
        """Seconds that the plan predicts for a step on one thread."""
        rows = self.workload.batch_rows
        trainer = Trainer(self.model, (self.x[:rows], self.y[:rows]), None, 1, "full", None, None, 1)
        return forecast(trainer, peak).seconds

    def train(self, steps: int) -> float:
        per_epoch = self.workload.steps_per_epoch
        epochs = -(-steps // per_epoch)
        history = self.model.fit(self.x, self.y, epochs=epochs, threads=self.threads)
        return float(history.seconds) / (epochs * per_epoch) * steps
