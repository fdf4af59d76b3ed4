"""``netc predict`` and ``netc eval``: observations in every form give what the model gives in Python."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.cli.main import run

PROGRAM = """
net flowers {
    input x: [auto]
    linear(8); tanh
    linear(3)
}
data {
    table  = csv("flowers.csv")
    raw    = table[["width", "length"]]
    x      = standardize(raw * raw)
    target = categories(table["kind"])
    validation = 0.2
}
train { loss = cross_entropy_loss(); optimizer = adam(lr = 1e-2); epochs = 30; metrics = [accuracy] }
"""
REGRESSION = """
net price {
    input x: [2]
    linear(1)
}
data {
    table  = csv("price.csv")
    x      = minmax(table[1:3])
    target = standardize(table["price"])
}
train { loss = mse_loss(); optimizer = sgd(lr = 0.3); epochs = 800; log_every = 100 }
"""


@pytest.fixture
def flowers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> netc.Model:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [
        f"{i},{w:.3f},{le:.3f},{('a', 'b', 'c')[i % 3]}"
        for i, (w, le) in enumerate(draw.uniform(0, 3, (60, 2)) + np.arange(60)[:, None] % 3)
    ]
    Path("flowers.csv").write_text("id,width,length,kind\n" + "\n".join(rows) + "\n")
    Path("flowers.net").write_text(PROGRAM)
    run(["train", "flowers.net", "--quiet"])
    return netc.load("runs/flowers-001/best.safetensors")


@pytest.fixture
def price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> netc.Model:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(1)
    rows = [
        f"{a:.3f};{b:.3f};{c:.3f};{1000 + 300 * b - 200 * c:.2f}" for a, b, c in draw.uniform(0, 5, (40, 3))
    ]
    Path("price.csv").write_text("noise;size;age;price\n" + "\n".join(rows) + "\n")
    Path("price.net").write_text(REGRESSION)
    run(["train", "price.net", "--quiet"])
    return netc.load("runs/price-001/best.safetensors")


def expected(model: netc.Model) -> list[str]:
    """The classes of all rows of the training table, by hand from the file."""
    rows = list(csv.DictReader(Path("flowers.csv").open()))
    raw = np.array([[float(r["width"]), float(r["length"])] for r in rows]) ** 2
    scaled = (raw - model.scalers["x"].shift) / model.scalers["x"].scale
    return ["abc"[i] for i in model.predict(scaled).argmax(1)]


def predicted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    run(["predict", *arguments])
    return capsys.readouterr().out.split()


RUN = "runs/flowers-001"


def columns(*names: str, header: bool = True) -> str:
    rows = list(csv.reader(Path("flowers.csv").open()))
    places = [rows[0].index(n) for n in names]
    return "\n".join(",".join(row[p] for p in places) for row in rows[0 if header else 1 :]) + "\n"


def test_every_form_of_a_table(
    flowers: netc.Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["class", *expected(flowers)]
    assert len(set(wanted)) == 4
    assert predicted([RUN, "flowers.csv"], capsys) == wanted
    forms = {
        "without the target": columns("id", "width", "length"),
        "in another order": columns("length", "id", "width"),
        "the needed ones alone": columns("width", "length"),
        "the needed ones without a header": columns("width", "length", header=False),
        "all without a header": columns("id", "width", "length", "kind", header=False),
        "with a mark of the byte order and CRLF": "\ufeff" + columns("width", "length").replace("\n", "\r\n"),
    }
    for name, text in forms.items():
        Path("other.csv").write_text(text, encoding="utf-8", newline="")
        assert predicted([RUN, "other.csv"], capsys) == wanted, name
    for arguments in ([RUN, "-"], [RUN]):
        monkeypatch.setattr("sys.stdin", io.StringIO(columns("width", "length")))
        assert predicted(arguments, capsys) == wanted
    values = np.loadtxt("flowers.csv", delimiter=",", skiprows=1, usecols=(1, 2))
    np.save("other.npy", values)
    np.savez("other.npz", anything=values)
    assert predicted([RUN, "other.npy"], capsys) == predicted([RUN, "other.npz"], capsys) == wanted
    assert predicted([RUN + "/last.safetensors", "other.npy"], capsys)[0] == "class"


def test_one_row_is_scaled_as_the_training_rows_were(
    flowers: netc.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("one.csv").write_text(
        columns("width", "length").split("\n", 2)[0] + "\n" + columns("width", "length").split("\n")[5]
    )
    assert predicted([RUN, "one.csv"], capsys) == ["class", expected(flowers)[4]]


def test_outputs_go_to_files(flowers: netc.Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted([RUN, "flowers.csv", "-o", "classes.csv"], capsys) == []
    assert Path("classes.csv").read_text().split() == ["class", *expected(flowers)]
    run(["predict", RUN, "flowers.csv", "-o", "out/scores.npy"])
    scores = np.load("out/scores.npy")
    assert scores.shape == (60, 3)
    assert ["abc"[i] for i in scores.argmax(1)] == expected(flowers)
    with pytest.raises(SystemExit) as stop:
        run(["predict", RUN, "flowers.csv", "-o", "classes.xlsx"])
    assert stop.value.code == 2


def test_numbers_come_in_the_units_of_the_target(
    price: netc.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = predicted(["runs/price-001", "price.csv"], capsys)
    assert lines[0] == "output0"
    table = np.loadtxt("price.csv", delimiter=";", skiprows=1)
    np.testing.assert_allclose([float(v) for v in lines[1:]], table[:, 3], rtol=0.2)
    run(["predict", "runs/price-001", "price.csv", "-o", "out.npy"])
    np.testing.assert_allclose(np.load("out.npy")[:, 0], [float(v) for v in lines[1:]], rtol=1e-6)


def test_a_program_with_weights_of_any_origin(
    flowers: netc.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import save_file

    save_file(flowers.state_dict(), "foreign.safetensors")
    wanted = ["class", *expected(flowers)]
    assert predicted(["flowers.net", "flowers.csv", "--weights", "foreign.safetensors"], capsys) == wanted
    assert predicted(["flowers.net", "flowers.csv", "--weights", RUN], capsys) == wanted


def test_loading_and_saving_again_keeps_what_was_learned_of_the_data(
    flowers: netc.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    flowers.save("again.safetensors")
    assert predicted(["again.safetensors", "flowers.csv"], capsys) == ["class", *expected(flowers)]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("width,lenght\n1,2\n", "E0606", "no column `length`"),
        ("width\n1\n", "E0606", "needed are width, length"),
        ("1,2,3\n", "E0606", "has 3 columns; 2 are needed, or all 4"),
        ("width,length\n1,two\n", "E0604", "2 | 1,two"),
        ("width,length\n1,nan\n", "E0605", "2 | 1,nan"),
        ("width,length\n1\n", "E0603", "rows of different lengths"),
        ("", "E0602", "is empty"),
        ("width,length\n", "E0602", "a header and no rows"),
    ],
)
@pytest.mark.parametrize("place", ["other.csv", "-"])
def test_tables_that_do_not_fit(
    content: str, code: str, said: str, place: str, flowers: netc.Model, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Path("other.csv").write_text(content)
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    with pytest.raises(SystemExit) as stop:
        run(["predict", RUN, place])
    text = capsys.readouterr().err
    assert stop.value.code == 1
    assert f"error[{code}]" in text
    assert said in text
    assert ("standard input" if place == "-" else place) in text


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((3, 5)), "E0606"),
        (np.array(["a"]), "E0604"),
        (np.array(3.0), "E0604"),
        (np.zeros((3, 2, 2)), ""),
    ],
)
def test_arrays_that_do_not_fit(
    array: Any, code: str, flowers: netc.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("a.npy", array)
    if not code:  # four numbers a row, as the table has columns
        assert len(predicted([RUN, "a.npy"], capsys)) == 4
        return
    with pytest.raises(SystemExit) as stop:
        run(["predict", RUN, "a.npy"])
    assert (stop.value.code, f"error[{code}]" in capsys.readouterr().err) == (1, True)


def test_missing_files_and_wrong_words(flowers: netc.Model, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (
        ([RUN, "nosuch.csv"], 1),
        ([RUN, "nosuch.npy"], 1),
        (["flowers.net", "flowers.csv"], 2),
        ([RUN, "flowers.csv", "--set", "a=1"], 2),
        (["flowers.net", "flowers.csv", "--weights", "nosuch"], 1),
    ):
        with pytest.raises(SystemExit) as stop:
            run(["predict", *arguments])
        assert stop.value.code == code, arguments
        assert "Traceback" not in capsys.readouterr().err


def test_words_as_inputs_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.csv").write_text("word,y\nred,1\ngreen,2\nblue,3\n")
    Path("w.net").write_text(
        """net w { input x: [1]; linear(1) }
