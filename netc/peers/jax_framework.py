"""The graph's operations, and the layers that need more than these, as functions of JAX.

In: a value and its operands, or a call of the library. Out: a ``Counterpart``. XLA fuses operations, so that most of
the library is translated by its own text; convolutions, pooling, embeddings and class indices are JAX's own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..compiler.graph import Call, Value
from ..compiler.ops.recurrence import Body, time_dim
from .translation import Counterpart, Framework, applied, translate, with_rows

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "mod": jnp.mod, "maximum": jnp.maximum, "minimum": jnp.minimum, "lt": operator.lt, "le": operator.le,
    "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
OWN: dict[str, Callable[..., Any]] = {
    "erf": jax.scipy.special.erf, "sigmoid": jax.nn.sigmoid, "stop_gradient": jax.lax.stop_gradient,
    "pad": lambda x, low, high, interior, value: jax.lax.pad(
        x, jnp.asarray(value, x.dtype), list(zip(low, high, interior, strict=True))
    ),
}  # fmt: skip
REFUSED = ("window", "fold")
KEY = "random.key"


class Jax:
    """JAX; ``key`` stands for the leaf that random numbers are made from."""

    title = "JAX"

    def constant(self, array: Any) -> Any:
        return jnp.asarray(array)

    def layer(self, call: Call, leaves: Mapping[str, Value]) -> Counterpart | None:
        make = LAYERS.get(call.name)
        return make(call, leaves) if make is not None else None

    def operation(self, value: Value, operands: Sequence[Value | float]) -> Counterpart | None:
        name, attrs = value.op.name, dict(value.attrs)
        if name in REFUSED:
            return None
        if name in BINARY or name == "where":
            return applied(BINARY.get(name, jnp.where), operands)
        if name == "cast":
            kind = jnp.dtype(value.dtype.value)
            return Counterpart(lambda x: x.astype(kind), value.inputs)
        if name == "rows":
            return Counterpart(jnp.asarray, (), rows=True)
        if name == "scan":
            return _scan(value, self)
        if name == "random":
            stream, kind = attrs["stream"], jnp.dtype(value.dtype.value)
            return with_rows(lambda shape: _drawn(stream, shape, kind), {"shape": attrs["shape"]}, ())
        if name in OWN:
            return with_rows(OWN[name], attrs, value.inputs)
        reference = value.op.reference
        return with_rows(lambda *arrays, **known: reference(jnp, *arrays, **known), attrs, value.inputs)


_KEYS: list[Any] = []


class drawing_from:
    """While a step is traced: the key of its random numbers."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __enter__(self) -> None:
        _KEYS.append(self.key)

    def __exit__(self, *exception: object) -> None:
        _KEYS.pop()


def _drawn(stream: int, shape: tuple[int, ...], kind: Any) -> Any:
    return jax.random.uniform(jax.random.fold_in(_KEYS[-1], stream), shape, kind)


def _scan(value: Value, framework: Framework) -> Counterpart:
    """A recurrence as ``lax.scan``: its states at all times, the first included, then what the steps give."""
    attrs = dict(value.attrs)
    result = attrs.pop("result")
    body: Body = attrs["body"]
    states, sequences = body.count("carry"), body.count("each")
    step = translate(body.graph, body.graph.outputs, framework)
    leaves, outputs = body.graph.inputs, body.graph.outputs
    each = [time_dim(leaves[f"each.{j}"].shape) for j in range(sequences)]
    kept = [time_dim(leaves[f"carry.{i}"].shape) for i in range(states)]
    given = [time_dim(outputs[f"out.{j}"].shape) for j in range(body.count("out"))]
    reverse, length = attrs["reverse"], attrs["length"]

    def run(rows: int, *arrays: Any) -> Any:
        first = tuple(arrays[:states])
        over = tuple(
            jnp.moveaxis(a, d, 0) for a, d in zip(arrays[states : states + sequences], each, strict=True)
        )
        fixed = {f"const.{i}": a for i, a in enumerate(arrays[states + sequences :])}

        def once(carry: Any, xs: Any) -> Any:
            known = {f"carry.{i}": a for i, a in enumerate(carry)} | {
                f"each.{j}": a for j, a in enumerate(xs)
            }
            found = step.run({n: a for n, a in (fixed | known).items() if n in step.leaves}, rows)
            new = tuple(found[f"next.{i}"] for i in range(states))
            return new, (new, tuple(found[f"out.{j}"] for j in range(len(given))))

        _, (new, out) = jax.lax.scan(once, first, over, length=length, reverse=reverse)
        whole = []
        for start, later, d in zip(first, new, kept, strict=True):
            parts = [later, start[None]] if reverse else [start[None], later]
            whole.append(jnp.moveaxis(jnp.concatenate(parts), 0, d))
        return [*whole, *(jnp.moveaxis(o, 0, d) for o, d in zip(out, given, strict=True))]

    group = (tuple(v.id for v in value.inputs), id(body.graph), reverse, length)
    return Counterpart(run, value.inputs, rows=True, group=group, part=result)


