"""What NVIDIA's driver tells of this machine, through ctypes: it needs no other package.

In: nothing. Out: ``Machine``, the driver and its first device; or ``MissingDevice``, which says what is missing and how to
get it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

LIBRARIES = ("libcuda.so.1", "nvcuda.dll", "libcuda.dylib")
NO_DEVICE = 100
MAJOR, MINOR, PROCESSORS, COOPERATIVE = 75, 76, 16, 95
"""Numbers of attributes: both parts of the compute capability, multiprocessors, launches whose blocks wait for each other."""


class MissingDevice(RuntimeError):
    """There is no CUDA device that could be used. help: what to do about it."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.help = help


@dataclass(frozen=True, slots=True)
class Machine:
    """version: of CUDA, up to which the driver serves. name, capability, processors, memory: of the first device."""

    version: tuple[int, int]
    devices: int
    name: str
    capability: tuple[int, int]
    processors: int
    memory: int
    cooperative: bool

    @property
    def architecture(self) -> int:
        """As NVRTC counts them: 90 for ``sm_90``."""
        return 10 * self.capability[0] + self.capability[1]


def library() -> Any:
    """The loaded driver, or None."""
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def machine() -> Machine:
    """Raises MissingDevice."""
    driver = library()
    if driver is None:
        raise MissingDevice(
            "no NVIDIA driver is installed (libcuda was not found)",
            "install the driver of your GPU from nvidia.com or your system's packages; without a GPU, use the CPU",
        )
    status, count = int(driver.cuInit(0)), ctypes.c_int()
    if not status:
        status = int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if status not in (0, NO_DEVICE):
        raise MissingDevice(
            f"the NVIDIA driver does not start (CUDA status {status})",
            "`nvidia-smi` shows its state; after an update of the driver the machine must be started anew",
        )
    if status or count.value == 0:
        raise MissingDevice(
            "the NVIDIA driver finds no device",
            "`nvidia-smi` lists devices; CUDA_VISIBLE_DEVICES or the container may hide them",
        )
    return _described(driver, count.value)


def _described(driver: Any, count: int) -> Machine:
    version, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, 256, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return Machine(
        (version.value // 1000, version.value % 1000 // 10), count, name.value.decode(errors="replace"),
        (attribute(MAJOR), attribute(MINOR)), attribute(PROCESSORS), memory.value, bool(attribute(COOPERATIVE)),
    )  # fmt: skip


__all__ = ["Machine", "MissingDevice", "library", "machine"]
