"""The workloads: networks, their training, and the data they are trained on.

In: nothing. Out: ``WORKLOADS`` by name. A workload is written once, as a list of layers; its ``.net`` text, its
floating-point operations and every peer's model are made from that list. Data are random numbers of the right
shapes: a step costs the same whatever it learns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Linear:
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Conv:
    """Square kernel, stride 1, zero padding; ``size`` is the height and width of the input."""

    inputs: int
    outputs: int
    kernel: int
    padding: int
    size: int

    @property
    def result_size(self) -> int:
        return self.size + 2 * self.padding - self.kernel + 1


@dataclass(frozen=True, slots=True)
class Plain:
    """A layer without parameters: ``relu``, ``tanh``, ``pool`` (maximum of 2 x 2) or ``flatten``."""

    kind: Literal["relu", "tanh", "pool", "flatten"]


Layer = Linear | Conv | Plain
RELU, TANH, POOL, FLATTEN = Plain("relu"), Plain("tanh"), Plain("pool"), Plain("flatten")


@dataclass(frozen=True, slots=True)
class Workload:
    """``batch`` None is full batch; ``loss`` is sse (summed squares), mse or cross_entropy; ``rows`` observations."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    loss: Literal["sse", "mse", "cross_entropy"]
    optimizer: Literal["sgd", "adam"]
    rate: float
    rows: int
    batch: int | None

    @property
    def batch_rows(self) -> int:
        return self.batch or self.rows

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.rows / self.batch_rows)

    @property
    def flops(self) -> float:
        """Operations of the matrix products of a step: forward, weight gradients, and input gradients but the first."""
        products = [m for m in map(multiplications, self.layers) if m]
        return self.batch_rows * (6.0 * sum(products) - 2.0 * products[0])

    def source(self) -> str:
        """The workload as a ``.net`` file."""
        loss = {
            "sse": 'mse_loss(reduction = "sum")',
            "mse": "mse_loss()",
            "cross_entropy": "cross_entropy_loss()",
        }
        batch = "full" if self.batch is None else str(self.batch)
        lines = [f"net {self.name.replace('-', '_')} {{", f"    input x: {list(self.shape)}"]
        lines += [f"    {stage(layer)}" for layer in self.layers]
        lines += [
            "}",
            "train {",
            f"    loss = {loss[self.loss]}",
            f"    optimizer = {self.optimizer}(lr = {self.rate})",
        ]
        return "\n".join([*lines, f"    batch = {batch}", "}", ""])

    def data(self) -> tuple[Array, Array]:
        """Inputs and targets in float32; class indices are int64."""
        rng = np.random.default_rng(7)
        x = rng.standard_normal((self.rows, *self.shape)).astype(np.float32)
        outputs = next(x.outputs for x in reversed(self.layers) if isinstance(x, Linear))
        if self.loss == "cross_entropy":
            return x, rng.integers(0, outputs, self.rows)
        return x, rng.standard_normal((self.rows, outputs)).astype(np.float32)


def multiplications(layer: Layer) -> int:
    """Multiplications of one observation's forward pass."""
    match layer:
        case Linear(inputs, outputs):
            return inputs * outputs
        case Conv():
            return layer.result_size**2 * layer.inputs * layer.outputs * layer.kernel**2
        case Plain():
            return 0


def stage(layer: Layer) -> str:
    """A layer as a stage of the language."""
    match layer:
        case Linear(_, outputs):
            return f"linear({outputs})"
        case Conv():
            return f"conv2d({layer.outputs}, {layer.kernel}, padding = {layer.padding})"
        case Plain(kind):
            return "max_pool2d(2)" if kind == "pool" else kind


def chain(*widths: int, between: Plain | None = None) -> tuple[Layer, ...]:
    """Linear layers of the given widths with an activation between them."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(widths):
        layers += [Linear(inputs, outputs), *([between] if between else [])]
    return tuple(layers[:-1] if between else layers)


LENET = (
    Conv(1, 6, 5, 0, 28), RELU, POOL, Conv(6, 16, 5, 0, 12), RELU, POOL, FLATTEN,
    *chain(256, 120, 84, 10, between=RELU),
)  # fmt: skip
CNN = (
    Conv(3, 32, 3, 1, 32), RELU, Conv(32, 32, 3, 1, 32), RELU, POOL,
    Conv(32, 64, 3, 1, 16), RELU, Conv(64, 64, 3, 1, 16), RELU, POOL, FLATTEN,
    *chain(4096, 256, 10, between=RELU),
)  # fmt: skip

_ALL = (
    Workload("seed", (3,), chain(3, 32, 1, between=RELU), "sse", "sgd", 1e-4, 100, None),
    Workload(
        "mexp",
        (4,),
        (*chain(4, 32, 16, between=TANH), TANH, Linear(16, 4)),
        "mse",
        "adam",
        1e-3,
        10_000,
        None,
    ),
    Workload("tabular", (8,), chain(8, 64, 64, 1, between=RELU), "mse", "adam", 1e-3, 16_384, 64),
    Workload("w46", (10,), chain(10, 46, 46, 10), "mse", "adam", 1e-3, 16_384, 128),
    Workload("w128", (10,), chain(10, 128, 128, 10), "mse", "adam", 1e-3, 16_384, 128),
    Workload("w256", (10,), chain(10, 256, 256, 10), "mse", "adam", 1e-3, 16_384, 128),
    Workload(
        "mnist-mlp-32", (784,), chain(784, 128, 10, between=RELU), "cross_entropy", "sgd", 0.05, 8192, 32
    ),
    Workload(
        "mnist-mlp-128", (784,), chain(784, 128, 10, between=RELU), "cross_entropy", "sgd", 0.05, 8192, 128
    ),
    Workload("mlp", (784,), chain(784, 512, 256, 10, between=RELU), "cross_entropy", "adam", 1e-3, 8192, 128),
    Workload(
        "wide", (1024,), chain(1024, 2048, 2048, 10, between=RELU), "cross_entropy", "adam", 1e-4, 4096, 256
    ),
    Workload("lenet", (1, 28, 28), LENET, "cross_entropy", "adam", 1e-3, 4096, 128),
    Workload("cnn", (3, 32, 32), CNN, "cross_entropy", "adam", 1e-4, 1024, 64),
)
WORKLOADS = {w.name: w for w in _ALL}
