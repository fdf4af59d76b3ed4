"""Graph values as formulas of the language, to be read and checked by a person.

In: a graph. Out: a line for each value that is used several times and for each output; what is used once is written
into its reader. Broadcasts that the language makes by itself are not shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Dim, DType, Graph, Value, show_shape, users
from .ops.contraction import free_dims

_INFIX = {
    "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 5), "div": ("/", 5), "mod": ("%", 5), "pow": ("^", 7), "lt": ("<", 3),
    "le": ("<=", 3), "eq": ("==", 3), "ne": ("!=", 3), "logical_and": ("and", 2), "logical_or": ("or", 1),
}  # fmt: skip
_ATOM, _PRODUCT, _UNARY = 9, 5, 6
_LETTERS = "ijklmpqrstuvwyzabcdefgh"
Text = tuple[str, int]


def formulas(graph: Graph) -> str:
    """The graph's outputs as formulas, with a legend of its leaves."""
    return _Printer(graph).text()


class _Printer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.live = graph.live()
        self.readers = users(self.live)
        self.names: dict[int, str] = {v.id: leaf_name(n) for n, v in graph.inputs.items()}
        self.outputs: dict[int, list[str]] = {}
        for name, value in graph.outputs.items():
            self.outputs.setdefault(value.id, []).append(name)

    def text(self) -> str:
        lines = []
        for name, value in self.graph.inputs.items():
            lines.append(f"# {self.names[value.id]}: {name.split('.', 1)[-1]} {show_shape(value.shape)}")
        lines.append("")
        count = 0
        for value in self.live:
            named = self.outputs.get(value.id, [])
            if value.id not in self.names and (named or self._shared(value)):
                formula = self._write(value)[0]
                count += not named
                name = output_name(named[0]) if named else f"t{count}"
                lines.append(
                    f"{name} = {formula}" + (f"    # {value.origin.layer}" if value.origin.layer else "")
                )
                self.names[value.id] = name
                named = named[1:]
            lines += [
                f"{output_name(n)} = {self.names[value.id]}"
                for n in named
                if output_name(n) != self.names[value.id]
            ]
        return "\n".join(lines)

    def _shared(self, value: Value) -> bool:
        trivial = value.op.name in (
            "input",
            "constant",
            "rows",
            "iota",
            "broadcast",
            "permute",
            "reshape",
            "cast",
        )
        return not trivial and len(self.readers.get(value.id, [])) > 1

    def _show(self, value: Value) -> Text:
        known = self.names.get(value.id)
        return (known, _ATOM) if known is not None else self._write(value)

    def _wrapped(self, value: Value, least: int) -> str:
        text, strength = self._show(value)
        return text if strength >= least else f"({text})"

    def _write(self, v: Value) -> Text:
        name = v.op.name
        if name in _INFIX:
            symbol, strength = _INFIX[name]
            left, right = self._wrapped(v.inputs[0], strength), self._wrapped(v.inputs[1], strength + 1)
            return f"{left} {symbol} {right}", strength
        match name:
            case "constant":
                return _number(v.attrs["value"])
            case "rows":
                return "n", _ATOM
            case "neg":
                return f"-{self._wrapped(v.inputs[0], _UNARY)}", _UNARY
            case "logical_not":
                return f"not {self._wrapped(v.inputs[0], 3)}", 2
            case "cast" if v.dtype is DType.bfloat16:
                return f"bfloat16({self._show(v.inputs[0])[0]})", _ATOM
            case "cast":
                return self._show(v.inputs[0])
            case "broadcast":
                return self._broadcast(v)
            case "permute":
                return self._permute(v)
            case "reshape":
                return f"reshape({self._show(v.inputs[0])[0]}, {show_shape(v.shape)})", _ATOM
            case "sum" | "max" | "argmax":
                return self._reduction(v)
            case "contract":
                return self._contract(v, swapped=False)
            case _:
                return self._call(v)

    def _call(self, v: Value) -> Text:
        parts = [self._show(x)[0] for x in v.inputs]
        parts += [f"{k} = {_plain(a)}" for k, a in v.attrs.items() if k not in ("dtype", "stream")]
        return f"{v.op.name}({', '.join(parts)})", _ATOM

    def _broadcast(self, v: Value) -> Text:
        x, dims = v.inputs[0], v.attrs["dims"]
        offset = len(v.shape) - len(x.shape)
        if list(dims) == list(range(offset, len(v.shape))):
            return self._show(x)
        spread: list[Dim] = [1] * len(v.shape)
        for extent, dim in zip(x.shape, dims, strict=True):
            spread[dim] = extent
        return f"reshape({self._show(x)[0]}, {show_shape(spread)})", _ATOM

    def _permute(self, v: Value) -> Text:
        x = v.inputs[0]
        if v.attrs["dims"] == (1, 0):
            if x.id not in self.names and x.op.name == "contract" and not x.attrs["batch"]:
                return self._contract(x, swapped=True)
            return f"{self._wrapped(x, _ATOM)}.T", _ATOM
        return f"permute({self._show(x)[0]}, {list(v.attrs['dims'])})", _ATOM

    def _reduction(self, v: Value) -> Text:
        x, dims = v.inputs[0], v.attrs["dims"]
        shown = self._show(x)[0]
        if len(dims) == len(x.shape):
            return f"{v.op.name}({shown})", _ATOM
        return f"{v.op.name}({shown}, dim = {dims[0] if len(dims) == 1 else list(dims)})", _ATOM

    def _contract(self, v: Value, *, swapped: bool) -> Text:
        x, y = v.inputs
        axes, batch = v.attrs["axes"], v.attrs["batch"]
        if len(x.shape) == len(y.shape) == 2 and len(axes) == 1 and not batch:
            (p, q), (a, b) = axes[0], (x, y)
            if swapped:
                a, b, p, q = y, x, q, p
            left = self._matrix(a, transposed=p == 0)
            right = self._matrix(b, transposed=q == 1)
            return f"{left} @ {right}", _PRODUCT
        text = f'einsum("{_equation(v)}", {self._show(x)[0]}, {self._show(y)[0]})'
        return (f"{text}.T" if swapped else text), _ATOM

    def _matrix(self, x: Value, *, transposed: bool) -> str:
        if transposed and x.id not in self.names and x.op.name == "permute" and x.attrs["dims"] == (1, 0):
            return self._wrapped(x.inputs[0], _UNARY)
        return f"{self._wrapped(x, _ATOM)}.T" if transposed else self._wrapped(x, _UNARY)