data { table = csv("w.csv"); code = categories(table["word"]); x = reshape(float(code), [3, 1]); target = table["y"] }
train { loss = mse_loss(); optimizer = sgd(lr = 0.1); epochs = 5 }"""
    )
    run(["train", "w.net", "--quiet"])
    everything = predicted(["runs/w-001", "w.csv"], capsys)[1:]
    Path("one.csv").write_text("word\nblue\nred\ngreen\n")
    assert predicted(["runs/w-001", "one.csv"], capsys)[1:] == [everything[2], everything[0], everything[1]]
    Path("one.csv").write_text("word\nblue\npink\nred\n")
    with pytest.raises(SystemExit):
        run(["predict", "runs/w-001", "one.csv"])
    text = capsys.readouterr().err
    assert "the class `pink`" in text
    assert "known are blue, green, red" in text


def test_a_program_that_draws_its_data_takes_its_inputs_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "net two { input a: [2]; input b: [1]; joined = concat([a, b], 1); return joined[:, 0:1] + 2 * joined[:, 2:3] }"
    netc.compile(source=source).save("two.safetensors")
    Path("in.csv").write_text("1,2,3\n4,5,6\n")
    np.save("in.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    np.savez("in.npz", a=np.array([[1, 2], [4, 5]]), b=np.array([[3], [6]]))
    for name in ("in.csv", "in.npy", "in.npz"):
        assert predicted(["two.safetensors", name], capsys) == ["output0", "7.0", "16.0"]
    Path("in.csv").write_text("1,2\n")
    with pytest.raises(SystemExit):
        run(["predict", "two.safetensors", "in.csv"])
    assert "3 are needed, for `a` [2], `b` [1]" in capsys.readouterr().err


# eval


def test_eval_uses_the_scaling_of_the_run(price: netc.Model, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    run(["eval", "runs/price-001", "--json"])
    before = json.loads(capsys.readouterr().out)["training"]["loss"]
    rows = Path("price.csv").read_text().split("\n")
    rows[1] = rows[1].rsplit(";", 1)[0] + ";5000"
    Path("price.csv").write_text(
        "\n".join(rows[:6]) + "\n"
    )  # other rows would be scaled otherwise by themselves
    run(["eval", "runs/price-001", "price.net"])
    model = price
    table = np.loadtxt("price.csv", delimiter=";", skiprows=1)
    x, y = model.scalers["x"].apply(table[:, 1:3]), model.scalers["target"].apply(table[:, 3:4])
    loss = float(((model.predict(x) - y) ** 2).mean())
    said = capsys.readouterr().out.split()
    assert said[:2] == ["training", "loss"]
    assert float(said[2]) == pytest.approx(loss, rel=1e-4)
    assert before < 0.1


def test_eval_needs_data_and_training(price: netc.Model, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bare.net").write_text("net price { input x: [2]; linear(1) }\n")
    with pytest.raises(SystemExit) as stop:
        run(["eval", "runs/price-001", "bare.net"])
    assert stop.value.code == 1
    assert "E0802" in capsys.readouterr().err
