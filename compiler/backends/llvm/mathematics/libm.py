"""The C library's functions on vectors, lane by lane.

In: a name, element type and lane count. Out: the text of an internal function.
"""

from __future__ import annotations

from ....graph import DType
from ..scalars import type_text


def by_lane(symbol: str, name: str, dtype: DType, lanes: int) -> str:
    t, element = type_text(dtype, lanes), type_text(dtype, 1)
    call = f"@{name}f" if dtype is DType.float32 else f"@{name}"
    lines = [f"define internal {t} {symbol}({t} %x) {{"]
    if lanes == 1:
        return "\n".join([*lines, f"  %r = call {element} {call}({element} %x)", "  ret " + f"{t} %r", "}"])
    previous = "undef"
    for lane in range(lanes):
        lines += [
            f"  %x.{lane} = extractelement {t} %x, i32 {lane}",
            f"  %r.{lane} = call {element} {call}({element} %x.{lane})",
            f"  %v.{lane} = insertelement {t} {previous}, {element} %r.{lane}, i32 {lane}",
        ]
        previous = f"%v.{lane}"
    return "\n".join([*lines, f"  ret {t} {previous}", "}"])
