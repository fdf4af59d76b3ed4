"""Padding of sequences, images and volumes."""

from __future__ import annotations

from .cases import Case, Input, case

GIVEN = {1: Input((2, 3, 5)), 2: Input((2, 3, 4, 5)), 3: Input((2, 2, 3, 4, 3))}
AMOUNTS = {
    1: ["2", "[3, 1]", "[0, 2]", "[-1, 2]"],
    2: ["2", "[3, 1, 0, 2]", "[-1, 2, 1, -1]"],
    3: ["2", "[2, 1, 0, 3, 1, 2]", "[-1, 1, 2, -2, 0, 1]"],
}
MODES = {
    "zero": "ZeroPad",
    "reflection": "ReflectionPad",
    "replication": "ReplicationPad",
    "circular": "CircularPad",
}


def fits(mode: str, dims: int, amounts: str) -> bool:
    """Whether torch takes them: its reflections do not crop, and nothing reaches beyond the other end."""
    if mode == "reflection":
        return not (dims == 3 and "3" in amounts) and "-" not in amounts
    return not (mode == "circular" and dims == 3 and "-" in amounts)


def padded(mode: str) -> tuple[Case, ...]:
    return tuple(
        case(f"{mode}_pad{dims}d({amounts})", f"nn.{MODES[mode]}{dims}d({amounts})", given)
        for dims, given in GIVEN.items()
        for amounts in AMOUNTS[dims]
        if fits(mode, dims, amounts)
    )


CASES: tuple[Case, ...] = (
    *(found for mode in MODES for found in padded(mode)),
    *(
        case(f"constant_pad{dims}d({amounts}, 1.5)", f"nn.ConstantPad{dims}d({amounts}, 1.5)", given)
        for dims, given in GIVEN.items()
        for amounts in AMOUNTS[dims][:2]
    ),
    case("reflection_pad1d([2, 0])", "nn.ReflectionPad1d([2, 0])", Input((3, 5)), name="padding of rows"),
)
