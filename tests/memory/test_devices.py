"""The devices of a machine, from figures that this one need not have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from paddock.memory import metal, nvidia
from paddock.memory.cgroup import Limit
from paddock.memory.devices import SystemMemory, cuda_device, devices, metal_device, system_memory, within
from paddock.memory.supply import supply_of

GIB = 1024**3


def test_the_smallest_bound_counts() -> None:
    memory = within(SystemMemory(100, 80), [Limit(60, 10), Limit(50, 30)])

    assert (memory.total_bytes, memory.available_bytes) == (50, 10)
    assert within(SystemMemory(100, 80), []) == SystemMemory(100, 80)


def test_this_machine_has_a_cpu_last() -> None:
    assert devices()[-1].id == "cpu"
    assert 0 < system_memory().available_bytes <= system_memory().total_bytes


@pytest.mark.parametrize(
    ("total_gib", "setting_mb", "recommended"),
    [
        (16, 0, 16 * GIB * 2 // 3),
        (36, 0, 24 * GIB),
        (64, 0, 48 * GIB),
        (64, 61_440, 60 * GIB),
        (16, 1_000_000, 16 * GIB),
    ],
)
def test_metal_recommends_a_part_of_the_memory(total_gib: int, setting_mb: int, recommended: int) -> None:
    assert metal.working_set_bytes(total_gib * GIB, setting_mb) == recommended


def test_the_setting_of_metal_is_none_elsewhere() -> None:
    assert metal.wired_limit_mb() == 0


def test_metal_has_what_is_free_up_to_what_is_recommended() -> None:
    assert metal_device(SystemMemory(48 * GIB, 40 * GIB), 0).free_bytes == 36 * GIB
    assert metal_device(SystemMemory(48 * GIB, 10 * GIB), 0).free_bytes == 10 * GIB


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class FakeNvml:
    """A driver with these devices; None stands for one that has no memory of its own, an error for a broken one."""

    NVMLError = NvmlError
    NVML_ERROR_NOT_SUPPORTED = 3

    def __init__(self, *memories: tuple[int, int] | NvmlError | None) -> None:
        self._memories = memories

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the driver's name
        return len(self._memories)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA Test"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        memory = self._memories[handle]
        if memory is None:
            raise NvmlError(self.NVML_ERROR_NOT_SUPPORTED)
        if isinstance(memory, NvmlError):
            raise memory
        return SimpleNamespace(total=memory[0], free=memory[1])


def test_each_gpu_is_a_device_with_its_drivers_name() -> None:
    first, second = nvidia.read(FakeNvml((80, 70), (40, 30)))

    device = cuda_device(1, second, SystemMemory(1, 1))
    assert (first.uuid, first.free_bytes) == ("GPU-0", 70)
    assert (device.id, device.name, device.total_bytes, device.free_bytes) == ("cuda:1", "NVIDIA Test", 40, 30)
    assert device.is_accelerator
    assert not device.is_unified


def test_a_board_with_unified_memory_has_the_machines() -> None:
    (gpu,) = nvidia.read(FakeNvml(None))
    device = cuda_device(0, gpu, SystemMemory(128, 100))

    assert (device.total_bytes, device.free_bytes, device.is_unified) == (128, 100, True)
    (pool,) = supply_of([device, *[each for each in devices() if each.id == "cpu"]]).pools
    assert (pool.has_accelerator, pool.has_cpu) == (True, True)


def test_a_gpu_that_cannot_be_read_leaves_none() -> None:
    assert nvidia.read(FakeNvml((80, 70), NvmlError(999))) == []


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    assert nvidia.gpus() == [] or devices()[0].is_accelerator


def test_the_overhead_is_taken_off_accelerators_only() -> None:
    (gpu,) = nvidia.read(FakeNvml((80, 70)))
    cpu = devices()[-1]

    on_gpu, on_cpu = supply_of([cuda_device(0, gpu, SystemMemory(1, 1)), cpu], gpu_overhead_bytes=15).pools

    assert (on_gpu.total_bytes, on_gpu.free_bytes) == (65, 55)
    assert on_cpu.free_bytes == cpu.free_bytes
