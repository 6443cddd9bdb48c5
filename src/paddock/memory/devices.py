"""What memory this machine has and how much of it is free. Read in the server, without MLX."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from paddock.memory import cgroup, metal, nvidia


@dataclass(frozen=True)
class SystemMemory:
    """The machine's main memory, in bytes."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True)
class Device:
    """Something that holds and runs a model."""

    id: str
    """cpu, metal, cuda:0 …"""
    name: str
    total_bytes: int
    free_bytes: int
    is_accelerator: bool
    """False for the CPU: `ps` tells a model's share of accelerators by this."""
    is_unified: bool = False
    """Whether an accelerator's memory is the machine's."""
    uuid: str = ""
    """The driver's own name of it, where it has one."""


def system_memory() -> SystemMemory:
    """Main memory that processes of this one's control groups can have: in all, and now (`MemAvailable` on Linux)."""
    memory = psutil.virtual_memory()
    bounds = cgroup.limits() if sys.platform == "linux" else []
    return within(SystemMemory(total_bytes=memory.total, available_bytes=memory.available), bounds)


def within(memory: SystemMemory, bounds: Sequence[cgroup.Limit]) -> SystemMemory:
    """The part of a memory that all of these bounds leave."""
    return SystemMemory(
        total_bytes=min([memory.total_bytes, *(bound.limit_bytes for bound in bounds)]),
        available_bytes=min([memory.available_bytes, *(bound.available_bytes for bound in bounds)]),
    )


def devices() -> Sequence[Device]:
    """The devices of this machine, best first."""
    memory = system_memory()
    cpu = Device("cpu", "CPU", memory.total_bytes, memory.available_bytes, is_accelerator=False)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return (metal_device(memory, metal.wired_limit_mb()), cpu)
    return (*(cuda_device(index, gpu, memory) for index, gpu in enumerate(nvidia.gpus())), cpu)


def metal_device(memory: SystemMemory, wired_limit_mb: int) -> Device:
    """Apple silicon's: the machine's memory up to what Metal recommends."""
    most_bytes = metal.working_set_bytes(memory.total_bytes, wired_limit_mb)
    free_bytes = min(memory.available_bytes, most_bytes)
    return Device("metal", "Apple silicon", most_bytes, free_bytes, is_accelerator=True, is_unified=True)


def cuda_device(index: int, gpu: nvidia.Gpu, memory: SystemMemory) -> Device:
    """An NVIDIA device; one without memory of its own has the machine's."""
    is_unified = gpu.total_bytes == 0
    total_bytes = memory.total_bytes if is_unified else gpu.total_bytes
    free_bytes = memory.available_bytes if is_unified else gpu.free_bytes
    return Device(f"cuda:{index}", gpu.name, total_bytes, free_bytes, True, is_unified, gpu.uuid)
