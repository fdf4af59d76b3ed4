"""The formatter: the tree stays, comments stay, a second time changes nothing; ``netc fmt`` on files."""

from __future__ import annotations

import io
import random
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from trees import expressions, items

from netc.cli.main import run
from netc.grammar import syntax as s
from netc.grammar.diagnostics import CompileError
from netc.grammar.format import WIDTH, format_expression, format_item, format_source
from netc.grammar.layout import Token, tokens
from netc.grammar.outline import outline
from netc.grammar.parser import parse, parse_expression
from netc.grammar.source import Source

ROOT = Path(__file__).parent.parent
PROGRAMS = [
    p for top in ("examples", "library", "tests/reference") for p in sorted((ROOT / top).glob("*.net"))
]
IDS = [p.name for p in PROGRAMS]
trees = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def tree(text: str) -> s.File:
    file, diagnostics = parse(Source("test.net", text))
    assert not diagnostics, (text, diagnostics[0].message)
    return file


def comments(text: str) -> list[str]:
    """The comments in order, without the blanks that the formatter may put behind ``#``."""
    found = re.findall(r'"(?:[^"\\\n]|\\.)*"|(#[^\n]*)', text)
    return [re.sub(r"\s+", "", c) for c in found if c]


@trees
@given(expressions)
def test_expressions_come_back(e: s.Expr) -> None:
    assert parse_expression(format_expression(e)) == e


@trees
@given(items)
def test_items_come_back(node: s.Item) -> None:
    text = format_item(node)
    assert tree(text).items == (node,)
    assert format_source(text) == text + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "-x ^ 2", "(-x) ^ 2", "a - (b - c)", "a - b - c", "(a ^ b) ^ c", "a ^ b ^ c", "x ^ -2", "not (a and b)",
        "(not a) == b", "(a < b) == (c < d)", "(if a then b else c) + 1", "1 + f(if a then b else c)",
        "(a @ b).T[:, 0:1]", "a / (b * c)", "[..., n][1:]", "x[::2]", "x[-1]", "a * -b", "-(a + b)",
        '"a\\"b\\\\c"', "1e-05",
    ],
)  # fmt: skip
def test_parentheses_are_as_few_as_possible(text: str) -> None:
    assert format_expression(parse_expression(text)) == text


@pytest.mark.parametrize(
    ("text", "shorter"),
    [("((a))", "a"), ("(a * b) + c", "a * b + c"), ("a ^ (b ^ c)", "a ^ b ^ c"), ("(x)[0]", "x[0]"),
     ("(not a) and b", "not a and b"), ("f((a), (b + c))", "f(a, b + c)")],
)  # fmt: skip
def test_needless_parentheses_go(text: str, shorter: str) -> None:
    assert format_expression(parse_expression(text)) == shorter


def test_formulas_of_constants_can_be_negative() -> None:
    power = s.Binary("^", s.Number(-2), s.Number(2))
    assert format_expression(power) == "(-2) ^ 2"
    assert format_expression(s.Binary("*", s.Name("x"), s.Number(-0.5))) == "x * -0.5"


@pytest.mark.parametrize("path", PROGRAMS, ids=IDS)
def test_our_programs_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_source(text) == text


@pytest.mark.parametrize("path", PROGRAMS, ids=IDS)
def test_trees_of_our_programs_come_back(path: Path) -> None:
    for node in tree(path.read_text(encoding="utf-8")).items:
        assert tree(format_item(node)).items == (node,)


def scattered(path: Path, seed: int) -> str:
    """A program with other blanks, line breaks where they mean nothing, and comments in all sorts of places."""
    rng, text, depth, count = random.Random(seed), "", 0, 0
    for token in tokens(path.read_text(encoding="utf-8")):
        gap = "\n" * rng.choice([token.lines, 1, 1, 3]) if token.lines and not depth else ""
        if rng.random() < 0.06 and (depth or gap) and not _leads(token):
            count += 1
            gap = rng.choice([f" #note {count}\n", f"\n\t#  note {count}\n"]) + gap
        elif depth and rng.random() < 0.1:
            gap = rng.choice(["\n", "\n\n\n", "\t \n"])
        text += (
            gap + rng.choice(["", " ", "   ", "\t"]) * bool(gap) + rng.choice([" ", " ", "  "]) + token.text
        )
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
    return text


def _leads(token: Token) -> bool:
    return token.text in ("then", "else", "and", "or") or token.text in "+*/%@^-<>"


@pytest.mark.parametrize("path", PROGRAMS, ids=IDS)
def test_scattered_programs_are_put_in_order(path: Path) -> None:
    for seed in range(5):
        text = scattered(path, seed)
        before = tree(text)
        once = format_source(text)
        assert tree(once) == before
        assert comments(once) == comments(text)
        assert format_source(once) == once
        assert "\n\n\n" not in once
        assert not re.search(r"[ \t]\n", once)


