"""A whole file: imports, constants, definitions, and its net, data and train blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ...grammar import syntax as s
from ...grammar.diagnostics import CompileError, Diagnostic, Label
from ...grammar.files import read_source
from ...grammar.source import NOWHERE, Source, Span
from ...grammar.suggest import did_you_mean
from ...grammar.trees import definitions, parse
from .. import ops
from ..graph import ROWS, DType, Graph, TensorType, Value, show_shape
from . import data as data_blocks
from . import training
from .expressions import evaluate
from .findings import Enough, Findings
from .network import InputSpec, Network, declared_inputs, elaborate
from .precision import Precision, check_precision, written_precision
from .values import UNKNOWN, Context, Definitions, describe, fail

MAX_IMPORTS = 50


def library_folder() -> Path:
    """Where the standard library's ``.net`` files are installed."""
    here = Path(__file__).parent
    for folder in (here.parent.parent / "library", here.resolve().parent.parent / "library"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("bug in netc: the standard library is not installed")


KINDS = ("fn", "init", "schedule", "layer", "optimizer", "metric")


@cache
def _index() -> Mapping[str, tuple[str, str]]:
    """Which library file defines which name, and as what, found without parsing."""
    found = {}
    for path in sorted(library_folder().glob("*.net")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            word, _, rest = line.partition(" ")
            if word in KINDS:
                found[rest.split("(", 1)[0].strip()] = (word, path.name)
    return found


def library_kinds() -> dict[str, str]:
    """The kind of every definition of the library, by name."""
    return {name: kind for name, (kind, _) in _index().items()}


@cache
def _library_file(name: str) -> Mapping[str, s.Definition]:
    text = (library_folder() / name).read_text(encoding="utf-8")
    found, diagnostics = definitions(Source(f"library:{name}", text))
    if diagnostics:
        raise CompileError(diagnostics)
    return found


def library_definition(name: str) -> s.Definition | None:
    """A definition of the standard library; only the file that holds it is parsed."""
    found = _index().get(name)
    return _library_file(found[1]).get(name) if found else None


def library_names() -> list[str]:
    return sorted(_index())


@dataclass(frozen=True, slots=True)
class Program:
    """A file that was read and whose definitions are known; its blocks are elaborated by the methods.

    asked: the precision that was asked for from outside, which goes before that of the train block.
    """

    source: Source
    dtype: DType
    definitions: Definitions
    net: s.Net
    data_block: s.Settings | None
    train_block: s.Settings | None
    asked: Precision | None = None

    @property
    def name(self) -> str:
        return self.net.name.id

    @property
    def precision(self) -> Precision:
        """Of the network's products."""
        written = written_precision(self.train_block)
        return self.asked or (Precision.full if written is None else written[0])

    def network(self, widths: Mapping[str, tuple[int, ...]] | None = None) -> Network:
        """The net with its sizes; raises CompileError with all that is wrong."""
        made = _all(lambda found: elaborate(self.net, self.definitions, self.dtype, widths or {}, found))
        return replace(made, precision=self.precision)

    def train(self) -> training.TrainPlan | None:
        """The plan of the ``train`` block; raises CompileError with all that is wrong."""
        block = self.train_block
        return (
            None if block is None else _all(lambda f: training.plan(block, self.definitions, self.dtype, f))
        )

    def data(self, probe: data_blocks.Probe) -> data_blocks.DataPlan | None:
        """The plan of the ``data`` block; raises CompileError with all that is wrong."""
        block = self.data_block
        if block is None:
            return None
        return _all(lambda found: data_blocks.plan(block, self.definitions, self.dtype, probe, found))

    def check(
        self, probe: data_blocks.Probe, cells: data_blocks.Cells | None = None
    ) -> tuple[Diagnostic, ...]:
        """Every problem of the blocks (data, net, train, and how they fit) and, given ``cells``, of the tables."""
        blocks = (self.net, self.data_block, self.train_block)
        return _check_blocks(blocks, self.definitions, self.dtype, probe, cells)


Blocks = tuple[s.Net | None, s.Settings | None, s.Settings | None]


def _check_blocks(
    blocks: Blocks,
    definitions: Definitions,
    dtype: DType,
    probe: data_blocks.Probe,
    cells: data_blocks.Cells | None = None,
) -> tuple[Diagnostic, ...]:
    net, data_block, train_block = blocks
    wrong, fits = (Findings(), Findings(), Findings()), Findings()
    data = network = train = None
    with suppress(Enough):
        if data_block is not None:
            data = data_blocks.plan(data_block, definitions, dtype, probe, wrong[0])
    with suppress(Enough):
        if net is not None:
            widths = None if wrong[0].found else _widths(data)
            network = elaborate(net, definitions, dtype, widths, wrong[1])
    with suppress(Enough):
        if train_block is not None:
            train = training.plan(train_block, definitions, dtype, wrong[2])
    if network is not None and train is not None and not wrong[0].found:
        with fits.collecting(train_block.span if train_block else NOWHERE):
            check_fit(network, train, data)
    if network is None and net is not None and data is not None and not wrong[0].found:
        specs = declared_inputs(Graph("inputs"), net, definitions, dtype, _widths(data), Findings())
        _data_types(net, [i for i in specs.values() if i is not None], data, fits)
    merged = Findings()
    for diagnostic in (d for each in (*wrong, fits) for d in each.found):
        merged.add(diagnostic)
    found = merged.found
    if data is not None and cells is not None:
        data_blocks.check_cells(data, cells, merged)
    order = {d.primary.span.source.name: i for i, d in reversed(list(enumerate(found)))}
    return tuple(sorted(found, key=lambda d: (order[d.primary.span.source.name], d.primary.span.start)))


def _widths(data: data_blocks.DataPlan | None) -> dict[str, tuple[int, ...]]:
    """The shapes of one observation that the data give."""
    outputs = {} if data is None else data.graph.outputs
    return {n: tuple(d for d in v.shape[1:] if isinstance(d, int)) for n, v in outputs.items()}


def check_fit(
    network: Network, train: training.TrainPlan, data: data_blocks.DataPlan | None
) -> training.Goal:
    """What the loss compares with; raises CompileError when data, net and loss do not fit together."""
    graph = Graph("fit")
    output = _all(lambda _: network.forward(graph, training=True).output)
    known = (
        None
        if data is None
        else _all(lambda found: _data_types(network.net, network.inputs, data, found, train))
    )
    goal = known or _all(lambda _: train.goal(output.type))

    def run(found: Findings) -> training.Goal:
        from_graph = Graph("loss")
        x = ops.input(from_graph, "output", output.dtype, output.shape)
        leaves = training.leaves_of(from_graph, goal)
        loss = None
        with found.collecting(train.loss_span, lambda d: _with_sources(d, network, data)):
            loss = train.loss(from_graph, x, leaves)
        with found.collecting(train.loss_span):
            if loss is not None and loss.shape and train.trains:
                fail("E0404", f"the loss is not a single number but {loss.type}", train.loss_span,
                     show_shape(loss.shape),
                     help='choose `reduction = "mean"` or `reduction = "sum"` for training')  # fmt: skip
        for metric in train.metrics:
            with found.collecting(metric.span):
                metric.check(from_graph, x, leaves[training.TARGET])
        with found.collecting(train.loss_span):
            train.states(network)
        return goal

    return _all(run)


def _with_sources(d: Diagnostic, network: Network, data: data_blocks.DataPlan | None) -> Diagnostic:
    """A misfit of output and target with the places that both come from."""
    if d.code != "E0404" or d.secondary or not network.layers:
        return d
    last = network.layers[-1]
    labels = [Label(last.span, f"the output {show_shape(network.output_shape)} comes from here")]
    for entry in () if data is None else data.entries:
        if entry.name == "target" and data is not None:
            labels.append(
                Label(entry.span, f"the target is {show_shape(data.graph.outputs['target'].shape)}")
            )
    return replace(d, secondary=tuple(labels))


def _data_types(
    net: s.Net,
    inputs: Sequence[InputSpec],
    data: data_blocks.DataPlan,
    found: Findings,
    train: training.TrainPlan | None = None,
) -> training.Goal | None:
    """The goal's types; whether the data give every input its shape, and as many rows to each."""
    entries = {e.name: e for e in data.entries}
    goals = {training.TARGET: training.TARGET} if train is None else train.goals
    for spec in inputs:
        with found.collecting(spec.span):
            _input_data(inputs, spec, data, entries)
    with found.collecting(net.name.span):
        if training.TARGET not in entries:
            advice = did_you_mean("target", entries, "name what is to be predicted `target`")
            fail("E0608", "the data block gives no `target`", data.span, "without a target", help=advice)
    for name in () if train is None else train.others:
        with found.collecting(train.loss_span if train is not None else NOWHERE):
            if name not in entries and train is not None:
                fail("E0608", f"the data block gives no `{name}`", train.loss_span, f"`{name}` is named here",
                     secondary=(Label(data.span, "in this block"),),
                     help=did_you_mean(name, ["output", *entries],
                                       "a loss reads `output`, `target` and entries of the data block"))  # fmt: skip
    if found.found:
        return None
    with found.collecting(data.span):
        data_blocks.check_rows(data, [*(i.name for i in inputs), *goals.values()])
    values = {leaf: data.graph.outputs[name] for leaf, name in goals.items()}
    return {leaf: TensorType(v.dtype, (ROWS, *v.shape[1:])) for leaf, v in values.items()}


def _input_data(
    inputs: Sequence[InputSpec],
    spec: InputSpec,
    data: data_blocks.DataPlan,
    entries: Mapping[str, data_blocks.Entry],
) -> None:
    if spec.name not in entries:
        taken = {i.name for i in inputs} | {"target"}
        fail("E0608", f"the data block gives no `{spec.name}`", spec.span, "this input has no data",
             secondary=(Label(data.span, "in this block"),),
             help=did_you_mean(spec.name, [n for n in entries if n not in taken],
                               "the entries of the data block are named like the inputs"))  # fmt: skip
    value = data.graph.outputs[spec.name]
    if tuple(value.shape[1:]) != spec.shape:
        rows = (value.shape[0], *spec.shape)
        given, wanted = show_shape(value.shape[1:]), show_shape(spec.shape)
        fail("E0608", f"`{spec.name}` is declared {wanted}, the data give {given} a row",
             entries[spec.name].span, f"{show_shape(value.shape)}, needed {show_shape(rows)}",
             secondary=(Label(spec.span, "declared here"),),
             help=f"write `input {spec.name}: {given}`, or `[auto]` to take the width of the data")  # fmt: skip


T = TypeVar("T")


def _all(run: Callable[[Findings], T | None]) -> T:
    """The result, or CompileError with all findings."""
    found = Findings()
    result: T | None = None
    with suppress(Enough), found.collecting(NOWHERE):
        result = run(found)
    found.raised()
    if result is None:
        raise AssertionError("bug in netc: no result and no finding")
    return result


def load(
    source: Source,
    *,
    folder: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    dtype: DType = DType.float32,
    precision: Precision | None = None,
) -> Program:
    """Reads a program. settings replace constants of the file, precision replaces that of its train block. Raises
    CompileError with all that is wrong."""
    loader = _Loader(folder)
    loader.read(source, ())
    loader.finish(source, dict(settings or {}), dtype)
    net, data, train = loader.sorted_blocks()
    with loader.findings.collecting(NOWHERE):
        check_precision(train, dtype, precision)
    loader.findings.raised()
    assert net is not None
    return Program(source, dtype, loader.definitions, net, data, train, precision)


def check(
    source: Source,
    probe: data_blocks.Probe,
    cells: data_blocks.Cells | None = None,
    *,
    folder: Path | None = None,
    dtype: DType = DType.float32,
) -> tuple[Diagnostic, ...]:
    """Everything wrong with a program and, given ``cells``, with its tables.

    Blocks are looked at when the text itself can be parsed.
    """
    loader = _Loader(folder)
    loader.read(source, ())
    if not loader.broken:
        loader.finish(source, {}, dtype)
        for diagnostic in _check_blocks(loader.sorted_blocks(), loader.definitions, dtype, probe, cells):
            loader.findings.add(diagnostic)
    return tuple(loader.findings.found)


class _Loader:
    """Reads a file and what it imports into tables of items."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.findings = Findings()
        self.broken = False
        self.items: dict[str, s.Definition] = {}
        self.constants: dict[str, s.Const] = {}
        self.values: dict[str, Any] = {}
        self.blocks: dict[str, s.Settings | s.Net] = {}
        self.done: set[str] = set()
        self.definitions = Definitions(self.items, self.values, library_definition, library_kinds)

    def _report(self, code: str, message: str, label: Label, *others: Label, help: str = "") -> None:
        self.findings.add(Diagnostic(code, message, label, others, help=help))

    def read(self, source: Source, chain: tuple[tuple[str, Span], ...]) -> None:
        """Takes the items of a file; ``chain`` are the files that led here, each with its import."""
        file, diagnostics = parse(source)
        self.broken = self.broken or bool(diagnostics)
        for diagnostic in diagnostics:
            self.findings.add(diagnostic)
        for item in file.items:
            match item:
                case s.Import():
                    self._import(item, source, chain)
                case s.Definition():
                    self._once(self.items, item)
                case s.Const():
                    self._once(self.constants, item)
                case s.Net() | s.Settings() if not chain:
                    self._block(item)
                case _:
                    pass

    def _block(self, item: s.Net | s.Settings) -> None:
        key = "net" if isinstance(item, s.Net) else item.kind
        first = self.blocks.setdefault(key, item)
        if first is not item:
            self._report(
                "E0203", f"there are two `{key}` blocks", Label(_head(item, key), "again here"),
                Label(_head(first, key), "first here"), help=f"a program has one `{key}` block",
            )  # fmt: skip

    def _once(self, table: dict[str, Any], item: s.Definition | s.Const) -> None:
        name = item.name.id
        for other in (self.items.get(name), self.constants.get(name)):
            if other is not None:
                self._report("E0203", f"`{name}` is defined twice", Label(item.name.span, "again here"),
                             Label(other.name.span, "first here"))  # fmt: skip
                return
        table[name] = item

    def _import(self, item: s.Import, source: Source, chain: tuple[tuple[str, Span], ...]) -> None:
        name, where = item.path.value, item.path.span
        if self.folder is None:
            self._report("E0206", "a program given as text can import nothing", Label(item.span, "no folder"),
                         help="save the program to a file")  # fmt: skip
            return
        try:
            path = (self.folder / name).resolve()
            inside = path.is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError):
            self._report("E0207", f"there is no file {name!r}", Label(where, "not a path"))
            return
        chain = (*chain, (str(path), where))
        own = str((self.folder / Path(source.name).name).resolve())
        if not inside:
            self._report("E0206", f"{name} lies outside the program's folder", Label(where, "outside"),
                         help="programs read files of their own folder and of folders in it")  # fmt: skip
        elif str(path) in (own, *(p for p, _ in chain[:-1])):
            self._report("E0205", f"{name} imports itself, directly or through others", Label(where, "closes the circle"),
                         *(Label(span, "imported here") for _, span in chain[:-1]),
                         help="move what both need into a third file")  # fmt: skip
        elif str(path) not in self.done:
            self.done.add(str(path))
            self._imported(path, name, where, chain)

    def _imported(self, path: Path, name: str, where: Span, chain: tuple[tuple[str, Span], ...]) -> None:
        found = read_source(path)
        if isinstance(found, Diagnostic):
            others = (
                ", ".join(sorted(p.name for p in path.parent.glob("*.net"))[:8])
                if path.parent.is_dir()
                else ""
            )
            self.broken = True
            self._report("E0207", found.message.replace(str(path), name), Label(where, "imported here"),
                         help=f"the folder has {others}" if others else found.help)  # fmt: skip
        elif len(chain) > MAX_IMPORTS:
            self._report("E0205", f"imports are more than {MAX_IMPORTS} deep", Label(where, "one too many"))
        else:
            self.read(Source(name, found.text), chain)

    def finish(self, source: Source, settings: dict[str, Any], dtype: DType) -> None:
        """Evaluates the constants, in order; ``settings`` take the place of some."""
        for name in settings:
            if name not in self.constants:
                known = f"its constants are {', '.join(self.constants)}" if self.constants else "it has none"
                self._report("E0506", f"the program has no constant `{name}`", Label(Span(source, 0, 0), "in this file"),
                             help=did_you_mean(name, self.constants, f"{known}; only constants can be set in this way"))  # fmt: skip
        for name, item in self.constants.items():
            self.values[name] = UNKNOWN
            with self.findings.collecting(item.span):
                given = settings.get(name)
                ctx = Context(Graph("constants"), dtype, self.definitions)
                value = given if given is not None else evaluate(ctx, item.value)
                if isinstance(value, Value):
                    fail("E0405", f"`{name}` is not known when compiling", item.value.span, describe(value),
                         help="constants are numbers, texts, true, false, or lists of these")  # fmt: skip
                self.values[name] = value
        if "net" not in self.blocks and not self.broken:
            where = Label(Span(source, 0, len(source.text.split("\n", 1)[0])), "in this file")
            self._report("E0502", "the file has no `net` block", where, help="`netc new` writes a starter")

    def sorted_blocks(self) -> Blocks:
        net, data, train = (self.blocks.get(k) for k in ("net", "data", "train"))
        return (
            net if isinstance(net, s.Net) else None,
            data if isinstance(data, s.Settings) else None,
            train if isinstance(train, s.Settings) else None,
        )


def _head(item: s.Net | s.Settings, word: str) -> Span:
    """The first words of a block."""
    return (
        item.name.span
        if isinstance(item, s.Net)
        else Span(item.span.source, item.span.start, item.span.start + len(word))
    )