def _equation(v: Value) -> str:
    letters = iter(_LETTERS)
    x, y = v.inputs
    left = [next(letters) for _ in x.shape]
    right = [""] * len(y.shape)
    for p, q in (*v.attrs["batch"], *v.attrs["axes"]):
        right[q] = left[p]
    right = [c or next(letters) for c in right]
    pairs = (*v.attrs["batch"], *v.attrs["axes"])
    result = [left[p] for p, _ in v.attrs["batch"]]
    result += [left[d] for d in free_dims(len(left), [p for p, _ in pairs])]
    result += [right[d] for d in free_dims(len(right), [q for _, q in pairs])]
    return f"{''.join(left)},{''.join(right)}->{''.join(result)}"


def _number(value: float | int | bool) -> Text:
    if isinstance(value, bool):
        return ("true" if value else "false"), _ATOM
    text = f"{value:.9g}"
    return text, _ATOM if value >= 0 else _UNARY


def _plain(attr: object) -> str:
    if isinstance(attr, Sequence) and not isinstance(attr, str):
        return "[" + ", ".join(str(a) for a in attr) + "]"
    return str(attr)


def leaf_name(name: str) -> str:
    """``param.0.weight`` reads ``weight_0``, ``input.x`` reads ``x``."""
    kind, _, path = name.partition(".")
    if kind in ("param", "buffer", "state") and path:
        *layers, last = path.split(".")
        return "_".join([last, *layers])
    return path or kind


def output_name(name: str) -> str:
    """``gradient.0.weight`` reads ``d_weight_0``; new contents read ``new_weight_0``."""
    kind, _, path = name.partition(".")
    if kind == "gradient":
        return "d_" + leaf_name(path if path.startswith("input.") else f"param.{path}")
    if kind in ("param", "buffer", "state"):
        return "new_" + leaf_name(name)
    return name.replace(".", "_")
