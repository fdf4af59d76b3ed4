"""``netc doctor``: what this installation is made of, and whether a GPU can be used."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from .. import __version__
from ..compiler.backends.llvm.target import native
from ..grammar.cachedir import cache_directory
from ..runtime.cores import physical_cores

PACKAGES = ("lark", "numpy", "llvmlite", "safetensors", "click", "rich")
DRIVERS = ("libcuda.so.1", "nvcuda.dll", "libcuda.dylib")


@click.command("doctor")
def command() -> None:
    """Print versions, the CPU and its vectors, the GPU, the cache."""
    click.echo(f"netc        {__version__}")
    click.echo(f"python      {sys.version.split()[0]} on {platform.platform()}")
    for package in PACKAGES:
        click.echo(f"{package:<11} {_version(package) or 'missing: pip install ' + package}")
    cores = physical_cores()
    count = f"{cores} core" + ("s" if cores > 1 else "")
    click.echo(f"cpu         {native().cpu}, {count}, vectors of {native().vector_bytes} bytes")
    click.echo(f"gpu         {gpu_description()}")
    folder = cache_directory()
    click.echo(f"cache       {folder} ({_cache_state()})")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpu_description() -> str:
    """The first CUDA device by the driver's own account, or why there is none."""
    driver = _driver()
    if driver is None:
        return "none: no NVIDIA driver is installed (libcuda was not found)"
    status = int(driver.cuInit(0))
    count = ctypes.c_int()
    if status or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return f"none: the NVIDIA driver finds no device (CUDA status {status})"
    name = ctypes.create_string_buffer(256)
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, 256, device)
    others = f" and {count.value - 1} more" if count.value > 1 else ""
    return f"{name.value.decode(errors='replace')}{others}; this version of netc computes on the CPU"


def _driver() -> ctypes.CDLL | None:
    for name in DRIVERS:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _cache_state() -> str:
    folder = cache_directory()
    try:
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.exists() else 0
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return f"{size / 2**20:.1f} MiB, safe to delete"
