"""What a GPU charges for things around the computing: launches, nodes of a graph, barriers of all blocks.

In: netc's executor for the device. Out: ``Costs``, seconds each. The barrier is the one of netc's own modules; launches go the
way that netc's go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import netc.compiler.backends.cuda
from netc.runtime.artifact import SHARED_BYTES
from netc.runtime.cuda.units import whole_text

PRELUDE = Path(netc.compiler.backends.cuda.__path__[0]) / "prelude.cuh"
TEXT = """
extern "C" __global__ void nothing(long long, long long, long long, long long) {}

extern "C" __global__ void waits(long long times, long long, long long, long long) {
    for (long long i = 0; i < times; i++) grid_sync();
}
"""
TIMES = 1000
SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Costs:
    """launch: from one launch to the next, none waited for. answer: of a launch that is waited for. node: of a graph of as many
    empty kernels. barrier: of all ``blocks`` that the device holds at once, copy: a number to the device and back."""

    launch: float
    answer: float
    node: float
    barrier: float
    blocks: int
    copy: float


class Probe:
    """Both kernels on a device."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.module = device.load(whole_text(PRELUDE.read_text(encoding="utf-8") + TEXT))
        self.blocks = device.most_blocks(self.module, "waits", SHARED_BYTES)

    def start(self, entry: str, blocks: int = 1, times: int = 0) -> None:
        self.device.launch(self.module, entry, blocks, SHARED_BYTES, (times, 0, 0, 0))

    def wait(self) -> None:
        self.device.stream.synchronize()

    def launches(self) -> float:
        for _ in range(TIMES):
            self.start("nothing")
        self.wait()
        return TIMES

    def answers(self) -> float:
        for _ in range(TIMES // 10):
            self.start("nothing")
            self.wait()
        return TIMES // 10

    def graph(self) -> Callable[[], float]:
        """What runs a graph of empty kernels."""
        stream = self.device.stream
        stream.begin_capture()
        for _ in range(TIMES):
            self.start("nothing")
        graph = stream.end_capture()

        def run() -> float:
            graph.launch(stream)
            self.wait()
            return TIMES

        return run

    def barriers(self) -> float:
        self.start("waits", self.blocks, TIMES)
        self.wait()
        return TIMES

    def copies(self) -> float:
        number = np.zeros(1)
        place = self.device.allocate(number.nbytes)
        for _ in range(TIMES // 10):
            self.device.upload(place.address, number)
            self.device.download(number, place.address)
        return TIMES // 10


def each(run: Callable[[], float]) -> float:
    """Seconds of one of the things that ``run`` does and counts; the least of several times."""
    run()
    return min(_timed(run) for _ in range(SAMPLES))


def _timed(run: Callable[[], float]) -> float:
    start = time.perf_counter()
    count = run()
    return (time.perf_counter() - start) / count


def measure(device: Any) -> Costs:
    probe = Probe(device)
    return Costs(
        each(probe.launches), each(probe.answers), each(probe.graph()), each(probe.barriers), probe.blocks,
        each(probe.copies),
    )  # fmt: skip


def lines(costs: Costs) -> Iterable[str]:
    told = (
        ("a launch behind another", costs.launch), ("a launch, waited for", costs.answer),
        ("a node of a graph", costs.node), (f"a barrier of {costs.blocks} blocks", costs.barrier),
        ("a number there and back", costs.copy),
    )  # fmt: skip
    return [f"{name:<34}{seconds * 1e6:>9.2f} us" for name, seconds in told]


__all__ = ["Costs", "lines", "measure"]
