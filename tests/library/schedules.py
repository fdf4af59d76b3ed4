"""Schedules of the library and the same in torch, over 50 steps of an optimizer.

Each is a pair: a call in the language, and a Python expression over ``lr_scheduler`` (as ``L``) and ``optimizer``. The
optimizer's own rate is ``RATE``. ``reference/schedules.json`` holds torch's rates by call.
"""

from __future__ import annotations

import json

from .cases import REFERENCES

RATE = 0.4
STEPS = 50
FILE = REFERENCES / "schedules.json"
SCHEDULES = {
    "constant_lr(0.4)": "L.ConstantLR(optimizer, 1.0)",
    "constant_lr(0.4, factor = 0.25, total_iters = 7)": "L.ConstantLR(optimizer, 0.25, 7)",
    "step_lr(0.4, 7)": "L.StepLR(optimizer, 7)",
    'step_lr(0.4, 10, gamma = 0.5, by = "step")': "L.StepLR(optimizer, 10, 0.5)",
    "multi_step_lr(0.4, [3, 20, 21, 40])": "L.MultiStepLR(optimizer, [3, 20, 21, 40])",
    "multi_step_lr(0.4, [30], gamma = 0.3)": "L.MultiStepLR(optimizer, [30], 0.3)",
    "exponential_lr(0.4, 0.93)": "L.ExponentialLR(optimizer, 0.93)",
    "linear_lr(0.4)": "L.LinearLR(optimizer)",
    "linear_lr(0.4, start_factor = 0.1, end_factor = 0.7, total_iters = 23)": "L.LinearLR(optimizer, 0.1, 0.7, 23)",
    "polynomial_lr(0.4)": "L.PolynomialLR(optimizer)",
    "polynomial_lr(0.4, total_iters = 30, power = 2.5)": "L.PolynomialLR(optimizer, 30, 2.5)",
    "cosine_annealing(0.4)": "L.CosineAnnealingLR(optimizer, 51)",
    "cosine_annealing(0.4, 20, eta_min = 0.01)": "L.CosineAnnealingLR(optimizer, 20, 0.01)",
    "cosine_annealing_warm_restarts(0.4, 12)": "L.CosineAnnealingWarmRestarts(optimizer, 12)",
    "cosine_annealing_warm_restarts(0.4, 3, 2, eta_min = 0.05)": "L.CosineAnnealingWarmRestarts(optimizer, 3, 2, 0.05)",
    "cosine_annealing_warm_restarts(0.4, 2, t_mult = 3)": "L.CosineAnnealingWarmRestarts(optimizer, 2, 3)",
    "one_cycle_lr(0.4)": "L.OneCycleLR(optimizer, 0.4, 51)",
    'one_cycle_lr(0.4, total_steps = 60, pct_start = 0.4, anneal_strategy = "linear", div_factor = 10)': (
        "L.OneCycleLR(optimizer, 0.4, 60, pct_start=0.4, anneal_strategy='linear', div_factor=10)"
    ),
    "one_cycle_lr(0.4, three_phase = true, final_div_factor = 100)": (
        "L.OneCycleLR(optimizer, 0.4, 51, three_phase=True, final_div_factor=100)"
    ),
    "cyclic_lr(0.1, 0.4, step_size_up = 7)": "L.CyclicLR(optimizer, 0.1, 0.4, 7)",
    'cyclic_lr(0.1, 0.4, step_size_up = 8, step_size_down = 5, mode = "triangular2")': (
        "L.CyclicLR(optimizer, 0.1, 0.4, 8, 5, 'triangular2')"
    ),
    'cyclic_lr(0.1, 0.4, step_size_up = 6, mode = "exp_range", gamma = 0.95)': (
        "L.CyclicLR(optimizer, 0.1, 0.4, 6, mode='exp_range', gamma=0.95)"
    ),
}


PLATEAUS = {
    "reduce_on_plateau(0.4)": "L.ReduceLROnPlateau(optimizer)",
    "reduce_on_plateau(0.4, factor = 0.5, patience = 2)": "L.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)",
    "reduce_on_plateau(0.4, factor = 0.5, patience = 1, cooldown = 4, min_lr = 0.06)": (
        "L.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=4, min_lr=0.06)"
    ),
    "reduce_on_plateau(0.4, factor = 0.7, patience = 0, threshold = 0.3)": (
        "L.ReduceLROnPlateau(optimizer, factor=0.7, patience=0, threshold=0.3)"
    ),
    'reduce_on_plateau(0.4, factor = 0.6, patience = 3, threshold = 0.5, threshold_mode = "abs", eps = 0.02)': (
        "L.ReduceLROnPlateau(optimizer, 'min', 0.6, 3, 0.5, 'abs', eps=0.02)"
    ),
}
LOSSES = [round(4 / (1 + min(i, 15) // 3) + (0.35 * i * i) % 0.7, 3) for i in range(STEPS)]
"""What those that look at the loss are told after each epoch: it falls, jumps and stands."""


def rates() -> dict[str, list[float]]:
    """Torch's rates of 50 steps, by call."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))
