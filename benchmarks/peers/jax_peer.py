"""JAX: an epoch as one jitted ``lax.scan``, the optimizer written out.

In: a workload, weights, data. Out: ``make``. Batches are gathered by a fresh permutation each epoch; the last,
partial batch is left out, since a scan's steps have one shape. Where a scan is slower than the jitted step called
from Python (convolutions), the step is used: the better of the two is reported. On a device products are of float32 without
TF32, or of factors that are rounded to bfloat16.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..place import CUDA, Place
from ..workloads import Workload
from .jax_layers import Functions

Array = NDArray[Any]
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
FULL_BATCH_STEPS = 64  # steps of one scan where an epoch is a single step


def make(workload: Workload, state: Mapping[str, Array], data: tuple[Array, Array], place: Place) -> Scan:
    os.environ.setdefault("JAX_PLATFORMS", place.device)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others want memory too
    return Scan(workload, state, data, place)


class Scan:
    """Jitted functions of the workload, and the state they carry."""

    def __init__(
        self, workload: Workload, state: Mapping[str, Array], data: tuple[Array, Array], place: Place
    ) -> None:
        import jax
        import jax.numpy as jnp

        if place.device == CUDA:
            jax.config.update("jax_default_matmul_precision", "highest")
        self.jax, self.jnp, self.functions = jax, jnp, Functions(jax, rounded=place.rounded)
        self.place = place
        self.workload = workload
        self.initial = {name: jnp.asarray(value) for name, value in state.items()}
        self.x, self.y = (jnp.asarray(a) for a in data)
        self.step = jax.jit(self._step)
        self.epoch = jax.jit(self._epoch)
        self.carry = self.start()
        self.seed = 0
        self.scanned: bool | None = None

    def start(self) -> Any:
        """Parameters, Adam's two averages, and the number of steps taken."""
        zeros = {name: self.jnp.zeros_like(value) for name, value in self.initial.items()}
        return (self.initial, zeros, dict(zeros), self.jnp.float32(0))

    def forward(self, parameters: Any, x: Any) -> Any:
        for i, layer in enumerate(self.workload.layers):
            own = {n.split(".", 1)[1]: p for n, p in parameters.items() if n.startswith(f"{i}.")}
            x = self.functions.apply(layer, own, x)
        return x

    def loss(self, parameters: Any, x: Any, y: Any) -> Any:
        output = self.forward(parameters, x)
        if self.workload.loss == "cross_entropy":
            return -self.jnp.mean(self.jax.nn.log_softmax(output)[self.jnp.arange(len(y)), y])
        squares = (output - y) ** 2
        return self.jnp.sum(squares) if self.workload.loss == "sse" else self.jnp.mean(squares)

    def _step(self, carry: Any, x: Any, y: Any) -> Any:
        parameters, first, second, count = carry
        loss, gradients = self.jax.value_and_grad(self.loss)(parameters, x, y)
        count = count + 1
        rate = self.workload.rate
        if self.workload.optimizer == "sgd":
            return ({n: p - rate * gradients[n] for n, p in parameters.items()}, first, second, count), loss
        first = {n: BETA1 * first[n] + (1 - BETA1) * g for n, g in gradients.items()}
        second = {n: BETA2 * second[n] + (1 - BETA2) * g * g for n, g in gradients.items()}
        scale, correction = rate / (1 - BETA1**count), self.jnp.sqrt(1 - BETA2**count)
        parameters = {
            n: p - scale * first[n] / (self.jnp.sqrt(second[n]) / correction + EPS)
            for n, p in parameters.items()
        }
        return (parameters, first, second, count), loss

    def _epoch(self, carry: Any, key: Any) -> Any:
        batch, rows = self.workload.batch_rows, self.workload.rows
        if batch == rows:
            return self.jax.lax.scan(
                lambda c, _: self._step(c, self.x, self.y), carry, None, length=FULL_BATCH_STEPS
            )
        order = self.jax.random.permutation(key, rows)[: rows // batch * batch].reshape(-1, batch)
        return self.jax.lax.scan(
            lambda c, chosen: self._step(c, self.x[chosen], self.y[chosen]), carry, order
        )

    def losses(self, steps: int) -> list[float]:
        rows = self.workload.batch_rows
        carry, found = self.start(), []
        for _ in range(steps):
            carry, loss = self.step(carry, self.x[:rows], self.y[:rows])
            found.append(float(loss))
        return found

    def train(self, steps: int) -> float:
        if self.scanned is None:
            for seconds in (self.by_scan, self.by_step):  # compile
                seconds(1)
            self.scanned = self.by_scan(1) <= self.by_step(1)
        seconds = self.by_scan if self.scanned else self.by_step
        return seconds(max(1, steps // self.scan_length)) * steps

    @property
    def scan_length(self) -> int:
        full = self.workload.batch_rows == self.workload.rows
        return FULL_BATCH_STEPS if full else self.workload.rows // self.workload.batch_rows

    def by_scan(self, epochs: int) -> float:
        """Seconds a step, over whole epochs."""
        start = time.perf_counter()
        for _ in range(epochs):
            self.seed += 1
            self.carry, losses = self.epoch(self.carry, self.jax.random.PRNGKey(self.seed))
        losses.block_until_ready()
        return (time.perf_counter() - start) / (epochs * self.scan_length)

    def by_step(self, epochs: int) -> float:
        """The same with a jitted step called from Python on batches gathered by NumPy, on a device there."""
        batch, rows = self.workload.batch_rows, self.workload.rows
        rng = np.random.default_rng(self.seed)
        x, y = (self.x, self.y) if self.place.device == CUDA else (np.asarray(self.x), np.asarray(self.y))
        start = time.perf_counter()
        for _ in range(epochs):
            order = rng.permutation(rows)
            for i in range(self.scan_length):
                chosen = slice(None) if batch == rows else order[i * batch : (i + 1) * batch]
                given = (self.x, self.y) if batch == rows else (x[chosen], y[chosen])
                self.carry, loss = self.step(self.carry, *given)
        loss.block_until_ready()
        return (time.perf_counter() - start) / (epochs * self.scan_length)
