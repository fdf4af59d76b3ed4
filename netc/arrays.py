"""Arrays from the outside: anything that NumPy or a frame holds, as contiguous arrays of a program's types.

In: lists, arrays of any dtype, order and strides, frames with ``.to_numpy()`` (pandas and polars, which are never
imported). Out: C-contiguous arrays; ValueError with the name, what is expected and what was given otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiler.graph import DType, TensorType
from .compiler.units import batch_type

Array = NDArray[Any]


def given_array(value: Any, what: str) -> Array:
    """The numbers in an array-like, not converted; raises ValueError for anything else."""
    convert = getattr(value, "to_numpy", None)
    try:
        array = np.asarray(convert() if convert is not None else value)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} cannot be read as an array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} holds {array.dtype} values; real numbers are needed")
    return array


def as_array(value: Any, dtype: DType, what: str) -> Array:
    """A contiguous array of the dtype. Raises ValueError, for a broken number where whole ones are needed too."""
    array = given_array(value, what)
    if not dtype.is_float and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise ValueError(f"{what} holds numbers that are not whole; it is declared {dtype.value}")
    return np.ascontiguousarray(array, dtype=dtype.value).reshape(array.shape)


def as_rows(value: Any, dtype: DType, shape: Sequence[int], what: str) -> Array:
    """An array of observations, each of the shape; raises ValueError naming the expected and the given shape."""
    array = as_array(value, dtype, what)
    if array.ndim == 0 or array.shape[1:] != tuple(shape):
        expected = ", ".join(["n", *map(str, shape)])
        raise ValueError(f"{what} has shape {list(array.shape)}, expected [{expected}]")
    return array


def as_seed(value: Any) -> int:
    """A whole number from 0 that fits in 63 bits; raises ValueError."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"seed is a whole number from 0 to 2^63 - 1, not {value!r}")
    return int(value)


def goal_of(
    arrays: Sequence[Any], names: Mapping[str, str], dtype: DType
) -> tuple[dict[str, TensorType], dict[str, Array]]:
    """Types and contents, by leaf, of what a loss compares with. names: of each leaf. Whole numbers become int64, all
    others the program's dtype. Raises ValueError when there are not as many rows to each."""
    types: dict[str, TensorType] = {}
    found: dict[str, Array] = {}
    for (leaf, name), given in zip(names.items(), arrays, strict=True):
        array = given_array(given, f"the {name}")
        if array.ndim == 0:
            raise ValueError(f"the {name} is a single number; it needs a row for each observation")
        kind = DType.int64 if array.dtype.kind in "iu" else dtype
        types[leaf] = batch_type(array.shape[1:], kind)
        found[leaf] = np.ascontiguousarray(array, dtype=kind.value)
    rows = {name: len(found[leaf]) for leaf, name in names.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"`{name}` {count}" for name, count in rows.items())
        raise ValueError(f"there are different numbers of rows: {counts}")
    return types, found
