"""A train block's optimizers as those of ``torch.optim``, with clipping and moving averages.

In: a case, parameters with gradients. Out: ``Update``, called after each backward pass. Where an optimizer has no
counterpart of the same name, its text is translated, operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..compiler.graph import Call, Value, reachable
from .case import Case, scalar
from .torch_operations import Torch, dtype_of
from .translation import translate

CLASSES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam, "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta, "rmsprop": torch.optim.RMSprop, "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
}  # fmt: skip
PAIRS = {
    "betas": ("beta1", "beta2"),
    "etas": ("etaminus", "etaplus"),
    "step_sizes": ("step_size_min", "step_size_max"),
}


class Update:
    """What happens to the parameters in a step. rates: of each optimizer whose learning rate follows a schedule, it and
    the rate as a value of the update's graph."""

    def __init__(self, case: Case, tensors: Mapping[str, torch.Tensor]) -> None:
        optimizers = case.model._need_plan().optimizers
        self.case = case
        self.rates: list[tuple[torch.optim.Optimizer, Value]] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        clipped = []
        members = optimizers.members(case.model.network.parameters)
        for i, (group, specs) in enumerate(zip(optimizers.groups, members, strict=True)):
            own = [tensors[f"param.{p.path}"] for p in specs]
            if optimizers._reads_gradient(group):
                clipped += own
            call = next(c for c in case.update.calls if c.path == f"optimizer.{i}")
            self._add(call, own)
        self.clipped, self.norm, self.value = clipped, optimizers.clip_norm, optimizers.clip_value
        self.decay = optimizers.ema
        self.parameters = [tensors[name] for name in case.parameters]
        self.averages = [p.detach().clone() for p in self.parameters] if self.decay is not None else []

    def _add(self, call: Call, own: list[torch.Tensor]) -> None:
        if call.name == "frozen":
            for parameter in own:
                parameter.requires_grad_(False)
            return
        given = dict(call.given)
        rate = given.get("lr")
        if isinstance(rate, Value):
            given["lr"] = scalar(self.case.update, rate, self.case.clock(0, float("inf")))
        for name, (first, second) in PAIRS.items():
            if first in given:
                given[name] = (given.pop(first), given.pop(second))
        optimizer = CLASSES[call.name](own, **given)
        self.optimizers.append(optimizer)
        if isinstance(rate, Value):
            self.rates.append((optimizer, rate))

    def tick(self, clock: Mapping[str, Any]) -> None:
        """Learning rates as schedules have them at that time."""
        for optimizer, rate in self.rates:
            for group in optimizer.param_groups:
                group["lr"] = scalar(self.case.update, rate, dict(clock))

    def clear(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def __call__(self, loss: torch.Tensor) -> None:
        if self.norm is not None:
            torch.nn.utils.clip_grad_norm_(self.clipped, self.norm)
        if self.value is not None:
            torch.nn.utils.clip_grad_value_(self.parameters, self.value)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.decay is not None:
            torch._foreach_lerp_(self.averages, self.parameters, 1 - self.decay)


class Written:
    """The same for optimizers that PyTorch lacks: the step's own graph, in PyTorch's operations."""

    def __init__(self, case: Case, tensors: Mapping[str, torch.Tensor]) -> None:
        self.case, self.tensors = case, tensors
        self.translated = translate(case.update, case.update.outputs, Torch({}))
        self.time = self._scalars(case.clock(0, float("inf")))

    def _scalars(self, clock: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        kinds = {n: dtype_of(v.dtype) for n, v in self.case.update.inputs.items() if n.startswith("scalar.")}
        return {n: torch.tensor(clock[n].item(), dtype=kind) for n, kind in kinds.items()}

    def tick(self, clock: Mapping[str, Any]) -> None:
        self.time = self._scalars(clock)

    def clear(self) -> None:
        for name in self.case.parameters:
            self.tensors[name].grad = None

    def __call__(self, loss: torch.Tensor) -> None:
        with torch.no_grad():
            leaves = dict(self.tensors) | self.time | {"loss": loss}
            for name in self.case.parameters:
                tensor = self.tensors[name]
                gradient = tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
                leaves[f"gradient.{name.removeprefix('param.')}"] = gradient
            for name, new in self.translated.run(leaves, 0).items():
                self.tensors[name].copy_(new)


def update_of(case: Case, tensors: Mapping[str, torch.Tensor]) -> Update | Written:
    """torch.optim's where all of the train block's optimizers are in it and their learning rates depend on the clock."""
    groups = case.model._need_plan().optimizers.groups
    calls = [c for c in case.update.calls if c.result is None]
    known = len(calls) == len(groups) and all(c.name in CLASSES or c.name == "frozen" for c in calls)
    rates = [c.given["lr"] for c in calls if isinstance(c.given.get("lr"), Value)]
    leaves = {v.attrs["name"] for rate in rates for v in reachable([rate]) if v.op.name == "input"}
    if known and all(str(n).startswith("scalar.") for n in leaves):
        return Update(case, tensors)
    return Written(case, tensors)
