"""NVIDIA devices as the driver tells them through NVML: nothing is allocated on them, and no context is made."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

_MLX_WHEELS = ("mlx-cuda-12", "mlx-cuda-13")


@dataclass(frozen=True)
class Gpu:
    """One device."""

    uuid: str
    """What CUDA_VISIBLE_DEVICES takes, whatever order a library counts in."""
    name: str
    total_bytes: int
    """0 where it has no memory of its own and uses the machine's."""
    free_bytes: int


def gpus() -> list[Gpu]:
    """The devices that runners could use: none without MLX's libraries for them, and none without a driver."""
    nvml = _nvml() if _mlx_can_use_them() else None
    return read(nvml) if nvml is not None else []


def read(nvml: Any) -> list[Gpu]:
    """The devices that NVML tells of; none where one of them cannot be read, since their numbers would be wrong."""
    try:
        count = nvml.nvmlDeviceGetCount()
        return [_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
    except nvml.NVMLError as error:
        log.warning("event=gpu_unreadable why=%r", str(error))
        return []


def _gpu(nvml: Any, handle: Any) -> Gpu:
    """Boards with unified memory (GB10, Jetson) answer "not supported" to how much they have."""
    uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return Gpu(_text(uuid), _text(name), 0, 0)
    return Gpu(_text(uuid), _text(name), int(memory.total), int(memory.free))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


@functools.cache
def _mlx_can_use_them() -> bool:
    for wheel in _MLX_WHEELS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(wheel)
            return True
    return False


@functools.cache
def _nvml() -> ModuleType | None:
    """NVML, initialised once for the life of the process; None without the package or a driver."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        log.warning("event=no_nvml why='the package nvidia-ml-py is not installed, so no GPU is used'")
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.warning("event=no_gpu why=%r", str(error))
        return None
    return nvml
