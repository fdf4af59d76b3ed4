"""Normalisation, with its running statistics."""

from __future__ import annotations

from .cases import Case, Input, case

ROWS = Input((7, 5))
SEQUENCE = Input((4, 6, 5))
IMAGE = Input((3, 4, 3, 5))
VOLUME = Input((2, 3, 2, 3, 4))


def normed(kind: str, dims: int, channels: int, given: Input, *, written: bool) -> tuple[Case, ...]:
    """The arguments that batch norm and instance norm share."""
    net, torch = f"{kind}_norm{dims}d", f"nn.{kind.capitalize()}Norm{dims}d"
    choices = {
        "": "",
        "eps = 0.1, momentum = 0.3": "eps=0.1, momentum=0.3",
        "affine = true": "affine=True",
        "affine = false": "affine=False",
        "affine = true, bias = false": "affine=True, bias=False",
        "track_running_stats = true": "track_running_stats=True",
        "track_running_stats = false": "track_running_stats=False",
    }
    found = [
        case(f"{net}({a})" if a else net, f"{torch}({channels}, {b})", given) for a, b in choices.items()
    ]
    if written:
        values = f"{channels}, 1e-3, 0.2, true, true"
        found.append(case(f"{net}({values})", f"{torch}({values.replace('true', 'True')})", given))
    return tuple(found)


CASES: tuple[Case, ...] = (
    *normed("batch", 1, 5, ROWS, written=True),
    *normed("batch", 2, 4, IMAGE, written=True),
    *normed("batch", 3, 3, VOLUME, written=False),
    case("batch_norm1d", "nn.BatchNorm1d(6)", SEQUENCE, name="batch_norm1d of sequences"),
    case("batch_norm1d(momentum = none)", "nn.BatchNorm1d(5, momentum=None)", ROWS),
    case("batch_norm2d(momentum = none)", "nn.BatchNorm2d(4, momentum=None)", IMAGE),
    case("batch_norm", "nn.BatchNorm2d(4)", IMAGE),
    *normed("instance", 1, 6, SEQUENCE, written=True),
    *normed("instance", 2, 4, IMAGE, written=True),
    *normed("instance", 3, 3, VOLUME, written=False),
    case("instance_norm", "nn.InstanceNorm2d(4)", IMAGE),
    case("group_norm(2)", "nn.GroupNorm(2, 4)", IMAGE),
    case("group_norm(3, 6, 1e-3)", "nn.GroupNorm(3, 6, 1e-3)", SEQUENCE),
    case("group_norm(1, affine = false)", "nn.GroupNorm(1, 4, affine=False)", IMAGE),
    case("group_norm(2, bias = false)", "nn.GroupNorm(2, 4, bias=False)", IMAGE),
    case("group_norm(3)", "nn.GroupNorm(3, 6)", Input((5, 6)), name="group_norm of rows"),
    case("layer_norm", "nn.LayerNorm(5)", ROWS),
    case("layer_norm([3, 5])", "nn.LayerNorm([3, 5])", IMAGE),
    case("layer_norm([4, 3, 5], 1e-3)", "nn.LayerNorm([4, 3, 5], 1e-3)", IMAGE),
    case("layer_norm(5, elementwise_affine = false)", "nn.LayerNorm(5, elementwise_affine=False)", IMAGE),
    case("layer_norm(bias = false)", "nn.LayerNorm(5, bias=False)", SEQUENCE),
    case("rms_norm", "nn.RMSNorm(5)", ROWS),
    case("rms_norm([3, 5], 1e-2)", "nn.RMSNorm([3, 5], 1e-2)", IMAGE),
    case("rms_norm(5, elementwise_affine = false)", "nn.RMSNorm(5, elementwise_affine=False)", SEQUENCE),
    case("local_response_norm(3)", "nn.LocalResponseNorm(3)", IMAGE),
    case("local_response_norm(2, 0.5, 0.6, 2)", "nn.LocalResponseNorm(2, 0.5, 0.6, 2)", SEQUENCE),
    case("local_response_norm(4, alpha = 0.3)", "nn.LocalResponseNorm(4, 0.3)", VOLUME),
)
