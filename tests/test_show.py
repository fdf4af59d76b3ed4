"""``netc show``: every stage of every example, and that what is shown is what is compiled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from netc.cli.main import run
from netc.compiler import ops
from netc.compiler.cost import Machine, flops, kernel_cost
from netc.compiler.drawing import FORMATS, draw
from netc.compiler.graph import ROWS, DType, Graph, Value
from netc.compiler.loops.ir import (
    Affine,
    Apply,
    Axis,
    Buffer,
    Kernel,
    Load,
    Scalar,
    Schedule,
    Scheduled,
    Space,
    Store,
)
from netc.compiler.loops.lower import lower
from netc.compiler.loops.text import kernel_lines, unit_text
from netc.compiler.plan import amount, duration

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.net"))
NETWORKS = sorted((ROOT / "tests" / "reference").glob("*.net"))
STAGES = ("ast", "graph", "gradient", "loops", "program", "llvm", "asm", "cuda", "plan")
DOCUMENTATION = ROOT / "docs" / "ir.md"
Show = Callable[..., str]
REGRESSION = str(ROOT / "examples" / "regression.net")


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    def shown(*arguments: str) -> str:
        run(["show", *arguments])
        return capsys.readouterr().out

    return shown


# every stage


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("path", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_every_stage_of_every_example(path: Path, stage: str, show: Show) -> None:
    text = show(str(path), "--stage", stage)
    landmark = {
        "ast": f"Net {_net(path)}", "graph": "outputs\n    loss = %", "gradient": "d_", "loops": "kernel 0 ",
        "program": "for every batch left:", "llvm": "define void @step(ptr %table", "asm": ".globl\tstep",
        "cuda": 'extern "C" __global__ void __launch_bounds__(512, 1) netc_step(',
        "plan": "total",
    }[stage]  # fmt: skip
    assert landmark in text


def _net(path: Path) -> str:
    found = re.search(r"^net (\w+)", path.read_text(encoding="utf-8"), re.M)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("stage", ["graph", "loops", "plan"])
@pytest.mark.parametrize("path", NETWORKS, ids=[p.stem for p in NETWORKS])
def test_stages_of_other_networks(path: Path, stage: str, show: Show) -> None:
    lines = show(str(path), "--stage", stage).split("\n")
    assert len(lines) > 10
    assert max(map(len, lines)) <= (100 if stage == "plan" else 240)


@pytest.mark.parametrize("unit", ["step", "gradient", "evaluate", "predict", "forward", "backward"])
def test_every_unit(unit: str, show: Show) -> None:
    text = show(REGRESSION, "--stage", "graph", "--unit", unit)
    assert text.startswith(f"graph {unit}\n")


def test_the_whole_run_as_code(show: Show) -> None:
    text = show(REGRESSION, "--stage", "llvm", "--unit", "train")
    assert "define void @train(ptr %control" in text


@pytest.mark.parametrize("stage", STAGES)
def test_a_mistake_gives_a_diagnostic(stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.net"
    path.write_text("net wrong {\n    input x: [3]\n    linear(4\n}\n")
    with pytest.raises(SystemExit) as stop:
        run(["show", str(path), "--stage", stage])
    assert stop.value.code == 1
    assert "error[E01" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--unit", "step"],
        ["--stage", "program"],
        ["--stage", "gradient"],
        ["--stage", "graph", "--json"],
        ["--rows", "0"],
    ],
)
def test_what_cannot_be_shown(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "alone.net"
    path.write_text("net alone {\n    input x: [3]\n    linear(4)\n}\n")
    with pytest.raises(SystemExit) as stop:
        run(["show", str(path), *arguments])
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_loss_without_an_optimizer_has_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "loss.net"
    path.write_text("net a {\n    input x: [3]\n    linear(4)\n}\n\ntrain { loss = mse_loss() }\n")
    run(["show", str(path)])
    assert "a: predict of 64 rows" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        run(["show", str(path), "--stage", "program"])
    assert stop.value.code == 1
    assert "E0507" in capsys.readouterr().err


def test_output_goes_to_a_file(tmp_path: Path, show: Show) -> None:
    path = tmp_path / "graph.txt"
    printed = show(REGRESSION, "--stage", "graph")
    assert show(REGRESSION, "--stage", "graph", "-o", str(path)) == ""
    assert path.read_text(encoding="utf-8") == printed


# graph


def test_the_listing_tells_types_and_layers(show: Show) -> None:
    text = show(REGRESSION, "--stage", "graph", "--unit", "predict")
    assert "%1    param.0.weight  float32[32, 3]\n" in text
    blocks = re.split(r"\n\n", text)
    assert [b.split("\n")[0] for b in blocks[2:5]] == ["0  linear(d_hidden)", "1  relu", "2  linear(1)"]
    assert re.search(r"contract\(%0, %\d+, axes=\[\[1, 0\]\]\) +float32\[n, 32\]", blocks[2])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("path", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_drawings_join_boxes_that_exist(path: Path, form: str, show: Show) -> None:
    text = show(str(path), "--graph", form)
    boxes = re.findall(r"^ +([vo]\d+) ?[\[(]", text, re.M)
    edges = re.findall(r"^ +([vo]\d+) --?> ([vo]\d+);?$", text, re.M)
    assert len(set(boxes)) == len(boxes) > 10
    assert {end for edge in edges for end in edge} <= set(boxes)
    assert {b for b in boxes if b.startswith("o")} == {b for _, b in edges if b.startswith("o")}
    opened = len(re.findall(r"^ *subgraph ", text, re.M))
    closed = len(re.findall(r"^ +(?:end|\})$", text, re.M))
    assert opened == closed > 2


def odd_names() -> Graph:
    graph = Graph('a "graph"')
    x = ops.input(graph, 'input."x\\', DType.float32, (ROWS, 2))
    graph.outputs["y<br/>"] = ops.mul(graph, x, ops.full_like(graph, x, 2.0))
    return graph


def test_labels_are_escaped() -> None:
    mermaid = draw(odd_names(), "mermaid")
    assert "input.#34;x#92;<br/>float32[n, 2]" in mermaid
    assert "y#60;br/#62;" in mermaid
    dot = draw(odd_names(), "dot")
    assert 'digraph "a \\"graph\\""' in dot
    assert 'label="input.\\"x\\\\\\nfloat32[n, 2]"' in dot
    assert "mul 2.0" in dot
    assert "constant" not in dot


# loops


def layer() -> Graph:
    """max(0, x @ w + b)."""
    graph = Graph("layer")
    x = ops.input(graph, "x", DType.float32, (ROWS, 3))
    w = ops.input(graph, "w", DType.float32, (3, 32))
    b = ops.input(graph, "b", DType.float32, (32,))
    h = ops.add(graph, ops.contract(graph, x, w, [(1, 0)]), ops.broadcast(graph, b, (ROWS, 32), [1]))
    graph.outputs["y"] = ops.binary(graph, "maximum", ops.full_like(graph, h, 0.0), h)
    return graph


def test_a_layer_as_loops() -> None:
    lines = unit_text(lower(layer(), {}, vector_bytes=64)).split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("kernel 0 out.y"))
    assert lines[start + 1].startswith("    for i < n    # tile: ")
    assert lines[start + 2] == "        for j < 32    # lanes: 2 vectors of 16"
    assert lines[start + 3] == ("            out.y[i, j] = maximum(0, sum(p < 3) x[i, p] * w[p, j] + b[j])")
    assert "work memory: 0 bytes and 128 a row" in lines


def test_shared_parts_have_names_where_they_are_known() -> None:
    graph = Graph("softmax")
    x = ops.input(graph, "x", DType.float64, (ROWS, 5))
    total = ops.sum(graph, ops.exp(graph, x), [1])
    scale = ops.neg(graph, ops.input(graph, "s", DType.float64, ()))
    spread = [ops.broadcast(graph, v, (ROWS,), ()) for v in (scale, ops.mul(graph, scale, scale))]
    graph.outputs["y"] = ops.mul(graph, ops.add(graph, total, spread[0]), spread[1])
    text = unit_text(lower(graph, {}, vector_bytes=64))
    kernel = text[text.index("kernel ") :].split("\n")
    assert "    t1 = -s" in kernel, text
    assert kernel.index("    t1 = -s") < next(i for i, x in enumerate(kernel) if "for i < n" in x)


def test_old_contents_are_told_from_new() -> None:
    """a, b <- b, a + b: the second store needs a as it was."""
    i = Axis("i", 4)
    a, b = (Buffer(name, DType.float32, (4,), (0,), Space.model) for name in "ab")
    old_a, old_b = (Load(x, (Affine.of(i),)) for x in (a, b))
    total = Apply(Scalar.add, (old_a, old_b), DType.float32)
    stores = (Store(a, (Affine.of(i),), old_b), Store(b, (Affine.of(i),), total))
    lines = kernel_lines(0, Scheduled(Kernel("swap", (i,), stores), Schedule()))
    assert [x.strip() for x in lines[1:]] == ["for i < 4", "t1 = a[i]", "a[i] = b[i]", "b[i] = t1 + a[i]"]


def test_guards_and_blocks_are_shown(show: Show) -> None:
    text = show(str(ROOT / "examples" / "digits.net"), "--stage", "loops")
    assert re.search(r"where\(0 <= j - 1 < 8 and 0 <= k - 1 < 8, ", text)
    assert re.search(r"v\d+ +float32\[n, 16, 8, 8\] +work +[\d,]+ n, blocks of \d+", text)
    assert re.search(r"random\(\d+, 128 \* i \+ j\)", text)


def test_the_documentation_shows_what_is_printed(show: Show) -> None:
    text = show(REGRESSION, "--stage", "loops", "--unit", "predict")
    kernels = re.sub(r" +# .*", "", text[text.index("kernel 0") :])
    assert kernels.replace(" in lanes", "") in DOCUMENTATION.read_text(encoding="utf-8").replace(
        " in lanes", ""
    )


# program


def calls_of(body: str, code: str) -> int:
    """The kernels that an entry calls, those in its tables included: a kind, then as many slots as that takes."""
    count = len(re.findall(r"call void @(?:k\d+|launch)\(", body))
    buffers = [int(n) for n in re.findall(r"\{ ptr @k\d+\.job, i64 (\d+),", code)]
    for table in re.findall(r"call void @calls\(ptr (@[\w.]+),", body):
        row = re.search(rf"^{re.escape(table)} = .*\[(i32 .*)\], align", code, re.M)
        assert row is not None
        numbers = [int(n) for n in re.findall(r"i32 (\d+)", row[1])]
        while numbers:
            del numbers[: 1 + buffers[numbers[0]]]
            count += 1
    return count


@pytest.mark.parametrize("path", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_the_program_lists_the_kernels_that_are_called(path: Path, show: Show) -> None:
    text = show(str(path), "--stage", "program")
    code = show(str(path), "--stage", "llvm", "--unit", "train")
    listed = {
        f"{unit}_{'forward' if part == 'up to' else 'update'}": len(kernels.strip().split("\n"))
        for unit, part, kernels in re.findall(
            r"run (\w+), (up to|behind) the loss:\n((?: {16,}[^\n]+\n)+|(?: {12,}[^\n]+\n)+)", text
        )
    }
    assert listed["step_forward"] >= 1
    for name in ("step_forward", "step_update"):
        body = re.search(rf"define void @{name}\(.*?\n\}}", code, re.S)
        assert body is not None
        assert calls_of(body[0], code) == listed[name]
    assert ("held-out" in text) == ("validation" in path.read_text(encoding="utf-8"))


# plan


def test_the_plan_of_the_seed_can_be_checked_by_hand(show: Show) -> None:
    plan = json.loads(show(REGRESSION, "--json"))
    first, relu, last, loss, optimizer = plan["layers"]
    assert plan["rows"] == 100
    assert first["forward"] == 100 * 32 * (2 * 3 + 1)
    assert first["backward"] == 100 * 32 * (2 * 3 + 1)  # the input's gradient is not needed
    assert relu["forward"] == 2 * 100 * 32  # a comparison and a choice
    assert last["forward"] == 100 * (2 * 32 + 1)
    assert last["backward"] == 100 * (2 * 2 * 32 + 1)  # of the weight, of the layer's input, of the bias
    assert loss["forward"] == 3 * 100  # difference, square, sum
    assert optimizer["backward"] == 2 * 161
    assert [x["parameters"] for x in plan["layers"]] == [128, 0, 33, 0, 0]
    assert plan["total"]["parameters"] == 161
    assert plan["total"]["share"] == pytest.approx(1)
    assert plan["total"]["seconds"] == pytest.approx(sum(x["seconds"] for x in plan["layers"]))
    assert first["output"] == "[n, 32]"


@pytest.mark.parametrize("path", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_the_plan_fits_the_page(path: Path, show: Show) -> None:
    text = show(str(path), "--rows", "4096")
    assert max(map(len, text.split("\n"))) <= 100
    assert "of 4096 rows" in text


def test_more_rows_cost_more() -> None:
    (scheduled,) = lower(layer(), {}, vector_bytes=64).kernels
    small, large = (kernel_cost(scheduled, rows, Machine()) for rows in (100, 200))
    assert small.bytes == 4 * (100 * 3 + 3 * 32 + 32 + 100 * 32)
    assert large.operations == 2 * small.operations == 2 * 100 * 32 * (2 * 3 + 2)
    assert small.seconds < large.seconds < 2 * small.seconds
    fast = kernel_cost(scheduled, 100, Machine(hertz=1e12, levels=((float("inf"), 1e12),), start=0))
    assert fast.seconds < small.seconds


def test_a_products_time_belongs_to_its_layer_whatever_follows_it(show: Show) -> None:
    lines = show(REGRESSION, "--rows", "4096", "--unit", "predict").split("\n")
    row = {line.split("  ")[1].strip(): line for line in lines if "  " in line}
    assert "%" in row["linear(d_hidden)"]
    assert "%" not in row["relu"]


def test_flops_of_operations() -> None:
    graph = layer()
    by_name = {v.op.name: flops(v, 10) for v in graph}
    assert by_name["contract"] == 2 * 10 * 32 * 3
    assert by_name["add"] == by_name["maximum"] == 10 * 32
    assert by_name["broadcast"] == by_name["input"] == 0
    outer: Value = ops.contract(graph, graph.inputs["b"], graph.inputs["b"], [])
    assert flops(outer, 10) == 32 * 32


@pytest.mark.parametrize(
    ("value", "text"), [(0, ""), (7, "7"), (999, "999"), (1234, "1.23 k"), (999_600, "1 M"), (2.5e9, "2.5 G")]
)
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text


def test_durations() -> None:
    assert [duration(s) for s in (0, 8.2e-7, 1.25e-3, 3)] == ["", "820 ns", "1.25 ms", "3 s"]


def test_an_entry_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    from netc.cli.main import run as netc_run

    netc_run(["show", "library:silu"])
    shown = capsys.readouterr().out
    assert "# x sigmoid(x)" in shown
    assert "fn silu(x) = x * sigmoid(x)" in shown
    assert "d_x = " in shown
    with pytest.raises(SystemExit):
        netc_run(["show", "library:sillu"])
    assert "did you mean `silu`?" in capsys.readouterr().err
