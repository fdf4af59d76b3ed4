"""Networks trained side by side: each has the bits that it has alone, whatever happens to the others."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.grammar.diagnostics import CompileError
from netc.replicas import Replicas
from netc.side_by_side import Team

SOURCE = """const lr = 0.01
const width = 8
net small {{
    input x: [3]
    linear(width)
    tanh
    dropout(0.1)
    linear(1)
}}
train {{ loss = mse_loss(); optimizer = adam(lr = lr); batch = 5; epochs = 4; metrics = [mae]; {extra} }}
"""


def text(extra: str = "") -> str:
    return SOURCE.format(extra=extra)


def rows(count: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    return x, (x[:, :1] - 0.5 * x[:, 1:2] ** 2).astype(np.float32)


def assert_alone(replica: netc.Model, history: Any, model: netc.Model, *arrays: Any, **settings: Any) -> None:
    """A run alone has the same history and leaves the same bits behind."""
    alone = model.fit(*arrays, **settings)
    assert history.rows == alone.rows
    assert (history.status, history.best_epoch) == (alone.status, alone.best_epoch)
    assert replica.memory.block.tobytes() == model.memory.block.tobytes()


@pytest.mark.parametrize("threads", [1, 3, None])
def test_each_replica_has_the_bits_of_a_run_alone(threads: int | None) -> None:
    data, held = rows(23), rows(40, 1)
    replicas = netc.compile(source=text(), seed=6, replicas=5)
    histories = replicas.fit(*data, validation=held, threads=threads)
    for i in range(5):
        model = netc.compile(source=text(), seed=6 + i)
        assert_alone(replicas[i], histories[i], model, *data, validation=held)
    assert len({h.loss[-1] for h in histories}) == 5


def test_a_seed_of_the_run_is_counted_on() -> None:
    data = rows(20)
    replicas = netc.compile(source=text(), replicas=3)
    histories = replicas.fit(*data, seed=50)
    for i in range(3):
        assert_alone(replicas[i], histories[i], netc.compile(source=text(), seed=i), *data, seed=50 + i)


def test_runs_that_take_turns_keep_their_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """More runs than threads, each asked to rest again and again."""
    monkeypatch.setattr("netc.side_by_side.SLICE_SECONDS", 0.0)
    monkeypatch.setattr("netc.side_by_side.POLL_SECONDS", 0.001)
    data = rows(200)
    replicas = netc.compile(source=text("ema = 0.9"), replicas=4)
    team = Team(replicas.models, data, epochs=300, threads=1)
    rested: list[int] = []
    seen: list[tuple[int, int]] = []
    histories = team.run(lambda i, row: seen.append((i, row.epoch)), on_save=rested.append, save_seconds=0.0)
    team.take_averages()
    assert len(set(rested)) > 1  # several were interrupted and went on
    for i in range(4):
        assert [e for n, e in seen if n == i] == list(range(1, 301))
        model = netc.compile(source=text("ema = 0.9"), seed=i)
        assert_alone(replicas[i], histories[i], model, *data, epochs=300)


def test_settings_side_by_side() -> None:
    data = rows(20)
    settings: list[dict[str, Any]] = [
        {"lr": 1e-2},
        {"lr": 1e-3, "seed": 9},
        {"width": 4},
        {"lr": 1e-2, "seed": 2},
    ]
    replicas = netc.compile(source=text(), seed=1, replicas=settings)
    assert [s["seed"] for s in replicas.settings] == [1, 9, 1, 2]
    assert replicas[0].network is replicas[3].network
    histories = replicas.fit(*data)
    for replica, history, own in zip(replicas, histories, settings, strict=True):
        constants = {"seed": 1} | own
        assert_alone(replica, history, netc.compile(source=text(), **constants), *data)


def test_the_train_block_says_how_many() -> None:
    made = netc.compile(source=text("replicas = 3; seed = 7"))
    assert isinstance(made, Replicas)
    assert [m.seed for m in made] == [7, 8, 9]
    assert len(netc.compile(source=text("replicas = 3"), replicas=2)) == 2
    assert isinstance(netc.compile(source=text("replicas = 3"), replicas=1), Replicas)
    assert isinstance(netc.compile(source=text()), netc.Model)


def test_a_replica_that_diverges_ends_alone() -> None:
    data = rows(20)
    replicas = netc.compile(source=text().replace("adam", "sgd"), replicas=[{"lr": 1e-3}, {"lr": 1e12}])
    good, bad = replicas.fit(*data, epochs=30)
    assert (good.status, bad.status) == ("finished", "diverged")
    assert bad.problem.startswith("the loss is not finite at step")
    assert len(good.rows) == 30
    assert len(bad.rows) < 30
    assert replicas.best() is replicas[0]


def test_early_stop_is_each_ones_own() -> None:
    data, held = rows(12), rows(9, 1)
    source = text("stop = early_stop(patience = 2)").replace("epochs = 4", "epochs = 60")
    replicas = netc.compile(source=source, replicas=4, lr=0.3)
    histories = replicas.fit(*data, validation=held)
    for i in range(4):
        model = netc.compile(source=source, seed=i, lr=0.3)
        assert_alone(replicas[i], histories[i], model, *data, validation=held)
    assert len({len(h.rows) for h in histories}) > 1


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_leaves_all_after_their_present_steps(threads: int) -> None:
    data = rows(50)
    replicas = netc.compile(source=text(), replicas=3)
    team = Team(replicas.models, data, epochs=2**40 // 1000000, threads=threads)

    def interrupt(number: int, row: Any) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        team.run(interrupt)
    assert threading.active_count() <= before
    steps = [t.native.get("step") for t in team.trainers]
    time.sleep(0.05)
    assert steps == [t.native.get("step") for t in team.trainers]
    assert any(steps)


def test_what_a_sequence_of_models_offers(tmp_path: Path) -> None:
    data = rows(20)
    replicas = netc.compile(source=text(), replicas=3)
    with pytest.raises(ValueError, match="no replica has been trained"):
        replicas.best()
    histories = replicas.fit(*data, validation=rows(9, 1))
    last = [h.rows[-1] for h in histories]
    assert replicas.best() is replicas[int(np.argmin([r.validation_loss for r in last]))]  # type: ignore[arg-type]
    assert replicas.best("loss") is replicas[int(np.argmin([r.loss for r in last]))]
    assert replicas.best("mae", highest=True) is replicas[int(np.argmax([r.metrics["mae"] for r in last]))]
    with pytest.raises(ValueError, match="the runs have loss, mae, validation_loss, not accuracy"):
        replicas.best("accuracy")
    found = replicas.predict(data[0])
    assert found.shape == (3, 20, 1)
    assert all((found[i] == replicas[i].predict(data[0])).all() for i in range(3))
    assert not (found[0] == found[1]).all()
    assert [m.seed for m in replicas[1:]] == [1, 2]
    assert len(replicas.evaluate(*data)) == 3
    replicas.save(tmp_path / "all")
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == [
        f"replica-00{i}.safetensors" for i in range(3)
    ]
    loaded = netc.load(tmp_path / "all" / "replica-002.safetensors")
    assert (loaded.predict(data[0]) == found[2]).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0, "from 1 to 65536, or a list of settings such as {'lr': 0.01}, not 0"),
        (-3, "not -3"),
        (65537, "not 65537"),
        (2.5, "not 2.5"),
        (True, "not True"),
        ("8", "not '8'"),
        ([], "the list has 0"),
        ([{"lr": 1.0}, 3], "number 1 of the list is 3"),
    ],
)
def test_numbers_that_are_none(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        netc.compile(source=text(), replicas=given)


def test_a_constant_that_there_is_not_is_named() -> None:
    with pytest.raises(CompileError) as caught:
        netc.compile(source=text(), replicas=[{"lr": 0.1}, {"lrr": 0.1}])
    (found,) = caught.value.diagnostics
    assert (found.code, found.help) == ("E0506", "did you mean `lr`?")


@pytest.mark.parametrize("value", ["0", "-1", "70000", "1.5", '"many"'])
def test_the_train_blocks_number_is_checked(value: str) -> None:
    (found,) = netc.check(text(f"replicas = {value}"))
    assert found.code in ("E0303", "E0304")
    assert found.primary.span.text == value


def test_too_many_for_the_memory_is_told_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netc.devices.free_bytes", lambda: 2**20)
    monkeypatch.setattr("netc.devices.LARGE_BYTES", 2**19)
    with pytest.raises(CompileError) as caught:
        netc.compile(source=text(), replicas=20000)
    (found,) = caught.value.diagnostics
    assert found.code == "E0505"
    assert found.message.startswith("making 20,000 replicas takes")
    replicas = netc.compile(source=text(), replicas=20)
    with pytest.raises(CompileError) as caught:
        replicas.fit(*rows(20), epochs=5000)
    assert "the run of 20 replicas takes 0.0 GiB of memory" in caught.value.diagnostics[0].message
