"""The functions of ``import netc``: compile, check, load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from .cli.probe import cell_checker, prober
from .compiler.backends.llvm.target import Target, named
from .compiler.collector import uncollected
from .compiler.elaborate import Precision, Program, check_fit
from .compiler.elaborate import check as check_program
from .compiler.elaborate import load as load_program
from .compiler.graph import DType
from .data import Known, Scaler
from .data import load as load_data
from .devices import CPU, checked
from .grammar.diagnostics import CompileError, Diagnostic
from .grammar.files import read_source
from .grammar.source import Source
from .model import Model
from .replicas import Replicas, checked_replicas
from .runtime import checkpoint
from .weights import check_weights


def open_program(
    path: str | Path,
    settings: dict[str, Any] | None = None,
    dtype: str = "float32",
    precision: str | None = None,
) -> Program:
    """Reads a file; raises CompileError, ValueError for a type or precision that there is not."""
    kind, asked = float_type(dtype), asked_precision(precision, dtype)
    found = read_source(path)
    if isinstance(found, Diagnostic):
        raise CompileError((found,))
    folder = Path(path).resolve().parent
    return load_program(found, folder=folder, settings=settings, dtype=kind, precision=asked)


@overload
def compile(
    path: str | Path | None = None,
    *,
    source: str | None = None,
    seed: int | None = None,
    dtype: str = "float32",
    precision: str | None = None,
    cpu: str = "native",
    device: str | None = None,
    replicas: None = None,
    **constants: Any,
) -> Model: ...


@overload
def compile(
    path: str | Path | None = None,
    *,
    source: str | None = None,
    seed: int | None = None,
    dtype: str = "float32",
    precision: str | None = None,
    cpu: str = "native",
    device: str | None = None,
    replicas: int | Sequence[Mapping[str, Any]],
    **constants: Any,
) -> Replicas: ...


def compile(
    path: str | Path | None = None,
    *,
    source: str | None = None,
    seed: int | None = None,
    dtype: str = "float32",
    precision: str | None = None,
    cpu: str = "native",
    device: str | None = None,
    replicas: int | Sequence[Mapping[str, Any]] | None = None,
    **constants: Any,
) -> Model | Replicas:
    """A model from a file or from text. constants replace those of the program.

    cpu: what code is made for: this machine (``native``) or ``x86-64-v2``, ``x86-64-v3``, ``x86-64-v4``, ``aarch64``.
    precision: ``bf16`` rounds the operands of products to bfloat16, ``full`` does not, whatever the program says.
    device: ``cpu`` or ``cuda``; without it the train block's, or the CPU.
    replicas: many models to be trained side by side, as ``Replicas``: a number of them, with the seeds ``seed``,
    ``seed + 1`` and so on; or a list of settings, each with constants, and ``seed``, of its own. Without it the train
    block's number, or one model.
    Raises CompileError; ValueError for other arguments, or a CPU whose code cannot run here.
    """
    if (path is None) == (source is None):
        raise ValueError("give a path or source=, one of them")
    target = runnable(cpu)
    if device is not None:
        checked(device)
    asked = None if replicas is None else checked_replicas(replicas)

    def make(changes: Mapping[str, Any], own_seed: int | None) -> Model:
        given = {**constants, **changes}
        settings = {n: v.item() if isinstance(v, np.generic) else v for n, v in given.items()}
        program, folder = _opened(path, source, settings, dtype, precision)
        return make_model(program, folder, own_seed, target=target, device=device)

    if asked is not None and not isinstance(asked, int):
        return Replicas.of_settings(make, asked, seed)
    model = make({}, seed)
    count = asked or (model.plan.replicas if model.plan is not None else None)
    return model if count is None else Replicas.of_seeds(model, count)


def _opened(
    path: str | Path | None, source: str | None, settings: dict[str, Any], dtype: str, precision: str | None
) -> tuple[Program, Path]:
    """The program and the folder that its files are looked for in."""
    if path is not None:
        return open_program(path, settings, dtype, precision), Path(path).resolve().parent
    kind, asked = float_type(dtype), asked_precision(precision, dtype)
    text = Source("<string>", source or "")
    return load_program(text, settings=settings, dtype=kind, precision=asked), Path.cwd()


def float_type(name: str) -> DType:
    """The type parameters are kept in; raises ValueError for others than float32 and float64."""
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype is float32 or float64, not {name!r}")
    return DType(name)


def asked_precision(name: str | None, dtype: str) -> Precision | None:
    """The precision of that name; raises ValueError when there is none, or when it does not go with the type."""
    if name is None:
        return None
    if name not in list(Precision):
        raise ValueError(f"precision is {' or '.join(Precision)}, not {name!r}")
    if name == Precision.bf16 and dtype != DType.float32:
        raise ValueError(f"precision bf16 keeps parameters in float32, dtype is {dtype}")
    return Precision(name)


def runnable(cpu: str) -> Target:
    """The CPU of that name; raises ValueError when there is none, or when its code cannot run here."""
    target = named(cpu)
    if target.missing:
        raise ValueError(f"code for {cpu} does not run here: this machine lacks {', '.join(target.missing)}")
    return target


@uncollected
def make_model(
    program: Program,
    folder: Path,
    seed: int | None = None,
    known: Known | None = None,
    target: Target | None = None,
    device: str | None = None,
) -> Model:
    """The model of a program, with its data if it names any; known: scalers and classes of an earlier training. device: where
    it computes, by default as the train block says.

    Raises CompileError with all that is wrong in any of its blocks.
    """
    try:
        return _made(program, folder, seed, known, target, device)
    except CompileError as first:
        found = program.check(prober(folder), cell_checker(folder))
        whole = {(d.code, d.message, d.primary.span) for d in found}
        if any((d.code, d.message, d.primary.span) not in whole for d in first.diagnostics):
            raise
        raise CompileError(tuple(d for d in found if d.severity == "error")) from None


def _made(
    program: Program, folder: Path, seed: int | None, known: Known | None, target: Target | None, device: str | None
) -> Model:  # fmt: skip
    plan = program.data(prober(folder))
    widths = {} if plan is None else {n: tuple(v.shape[1:]) for n, v in plan.graph.outputs.items()}
    network = program.network(widths)  # type: ignore[arg-type]
    train = program.train()
    if train is not None:
        check_fit(network, train, plan)
    where = device or (train.device if train is not None else None) or CPU
    model = Model(program, network, seed=seed, folder=folder, plan=train, target=target, device=where)
    if plan is not None:
        goals = ("target",) if train is None else train.goals.values()
        used = (*(spec.name for spec in network.inputs), *goals)
        data = model.data = load_data(plan, folder, program.dtype.value, used, known)
        model.scalers, model.classes = dict(data.scalers), dict(data.classes)
        model.columns = dict(data.columns)
    return model


def check(source: str | Path) -> list[Diagnostic]:
    """Everything wrong with a program: a path, or text if it has several lines."""
    text = str(source)
    if isinstance(source, str) and ("\n" in text or "{" in text):
        return list(check_program(Source("<string>", text), prober(Path.cwd()), cell_checker(Path.cwd())))
    found = read_source(source)
    if isinstance(found, Diagnostic):
        return [found]
    folder = Path(source).resolve().parent
    return list(check_program(found, prober(folder), cell_checker(folder), folder=folder))


def load(path: str | Path, *, device: str = CPU) -> Model:
    """A model from a weights file that netc wrote; the program is in it. device: ``cpu`` or ``cuda``.

    Raises CompileError: E0703 for a file that cannot be read or holds no program, E0701 and E0702 for weights that do
    not fit the program.
    """
    file = Path(path)
    checked(device)
    tensors, metadata = checkpoint.load(file)
    try:
        source = Source(metadata.get("name", "<weights>"), metadata["source"])
        constants = json.loads(metadata.get("constants", "{}"))
        folder = Path(metadata["folder"]) if "folder" in metadata else None
        dtype = DType(metadata["dtype"])
        asked = Precision(metadata["precision"]) if "precision" in metadata else None
        widths = {n: tuple(s) for n, s in json.loads(metadata.get("widths", "{}")).items()}
        scalers = {
            n: Scaler(np.asarray(shift), np.asarray(scale))
            for n, (shift, scale) in json.loads(metadata.get("scalers", "{}")).items()
        }
        classes, columns = (json.loads(metadata.get(n, "{}")) for n in ("classes", "columns"))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise checkpoint.failure(
            "E0703",
            f"{file} holds weights without the program they belong to",
            file,
            "compile the program and use load_state_dict, or `netc predict PROGRAM.net --weights FILE`",
        ) from None
    program = load_program(source, folder=folder, settings=constants, dtype=dtype, precision=asked)
    model = Model(program, program.network(widths), folder=folder or file.parent, device=device)
    take_weights(model, file, tensors)
    model.scalers, model.classes, model.columns = scalers, classes, columns
    return model


def take_weights(model: Model, path: Path, tensors: Mapping[str, Any]) -> None:
    """Puts a file's parameters and buffers into a model; raises CompileError (E0701, E0702) when they do not fit."""
    weights = {n: a for n, a in tensors.items() if not n.startswith(("optimizer.", "run."))}
    wanted = {n: model.memory.views[place].shape for n, place in model.places().items()}
    check_weights(path, model.network.name, wanted, {n: a.shape for n, a in weights.items()})
    model.load_state_dict(weights)
