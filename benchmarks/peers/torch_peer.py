"""PyTorch, eager: a model of ``torch.nn`` and an optimizer of ``torch.optim``, looped in Python.

In: a workload, weights, data. Out: ``make``. Batches are gathered by a fresh permutation each epoch. On a device
everything lies there, products are of float32 without TF32, or by autocast of bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from ..place import CUDA, Place
from ..workloads import LSTM, Conv, Embedding, Encoder, Layer, LayerNorm, Linear, Plain, Workload

Array = NDArray[Any]


class Steps(nn.LSTM):
    """Without the final states."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        hidden: torch.Tensor = super().forward(x)[0]
        return hidden


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


PLAIN: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "flatten": nn.Flatten,
    "softmax": lambda: nn.Softmax(-1), "pool": lambda: nn.MaxPool2d(2),
    "last": lambda: Of(lambda x: x[:, -1]), "mean": lambda: Of(lambda x: x.mean(1)),
}  # fmt: skip


def module(layer: Layer) -> nn.Module:
    match layer:
        case Linear(inputs, outputs):
            return nn.Linear(inputs, outputs)
        case Conv():
            return nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=layer.padding)
        case Embedding(_, count, width):
            return nn.Embedding(count, width)
        case LayerNorm(width):
            return nn.LayerNorm(width)
        case LSTM(_, inputs, hidden):
            return Steps(inputs, hidden, batch_first=True)
        case Encoder(_, width, heads, feedforward):
            return nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, batch_first=True)
        case Plain(kind):
            return PLAIN[kind]()


class Eager:
    """The usual loop: zero_grad, forward, backward, step."""

    def __init__(
        self, workload: Workload, state: Mapping[str, Array], data: tuple[Array, Array], place: Place
    ) -> None:
        self.workload, self.place = workload, place
        self.state = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
        self.x, self.y = (torch.from_numpy(a).to(place.device) for a in data)
        self.loss = {
            "sse": nn.MSELoss(reduction="sum"), "mse": nn.MSELoss(), "cross_entropy": nn.CrossEntropyLoss(),
        }[workload.loss]  # fmt: skip
        self.reset()

    def reset(self) -> None:
        self.model = nn.Sequential(*map(module, self.workload.layers))
        self.model.load_state_dict(self.state)
        self.model.to(self.place.device)
        self.optimizer = self.make_optimizer()

    def make_optimizer(self) -> torch.optim.Optimizer:
        kind = torch.optim.SGD if self.workload.optimizer == "sgd" else torch.optim.Adam
        return kind(self.model.parameters(), lr=self.workload.rate)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss: torch.Tensor = self.loss(self.forward(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.place.rounded:
            output: torch.Tensor = self.model(x)
            return output
        with torch.autocast(self.place.device, torch.bfloat16):
            output = self.model(x)
        return output.float()

    def losses(self, steps: int) -> list[float]:
        self.reset()
        rows = self.workload.batch_rows
        return [self.step(self.x[:rows], self.y[:rows]).item() for _ in range(steps)]

    def train(self, steps: int) -> float:
        batch, rows = self.workload.batch_rows, self.workload.rows
        self.wait()
        start = time.perf_counter()
        taken = 0
        while taken < steps:
            order = torch.randperm(rows, device=self.place.device) if batch < rows else None
            for first in range(0, rows, batch):
                if order is None:
                    self.step(self.x, self.y)
                else:
                    chosen = order[first : first + batch]
                    self.step(self.x[chosen], self.y[chosen])
                taken += 1
                if taken == steps:
                    break
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.place.device == CUDA:
            torch.cuda.synchronize()


def prepare(place: Place) -> None:
    """Settings of the whole process."""
    torch.set_num_threads(place.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def make(workload: Workload, state: Mapping[str, Array], data: tuple[Array, Array], place: Place) -> Eager:
    prepare(place)
    return Eager(workload, state, data, place)
