"""netc on a workload: one native call takes all steps of a sample, on a device launches of some milliseconds.

In: a workload. Out: ``Ours``, a runner like those of ``peers``. Training uses the public interface alone; a sample's time is
``History.seconds``, the run without compilation.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

import netc
from netc.forecast import forecast
from netc.training import Trainer

from .place import Place
from .workloads import Workload

Array = NDArray[Any]


class Ours:
    """A compiled workload with its data."""

    def __init__(self, workload: Workload, data: tuple[Array, Array], place: Place) -> None:
        self.workload, self.place = workload, place
        self.x, self.y = data
        self.model = self.compiled()
        self.state: dict[str, Array] = self.model.state_dict()

    def compiled(self) -> netc.Model:
        place = self.place
        return netc.compile(
            source=self.workload.source(), seed=1, precision=place.precision, device=place.device
        )

    def losses(self, steps: int) -> list[float]:
        """Each epoch is one step on the first batch, so that an epoch's loss is that step's."""
        return list(self.on_the_first_batch(self.compiled(), steps).loss)

    def on_the_first_batch(self, model: netc.Model, steps: int) -> Any:
        rows, place = self.workload.batch_rows, self.place
        x, y = self.x[:rows], self.y[:rows]
        return model.fit(x, y, epochs=steps, batch="full", threads=place.threads, plan=place.plan)

    def predicted(self, peak: float) -> float:
        """Seconds that the plan predicts for a step on one thread."""
        rows = self.workload.batch_rows
        trainer = Trainer(self.model, (self.x[:rows], self.y[:rows]), None, 1, "full", None, None, 1)
        return forecast(trainer, peak).seconds

    def train(self, steps: int) -> float:
        per_epoch = self.workload.steps_per_epoch
        epochs = -(-steps // per_epoch)
        place = self.place
        history = self.model.fit(self.x, self.y, epochs=epochs, threads=place.threads, plan=place.plan)
        return float(history.seconds) / (epochs * per_epoch) * steps


@dataclass(frozen=True, slots=True)
class Compilation:
    """Seconds from a program's text to its first step, without the step: with nothing kept from before (on a device NVRTC
    compiles then), and with all of it on the disk."""

    cold: float
    kept: float


def compilation(workload: Workload, data: tuple[Array, Array], place: Place) -> Compilation:
    """Where nothing has been kept yet (``empty_cache``)."""
    cold, kept = (_until_the_first_step(workload, data, place) for _ in range(2))
    return Compilation(cold, kept)


def _until_the_first_step(workload: Workload, data: tuple[Array, Array], place: Place) -> float:
    start = time.perf_counter()
    ours = Ours(workload, data, place)
    history = ours.on_the_first_batch(ours.model, 1)
    return time.perf_counter() - start - float(history.seconds)


@contextmanager
def empty_cache() -> Iterator[None]:
    """Has netc begin with an empty cache, which is gone afterwards."""
    before = os.environ.get("NETC_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NETC_CACHE_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["NETC_CACHE_DIR"]
            else:
                os.environ["NETC_CACHE_DIR"] = before
