"""Optimizers of the library and the same in torch, by what stands in the ``train`` block."""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path(__file__).parent / "reference_optimizers.safetensors"
STEPS = (1, 2, 10, 50)


def steps_of(optimizer: str) -> tuple[int, ...]:
    """After how many steps it is compared. Those of lbfgs have several iterations, which make rounding errors grow."""
    return STEPS[:-1] if optimizer.startswith("lbfgs") else STEPS


CASES = {
    "sgd(0.1)": "torch.optim.SGD(p, 0.1)",
    "sgd(0.1, 0.9)": "torch.optim.SGD(p, 0.1, 0.9)",
    "sgd(0.1, momentum = 0.9, dampening = 0.3, weight_decay = 0.05)": "torch.optim.SGD(p, 0.1, 0.9, 0.3, 0.05)",
    "sgd(0.1, momentum = 0.9, nesterov = true)": "torch.optim.SGD(p, 0.1, 0.9, nesterov=True)",
    "sgd(0.01, maximize = true)": "torch.optim.SGD(p, 0.01, maximize=True)",
    "adam(0.05)": "torch.optim.Adam(p, 0.05)",
    "adam(0.05, beta1 = 0.8, beta2 = 0.95, eps = 1e-3, weight_decay = 0.1)": "torch.optim.Adam(p, 0.05, (0.8, 0.95), 1e-3, 0.1)",
    "adam(0.1, beta2 = 0.5, amsgrad = true)": "torch.optim.Adam(p, 0.1, (0.9, 0.5), amsgrad=True)",
    "adam(maximize = true)": "torch.optim.Adam(p, maximize=True)",
    "adamw(0.05)": "torch.optim.AdamW(p, 0.05)",
    "adamw(0.1, beta2 = 0.5, weight_decay = 0.2, amsgrad = true)": "torch.optim.AdamW(p, 0.1, (0.9, 0.5), weight_decay=0.2, amsgrad=True)",
    "adamax(0.05)": "torch.optim.Adamax(p, 0.05)",
    "adamax(beta2 = 0.9, weight_decay = 0.1)": "torch.optim.Adamax(p, betas=(0.9, 0.9), weight_decay=0.1)",
    "nadam(0.05)": "torch.optim.NAdam(p, 0.05)",
    "nadam(weight_decay = 0.1, momentum_decay = 0.1)": "torch.optim.NAdam(p, weight_decay=0.1, momentum_decay=0.1)",
    "nadam(weight_decay = 0.1, decoupled_weight_decay = true)": "torch.optim.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True)",
    "radam(0.05)": "torch.optim.RAdam(p, 0.05)",
    "radam(0.05, weight_decay = 0.1)": "torch.optim.RAdam(p, 0.05, weight_decay=0.1)",
    "radam(0.05, weight_decay = 0.1, decoupled_weight_decay = true)": "torch.optim.RAdam(p, 0.05, weight_decay=0.1, decoupled_weight_decay=True)",
    "adagrad(0.1)": "torch.optim.Adagrad(p, 0.1)",
    "adagrad(0.1, lr_decay = 0.1, weight_decay = 0.1, initial_accumulator_value = 0.5)": "torch.optim.Adagrad(p, 0.1, 0.1, 0.1, 0.5)",
    "adadelta": "torch.optim.Adadelta(p)",
    "adadelta(0.5, rho = 0.8, eps = 1e-3, weight_decay = 0.1)": "torch.optim.Adadelta(p, 0.5, 0.8, 1e-3, 0.1)",
    "rmsprop": "torch.optim.RMSprop(p)",
    "rmsprop(0.01, alpha = 0.9, momentum = 0.5, centered = true, weight_decay = 0.1)": "torch.optim.RMSprop(p, 0.01, 0.9, momentum=0.5, centered=True, weight_decay=0.1)",
    "rprop": "torch.optim.Rprop(p)",
    "rprop(0.1, etaminus = 0.3, etaplus = 1.5, step_size_max = 0.2)": "torch.optim.Rprop(p, 0.1, (0.3, 1.5), (1e-6, 0.2))",
    "asgd(0.1)": "torch.optim.ASGD(p, 0.1)",
    "asgd(0.1, lambd = 0.01, alpha = 0.5, weight_decay = 0.1)": "torch.optim.ASGD(p, 0.1, 0.01, 0.5, weight_decay=0.1)",
    "adafactor": "torch.optim.Adafactor(p)",
    "adafactor(0.3, beta2_decay = -0.5, eps1 = 1e-2, eps2 = 0.1, d = 1.2, weight_decay = 0.1)": (
        "torch.optim.Adafactor(p, 0.3, -0.5, (1e-2, 0.1), 1.2, 0.1)"
    ),
    "lbfgs(max_iter = 1)": "torch.optim.LBFGS(p, max_iter=1)",
    "lbfgs(0.5, max_iter = 4, history_size = 3, tolerance_change = 1e-4)": "torch.optim.LBFGS(p, 0.5, 4, history_size=3, tolerance_change=1e-4)",
    'lbfgs(max_iter = 5, line_search_fn = "strong_wolfe")': "torch.optim.LBFGS(p, max_iter=5, line_search_fn='strong_wolfe')",
    'lbfgs(max_iter = 20, max_eval = 3, history_size = 4, line_search_fn = "strong_wolfe")': (
        "torch.optim.LBFGS(p, max_iter=20, max_eval=3, history_size=4, line_search_fn='strong_wolfe')"
    ),
    'lbfgs(20, max_iter = 3, tolerance_grad = 0.05, line_search_fn = "strong_wolfe")': (
        "torch.optim.LBFGS(p, 20, max_iter=3, tolerance_grad=0.05, line_search_fn='strong_wolfe')"
    ),
    "lion(0.01)": "Lion(p, 0.01)",
    "lion(0.01, beta2 = 0.9, weight_decay = 0.1)": "Lion(p, 0.01, b2=0.9, wd=0.1)",
}
