"""Shape rules shared by the operation families.

In: operand types and attributes. Out: result types, or TypeRuleError with a sentence that names both shapes.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..graph import ROWS, Dim, DType, Shape, TensorType, TypeRuleError, show_shape


def size(shape: Iterable[Dim]) -> tuple[int, int]:
    """The number of elements as (power of n, factor)."""
    rows, factor = 0, 1
    for dim in shape:
        if dim is ROWS:
            rows += 1
        else:
            factor *= int(dim)
    return rows, factor


def same_type(*types: TensorType) -> TensorType:
    """All operands have one dtype and one shape."""
    first = types[0]
    if len(types) > 1:
        computable(first)
    for other in types[1:]:
        if other != first:
            raise TypeRuleError(f"{first} and {other} differ")
    return first


def float_type(x: TensorType) -> TensorType:
    if not x.dtype.is_float:
        raise TypeRuleError(f"a floating-point tensor is needed, not {x}")
    return computable(x)


def computable(x: TensorType) -> TensorType:
    """bfloat16 numbers are factors of products, there is no other arithmetic on them."""
    if x.dtype is DType.bfloat16:
        raise TypeRuleError(f"nothing but a product is computed of {x}")
    return x


def without(shape: Shape, dims: tuple[int, ...]) -> Shape:
    for dim in dims:
        if not 0 <= dim < len(shape):
            raise TypeRuleError(f"dimension {dim} does not exist in {show_shape(shape)}")
    return tuple(d for i, d in enumerate(shape) if i not in dims)


def is_int(dtype: DType) -> bool:
    return dtype is DType.int64
