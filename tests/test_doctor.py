"""``netc doctor`` tells what is there, and of the GPU why it is not."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import netc
from netc.cli import doctor
from netc.cli.main import run
from netc.grammar.diagnostics import CompileError
from netc.runtime.cuda import device, driver, nvrtc


class Driver:
    """The part of libcuda that is asked."""

    def __init__(
        self, status: int, count: int, capability: tuple[int, int] = (9, 0), version: int = 13000
    ) -> None:
        self.status, self.count, self.capability, self.version = status, count, capability, version

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        ctypes.memmove(name, b"Example 9000\0", 13)
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = 2**34
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:
        known = {75: self.capability[0], 76: self.capability[1], 16: 132, 95: int(self.capability[0] >= 6)}
        value._obj.value = known[number]
        return 0


def test_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = "cupy" in sys.modules
    run(["doctor"])
    lines = [text.split(maxsplit=1) for text in capsys.readouterr().out.splitlines()]
    names = ["netc", "python", *doctor.PACKAGES, "cpu", "gpu", "cache"]
    assert [name for name, _ in lines] == names
    assert "missing" not in dict(lines)["numpy"]
    assert ("cupy" in sys.modules) == before


CASES = [
    (None, "no NVIDIA driver is installed", "install the driver"),
    (Driver(100, 0), "the NVIDIA driver finds no device", "CUDA_VISIBLE_DEVICES"),
    (Driver(0, 0), "the NVIDIA driver finds no device", "nvidia-smi"),
    (Driver(999, 0), "does not start (CUDA status 999)", "nvidia-smi"),
    (Driver(0, 1, (5, 2)), "Example 9000 cannot run blocks that wait for each other", "2016"),
    (Driver(0, 1, (99, 0)), "Example 9000 needs sm_990", "pip install -U nvidia-cuda-nvrtc"),
    (Driver(0, 1, (6, 0)), "Example 9000 needs sm_60", "nvidia-cuda-nvrtc-cu12"),
    (Driver(0, 1, version=12040), "serves CUDA 12.4, the installed CuPy needs 13.2", "cupy-cuda12x"),
]


class RuntimeFailure(RuntimeError):
    status = 35


def fake_cupy() -> Any:
    """CuPy on a machine where the device does not start."""

    def use() -> None:
        raise RuntimeFailure("cudaErrorInsufficientDriver")

    runtime = SimpleNamespace(CUDARuntimeError=RuntimeFailure, runtimeGetVersion=lambda: 13020)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=lambda _: SimpleNamespace(use=use)))


@pytest.mark.parametrize(("machine", "said", "advice"), CASES)
def test_what_is_missing_is_named_with_how_to_get_it(
    machine: Driver | None, said: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "library", lambda: machine)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    device.find.cache_clear()
    with pytest.raises(CompileError) as caught:
        netc.compile(source="net a { input x: [2]; linear(1) }", device="cuda")
    (found,) = caught.value.diagnostics
    assert found.code == "E0803"
    assert said in found.message
    assert advice in found.help
    told = doctor.gpu_description()
    assert said in told
    assert advice in told


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "library", lambda: Driver(0, 3))
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert doctor.gpu_description().startswith(
        "Example 9000 and 2 more, sm_90, 16.0 GiB, driver for CUDA 13.0; not usable: CuPy"
    )
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())

    def missing() -> Any:
        raise nvrtc.MissingCompiler("NVRTC is not installed")

    monkeypatch.setattr(nvrtc, "version", missing)
    assert 'NVRTC is not installed; pip install "netc[cuda]"' in doctor.gpu_description()
