"""The graph's operations as functions of PyTorch.

In: a value and its operands. Out: a ``Counterpart``; None for windows and recurrences, which a user of PyTorch would
not write with single operations.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from ..compiler.graph import Call, DType, Value
from . import torch_layers
from .translation import Counterpart, applied, with_rows

UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "neg": torch.neg, "abs": torch.abs, "sign": torch.sign, "floor": torch.floor, "sqrt": torch.sqrt, "exp": torch.exp,
    "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh,
    "sigmoid": torch.sigmoid, "erf": torch.erf, "is_finite": torch.isfinite, "logical_not": torch.logical_not,
    "stop_gradient": torch.Tensor.detach, "logical_and": torch.logical_and, "logical_or": torch.logical_or,
}  # fmt: skip


def _maximum(x: Any, y: Any) -> Any:
    tensors = isinstance(x, torch.Tensor), isinstance(y, torch.Tensor)
    return torch.maximum(x, y) if all(tensors) else x.clamp(min=y) if tensors[0] else y.clamp(min=x)


def _minimum(x: Any, y: Any) -> Any:
    tensors = isinstance(x, torch.Tensor), isinstance(y, torch.Tensor)
    return torch.minimum(x, y) if all(tensors) else x.clamp(max=y) if tensors[0] else y.clamp(max=x)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "mod": torch.remainder, "maximum": _maximum, "minimum": _minimum, "lt": operator.lt, "le": operator.le,
    "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip


def _broadcast(x: torch.Tensor, shape: tuple[int, ...], dims: tuple[int, ...]) -> torch.Tensor:
    spread = [1] * len(shape)
    for dim, extent in zip(dims, x.shape, strict=True):
        spread[dim] = extent
    return x.reshape(spread).expand(shape)


def _slice(x: torch.Tensor, starts: Any, stops: Any, steps: Any) -> torch.Tensor:
    return x[tuple(map(slice, starts, stops, steps))]


def _pad(x: torch.Tensor, low: Any, high: Any, interior: Any, value: float) -> torch.Tensor:
    ends = [end for pair in zip(low, high, strict=True) for end in reversed(pair)]
    return functional.pad(x, ends[::-1], value=value)


def _argmax(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    kept = [d for d in range(x.dim()) if d not in dims]
    return x.permute(*kept, *dims).flatten(len(kept)).argmax(-1)


def _contract(x: torch.Tensor, y: torch.Tensor, axes: Any, batch: Any) -> torch.Tensor:
    if not batch and y.dim() == 2 and len(axes) == 1 and axes[0][0] == x.dim() - 1:
        return x @ (y if axes[0][1] == 0 else y.t())
    left, right = list(range(x.dim())), [x.dim() + i for i in range(y.dim())]
    for i, j in (*batch, *axes):
        right[j] = left[i]
    shared = [left[i] for i, _ in batch]
    summed = [left[i] for i, _ in axes]
    free = [d for d in (*left, *right) if d not in shared and d not in summed]
    return torch.einsum(x, left, y, right, [*shared, *free])


def _iota(shape: tuple[int, ...], dim: int) -> torch.Tensor:
    return _broadcast(torch.arange(shape[dim]), shape, (dim,))


STRUCTURE: dict[str, Callable[..., torch.Tensor]] = {
    "broadcast": _broadcast, "reshape": lambda x, shape: x.reshape(shape), "permute": lambda x, dims: x.permute(dims),
    "slice": _slice, "flip": torch.flip, "pad": _pad, "concat": lambda *parts, dim: torch.cat(parts, dim),
    "sum": lambda x, dims: x.sum(dims) if dims else x, "max": lambda x, dims: x.amax(dims) if dims else x,
    "argmax": _argmax, "contract": _contract, "iota": _iota,
}  # fmt: skip


def dtype_of(kind: DType) -> torch.dtype:
    found: torch.dtype = getattr(torch, kind.value)
    return found


class Torch:
    """PyTorch, with the tensors of a model's leaves, which modules share."""

    title = "PyTorch"

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = tensors
        self.covered: set[str] = set()
        """Leaves that belong to modules, which keep their buffers up to date themselves."""

    def layer(self, call: Call, leaves: Mapping[str, Value]) -> Counterpart | None:
        found = torch_layers.layer(call, leaves, self.tensors)
        if found is not None:
            self.covered |= {str(leaf.attrs["name"]) for leaf in leaves.values()}
        return found

    def constant(self, array: Any) -> torch.Tensor:
        return torch.from_numpy(array.copy())

    def operation(self, value: Value, operands: Sequence[Value | float]) -> Counterpart | None:
        name, attrs = value.op.name, dict(value.attrs)
        if name in BINARY or name == "where":
            return applied(BINARY.get(name, torch.where), operands)
        if name in UNARY:
            return applied(UNARY[name], operands)
        if name == "cast":
            kind = dtype_of(value.dtype)
            return Counterpart(lambda x: x.to(kind), value.inputs)
        if name == "pad" and any(attrs["interior"]):
            return None
        if name in STRUCTURE:
            return with_rows(STRUCTURE[name], attrs, value.inputs)
        if name == "rows":
            return Counterpart(lambda rows: torch.tensor(rows), (), rows=True)
        if name == "random":
            kind = dtype_of(value.dtype)
            return with_rows(lambda shape: torch.rand(shape, dtype=kind), {"shape": attrs["shape"]}, ())
        return None
