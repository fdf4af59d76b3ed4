"""Every entry of the library against torch: values, derivatives, evaluation, buffers, names.

The cases are the tables of ``tests/library``; what torch computes for them is stored, so torch is not needed.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from library.cases import REFERENCES, Case, families
from library.running import (
    Array,
    compare,
    compiled,
    given,
    interpreted,
    native,
    references,
    state_names,
    states,
)

import netc
from netc.compiler.elaborate.program import library_kinds
from netc.compiler.interpreter import evaluate

ROOT = Path(__file__).parent.parent
STEP = 1e-6
CASES = [(family, case) for family, cases in families().items() for case in cases]
IDS = [f"{family}: {case.name}" for family, case in CASES]
table = pytest.mark.parametrize(("family", "case"), CASES, ids=IDS)
OTHERWISE = {"weighted_mean"}
"""Entries that torch has no counterpart of, with tests of their own."""
"""Entries whose cases are still to be written; the test fails when one of them is."""
LONG = ("layer transformer_encoder_layer(",)
"""Entries that are mostly a list of parameters, in torch's order."""
ELSEWHERE = {"metric", "optimizer", "init", "schedule"}
"""Kinds with tests of their own: none of their entries is a function of a network's tensors."""


def reference(family: str, case: Case) -> dict[str, Array]:
    return references(family)[case.name]


@table
def test_interpreted(family: str, case: Case) -> None:
    wanted = reference(family, case)
    compare(case, interpreted(case, wanted), wanted, case.exact)


@table
def test_native_float64(family: str, case: Case) -> None:
    wanted = reference(family, case)
    compare(case, native(family, case, "float64", wanted), wanted, case.exact)


@table
def test_native_float32(family: str, case: Case) -> None:
    wanted = reference(family, case)
    compare(case, native(family, case, "float32", wanted), wanted, case.bound)


@table
def test_state_dict(family: str, case: Case) -> None:
    """Names, shapes and order are torch's."""
    wanted = reference(family, case)
    got = netc.compile(source=case.source).state_dict()
    assert list(got) == state_names(family)[case.name]
    assert {n: a.shape for n, a in got.items()} == {n: wanted[f"state.{n}"].shape for n in got}


def differenced() -> list[tuple[str, Case]]:
    """One case of each entry."""
    chosen: dict[str, tuple[str, Case]] = {}
    for family, case in CASES:
        if not (case.kinks or case.forward_only):
            chosen.setdefault(case.tested, (family, case))
    return list(chosen.values())


@pytest.mark.parametrize(("family", "case"), differenced(), ids=[c.tested for _, c in differenced()])
def test_finite_differences(family: str, case: Case) -> None:
    """The derivative along a random direction of all inputs and parameters at once."""
    wanted = reference(family, case)
    made = compiled(case, "float64")
    leaves = {**states(made, wanted), **given(made, wanted)}
    rng = np.random.default_rng(len(case.name))
    first = evaluate(made.graph, leaves)
    directions = {
        n: rng.standard_normal(leaves[n].shape)
        for n in leaves
        if "gradient." + n.removeprefix("param.") in first
    }
    ends = []
    for sign in (1, -1):
        moved = leaves | {n: leaves[n] + sign * STEP * v for n, v in directions.items()}
        ends.append(float(np.sum(evaluate(made.graph, moved)["output"] * wanted["cotangent"])))
    slopes = [np.sum(first["gradient." + n.removeprefix("param.")] * v) for n, v in directions.items()]
    assert (ends[0] - ends[1]) / (2 * STEP) == pytest.approx(float(np.sum(slopes)), rel=1e-5, abs=1e-6)


def test_every_entry_has_a_case() -> None:
    """Or is a part of other entries, which have."""
    tested = {case.tested for _, case in CASES}
    files = sorted((ROOT / "library").glob("*.net"))
    text = re.sub("#.*", "", "\n".join(p.read_text(encoding="utf-8") for p in files))
    without = {
        name
        for name, kind in library_kinds().items()
        if kind not in ELSEWHERE
        and name not in tested
        and len(re.findall(rf"\b{name}\(|scan\(\s*{name},", text)) < 2
    }
    assert without == OTHERWISE


def test_entries_are_short() -> None:
    """At most 30 lines an entry, 400 a file."""
    for path in sorted((ROOT / "library").glob("*.net")):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, path.name
        for part in re.split("\n\n+", text):
            code = [line for line in part.split("\n") if not line.startswith("#")]
            assert len(code) <= (40 if "".join(code[:1]).startswith(LONG) else 30), f"{path.name}: {code[:1]}"


def test_no_reference_is_orphaned() -> None:
    assert {p.stem for p in REFERENCES.glob("*.safetensors")} == set(families())
    for family, cases in families().items():
        assert set(references(family)) == {c.name for c in cases}, family
        assert len({c.name for c in cases}) == len(cases), family


def test_references_stay_small() -> None:
    assert sum(p.stat().st_size for p in REFERENCES.iterdir()) < 3_000_000


TARGETS = {
    "multi_margin_loss": "classes", "cross_entropy_loss": "classes", "nll_loss": "classes",
    "ctc_loss": "words", "multilabel_margin_loss": "sets", "hinge_embedding_loss": "signs", "soft_margin_loss": "signs",
}  # fmt: skip
"""Kinds of target of the losses that do not take numbers from 0 to 1."""


@pytest.mark.parametrize("name", sorted(n for n in library_kinds() if n.endswith("_loss")))
def test_every_loss_trains(name: str) -> None:
    """In a train block, with its defaults: the loss falls."""
    arguments = "var = 0.5" if name == "gaussian_nll_loss" else ""
    times = "linear(15); unflatten(1, [5, 3]); log_softmax(2)"
    last = {"nll_loss": "log_softmax", "bce_loss": "sigmoid", "ctc_loss": times}.get(name, "identity")
    source = f"net a {{ input x: [4]; linear(3); {last} }}\ntrain {{ loss = {name}({arguments}); optimizer = sgd(lr = 0.1) }}"
    rng = np.random.default_rng(7)
    x = rng.standard_normal((40, 4))
    target = {
        "classes": np.argmax(x[:, :3], 1),
        "sets": np.stack([np.argmax(x[:, :3], 1), np.full(40, -1), np.full(40, -1)], 1),
        "signs": np.sign(x[:, :3]),
        "words": np.stack([1 + (x[:, 0] > 0), np.where(x[:, 1] > 0, 1, -1)], 1),
    }.get(TARGETS.get(name, ""), (x[:, :3] > 0).astype(float))
    history = netc.compile(source=source, seed=1).fit(x, target, epochs=20)
    assert history.loss[-1] < history.loss[0]


def test_the_ctc_loss_of_labels_that_do_not_fit_the_times_is_infinite() -> None:
    source = 'net a { input x: [2, 3] }\ntrain { loss = ctc_loss(reduction = "none") }'
    model = netc.compile(source=source.replace("[2, 3] }", "[2, 3]; log_softmax(2) }"))
    losses = model.loss(model(np.zeros((2, 2, 3))), np.array([[1, 1], [1, 2]]))
    assert losses[0] == np.inf
    assert losses[1] == pytest.approx(2 * np.log(3), rel=1e-6)
    losses.backward(np.ones(2))
