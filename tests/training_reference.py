"""PyTorch's ten training steps of ``tests/reference``, and the measure by which others are held to them.

In: the files that ``reference/make_reference.py`` wrote. Out: ``Reference`` records and ``assert_close``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file

FOLDER = Path(__file__).parent / "reference"
NAMES = ("dense", "convolution", "pooling", "softmax", "nested")
DTYPES = ("float64", "float32")
STEPS = 10
TOLERANCE = {"float64": 1e-7, "float32": 1e-4}
FLOOR = 1e-3

Array = NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """input, target, loss: ``[10, ...]``; initial: by path; gradient, after: by path, ``[10, ...]``."""

    name: str
    dtype: str
    input: Array
    target: Array
    loss: Array
    initial: dict[str, Array]
    gradient: dict[str, Array]
    after: dict[str, Array]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.net"


def load(name: str, dtype: str) -> Reference:
    tensors = load_file(FOLDER / f"{name}.{dtype}.safetensors")

    def part(prefix: str) -> dict[str, Array]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    return Reference(
        name, dtype, tensors["input"], tensors["target"], tensors["loss"],
        part("initial."), part("gradient."), part("after."),
    )  # fmt: skip


def assert_close(got: ArrayLike, wanted: Array, tolerance: float, what: str) -> None:
    """Every element within ``tolerance`` of the largest element of what is wanted."""
    result = np.asarray(got)
    assert result.shape == wanted.shape, f"{what}: shape {result.shape}, not {wanted.shape}"
    error = np.max(np.abs(result.astype(np.float64) - wanted.astype(np.float64)), initial=0.0)
    scale = max(float(np.max(np.abs(wanted), initial=0.0)), FLOOR)
    assert error <= tolerance * scale, f"{what}: off by {error:.2e} of {scale:.2e}"
