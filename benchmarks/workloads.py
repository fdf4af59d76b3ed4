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
class Embedding:
    """A vector for each of ``length`` indices below ``count``."""

    length: int
    count: int
    width: int


@dataclass(frozen=True, slots=True)
class LayerNorm:
    width: int


@dataclass(frozen=True, slots=True)
class LSTM:
    """``length`` steps of ``inputs`` numbers; gives the hidden state of every step."""

    length: int
    inputs: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Encoder:
    """A transformer encoder layer with relu, norms behind the sums, no dropout."""

    length: int
    width: int
    heads: int
    feedforward: int


@dataclass(frozen=True, slots=True)
class Plain:
    """A layer without parameters. pool: maximum of 2 x 2. last, mean: of the steps of a sequence."""

    kind: Literal["relu", "tanh", "gelu", "softmax", "pool", "flatten", "last", "mean"]


Layer = Linear | Conv | Embedding | LayerNorm | LSTM | Encoder | Plain
RELU, TANH, GELU, SOFTMAX, POOL, FLATTEN, LAST, MEAN = (
    Plain("relu"), Plain("tanh"), Plain("gelu"), Plain("softmax"), Plain("pool"), Plain("flatten"),
    Plain("last"), Plain("mean"),
)  # fmt: skip


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
        """Operations of the matrix products of a step: forward, weight gradients, and input gradients that are needed."""
        products = sum(map(multiplications, self.layers))
        return self.batch_rows * (6.0 * products - 2.0 * of_inputs(self.layers[0]))

    def source(self) -> str:
        """The workload as a ``.net`` file."""
        loss = {
            "sse": 'mse_loss(reduction = "sum")',
            "mse": "mse_loss()",
            "cross_entropy": "cross_entropy_loss()",
        }
        batch = "full" if self.batch is None else str(self.batch)
        kind = ": int64" if isinstance(self.layers[0], Embedding) else ""
        lines = [f"net {self.name.replace('-', '_')} {{", f"    input x: {list(self.shape)}{kind}"]
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
        x: Array = rng.standard_normal((self.rows, *self.shape)).astype(np.float32)
        if isinstance(self.layers[0], Embedding):
            x = rng.integers(0, self.layers[0].count, (self.rows, *self.shape))
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
        case LSTM(length, inputs, hidden):
            return length * 4 * hidden * (inputs + hidden)
        case Encoder(length, width, _, feedforward):
            return length * (4 * width**2 + 2 * width * feedforward + 2 * length * width)
        case Embedding() | LayerNorm() | Plain():
            return 0


def of_inputs(first: Layer) -> int:
    """Those of a first layer whose input has no gradient."""
    match first:
        case LSTM(length, inputs, hidden):
            return length * 4 * hidden * inputs
        case Encoder(length, width):
            return length * 3 * width**2
        case _:
            return multiplications(first)


def stage(layer: Layer) -> str:
    """A layer as a stage of the language."""
    match layer:
        case Linear(_, outputs):
            return f"linear({outputs})"
        case Conv():
            return f"conv2d({layer.outputs}, {layer.kernel}, padding = {layer.padding})"
        case Embedding(_, count, width):
            return f"embedding({count}, {width})"
        case LayerNorm(width):
            return f"layer_norm({width})"
        case LSTM(_, _, hidden):
            return f"lstm({hidden})"
        case Encoder(_, width, heads, feedforward):
            return (
                f"transformer_encoder_layer({width}, {heads}, dim_feedforward = {feedforward}, dropout = 0)"
            )
        case Plain(kind):
            return {"pool": "max_pool2d(2)", "mean": "mean(dim = 1)"}.get(kind, kind)


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

NORMS = tuple(
    layer for inputs in (64, 256, 256) for layer in (Linear(inputs, 256), LayerNorm(256), GELU)
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
    Workload(
        "lstm", (28, 28), (LSTM(28, 28, 128), LAST, Linear(128, 10)), "cross_entropy", "adam", 1e-3, 4096, 64
    ),
    Workload(
        "encoder",
        (64, 128),
        (Encoder(64, 128, 4, 512), Encoder(64, 128, 4, 512), LAST, Linear(128, 10)),
        "cross_entropy",
        "adam",
        1e-4,
        512,
        32,
    ),
    Workload("layer_norm", (64,), (*NORMS, Linear(256, 10)), "cross_entropy", "adam", 1e-3, 8192, 256),
    Workload(
        "softmax",
        (64,),
        (Linear(64, 512), SOFTMAX, Linear(512, 10)),
        "cross_entropy",
        "adam",
        1e-3,
        8192,
        256,
    ),
    Workload(
        "embedding",
        (32,),
        (Embedding(32, 10_000, 64), MEAN, Linear(64, 10)),
        "cross_entropy",
        "adam",
        1e-3,
        4096,
        64,
    ),
)
WORKLOADS = {w.name: w for w in _ALL}
