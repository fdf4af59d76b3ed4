"""Writes what PyTorch computes for the networks of this folder: ten training steps of each, in full.

In: PyTorch. Out: ``NAME.float64.safetensors`` and ``NAME.float32.safetensors`` for each ``NAME.net``, with

- ``input``, ``target``: ten batches, ``[10, rows, ...]``;
- ``initial.PATH``: parameters and buffers before the first step;
- ``loss``: ``[10]``; ``gradient.PATH``, ``after.PATH``: ``[10, ...]``, after each step.

Run it as ``python tests/reference/make_reference.py``. Weights and data are drawn once, in float32, so that
both files start from the same numbers. A case whose float32 run strays from its float64 run says nothing
about a compiler; such a case is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
STEPS = 10
DRIFT = 1e-5


class Residual(nn.Sequential):
    """x + block(x), with the block's own names."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@dataclass(frozen=True)
class Case:
    """A network, its loss and optimizer, and the shapes of one batch.

    target: ``normal``, ``binary`` or ``3 classes``. warmup: steps over which the rate rises linearly.
    """

    name: str
    model: Callable[[], nn.Module]
    loss: nn.Module
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    target: str = "normal"
    warmup: int = 0


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 6), nn.LeakyReLU(0.1), nn.Identity(),
        nn.Dropout(0), nn.Linear(6, 2),
    )  # fmt: skip


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


def pooling() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, (3, 2), bias=False), nn.GELU(), nn.AvgPool2d(2, stride=(2, 1)), nn.Flatten(),
        nn.BatchNorm1d(36), nn.SiLU(), nn.Linear(36, 2),
    )  # fmt: skip


def softmax() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 4), nn.Softmax(-1), nn.Linear(4, 3, bias=False),
        nn.LogSoftmax(-1),
    )  # fmt: skip


def nested() -> nn.Module:
    block = Residual(
        nn.Linear(6, 8), nn.GELU(approximate="tanh"), nn.Sequential(nn.Dropout(0), nn.Linear(8, 6))
    )
    copies = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2)))
    return nn.Sequential(
        OrderedDict(
            {"0": nn.Linear(6, 6), "1": block, "2": copies, "3": nn.LayerNorm(6), "head": nn.Linear(6, 4)}
        )
    )


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05)


def nesterov(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=0.01)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.99), weight_decay=0.1)


def adamw_warm(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)


CASES = (
    Case("dense", dense, nn.MSELoss(), sgd, (7, 5), (7, 2)),
    Case("convolution", convolution, nn.CrossEntropyLoss(), nesterov, (6, 2, 7, 7), (6,), "3 classes"),
    Case("pooling", pooling, nn.BCEWithLogitsLoss(), adam, (9, 1, 6, 8), (9, 2), "binary"),
    Case("softmax", softmax, nn.L1Loss(reduction="sum"), adamw, (8, 5), (8, 3)),
    Case(
        "nested", nested, nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1), adamw_warm, (5, 6), (5,),
        "4 classes", warmup=4,
    ),
)  # fmt: skip


def targets(case: Case) -> Tensor:
    """Ten batches of targets: normal numbers, zeros and ones, or class indices."""
    shape = (STEPS, *case.target_shape)
    if case.target == "normal":
        return torch.randn(shape)
    if case.target == "binary":
        return torch.randint(0, 2, shape).float()
    return torch.randint(0, int(case.target.split()[0]), shape)


def named(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def run(case: Case, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Ten steps: losses, gradients, and parameters and buffers after each."""
    optimizer = case.optimizer(model)
    rate = optimizer.param_groups[0]["lr"]
    found: dict[str, list[Tensor]] = {}
    for step in range(STEPS):
        if case.warmup:
            optimizer.param_groups[0]["lr"] = rate * min((step + 1) / case.warmup, 1.0)
        optimizer.zero_grad()
        loss = case.loss(model(x[step]), y[step])
        loss.backward()
        found.setdefault("loss", []).append(loss.detach())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            found.setdefault(f"gradient.{name}", []).append(parameter.grad.clone())
        optimizer.step()
        for name, value in named(model).items():
            found.setdefault(f"after.{name}", []).append(value)
    return {name: torch.stack(values) for name, values in found.items()}


def drift(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of two runs, each tensor measured by its largest element at that step."""
    worst = 0.0
    for name, exact in b.items():
        for got, wanted in zip(a[name].double(), exact.double(), strict=True):
            scale = max(wanted.abs().max().item(), 1e-3)
            worst = max(worst, (got - wanted).abs().max().item() / scale)
    return worst


def make(case: Case) -> None:
    """Writes both files of a case."""
    torch.manual_seed(len(case.name))
    start = case.model()
    x, y = torch.randn(STEPS, *case.input_shape), targets(case)
    runs = {}
    for dtype in (torch.float64, torch.float32):
        model = case.model()
        model.load_state_dict(start.state_dict())
        model.to(dtype)
        initial = {f"initial.{name}": value for name, value in named(model).items()}
        data = {"input": x.to(dtype), "target": y.to(dtype) if y.is_floating_point() else y}
        runs[dtype] = run(case, model, data["input"], data["target"])
        path = HERE / f"{case.name}.{str(dtype).removeprefix('torch.')}.safetensors"
        save_file({**data, **initial, **runs[dtype]}, path)
        print(path.name, path.stat().st_size)
    strayed = drift(runs[torch.float32], runs[torch.float64])
    print(f"{case.name}: float32 strays from float64 by {strayed:.1e}")
    if strayed > DRIFT:
        raise SystemExit(f"{case.name} is ill-conditioned: choose another seed or network")


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for each in CASES:
        make(each)
