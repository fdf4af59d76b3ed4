"""PyTorch with CUDA graphs: a step is captured once and replayed, so that Python starts one graph a step and nothing else.

In: a workload, weights, data. Out: ``make``. The rows of a batch are gathered inside the graph, by an order and a place in it
that lie on the device; the order is drawn anew each epoch. The optimizer is PyTorch's fused one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from ..place import Place
from ..workloads import Workload
from .torch_peer import Eager, prepare

Array = NDArray[Any]
WARM_UP = 3
"""Steps before the capture, in which libraries set themselves up."""


class Graphed(Eager):
    """The eager step, captured. A last, partial batch is left out: a graph's steps have one shape."""

    def reset(self) -> None:
        super().reset()
        batch, rows = self.workload.batch_rows, self.workload.rows
        self.order = torch.arange(rows, device=self.place.device)
        self.at = torch.zeros((), dtype=torch.int64, device=self.place.device)
        self.within = torch.arange(batch, device=self.place.device)
        self.capture()
        self.begin_anew()

    def make_optimizer(self) -> torch.optim.Optimizer:
        parameters, rate = self.model.parameters(), self.workload.rate
        if self.workload.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=rate, fused=True)
        return torch.optim.Adam(parameters, lr=rate, fused=True, capturable=True)

    def taken(self) -> torch.Tensor:
        """A step on the rows at the present place, which moves on."""
        if self.workload.batch_rows == self.workload.rows:
            return self.step(self.x, self.y)
        chosen = self.order[self.at + self.within]
        loss = self.step(self.x[chosen], self.y[chosen])
        self.at.add_(self.workload.batch_rows)
        return loss

    def capture(self) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self.at.zero_()
                self.taken()
        torch.cuda.current_stream().wait_stream(beside)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss_of_step = self.taken()

    def begin_anew(self) -> None:
        """Initial weights and states, in the places that the graph knows."""
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                tensor.copy_(self.state[name])
            for state in self.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        value.zero_()
        self.at.zero_()

    def losses(self, steps: int) -> list[float]:
        self.begin_anew()
        torch.arange(len(self.order), out=self.order)
        found = []
        for _ in range(steps):
            self.at.zero_()
            self.graph.replay()
            found.append(self.loss_of_step.item())
        return found

    def train(self, steps: int) -> float:
        batch, rows = self.workload.batch_rows, self.workload.rows
        per_epoch = rows // batch
        self.wait()
        start = time.perf_counter()
        for step in range(steps):
            if step % per_epoch == 0:
                if batch < rows:
                    self.order.copy_(torch.randperm(rows, device=self.place.device))
                self.at.zero_()
            self.graph.replay()
        self.wait()
        return time.perf_counter() - start


def make(workload: Workload, state: Mapping[str, Array], data: tuple[Array, Array], place: Place) -> Graphed:
    prepare(place)
    return Graphed(workload, state, data, place)
