"""The model: a compiled network with its parameters, callable, differentiable and trainable from Python.

In: an elaborated ``Program``. Out: ``Model``. Code is compiled when it is first needed: calling a model compiles its
forward pass, ``fit`` the training run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import devices
from .arrays import as_array, as_rows, as_seed, given_array, goal_of
from .compiler import units
from .compiler.backends.llvm.target import Target, native
from .compiler.elaborate import Goal, InputSpec, Network, Program, TrainPlan, average_of
from .compiler.graph import Graph, TensorType, show_shape
from .compiler.interpreter import evaluate
from .compiler.pipeline import build, model_layout
from .grammar.diagnostics import CompileError, Diagnostic, Label
from .metrics import finish_metrics
from .parts import InputGradients, Module
from .runtime.artifact import Artifact
from .runtime.checkpoint import save
from .runtime.cpu import LARGE_BYTES, Library, Unit
from .runtime.cpu import Model as Memory
from .runtime.cuda.plans import Plan
from .runtime.few import FewRows
from .runtime.memory import free_bytes, gib
from .tensors import Loss, Output, Parameter
from .training import fit
from .weights import metadata, misfits

Array = NDArray[Any]
DRAWING_BYTES = 128  # an element's share of the arrays that its initial value is drawn with


class Model:
    """A network in memory. ``training`` is True as in torch; ``predict`` and ``evaluate`` use evaluation mode."""

    def __init__(
        self,
        program: Program,
        network: Network,
        *,
        seed: int | None = None,
        folder: Path | None = None,
        plan: TrainPlan | None = None,
        target: Target | None = None,
        device: str = devices.CPU,
    ) -> None:
        """plan: the program's own, where it was made before. target: the CPU that code is made for. device: ``cpu`` or
        ``cuda``, where it computes; raises CompileError (E0803) when there is no such device."""
        self.target = target or native()
        self.device = devices.CPU
        self.program, self.network, self.folder = program, network, folder
        self.plan: TrainPlan | None = plan or program.train()
        self.seed = as_seed(seed) if seed is not None else self.plan.seed % 2**63 if self.plan else 0
        self.training = True
        self.calls = 0
        self.data: Any = None
        self.scalers: dict[str, Any] = {}
        self.classes: dict[str, list[str]] = {}
        self.columns: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        self._units: dict[Any, Unit | devices.DeviceUnit] = {}
        self._few: dict[bool, FewRows | None] = {}
        self._code: dict[Any, tuple[Artifact, Library]] = {}
        """Compiled graphs; replicas share them."""
        self._elsewhere: dict[str, tuple[Any, Any]] = {}
        """What was made for the device that is not in use, by its name."""
        self._input_gradients: dict[str, Array] = {}
        self._allocate()
        self.to(device)

    def _allocate(self) -> None:
        has_optimizer = self.plan is not None and self.plan.trains
        graph = self._layout_graph(has_optimizer)
        layouts, size = model_layout(graph)
        self._expect_memory(size)
        self.orders = {x.name: x.order for x in layouts}
        self.memory = Memory(layouts, size)
        self._initialise(has_optimizer)
        self._parameters = {
            p.path: Parameter.view_of(self.memory.views[f"param.{p.path}"], p.path)
            for p in self.network.parameters
        }

    def _expect_memory(self, size: int) -> None:
        """Raises CompileError (E0505) for a network that cannot be made in the memory that is free."""
        largest = max((int(np.prod(p.shape, dtype=np.int64)) for p in self.network.parameters), default=0)
        needed, free = 2 * size + DRAWING_BYTES * largest, free_bytes()
        if needed > LARGE_BYTES and free is not None and needed > free:
            message = f"the network takes {gib(needed)} of memory to make, {gib(free)} are free"
            raise CompileError((Diagnostic("E0505", message, Label(self.network.net.name.span)),))

    def _layout_graph(self, has_optimizer: bool) -> Graph:
        """A graph that has every model tensor as a leaf, and the contractions that decide their layout."""
        graph = Graph("layout")
        result = self.network.forward(graph, training=True)
        graph.outputs["output"] = result.output
        graph.outputs.update(result.updates)
        for spec in self.network.parameters:
            units.leaf(graph, f"param.{spec.path}", spec.dtype, spec.shape)
        for spec in self.network.buffers:
            units.leaf(graph, f"buffer.{spec.path}", spec.dtype, spec.shape)
        if has_optimizer and self.plan is not None:
            for state in self.plan.states(self.network):
                units.leaf(graph, state.leaf, state.dtype, state.shape)
        return graph

    def _initialise(self, has_optimizer: bool) -> None:
        graph = units.initial(self.network, self.plan if has_optimizer else None)
        for name, value in evaluate(graph, {}, seed=self.seed).items():
            self.memory.views[name][...] = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        twin = Model(
            self.program, self.network, seed=self.seed, folder=self.folder, target=self.target, device=self.device
        )  # fmt: skip
        twin.plan, twin.training, twin.data = self.plan, self.training, self.data
        twin.scalers, twin.classes, twin.columns = dict(self.scalers), dict(self.classes), dict(self.columns)
        twin.memory.block[...] = self.memory.block
        return twin

    def replica(self, seed: int) -> Model:
        """A model of the same program with initial values of its own; it shares data and code with this one."""
        twin = Model(
            self.program, self.network, seed=seed, folder=self.folder, plan=self.plan, target=self.target, device=self.device
        )  # fmt: skip
        twin.training, twin.data, twin._code = self.training, self.data, self._code
        twin.scalers, twin.classes, twin.columns = dict(self.scalers), dict(self.classes), dict(self.columns)
        return twin

    # looking at the model

    def __repr__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """The shape table: each layer, its output, its parameters, and the total."""
        rows = [("layer", "output", "parameters")]
        sizes = {p.path: int(np.prod(p.shape, dtype=np.int64)) for p in self.network.parameters}
        for layer in self.network.layers:
            count = sum(sizes[p] for p in layer.parameters)
            rows.append(
                (f"{layer.path}  {layer.name}", show_shape(layer.output_shape), f"{count:,}" if count else "")
            )
        widths = [max(len(r[i]) for r in rows) for i in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        total = f"{sum(sizes.values()):,} parameters"
        return "\n".join([self.network.name, *lines, total])

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter by path, in order; writing to one changes the model."""
        return dict(self._parameters)

    def __getitem__(self, key: int | str) -> Module:
        return Module(self, "")[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "network" not in self.__dict__:
            raise AttributeError(name)
        return getattr(Module(self, ""), name)

    @property
    def input(self) -> InputGradients:
        """``model.input.grad``: the gradient with respect to the last input; ``model.input["x"]`` by name."""
        return InputGradients(self._input_gradients)

    # running

    def _unit(self, key: Any, make: Any) -> Unit | devices.DeviceUnit:
        unit = self._units.get(key)
        if unit is not None:
            return unit
        with self._lock:
            unit = self._units.get(key)
            if unit is None:
                unit = self._units[key] = self._made(key, make)
            return unit

    def _made(self, key: Any, make: Callable[[], Graph]) -> Unit | devices.DeviceUnit:
        if self.device == devices.CUDA:
            return devices.DeviceUnit(self, make())
        if key not in self._code:
            graph = make()
            artifact = build({graph.name: graph}, self.orders, target=self.target)
            self._code[key] = artifact, Library(artifact)
        artifact, library = self._code[key]
        (layout,) = artifact.units.values()
        return Unit(library, layout, self.memory)

    def _inputs(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[dict[str, Array], int]:
        specs = self.network.inputs
        if len(specs) == 1 and len(given) == 1 and not named and _is_ready(given[0], specs[0]):
            return {f"input.{specs[0].name}": given[0]}, len(given[0])
        names = [spec.name for spec in specs]
        if len(given) > len(specs):
            raise ValueError(f"{self.network.name} takes {_count(len(specs), 'input')}, not {len(given)}")
        values = dict(zip(names, given, strict=False))
        for name in named:
            if name not in names or name in values:
                why = "is given twice" if name in values else f"does not exist; there is {', '.join(names)}"
                raise ValueError(f"the input `{name}` {why}")
        values |= named
        ready: dict[str, Array] = {}
        for spec in specs:
            if spec.name not in values:
                raise ValueError(f"the input `{spec.name}` is missing")
            what = f"the input `{spec.name}`"
            ready[f"input.{spec.name}"] = as_rows(values[spec.name], spec.dtype, spec.shape, what)
        rows = {name: len(array) for name, array in zip(names, ready.values(), strict=True)}
        if len(set(rows.values())) > 1:
            found = ", ".join(f"`{name}` {count}" for name, count in rows.items())
            raise ValueError(f"the inputs have different numbers of rows: {found}")
        return ready, next(iter(rows.values()), 0)

    def __call__(self, *inputs: ArrayLike, **named: ArrayLike) -> Output:
        """The output for any number of rows, in training mode if ``training`` is set; remembers how to go back."""
        training = self.training
        ready, rows = self._inputs(inputs, named)
        with self._lock:
            self.calls += 1
            step = self.calls
        result = self._forward(training, ready, rows, step)

        def backward(gradient: Array) -> None:
            self._backward(ready, rows, step, training, gradient)

        output = Output.record(result, backward)
        self._local.last = output
        return output

    def _forward(self, training: bool, inputs: dict[str, Array], rows: int, step: int) -> Array:
        make = (lambda: units.forward(self.network)) if training else (lambda: units.predict(self.network))
        unit = self._unit(("forward", training), make)
        if rows == 0:
            shape = tuple(int(d) for d in self.network.output_shape[1:])  # type: ignore[arg-type]
            return np.zeros((0, *shape), self.program.dtype.value)
        if training not in self._few:
            self._few[training] = self._few_rows(unit)
        few = self._few[training]
        result = few(next(iter(inputs.values())), step, self.seed) if few is not None else None
        if result is not None:
            return result
        return unit.call(inputs, rows, step=step, seed=self.seed)["output"]

    def _few_rows(self, unit: Unit | devices.DeviceUnit) -> FewRows | None:
        """The short way to call the unit on the CPU, where the network has one input."""
        if len(self.network.inputs) != 1 or not isinstance(unit, Unit):
            return None
        spec = self.network.inputs[0]
        return FewRows.of(unit, f"input.{spec.name}", spec.dtype.value, spec.shape)

    def _backward(
        self, inputs: dict[str, Array], rows: int, step: int, training: bool, gradient: Array
    ) -> None:
        unit = self._unit(("backward", training), lambda: units.backward(self.network, training=training))
        found = unit.call(
            {**inputs, "cotangent": np.ascontiguousarray(gradient)}, rows, step=step, seed=self.seed
        )
        with self._lock:
            self._accumulate(found)

    def _accumulate(self, found: Mapping[str, Array]) -> None:
        for path, parameter in self._parameters.items():
            part = found[f"gradient.{path}"]
            parameter.grad = part if parameter.grad is None else parameter.grad + part
        for spec in self.network.inputs:
            new = found.get(f"gradient.input.{spec.name}")
            if new is not None:
                known = self._input_gradients.get(spec.name)
                fits = known is not None and known.shape == new.shape
                self._input_gradients[spec.name] = known + new if fits and known is not None else new

    def backward(self, gradient: ArrayLike) -> None:
        """Goes back through the last call of this thread with a gradient of its output's shape."""
        last = getattr(self._local, "last", None)
        if last is None:
            raise ValueError("call the model before going backward")
        last.backward(gradient)

    def zero_grad(self) -> None:
        """Sets every gradient that exists to zero."""
        with self._lock:
            for parameter in self._parameters.values():
                if parameter.grad is not None:
                    parameter.grad[...] = 0
            self._input_gradients.clear()

    def train(self, mode: bool = True) -> Model:
        self.training = mode
        return self

    def eval(self) -> Model:
        return self.train(False)

    def to(self, device: str) -> Model:
        """Computes on ``cpu`` or ``cuda`` from now on, with parameters and gradients as they are; these stay NumPy's arrays.
        Raises CompileError (E0803) when there is no such device, ValueError for another name."""
        if devices.checked(device) == devices.CUDA:
            devices.executor(self)
        with self._lock:
            if device != self.device:
                self._elsewhere[self.device] = self._units, self._few
                self._units, self._few = self._elsewhere.pop(device, ({}, {}))
                self.device = device
        return self

    def cuda(self) -> Model:
        return self.to(devices.CUDA)

    def cpu(self) -> Model:
        return self.to(devices.CPU)

    def predict(self, *inputs: ArrayLike, **named: ArrayLike) -> Array:
        """The output in evaluation mode, as a plain array."""
        few = self._few.get(False)
        if few is not None and len(inputs) == 1 and not named:
            result = few(inputs[0], 0, self.seed)
            if result is not None:
                return result
        ready, rows = self._inputs(inputs, named)
        return self._forward(False, ready, rows, 0)

    # loss

    def _need_plan(self) -> TrainPlan:
        if self.plan is None:
            raise ValueError("the program has no train block, so there is no loss")
        return self.plan

    def loss(self, output: ArrayLike, *goal: ArrayLike) -> Loss:
        """The train block's loss of an output against a target, and what else the loss reads, in the order in which it
        names it; ``backward()`` on it reaches the parameters."""
        plan = self._need_plan()
        self._expect((output, *goal), "output", *plan.goals.values())
        value = as_array(output, self.program.dtype, "the output")
        types, arrays = goal_of(goal, plan.goals, self.program.dtype)
        target = arrays["target"]
        if value.ndim == 0 or len(value) != len(target):
            raise ValueError(f"the output has shape {list(value.shape)}, the target {list(target.shape)}")
        out_type = units.batch_type(value.shape[1:], self.program.dtype)
        kind = tuple(types.items())
        key = ("loss", out_type, kind)
        unit = self._unit(key, lambda: units.checked(lambda: units.loss(plan, out_type, types)))
        inputs = {"output": value, **arrays}
        step = self.calls
        result = unit.call(inputs, len(value), step=step, seed=self.seed)["loss"]

        def backward(gradient: Array) -> None:
            if not isinstance(output, Output):
                raise ValueError("the loss was computed from an array, not from the model's output")
            back = self._unit(
                ("loss_backward", out_type, kind), lambda: units.loss_backward(plan, out_type, types)
            )
            given = {**inputs, "cotangent": np.ascontiguousarray(gradient)}
            output.backward(back.call(given, len(value), step=step, seed=self.seed)["gradient.output"])

        return Loss.record(result, backward)

    def evaluate(self, *arrays: ArrayLike) -> dict[str, float]:
        """Loss and metrics in evaluation mode; inputs first, then the target, then what else the loss reads."""
        plan = self._need_plan()
        types, ready, rows = self._observations(arrays)
        graph = units.checked(lambda: units.evaluate(self.network, plan, types))
        unit = self._unit(("evaluate", tuple(types.items())), lambda: graph)
        found = unit.call(ready, rows, seed=self.seed)
        return {
            "loss": float(found["loss"]),
            **finish_metrics(units.epoch_end(plan, graph), {n: found[n] for n in graph.outputs}),
        }

    def _observations(self, arrays: Sequence[Any]) -> tuple[dict[str, TensorType], dict[str, Array], int]:
        """Types of the goal, arrays by leaf and the number of rows of what ``fit`` and ``evaluate`` are given."""
        inputs, plan = self.network.inputs, self._need_plan()
        self._expect(arrays, *(spec.name for spec in inputs), *plan.goals.values())
        ready, rows = self._inputs(tuple(arrays[: len(inputs)]), {})
        types, goal = goal_of(arrays[len(inputs) :], plan.goals, self.program.dtype)
        if len(goal["target"]) != rows:
            raise ValueError(f"the inputs have {rows} rows, the target {len(goal['target'])}")
        return types, {**ready, **goal}, rows

    def _expect(self, arrays: Sequence[Any], *names: str) -> None:
        if len(arrays) != len(names):
            expected = f"{_count(len(names), 'array')} expected ({', '.join(names)})"
            raise ValueError(f"{expected}, not {len(arrays)}")

    def _expect_number(self, goal: Goal) -> None:
        """The loss is a single number; raises CompileError (E0404) for an array."""
        plan = self._need_plan()
        graph = units.checked(lambda: units.loss(plan, units.output_type(self.network), goal))
        loss = graph.outputs["loss"]
        if loss.shape:
            message = f"the loss is not a single number but {loss.type}"
            label = Label(plan.loss_span)
            help_text = 'choose `reduction = "mean"` or "sum" for training'
            raise CompileError((Diagnostic("E0404", message, label, help=help_text),))

    def fit(
        self,
        *arrays: ArrayLike,
        epochs: int | None = None,
        batch: int | str | None = None,
        validation: tuple[Any, ...] | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        on_epoch: Any = None,
        threads: int | None = None,
        plan: Plan | str | None = None,
    ) -> Any:
        """Trains in place and returns the ``History``.

        arrays: the inputs, the target, then what else the loss reads; none to train on the file's own data block. What is None is as the train
        block says. batch: rows a step, or "full". validation: the same arrays of other rows, for ``validation_loss``,
        metrics and ``stop``. on_epoch: called with an ``EpochRow`` after each epoch. plan: on a CUDA device how the run
        is spread, ``block``, ``grid`` or ``graph``; without it as a step is worth.

        Raises CompileError for a run that is too large for the device (E0505) or a line search by ``graph`` (E0805), ValueError for arrays and settings that do not fit, ``training.Diverged`` when the loss is not finite.
        """

        seed = None if seed is None else as_seed(seed)
        self.expect_run(arrays, validation, epochs=epochs, batch=batch, threads=threads)
        return fit(
            self, arrays, epochs=epochs, batch=batch, validation=validation, shuffle=shuffle, seed=seed,
            on_epoch=on_epoch, threads=threads, spread=devices.plan_of(plan),
        )  # fmt: skip

    def expect_run(self, arrays: Sequence[Any], validation: Sequence[Any] | None, **numbers: Any) -> None:
        """Raises ValueError for numbers that are none from 1 and arrays that do not fit, CompileError (E0404)."""
        for name, value in numbers.items():
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if value is not None and not (whole and int(value) >= 1) and (name, value) != ("batch", "full"):
                raise ValueError(f"{name} is a whole number from 1, not {value!r}")
        for given in (arrays, validation):
            if given:
                self._expect_number(self._observations(given)[0])

    # weights

    def state_dict(self) -> dict[str, Array]:
        """Copies of parameters and buffers by path, in torch's order and shapes."""
        return {n: np.array(self.memory.views[place], order="C") for n, place in self.places().items()}

    def load_state_dict(self, tensors: Mapping[str, ArrayLike]) -> None:
        """Takes parameters and buffers from arrays; raises ValueError naming every one that does not fit."""
        places = self.places()
        ready = {n: given_array(a, n) for n, a in tensors.items()}
        wanted = {n: self.memory.views[place].shape for n, place in places.items()}
        found = misfits(wanted, {n: a.shape for n, a in ready.items()})
        if found:
            raise ValueError(
                "the weights do not fit the network:\n  " + "\n  ".join(m.message for m in found)
            )
        for name, array in ready.items():
            self.memory.views[places[name]][...] = array

    def places(self) -> dict[str, str]:
        """For each name of ``state_dict`` the leaf that holds it."""
        return self.network.places()

    def averages(self) -> dict[str, str]:
        """For each parameter's leaf that of its moving average, where the train block wants one."""
        if self.plan is None or self.plan.optimizers.ema is None or not self.plan.trains:
            return {}
        return {f"param.{p.path}": average_of(p.path) for p in self.network.parameters}

    def save(self, path: str | Path) -> None:
        """Writes parameters and buffers as safetensors, with the program's source in the metadata."""

        save(Path(path), self.state_dict(), metadata(self))


def _is_ready(value: Any, spec: InputSpec) -> bool:
    """Whether it is what ``as_rows`` would make of it."""
    return (
        type(value) is np.ndarray
        and value.ndim > 0
        and value.shape[1:] == spec.shape
        and value.dtype == spec.dtype.value
        and value.flags.c_contiguous
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
