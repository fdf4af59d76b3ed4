"""Writes what torch computes for every case, one file a family. Run: ``python -m tests.library.make_references [FAMILY]``.

In: the tables of cases, and torch. Out: ``reference/FAMILY.safetensors`` with, for each case,

- ``CASE/input.NAME``: what is given, float32 or int64; ``CASE/second.NAME``: other rows for a second training step;
- ``CASE/state.PATH``: parameters and buffers before; ``CASE/after.PATH``: buffers after both steps;
- ``CASE/output``: in training; ``CASE/evaluated``: in evaluation before the first step, unless it is the same;
- ``CASE/cotangent``: float32;
- ``CASE/gradient.PATH`` and ``CASE/gradient.input.NAME``: of the sum of output times cotangent.

All that is computed is float64, from numbers that float32 holds exactly. ``schedules`` in place of a family writes the
rates of the schedules. The only file that needs torch.
"""

from __future__ import annotations

import copy
import json
import sys
import zlib
from collections.abc import Callable

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from . import blocks_in_torch
from .cases import REFERENCES, Case, Input, families
from .schedules import FILE, LOSSES, PLATEAUS, RATE, SCHEDULES

EDGES = [-1e4, -100.0, -20.0, -3.0, -1.0, -0.5, -1e-3, -0.0, 0.0, 1e-3, 0.5, 1.0, 3.0, 20.0, 100.0, 1e4]


class Function(nn.Module):
    """A function of the inputs as a module without state."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class Hidden(nn.Sequential):
    """The first of a recurrent layer's results."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        found: Tensor = self[0](x)[0]
        return found


class Attention(nn.MultiheadAttention):
    """Self-attention; causal: no time sees later ones."""

    def __init__(self, *sizes: int, causal: bool = False, **rest: float) -> None:
        super().__init__(*sizes, batch_first=True, **rest)  # type: ignore[arg-type]
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        time = x.shape[1]
        mask = torch.triu(torch.ones(time, time, dtype=torch.bool), 1) if self.causal else None
        return super().forward(x, x, x, need_weights=False, attn_mask=mask)[0]


class Learned(nn.Module):
    """A parameter for each time and feature."""

    def __init__(self, time: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(time, features))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


def draw(spec: Input) -> Tensor:
    """An input of its kind."""
    kind, *rest = spec.kind.split()
    count = 1
    for extent in spec.shape:
        count *= extent
    if kind == "classes":
        return torch.randint(0, int(rest[0]), spec.shape)
    if kind in ("edges", "values", "whole", "nan"):
        listed = [float(v) for v in rest] or EDGES + [float("nan")] * (kind == "nan")
        found = torch.tensor([listed[i % len(listed)] for i in range(count)]).reshape(spec.shape)
        return found.long() if kind == "whole" else found
    return {
        "normal": lambda: torch.randn(spec.shape),
        "uniform": lambda: torch.rand(spec.shape) * 0.98 + 0.01,
        "positive": lambda: torch.rand(spec.shape) * 1.8 + 0.2,
        "probabilities": lambda: torch.softmax(torch.randn(spec.shape), 1),
        "distinct": lambda: torch.randperm(count).reshape(spec.shape) / 7 - count / 14,
        "binary": lambda: torch.randint(0, 2, spec.shape).float(),
        "signs": lambda: torch.randint(0, 2, spec.shape).float() * 2 - 1,
    }[kind]()


def module_of(case: Case) -> nn.Module:
    """The torch side, its parameters and buffers moved off their initial values."""
    made = eval(
        case.torch,
        {
            "torch": torch,
            "nn": nn,
            "F": F,
            "Hidden": Hidden,
            "Attention": Attention,
            "Learned": Learned,
            "blocks": blocks_in_torch,
        },
    )
    module: nn.Module = made if isinstance(made, nn.Module) else Function(made)
    if isinstance(made, nn.Module) and not isinstance(made, nn.Sequential) and len(case.inputs) == 1:
        module = nn.Sequential(made)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.3 * torch.rand_like(tensor)
    return module.double()


def widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def make(case: Case) -> dict[str, Tensor]:
    """Everything about one case, by key."""
    torch.manual_seed(zlib.crc32(case.name.encode()))
    module = module_of(case)
    given = {i.name: draw(i) for i in case.inputs}
    found = {f"state.{n}": v.clone() for n, v in module.state_dict().items()}
    found |= {f"input.{n}": v for n, v in given.items()}
    with torch.no_grad():
        found["evaluated"] = copy.deepcopy(module).eval()(*map(widened, given.values()))
    module.train(not case.draws)
    leaves = {i.name: widened(given[i.name]).requires_grad_(i.differentiable) for i in case.inputs}
    output = module(*leaves.values())
    found["output"] = output.detach()
    if torch.equal(found["evaluated"], found["output"]):
        del found["evaluated"]
    if not case.forward_only:
        found |= gradients(module, leaves, output)
    buffers = dict(module.named_buffers())
    if buffers:
        second = {i.name: draw(i) for i in case.inputs}
        with torch.no_grad():
            module(*map(widened, second.values()))
        found |= {f"second.{n}": v for n, v in second.items()}
        found |= {f"after.{n}": v.clone() for n, v in buffers.items()}
    return {k: v.contiguous().clone() for k, v in found.items()}


def gradients(module: nn.Module, leaves: dict[str, Tensor], output: Tensor) -> dict[str, Tensor]:
    """The cotangent, and the derivative of every input and parameter."""
    cotangent = torch.randn(output.shape)
    output.backward(cotangent.double())
    inputs = {f"gradient.input.{n}": v.grad for n, v in leaves.items() if v.requires_grad}
    parameters = {f"gradient.{n}": v.grad for n, v in module.named_parameters()}
    return {"cotangent": cotangent} | {k: v for k, v in (inputs | parameters).items() if v is not None}


def names(found: dict[str, Tensor]) -> list[str]:
    """The names of the state dict, in order."""
    return [k.removeprefix("state.") for k in found if k.startswith("state.")]


def rates(expression: str) -> list[float]:
    """The rate of every step of an optimizer under a schedule."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=RATE, momentum=0.5)
    schedule = eval(expression, {"L": torch.optim.lr_scheduler, "optimizer": optimizer})
    found = []
    for loss in LOSSES:
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step(*([loss] if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
    return found


def main(chosen: list[str]) -> None:
    REFERENCES.mkdir(exist_ok=True)
    for family, cases in families().items():
        if not chosen or family in chosen:
            made = {c.name: make(c) for c in cases}
            path = REFERENCES / f"{family}.safetensors"
            tensors = {f"{name}/{k}": v for name, found in made.items() for k, v in found.items()}
            save_file(tensors, path, {"states": json.dumps({n: names(found) for n, found in made.items()})})
            print(path.name, len(cases), "cases,", path.stat().st_size, "bytes")
    if not chosen or "schedules" in chosen:
        lines = [
            f"{json.dumps(call)}: {rates(expression)}" for call, expression in (SCHEDULES | PLATEAUS).items()
        ]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    main(sys.argv[1:])
