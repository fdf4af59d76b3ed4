"""PyTorch, eager, on the CPU: the usual loop of zero_grad, forward, backward, step.

In: a case. Out: ``make``. Batches are gathered by a fresh permutation each epoch. While steps are timed, learning rates stay
as they are at the first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from .case import Case
from .torch_operations import Torch
from .torch_optimizers import update_of
from .translation import translate


def make(case: Case, threads: int) -> Eager:
    torch.set_num_threads(threads)
    return Eager(case)


class Eager:
    """A model with shared parameters, and the steps that it takes."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.data = {name: torch.from_numpy(array) for name, array in case.data.items()}
        self.reset()

    def reset(self, *, drawn: bool = False) -> None:
        """Begins anew. drawn: random numbers are given, so that they can be netc's."""
        case = self.case
        self.tensors: dict[str, torch.Tensor] = {}
        for name, array in case.start.items():
            tensor = torch.from_numpy(array.copy())
            self.tensors[name] = torch.nn.Parameter(tensor) if name.startswith("param.") else tensor
        framework = Torch(self.tensors)
        translate(case.network, {"output": case.forward.output}, framework, drawn=drawn)
        covered = set(framework.covered)
        updates = {f"{n}": v for n, v in case.forward.updates.items() if n not in covered}
        self.buffers = list(updates)
        outputs = {"output": case.forward.output} | updates
        self.network = translate(case.network, outputs, Torch(self.tensors), drawn=drawn)
        self.loss = translate(case.loss, case.loss.outputs, Torch(self.tensors))
        self.update = update_of(case, self.tensors)

    def step(self, batch: Mapping[str, torch.Tensor], rows: int) -> torch.Tensor:
        self.update.clear()
        found = self.network.run({**batch, **self.tensors}, rows)
        loss: torch.Tensor = self.loss.run({**batch, "output": found["output"]}, rows)["loss"]
        loss.backward()
        self.update(loss.detach())
        for name in self.buffers:
            self.tensors[name].copy_(found[name].detach())
        return loss.detach()

    def losses(self, steps: int) -> list[float]:
        self.reset(drawn=True)
        batch = {name: x[: self.case.batch] for name, x in self.data.items()}
        found: list[float] = []
        for i in range(steps):
            self.update.tick(self.case.clock(i, found[-1] if found else float("inf")))
            draws = {name: torch.from_numpy(x) for name, x in self.case.draws(i).items()}
            found.append(self.step(batch | draws, self.case.batch).item())
        self.reset()
        return found

    def train(self, steps: int) -> float:
        batch, rows = self.case.batch, self.case.rows
        start = time.perf_counter()
        taken = 0
        while taken < steps:
            order = torch.randperm(rows) if batch < rows else None
            for first in range(0, rows, batch):
                if order is None:
                    self.step(self.data, rows)
                else:
                    chosen = order[first : first + batch]
                    self.step({name: x[chosen] for name, x in self.data.items()}, len(chosen))
                taken += 1
                if taken == steps:
                    break
        return time.perf_counter() - start
