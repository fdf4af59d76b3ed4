"""The tutorial on modules, step by step, in Python: layers, models, gradients, and a training loop by hand.

In: nothing. Out: what each step prints. Run it as ``python examples/seed.py``. Everything that the tutorial
does with modules of torch for R has its counterpart here; a model's arrays are NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import netc

OBSERVATIONS = 100
HIDDEN = 32
LEARNING_RATE = 1e-4

rng = np.random.default_rng(0)


def base_module() -> None:
    """One linear layer: parameters, a call, a gradient for an output that is no scalar."""
    layer = netc.compile(source="net affine { input x: [3]; linear(3, 1) }", seed=1)
    for name, parameter in layer.parameters().items():
        print(name, parameter.shape, parameter.ravel())

    data = rng.standard_normal((10, 3))
    out = layer(data)
    print("output", out.shape)
    assert layer[0].weight.grad is None  # no backward pass so far

    try:
        out.backward()
    except ValueError as error:  # ten numbers: a gradient has to be given
        print("out.backward():", error)
    out.backward(np.full((10, 1), 10.0))
    print("weight.grad", layer[0].weight.grad, "bias.grad", layer[0].bias.grad)


def container_module() -> None:
    """Three layers in sequence: names of parameters, one of them by position, gradients through all."""
    model = netc.compile(source="net model { input x: [3]; linear(3, 16); relu; linear(16, 1) }", seed=1)
    for name, parameter in model.parameters().items():
        print(name, parameter.shape)
    print("first bias", model[0].bias)

    out = model(rng.standard_normal((10, 3)))
    out.backward(np.full((10, 1), 10.0))
    print("its gradient", model[0].bias.grad)


def training_by_hand() -> Iterator[tuple[int, float]]:
    """200 steps of gradient descent, written out; yields the step and its loss."""
    x = rng.standard_normal((OBSERVATIONS, 3))
    noise = rng.standard_normal((OBSERVATIONS, 1))
    y = 0.2 * x[:, 0:1] - 1.3 * x[:, 1:2] - 0.5 * x[:, 2:3] + noise

    model = netc.compile(
        source="""
        const d_hidden = 32
        net regression { input x: [3]; linear(d_hidden); relu; linear(1) }
        train { loss = mse_loss(reduction = "sum") }
        """,
        seed=1,
        d_hidden=HIDDEN,
    )
    for step in range(1, 201):
        y_pred = model(x)
        loss = model.loss(y_pred, y)
        model.zero_grad()
        loss.backward()
        for parameter in model.parameters().values():
            parameter -= LEARNING_RATE * parameter.grad
        yield step, loss.item()


def main() -> None:
    """Everything, in the tutorial's order."""
    base_module()
    container_module()
    for step, loss in training_by_hand():
        if step % 10 == 0:
            print(f"Epoch: {step:3}  Loss: {loss:.4f}")


if __name__ == "__main__":
    main()
