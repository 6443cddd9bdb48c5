"""What memory this machine has and how much of it is free. Read in the server, without MLX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil


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


def system_memory() -> SystemMemory:
    """Total and available main memory now (`MemAvailable` on Linux)."""
    memory = psutil.virtual_memory()
    return SystemMemory(total_bytes=memory.total, available_bytes=memory.available)


def devices() -> Sequence[Device]:
    """The devices of this machine, best first."""
    memory = system_memory()
    return (Device("cpu", "CPU", memory.total_bytes, memory.available_bytes, is_accelerator=False),)