# layers


def _per_dim(value: Any, dims: int) -> list[int]:
    return list(value) if isinstance(value, list) else [value] * dims


def _convolution(call: Call, own: Mapping[str, Value]) -> Counterpart | None:
    given = call.given
    x = next(iter(given.values()))
    dims = len(x.shape) - 2
    padding = given["padding"]
    if given["padding_mode"] != "zeros":
        return None
    around: Any = padding.upper() if isinstance(padding, str) else [(p, p) for p in _per_dim(padding, dims)]
    stride, dilation = (_per_dim(given[k], dims) for k in ("stride", "dilation"))
    groups = given["groups"]

    def run(v: Any, weight: Any, *bias: Any) -> Any:
        y = jax.lax.conv_general_dilated(
            v, weight, stride, around, rhs_dilation=dilation, feature_group_count=groups
        )
        return y + bias[0].reshape(-1, *[1] * dims) if bias else y

    names = [n for n in ("weight", "bias") if n in own]
    return Counterpart(run, (x, *(own[n] for n in names)))


def _pool(call: Call, *, largest: bool) -> Counterpart | None:
    given = call.given
    x = next(iter(given.values()))
    dims = len(x.shape) - 2
    kernel = _per_dim(given["kernel_size"], dims)
    stride = kernel if given["stride"] is None else _per_dim(given["stride"], dims)
    padding = _per_dim(given["padding"], dims)
    if given["ceil_mode"] or given.get("divisor_override") is not None:
        return None
    if not largest and any(padding) and not given["count_include_pad"]:
        return None
    dilation = (1, 1, *_per_dim(given.get("dilation", 1), dims))
    window, strides = (1, 1, *kernel), (1, 1, *stride)
    around = [(0, 0), (0, 0), *((p, p) for p in padding)]
    size = 1
    for extent in kernel:
        size *= extent

    def run(v: Any) -> Any:
        start, combine = (-jnp.inf, jax.lax.max) if largest else (0.0, jax.lax.add)
        y = jax.lax.reduce_window(v, start, combine, window, strides, around, window_dilation=dilation)
        return y if largest else y / size

    return Counterpart(run, (x,))


def _adaptive_mean(call: Call) -> Counterpart | None:
    """Means of equal parts; sizes that do not divide the extents have no short form."""
    x, output = call.given["x"], call.given["output_size"]
    extents = x.shape[2:]
    sizes = _per_dim(output, len(extents))
    if any(size is None or extent % size for size, extent in zip(sizes, extents, strict=True)):
        return None
    split = [part for size, extent in zip(sizes, extents, strict=True) for part in (size, extent // size)]
    over = tuple(range(3, 3 + 2 * len(sizes), 2))
    return Counterpart(lambda v: v.reshape(*v.shape[:2], *split).mean(over), (x,))


def _embedding(call: Call, own: Mapping[str, Value]) -> Counterpart | None:
    if call.given["padding_idx"] is not None:
        return None
    return Counterpart(lambda x, weight: weight[x], (next(iter(call.given.values())), own["weight"]))


def _class_loss(call: Call, *, logits: bool) -> Counterpart | None:
    """Losses of class indices; of rows [n, classes, ...]."""
    given = call.given
    x, target = given["input"], given["target"]
    smoothing = given.get("label_smoothing", 0)
    if target.dtype.is_float or given["weight"] is not None or given["ignore_index"] != -100:
        return None
    reduction = given["reduction"]

    def run(v: Any, y: Any) -> Any:
        logs = jax.nn.log_softmax(v, axis=1) if logits else v
        each = -jnp.take_along_axis(logs, y[:, None], axis=1)[:, 0]
        if smoothing:
            each = (1 - smoothing) * each - smoothing * logs.mean(1)
        return each.mean() if reduction == "mean" else each.sum() if reduction == "sum" else each

    return Counterpart(run, (x, target))


LAYERS: dict[str, Callable[[Call, Mapping[str, Value]], Counterpart | None]] = {
    **{f"conv{d}d": _convolution for d in (1, 2, 3)},
    **{f"max_pool{d}d": lambda call, own: _pool(call, largest=True) for d in (1, 2, 3)},
    **{f"avg_pool{d}d": lambda call, own: _pool(call, largest=False) for d in (1, 2, 3)},
    **{f"adaptive_avg_pool{d}d": lambda call, own: _adaptive_mean(call) for d in (1, 2, 3)},
    "embedding": _embedding,
    "cross_entropy_loss": lambda call, own: _class_loss(call, logits=True),
    "nll_loss": lambda call, own: _class_loss(call, logits=False),
}
