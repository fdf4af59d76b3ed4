"""JAX on the CPU: a jitted step with donated state, called from Python or scanned over an epoch, whichever is faster.

In: a case. Out: ``make``. The gradient is JAX's own, of forward pass and loss; the update is the train block's optimizer,
translated. Batches are gathered by a fresh permutation each epoch; the last, partial batch is left out, since a scan's steps
have one shape. Imported where it is measured, since it sets up JAX.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from .case import CLOCK, STEPS, Case
from .jax_framework import Jax, drawing_from
from .translation import Translated, translate

FULL_BATCH_STEPS = 64  # steps of one scan where an epoch is a single step


def make(case: Case, threads: int) -> Scan:
    """threads: JAX takes the cores that its process may use, whatever it is told."""
    jax.config.update("jax_enable_x64", case.model.program.dtype.value == "float64")
    warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
    return Scan(case)


class Scan:
    """Jitted functions of the case, and the state that they carry: model tensors by leaf, the number of steps."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.data = {name: jnp.asarray(array) for name, array in case.data.items()}
        outputs = {"output": case.forward.output} | dict(case.forward.updates)
        self.network = translate(case.network, outputs, Jax())
        self.checked = translate(case.network, outputs, Jax(), drawn=True)
        self.loss = translate(case.loss, case.loss.outputs, Jax())
        self.update = translate(case.update, case.update.outputs, Jax())
        self.step = jax.jit(self._timed, donate_argnums=0)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.carry = self.start()
        self.seed = 0
        self.scanned: bool | None = None

    def start(self) -> Any:
        return {name: jnp.asarray(a) for name, a in self.case.start.items()}, jnp.asarray(0)

    def _step(self, network: Translated, state: Mapping[str, Any], batch: Any, scalars: Any) -> Any:
        """A step: the new state and the loss."""
        rows = next(iter(x for n, x in batch.items() if not n.startswith("random."))).shape[0]
        parameters = {n: state[n] for n in self.case.parameters}

        def loss_of(parameters: Any) -> Any:
            found = network.run({**state, **parameters, **batch}, rows)
            output = found.pop("output")
            return self.loss.run({**batch, "output": output}, rows)["loss"], found

        (loss, buffers), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
        leaves = {f"gradient.{n.removeprefix('param.')}": g for n, g in gradients.items()}
        new = self.update.run({**state, **scalars, **leaves, "loss": loss}, rows)
        return {**state, **buffers, **new}, loss

    def _timed(self, carry: Any, batch: Any, key: Any) -> Any:
        state, count = carry
        each = self.case.steps_per_epoch
        values = (count + 1, count // each, 10**6, 10**6, each, jnp.inf)
        scalars = {f"scalar.{n}": jnp.asarray(v) for n, v in zip(CLOCK, values, strict=True)}
        with drawing_from(jax.random.fold_in(key, count)):
            state, loss = self._step(self.network, state, batch, scalars)
        return (state, count + 1), loss

    def _epoch(self, carry: Any, data: Any, key: Any) -> Any:
        batch, rows = self.case.batch, self.case.rows
        if batch == rows:
            return jax.lax.scan(lambda c, _: self._timed(c, data, key), carry, None, length=FULL_BATCH_STEPS)
        order = jax.random.permutation(key, rows)[: rows // batch * batch].reshape(-1, batch)
        return jax.lax.scan(
            lambda c, chosen: self._timed(c, {n: x[chosen] for n, x in data.items()}, key), carry, order
        )

    def losses(self, steps: int) -> list[float]:
        """Of the run of ``Case.losses``, with netc's own random numbers."""
        batch = {name: x[: self.case.batch] for name, x in self.data.items()}
        state, _ = self.start()
        step = jax.jit(lambda state, batch, scalars: self._step(self.checked, state, batch, scalars))
        found: list[float] = []
        for i in range(min(steps, STEPS)):
            clock = self.case.clock(i, found[-1] if found else float("inf"))
            draws = {name: jnp.asarray(x) for name, x in self.case.draws(i).items()}
            state, loss = step(state, batch | draws, {n: jnp.asarray(v) for n, v in clock.items()})
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
        full = self.case.batch == self.case.rows
        return FULL_BATCH_STEPS if full else self.case.rows // self.case.batch

    def by_scan(self, epochs: int) -> float:
        """Seconds a step, over whole epochs."""
        start = time.perf_counter()
        for _ in range(epochs):
            self.seed += 1
            self.carry, losses = self.epoch(self.carry, self.data, jax.random.PRNGKey(self.seed))
        losses.block_until_ready()
        return (time.perf_counter() - start) / (epochs * self.scan_length)

    def by_step(self, epochs: int) -> float:
        """The same with the jitted step called from Python on batches gathered by NumPy."""
        batch, rows = self.case.batch, self.case.rows
        rng, key = np.random.default_rng(self.seed), jax.random.PRNGKey(self.seed)
        start = time.perf_counter()
        for _ in range(epochs):
            order = rng.permutation(rows)
            for i in range(self.scan_length):
                chosen = order[i * batch : (i + 1) * batch]
                given = self.data if batch == rows else {n: x[chosen] for n, x in self.case.data.items()}
                self.carry, loss = self.step(self.carry, given, key)
        loss.block_until_ready()
        return (time.perf_counter() - start) / (epochs * self.scan_length)
