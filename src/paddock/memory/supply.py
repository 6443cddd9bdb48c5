"""The memory of this machine now: the system's figures as the scheduler's decisions take them."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from paddock.memory.devices import Device, devices
from paddock.memory.fit import Pool, Supply


def current_supply(gpu_overhead_bytes: int = 0) -> Supply:
    """What the devices have and how much of it is free at this moment."""
    return supply_of(devices(), gpu_overhead_bytes)


def supply_of(found: Sequence[Device], gpu_overhead_bytes: int = 0) -> Supply:
    """Pools of these devices. An accelerator that uses the machine's memory, as Metal does, is one pool with the CPU.

    `gpu_overhead_bytes` of each accelerator are left to others.
    """
    shares_memory = any(device.is_unified for device in found)
    pools = [
        Pool(
            id=device.id,
            total_bytes=device.total_bytes - (gpu_overhead_bytes if device.is_accelerator else 0),
            free_bytes=device.free_bytes - (gpu_overhead_bytes if device.is_accelerator else 0),
            has_accelerator=device.is_accelerator,
            has_cpu=not device.is_accelerator or device.is_unified,
        )
        for device in found
        if device.is_accelerator or not shares_memory
    ]
    return Supply(tuple(pools))


def private_bytes(pid: int) -> int:
    """Main memory that a process alone holds: its resident set without mapped files. 0 if it cannot be told."""
    if pid <= 0:
        return 0
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return max(0, int(memory.rss) - int(getattr(memory, "shared", 0)))


def placement(pool_id: str, found: Sequence[Device]) -> dict[str, str]:
    """The variables that keep a runner on this pool's device, where there is a choice.

    By the device's own name, since CUDA numbers them by speed and the driver by their place.
    """
    several = sum(bool(device.uuid) for device in found) > 1
    chosen = next((device for device in found if device.id == pool_id and device.uuid), None)
    return {"CUDA_VISIBLE_DEVICES": chosen.uuid} if several and chosen else {}


def devices_for(pool_id: str, wants_accelerator: bool) -> list[Device]:
    """The devices that a model of this pool runs on, as they are now; only the CPU if it is kept off accelerators."""
    found = devices()
    if not wants_accelerator:
        return [device for device in found if not device.is_accelerator]
    return [device for device in found if device.id == pool_id]