UGLY = """\


#one
net   a{input x:[3]   # the input
  # before
  head:linear( 16,bias=false )


  residual{linear(16);relu}shortcut{linear( 16 )}
  repeat 2{}
  concat( 1 ){branch{linear(3)}
  b:branch{linear(4)}};relu # after
  # last

}
layer f(a?,b;c=-1){input x:[...,a]:float32;param w ?: [a,b]=zeros( )
  y<-x[ : ,1 : 2]@w . T*- 2^-c
  v=x[...,: :2,0]
  z = x <-1
  return(if not(c>0) then- y else y)
}#end
train{loss=mse_loss();optimizer=sgd(lr=.5)
# rows
batch=full

epochs=3}
""".replace(".5", "0.5")
TIDY = """\
# one
net a {
    input x: [3]  # the input
    # before
    head: linear(16, bias = false)

    residual { linear(16); relu } shortcut { linear(16) }
    repeat 2 {}
    concat(1) {
        branch { linear(3) }
        b: branch { linear(4) }
    }
    relu  # after
    # last
}
layer f(a?, b; c = -1) {
    input x: [..., a]: float32
    param w?: [a, b] = zeros()
    y <- x[:, 1:2] @ w.T * -2 ^ -c
    v = x[..., ::2, 0]
    z = x < -1
    return (if not (c > 0) then -y else y)
}  # end
train {
    loss      = mse_loss()
    optimizer = sgd(lr = 0.5)
    # rows
    batch     = full

    epochs = 3
}
"""


def test_the_canonical_form() -> None:
    assert format_source(UGLY) == TIDY


def test_long_lines_are_broken_inside_brackets() -> None:
    name = "a_rather_long_name"
    text = f"const total = f({', '.join(f'{name}_{i}' for i in range(12))}, g({name} + {name}, {name} * {name}))\n"
    text += f"fn g(x) = if {name} then {' + '.join([name] * 4)} else x\n"
    text += f"net n {{ input x: [3]; {'; '.join(['linear(100)'] * 10)} }}\n"
    result = format_source(text)
    assert max(len(line) for line in result.split("\n")) <= WIDTH
    assert result.startswith("const total = f(\n    a_rather_long_name_0, ")
    assert "\n    linear(100)\n" in result
    assert format_source(result) == result


def test_no_text_no_lines() -> None:
    assert format_source("\n\n") == ""
    assert format_source("# only\n\n\n\n# comments") == "# only\n\n# comments\n"


def test_what_cannot_be_parsed_is_refused() -> None:
    with pytest.raises(CompileError) as refused:
        format_source("net a {\n")
    assert refused.value.diagnostics[0].code == "E0102"


# the command


def exit_code(*arguments: str) -> int:
    try:
        run(["fmt", *arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_files_are_rewritten_whole_and_keep_their_permissions(tmp_path: Path) -> None:
    first, second = tmp_path / "a.net", tmp_path / "b.net"
    first.write_text(UGLY)
    first.chmod(0o640)
    second.write_bytes(b"\xef\xbb\xbf" + TIDY.replace("\n", "\r\n").encode())
    assert exit_code(str(tmp_path)) == 0
    assert first.read_text() == second.read_bytes().decode() == TIDY
    assert stat.S_IMODE(first.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.net", "b.net"]


def test_check_names_the_files_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.net").write_text(TIDY)
    (tmp_path / "bad.net").write_text(UGLY)
    assert exit_code("--check", str(tmp_path / "good.net")) == 0
    assert exit_code("--check", str(tmp_path / "good.net"), str(tmp_path / "bad.net")) == 1
    assert capsys.readouterr().out == f"would format {tmp_path / 'bad.net'}\n"
    assert (tmp_path / "bad.net").read_text() == UGLY


def test_diff_prints_what_would_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.net").write_text("net a { input x:[3] }\n")
    assert exit_code("--diff", str(tmp_path / "a.net")) == 0
    assert "-net a { input x:[3] }\n+net a { input x: [3] }\n" in capsys.readouterr().out
    assert (tmp_path / "a.net").read_text() == "net a { input x:[3] }\n"


def test_a_file_that_cannot_be_parsed_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.net").write_text("net  a {\n")
    (tmp_path / "good.net").write_text("const  a = 1")
    assert exit_code(str(tmp_path)) == 1
    assert (tmp_path / "broken.net").read_text() == "net  a {\n"
    assert (tmp_path / "good.net").read_text() == "const a = 1\n"
    assert "E0102" in capsys.readouterr().err
    assert exit_code(str(tmp_path / "nosuch.net")) == 1


def test_standard_input_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("const  a=1"))
    assert exit_code("-") == 0
    assert capsys.readouterr().out == "const a = 1\n"


def test_formatting_needs_neither_numpy_nor_llvm() -> None:
    code = f"""
import sys
from netc.cli.main import run
run(["fmt", "--check", {str(ROOT / "examples")!r}])
assert not {{"numpy", "llvmlite", "rich"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# the outline

OUTLINE = """\
Const width                   1:1
  value: Number 8             1:15
Net a                         2:1
  Input x dtype=int64         3:5
    shape: ListOf             3:14
      Number 3                3:15
  Apply label=head linear     4:5
    Argument bias             4:18
      value: Unary not        4:25
        operand: Name true    4:29
  Residual                    5:5
    Apply relu                5:16
    shortcut: Apply identity  5:34
"""


def test_the_outline_names_every_node_and_its_place() -> None:
    text = """\
const width = 8
net a {
    input x: [3]: int64
    head: linear(bias = not true)
    residual { relu } shortcut { identity }
}
"""
    assert outline(tree(text)) + "\n" == OUTLINE


@pytest.mark.parametrize("path", PROGRAMS, ids=IDS)
def test_every_program_has_an_outline(path: Path) -> None:
    file = tree(path.read_text(encoding="utf-8"))
    lines = outline(file).split("\n")
    assert sum(not line.startswith(" ") for line in lines) == len(file.items)


@pytest.mark.parametrize("kind", ["tabular-regression", "tabular-classification", "images"])
def test_starters_are_formatted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(["new", kind, "first"])
    assert exit_code("--check", "first.net") == 0
