"""``precision`` of the train block: whether products are made of bfloat16 numbers.

In: an entry, or the name that is asked for from outside. Out: ``Precision``; diagnostics for a name that there is not, and
where parameters are kept in another type than float32.
"""

from __future__ import annotations

import enum

from ...grammar import syntax as s
from ...grammar.suggest import did_you_mean
from ..graph import DType
from .values import fail


class Precision(enum.StrEnum):
    """``full``: all arithmetic in the type of the parameters. ``bf16``: operands of the network's products are rounded to
    bfloat16, everything else is float32."""

    full = "full"
    bf16 = "bf16"


NAMES = tuple(x.value for x in Precision)


def read_precision(e: s.Expr) -> Precision:
    """The precision that an entry names."""
    if not isinstance(e, s.Name):
        fail(
            "E0303", "a precision is needed here", e.span, "not a precision", help="write `precision = bf16`"
        )
    if e.id not in NAMES:
        fail("E0202", f"there is no precision `{e.id}`", e.span, "unknown",
             help=did_you_mean(e.id, NAMES, "there are " + ", ".join(NAMES)))  # fmt: skip
    return Precision(e.id)


def written_precision(block: s.Settings | None) -> tuple[Precision, s.Entry] | None:
    """What a train block says, where it says something that there is."""
    for entry in () if block is None else block.entries:
        if entry.name.id == "precision" and isinstance(entry.value, s.Name) and entry.value.id in NAMES:
            return Precision(entry.value.id), entry
    return None


def check_precision(block: s.Settings | None, dtype: DType, asked: Precision | None) -> None:
    """Fails where a block wants bfloat16 products of parameters that are not float32, unless another is asked for."""
    written = written_precision(block)
    if asked is not None or written is None or dtype is DType.float32:
        return
    if written[0] is Precision.bf16:
        fail("E0406", f"`precision = bf16` keeps parameters in float32, here they are {dtype.value}",
             written[1].span, "float32 is needed for this",
             help=f"compile with dtype float32, or with precision full for products in {dtype.value}")  # fmt: skip


__all__ = ["NAMES", "Precision", "check_precision", "read_precision", "written_precision"]
