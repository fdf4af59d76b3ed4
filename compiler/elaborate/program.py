"""A whole file: imports, constants, definitions, and its net, data and train blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ...grammar import syntax as s
from ...grammar.diagnostics import CompileError, Diagnostic, Label
from ...grammar.files import read_source
from ...grammar.parser import parse
from ...grammar.source import NOWHERE, Source, Span
from ...grammar.suggest import closest
from .. import ops
from ..graph import ROWS, DType, Graph, TensorType
from . import data as data_blocks
from . import training
from .expressions import evaluate
from .network import Network, elaborate
from .values import Context, Definitions, Failed, fail


def library_folder() -> Path:
    """Where the standard library's ``.net`` files are installed."""
    here = Path(__file__).parent
    for folder in (here.parent.parent / "library", here.resolve().parent.parent / "library"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("bug in netc: the standard library is not installed")


T = TypeVar("T")


@cache
def _index() -> Mapping[str, str]:
    """Which library file defines which name, found without parsing."""
    found = {}
    for path in sorted(library_folder().glob("*.net")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            word, _, rest = line.partition(" ")
            if word in ("fn", "init", "schedule", "layer", "optimizer", "metric"):
                found[rest.split("(", 1)[0].strip()] = path.name
    return found


@cache
def _library_file(name: str) -> Mapping[str, s.Definition]:
    text = (library_folder() / name).read_text(encoding="utf-8")
    file, diagnostics = parse(Source(f"library:{name}", text))
    if diagnostics:
        raise CompileError(diagnostics)
    return {i.name.id: i for i in file.items if isinstance(i, s.Definition)}


def library_definition(name: str) -> s.Definition | None:
    """A definition of the standard library; only the file that holds it is parsed."""
    file = _index().get(name)
    return _library_file(file).get(name) if file else None


def library_names() -> list[str]:
    return sorted(_index())


@dataclass(frozen=True, slots=True)
class Program:
    """A file that was read and whose definitions are known; its blocks are elaborated by the methods."""

    source: Source
    dtype: DType
    definitions: Definitions
    net: s.Net
    data_block: s.Settings | None
    train_block: s.Settings | None

    @property
    def name(self) -> str:
        return self.net.name.id

    def network(self, widths: Mapping[str, tuple[int, ...]] | None = None) -> Network:
        """The net with its sizes; raises CompileError."""
        return _raising(lambda: elaborate(self.net, self.definitions, self.dtype, widths or {}))

    def train(self) -> training.TrainPlan | None:
        block = self.train_block
        return None if block is None else _raising(lambda: training.plan(block, self.definitions, self.dtype))

    def data(self, probe: data_blocks.Probe) -> data_blocks.DataPlan | None:
        block = self.data_block
        return (
            None
            if block is None
            else _raising(lambda: data_blocks.plan(block, self.definitions, self.dtype, probe))
        )

    def check(self, probe: data_blocks.Probe) -> tuple[Diagnostic, ...]:
        """Every problem of the blocks: data, net, train, and how they fit."""
        found: list[Diagnostic] = []

        def attempt(run: Callable[[], Any]) -> Any:
            try:
                return run()
            except CompileError as error:
                found.extend(error.diagnostics)
                return None

        data = attempt(lambda: self.data(probe))
        widths = {} if data is None else {n: tuple(v.shape[1:]) for n, v in data.graph.outputs.items()}
        network = None
        if not (self.data_block is not None and data is None):
            network = attempt(lambda: self.network(widths))
        train = attempt(self.train)
        if network is not None and train is not None:
            attempt(lambda: check_fit(network, train, data))
        return tuple(found)


def check_fit(network: Network, train: training.TrainPlan, data: data_blocks.DataPlan | None) -> TensorType:
    """The target's type for training; raises CompileError when data, net and loss do not fit together."""

    def run() -> TensorType:
        graph = Graph("fit")
        output = network.forward(graph, training=True).output
        target = None
        if data is not None:
            target = _data_types(network, data)
        kind = target or train.target_type(output.type)
        from_graph = Graph("loss")
        x = ops.input(from_graph, "output", output.dtype, output.shape)
        y = ops.input(from_graph, "target", kind.dtype, kind.shape)
        loss = train.loss(from_graph, x, y)
        if loss.shape:
            fail("E0404", f"the loss is not a single number but {loss.type}", train.loss_call.span,
                 help='choose `reduction = "mean"` or "sum" for training')  # fmt: skip
        for metric in train.metrics:
            metric.totals(from_graph, x, y)
        if train.optimizer_call is not None:
            train.states(network)
        return kind

    return _raising(run)


def _data_types(network: Network, data: data_blocks.DataPlan) -> TensorType:
    entries = {e.name: e for e in data.entries}
    for spec in network.inputs:
        if spec.name not in entries:
            guess = closest(spec.name, entries)
            fail("E0608", f"the data block gives no `{spec.name}`", spec.span, "this input has no data",
                 help=f"did you mean `{guess}`?" if guess else "")  # fmt: skip
        value = data.graph.outputs[spec.name]
        if tuple(value.shape[1:]) != spec.shape:
            rows = (value.shape[0], *spec.shape)
            fail("E0608", f"`{spec.name}` is declared {list(spec.shape)}, the data give {list(value.shape[1:])} a row",
                 entries[spec.name].span, f"{list(value.shape)}, needed {list(rows)}",
                 secondary=(Label(spec.span, "declared here"),))  # fmt: skip
    if "target" not in entries:
        fail("E0608", "the data block gives no `target`", network.net.name.span)
    data_blocks.check_rows(data, [*(i.name for i in network.inputs), "target"])
    value = data.graph.outputs["target"]
    return TensorType(value.dtype, (ROWS, *value.shape[1:]))


def _raising(run: Callable[[], T]) -> T:
    try:
        return run()
    except Failed as failure:
        raise CompileError((failure.diagnostic,)) from None
    except RecursionError:
        raise CompileError(
            (Diagnostic("E0204", "the program is nested too deeply", Label(NOWHERE)),)
        ) from None


def load(
    source: Source,
    *,
    folder: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    dtype: DType = DType.float32,
) -> Program:
    """Reads a program. settings replace constants of the file. Raises CompileError with all that is wrong."""
    loader = _Loader(folder)
    loader.read(source, ())
    if loader.diagnostics:
        raise CompileError(tuple(loader.diagnostics))
    return _raising(lambda: loader.finish(source, dict(settings or {}), dtype))


class _Loader:
    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.diagnostics: list[Diagnostic] = []
        self.items: dict[str, s.Definition] = {}
        self.constants: dict[str, s.Const] = {}
        self.blocks: dict[str, s.Settings | s.Net] = {}
        self.done: set[str] = set()

    def _report(self, code: str, message: str, label: Label, *others: Label, help: str = "") -> None:
        self.diagnostics.append(Diagnostic(code, message, label, others, help=help))

    def read(self, source: Source, chain: tuple[str, ...]) -> None:
        file, diagnostics = parse(source)
        self.diagnostics.extend(diagnostics)
        for item in file.items:
            match item:
                case s.Import():
                    self._import(item, chain)
                case s.Definition():
                    self._once(self.items, item)
                case s.Const():
                    self._once(self.constants, item)
                case s.Net() | s.Settings() if not chain:
                    key = "net" if isinstance(item, s.Net) else item.kind
                    if key in self.blocks:
                        first = self.blocks[key].span
                        self._report(
                            "E0203",
                            f"there are two `{key}` blocks",
                            Label(item.span),
                            Label(first, "the first"),
                        )
                    self.blocks.setdefault(key, item)
                case _:
                    pass

    def _once(self, table: dict[str, Any], item: s.Definition | s.Const) -> None:
        name = item.name.id
        for other in (self.items.get(name), self.constants.get(name)):
            if other is not None:
                self._report("E0203", f"`{name}` is defined twice", Label(item.name.span, "again here"),
                             Label(other.name.span, "first here"))  # fmt: skip
                return
        table[name] = item

    def _import(self, item: s.Import, chain: tuple[str, ...]) -> None:
        name = item.path.value
        if self.folder is None:
            self._report("E0206", "a program given as text can import nothing", Label(item.span))
            return
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            self._report("E0206", f"{name} lies outside the program's folder", Label(item.path.span))
        elif str(path) in chain:
            self._report("E0205", f"{name} imports itself, directly or through others", Label(item.path.span))
        elif str(path) not in self.done:
            self.done.add(str(path))
            found = read_source(path)
            if isinstance(found, Diagnostic):
                self._report("E0207", found.message, Label(item.path.span), help=found.help)
            else:
                self.read(found, (*chain, str(path)))

    def finish(self, source: Source, settings: dict[str, Any], dtype: DType) -> Program:
        constants: dict[str, Any] = {}
        definitions = Definitions(self.items, constants, library_definition)
        for name in settings:
            if name not in self.constants:
                guess = closest(name, self.constants)
                fail("E0506", f"the program has no constant `{name}`", NOWHERE,
                     help=f"did you mean `{guess}`?" if guess else "it has " + (", ".join(self.constants) or "none"))  # fmt: skip
        for name, item in self.constants.items():
            given = settings.get(name)
            ctx = Context(Graph("constants"), dtype, definitions)
            constants[name] = given if given is not None else evaluate(ctx, item.value)
        net = self.blocks.get("net")
        if not isinstance(net, s.Net):
            where = Label(Span(source, 0, min(1, len(source.text))))
            raise Failed(
                Diagnostic("E0502", "the file has no `net` block", where, help="`netc new` writes a starter")
            )
        data, train = self.blocks.get("data"), self.blocks.get("train")
        return Program(
            source, dtype, definitions, net, data if isinstance(data, s.Settings) else None,
            train if isinstance(train, s.Settings) else None,
        )  # fmt: skip
