"""Writes what torch's optimizers do: ``python -m tests.library.make_optimizer_references``. Needs torch.

In: the table of ``optimizers.py``. Out: ``reference_optimizers.safetensors``: the data, the initial parameters, and for
each case the parameters after the steps of ``steps_of``.
"""

from __future__ import annotations

from functools import partial

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .optimizers import CASES, REFERENCE, steps_of


class Lion(torch.optim.Optimizer):
    """Chen and others, 2023, algorithm 2; torch has none."""

    def __init__(
        self, parameters: object, lr: float = 1e-4, b1: float = 0.9, b2: float = 0.99, wd: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr})  # type: ignore[arg-type]
        self.b1, self.b2, self.wd = b1, b2, wd

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * self.wd).sub_(
                    group["lr"] * torch.sign(self.b1 * m + (1 - self.b1) * p.grad)
                )
                m.mul_(self.b2).add_(p.grad, alpha=1 - self.b2)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def loss_of(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward()
    return loss


def main() -> None:
    torch.manual_seed(0)
    x, first = torch.randn(12, 3).double(), network()
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2] - 1], 1)
    found: dict[str, Tensor] = {"x": x, "y": y}
    found |= {f"first/{n}": v.clone() for n, v in first.state_dict().items()}
    for name, case in CASES.items():
        net = network()
        net.load_state_dict(first.state_dict())
        optimizer = eval(case, {"torch": torch, "Lion": Lion, "p": list(net.parameters())})
        evaluated = partial(loss_of, net, optimizer, x, y)
        for step in range(1, max(steps_of(name)) + 1):
            if isinstance(optimizer, torch.optim.LBFGS):
                optimizer.step(evaluated)
            else:
                evaluated()
                optimizer.step()
            if step in steps_of(name):
                found |= {f"{name}/{step}/{n}": v.clone() for n, v in net.state_dict().items()}
    save_file(found, REFERENCE)
    print(len(CASES), "cases,", REFERENCE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
