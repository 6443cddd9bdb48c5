"""The system's figures as the scheduler takes them."""

from __future__ import annotations

import os
import subprocess
import sys

from paddock.memory.devices import Device
from paddock.memory.supply import current_supply, devices_for, placement, private_bytes, supply_of

CPU = Device("cpu", "CPU", 100, 50, is_accelerator=False)


def test_this_machine_has_memory_for_models_on_its_cpu() -> None:
    supply = current_supply()

    assert any(pool.has_cpu and 0 < pool.free_bytes <= pool.total_bytes for pool in supply.pools)


def test_a_machine_without_accelerators_has_one_pool() -> None:
    (pool,) = supply_of([CPU]).pools

    assert (pool.id, pool.free_bytes, pool.has_accelerator, pool.has_cpu) == ("cpu", 50, False, True)


def test_metal_and_the_cpu_draw_from_one_pool() -> None:
    (pool,) = supply_of([Device("metal", "M", 75, 40, is_accelerator=True, is_unified=True), CPU]).pools

    assert (pool.id, pool.has_accelerator, pool.has_cpu) == ("metal", True, True)


def test_each_cuda_device_is_a_pool_beside_the_cpus() -> None:
    cuda = [Device(f"cuda:{number}", "GPU", 80, 70, is_accelerator=True) for number in range(2)]

    supply = supply_of([*cuda, CPU])

    assert [pool.id for pool in supply.pools] == ["cuda:0", "cuda:1", "cpu"]
    assert supply.has_accelerator


def test_a_model_of_the_cpus_pool_runs_on_the_cpu() -> None:
    assert [device.id for device in devices_for("cpu", wants_accelerator=True)] == ["cpu"]
    assert all(not device.is_accelerator for device in devices_for("metal", wants_accelerator=False))


def test_what_a_process_holds_is_seen() -> None:
    code = "import sys; block = b'x' * 50_000_000; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        held_bytes = private_bytes(child.pid)
        child.communicate()

    assert 50_000_000 < held_bytes < 100_000_000


def test_a_process_that_is_gone_holds_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert private_bytes(child.pid) == 0
    assert private_bytes(-1) == 0
    assert private_bytes(os.getpid()) > 0


def test_a_runner_is_kept_on_its_card_where_there_are_several() -> None:
    one = Device("cuda:0", "GPU", 80, 70, is_accelerator=True, uuid="GPU-a")
    other = Device("cuda:1", "GPU", 80, 70, is_accelerator=True, uuid="GPU-b")

    assert placement("cuda:1", [one, other, CPU]) == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert placement("cuda:0", [one, CPU]) == {}
    assert placement("cpu", [one, other, CPU]) == {}
