"""What decides whether a value is kept in memory: what it costs to compute it anew, and who reads it how often.

In: values and their readers. Out: constants and yes or no; ``lower.py`` puts them together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..graph import ROWS, Value
from .chunks import TYPICAL_ROWS

HEAVY = {"sum", "max", "argmax", "contract", "fold", "scan"}
INDEXING = {"broadcast", "reshape", "permute", "slice", "flip", "window"}
COSTS = {
    "exp": 8, "log": 8, "tanh": 10, "sigmoid": 10, "erf": 12, "sin": 12, "cos": 12, "pow": 20, "expm1": 10,
    "log1p": 10, "div": 4, "sqrt": 4, "random": 40, "concat": 4, "mod": 6,
}  # fmt: skip
MANY = 48
"""An operand that meets so many elements of the other is not computed anew for each tile of them."""
FREE = {"input", "constant", "iota", "rows", "stop_gradient", *INDEXING}


def only_reader(
    readers: Sequence[Value], value: Value, readers_of: Mapping[int, Sequence[Value]]
) -> Value | None:
    """The value that all others who read this one are made for, at the same points: a choice and its condition."""
    for reader in readers:
        others = [r for r in readers if r is not reader]
        if all(_is_pointwise(r, value) and set(readers_of.get(r.id, ())) == {reader} for r in others):
            return reader
    return None


def meets_many(product: Value, value: Value) -> bool:
    """Whether each element of a factor is read again and again: what it takes to compute it is then better done once."""
    if product.op.name != "contract":
        return False
    side = 0 if product.inputs[0] is value else 1
    paired = [pair[1 - side] for pair in (*product.attrs["axes"], *product.attrs["batch"])]
    free = [d for i, d in enumerate(product.inputs[1 - side].shape) if i not in paired]
    return math.prod(TYPICAL_ROWS if d is ROWS else int(d) for d in free) > MANY


def same_points(reader: Value, value: Value) -> bool:
    """A reader that needs each element of the value once, at the element's own place."""
    return reader.op.name == "permute" or _is_pointwise(reader, value)


def _is_pointwise(reader: Value, value: Value) -> bool:
    return (
        reader.op.name not in HEAVY
        and reader.op.name not in INDEXING
        and reader.shape == value.shape
        and (reader.op.name not in ("pad", "concat"))
    )


__all__ = ["COSTS", "FREE", "HEAVY", "meets_many", "only_reader", "same_points"]
