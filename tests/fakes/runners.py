"""Specs and hosts of fake runners, and what tests look up about processes."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import msgspec
import psutil

import paddock
from paddock.memory.devices import Device, SystemMemory
from paddock.supervisor.host import NoRegister, ProcessRegister, RunnerHost
from paddock.supervisor.model_server import RunnerOptions, RunnerSpec
from tests.fakes.fake_runner import Behaviour

FAKE_RUNNER = Path(__file__).with_name("fake_runner.py")
SYSTEM = SystemMemory(total_bytes=8_000_000_000, available_bytes=4_000_000_000)
CPU = Device("cpu", "CPU", 8_000_000_000, 4_000_000_000, is_accelerator=False)


def fake_host(
    log_folder: Path | None = None, runtime_folder: Path | None = None, register: ProcessRegister | None = None
) -> RunnerHost:
    """A host whose runners are fakes. They find `paddock` where this process found it."""
    source = str(Path(paddock.__file__).parent.parent)
    return RunnerHost(
        runtime_folder=runtime_folder or Path(tempfile.gettempdir()),
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": source},
        log_folder=log_folder,
        command=(sys.executable, str(FAKE_RUNNER)),
        register=register or NoRegister(),
    )


def fake_spec(name: str = "tiny", num_thread: int = 0, **behaviour: object) -> RunnerSpec:
    """A spec whose fake behaves so; see `Behaviour`."""
    script = msgspec.json.encode(msgspec.convert(msgspec.to_builtins(behaviour), Behaviour)).decode()
    return RunnerSpec(
        name=name,
        engine="text",
        model_path=Path("/models/tiny"),
        options=RunnerOptions(num_ctx=2048, num_thread=num_thread),
        environment={"FAKE_BEHAVIOUR": script},
    )


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def zombie_count() -> int:
    """Children of this process that have ended and are not reaped."""
    return sum(child.status() == psutil.STATUS_ZOMBIE for child in psutil.Process().children())
