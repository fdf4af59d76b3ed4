"""Pooling with its sizes, and to given sizes."""

from __future__ import annotations

from .cases import Case, Input, case

GIVEN = {1: (2, 3, 9), 2: (2, 2, 7, 6), 3: (2, 2, 5, 4, 3)}
KERNELS = {1: "3", 2: "[3, 2]", 3: "[2, 3, 2]"}
AVERAGE = {
    "": "",
    ", stride = 1": ", stride=1",
    ", stride = 2, padding = 1": ", stride=2, padding=1",
    ", 2, 1, true": ", 2, 1, True",
    ", 2, 1, true, false": ", 2, 1, True, False",
    ", padding = 1, count_include_pad = false": ", padding=1, count_include_pad=False",
    ", stride = 2, ceil_mode = true": ", stride=2, ceil_mode=True",
}
MAXIMUM = {
    "": "",
    ", stride = 2, padding = 1": ", stride=2, padding=1",
    ", 1, 1, 2": ", 1, 1, 2",
    ", 2, 1, ceil_mode = true": ", 2, 1, ceil_mode=True",
    ", stride = 2, ceil_mode = true": ", stride=2, ceil_mode=True",
}
SIZES = {
    1: ["1", "3", "4", "9"],
    2: ["1", "3", "[none, 4]", "[2, 3]", "[7, 5]"],
    3: ["1", "2", "[3, none, 2]"],
}


def pooled(dims: int) -> tuple[Case, ...]:
    """Every kind with its arguments."""
    kernel = KERNELS[dims]
    given, distinct = Input(GIVEN[dims]), Input(GIVEN[dims], "distinct")
    positive = Input(GIVEN[dims], "positive")
    found = [
        case(f"max_pool{dims}d({kernel}{a})", f"nn.MaxPool{dims}d({kernel}{b})", distinct)
        for a, b in MAXIMUM.items()
    ]
    found += [
        case(f"avg_pool{dims}d({kernel}{a})", f"nn.AvgPool{dims}d({kernel}{b})", given)
        for a, b in AVERAGE.items()
    ]
    for power, x in (("2", given), ("1", positive), ("1.5", positive), ("3", positive)):
        found.append(case(f"lp_pool{dims}d({power}, {kernel})", f"nn.LPPool{dims}d({power}, {kernel})", x))
    found.append(
        case(
            f"lp_pool{dims}d(2, {kernel}, 2, true)",
            f"nn.LPPool{dims}d(2, {kernel}, 2, True)",
            given,
        )
    )
    for size in SIZES[dims]:
        theirs = size.replace("none", "None")
        found += [
            case(f"adaptive_avg_pool{dims}d({size})", f"nn.AdaptiveAvgPool{dims}d({theirs})", given),
            case(f"adaptive_max_pool{dims}d({size})", f"nn.AdaptiveMaxPool{dims}d({theirs})", distinct),
        ]
    return tuple(found)


CASES: tuple[Case, ...] = (
    *pooled(1),
    *pooled(2),
    *pooled(3),
    case("avg_pool2d(3, divisor_override = 5)", "nn.AvgPool2d(3, divisor_override=5)", Input(GIVEN[2])),
    case(
        "avg_pool3d(2, 1, 1, divisor_override = 3)",
        "nn.AvgPool3d(2, 1, 1, divisor_override=3)",
        Input(GIVEN[3]),
    ),
    case(
        "max_pool2d([2, 3], stride = [1, 2], padding = [1, 0], dilation = [2, 1])",
        "nn.MaxPool2d([2, 3], stride=[1, 2], padding=[1, 0], dilation=[2, 1])",
        Input(GIVEN[2], "distinct"),
    ),
    case("max_pool2d(3, 2)", "nn.MaxPool2d(3, 2)", Input((2, 2, 7, 6), "values 1 2 2 1 2"),
         name="max_pool2d among equals", kinks=True),
    case("adaptive_max_pool2d(3)", "nn.AdaptiveMaxPool2d(3)", Input((2, 2, 7, 8), "values 1 2 2 1 2"),
         name="adaptive_max_pool2d among equals", kinks=True),
)  # fmt: skip
