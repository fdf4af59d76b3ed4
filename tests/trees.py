"""Random syntax trees for property tests: expressions, stages, statements, items of a file."""

from __future__ import annotations

from hypothesis import strategies as st

from netc.grammar import syntax as s

WORDS = [
    "x",
    "weight",
    "in_features",
    "linear",
    "relu",
    "n",
    "true",
    "auto",
    "input",
    "param",
    "data",
    "state",
]
names = st.sampled_from(WORDS).map(s.Name)
numbers = st.one_of(
    st.integers(0, 10**17), st.floats(0, 1e300, allow_nan=False, allow_infinity=False, allow_subnormal=False)
).map(s.Number)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8).map(s.String)
_BINARY = "or and == != < <= > >= + - * / % @ ^".split()


def _larger(inner: st.SearchStrategy[s.Expr]) -> st.SearchStrategy[s.Expr]:
    argument = st.builds(s.Argument, st.none() | st.sampled_from(WORDS), inner)
    part = st.none() | inner
    items = st.lists(inner | st.builds(s.Slice, part, part, part), min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.lists(inner | st.just(s.Ellipsis_()), max_size=3).map(tuple).map(s.ListOf),
        st.builds(s.Unary, st.sampled_from(["-", "not"]), inner),
        st.builds(s.Binary, st.sampled_from(_BINARY), inner, inner),
        st.builds(s.If, inner, inner, inner),
        st.builds(s.Call, names, st.lists(argument, max_size=3).map(tuple)),
        st.builds(s.Index, inner, items),
        st.builds(s.Attribute, inner, st.sampled_from(["T", "shape", "else"])),
    )


expressions: st.SearchStrategy[s.Expr] = st.recursive(
    st.one_of(names, numbers, texts), _larger, max_leaves=12
)
labels = st.none() | names
shapes = st.lists(st.one_of(names, numbers, st.just(s.Ellipsis_())), max_size=3).map(tuple).map(s.ListOf)
statements: st.SearchStrategy[s.Statement] = st.one_of(
    st.builds(s.Input, names, shapes, labels),
    st.builds(s.Param, names, st.booleans(), st.none() | expressions, shapes, expressions),
    st.builds(s.Buffer, names, st.booleans(), shapes, expressions, labels),
    st.builds(s.State, names, st.none() | shapes, expressions),
    st.builds(s.Total, names, expressions),
    st.builds(s.Let, names, expressions),
    st.builds(s.Update, names, expressions),
    st.builds(s.Require, expressions, expressions),
    st.builds(s.Return, expressions),
)


@st.composite
def applied(draw: st.DrawFn) -> s.Apply:
    values = st.builds(s.Argument, st.none() | st.sampled_from(WORDS), expressions)
    arguments = tuple(draw(st.lists(values, max_size=3)))
    written = bool(arguments) or draw(st.booleans())
    return s.Apply(s.Call(draw(names), arguments), written, draw(labels))


def _nested(inner: st.SearchStrategy[s.Stage]) -> st.SearchStrategy[s.Stage]:
    body = st.lists(inner | statements, max_size=3).map(tuple)
    branches = st.lists(st.builds(s.Branch, body, labels), max_size=3).map(tuple)
    return st.one_of(
        st.builds(s.Sequential, body, labels),
        st.builds(s.Residual, body, st.none() | body, labels),
        st.builds(s.Repeat, expressions, body, labels),
        st.builds(s.Concat, expressions, branches, labels),
    )


stages: st.SearchStrategy[s.Stage] = st.recursive(applied(), _nested, max_leaves=6)
bodies = st.lists(st.one_of(statements, stages), max_size=5).map(tuple)


@st.composite
def parameters(draw: st.DrawFn) -> tuple[s.Parameter, ...]:
    count = draw(st.integers(0, 3))
    first = draw(st.integers(0, count))
    default = st.none() | expressions
    return tuple(
        s.Parameter(draw(names), draw(default), draw(st.booleans()), i >= first) for i in range(count)
    )


kinds = st.sampled_from(["fn", "init", "schedule", "layer", "optimizer", "metric"])
short = expressions.map(s.Return).map(lambda x: (x,))
items: st.SearchStrategy[s.Item] = st.one_of(
    st.builds(s.Import, texts),
    st.builds(s.Const, names, expressions),
    st.builds(s.Definition, kinds, names, parameters(), short, st.just(True)),
    st.builds(s.Definition, kinds, names, parameters(), bodies, st.just(False)),
    st.builds(s.Net, names, bodies),
    st.builds(
        s.Settings,
        st.sampled_from(["data", "train"]),
        st.lists(st.builds(s.Entry, names, expressions, st.none() | expressions), max_size=4).map(tuple),
    ),
)
