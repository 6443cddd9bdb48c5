"""Servers for the campaigns, what is measured of them, and how often things are done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.road.conftest import Road, start_road

ROOT = Path(__file__).parents[2]
FAKE = ("-m", "tests.chaos.fake_road")
REAL = ("-m", "paddock", "serve")
NO_BREAKER = {"PADDOCK_BREAKER_CRASHES": "0"}
"""A campaign of kills is a crash loop; whether those are stopped is a test of its own."""


def scaled(count: int) -> int:
    """How often a campaign does its thing: CHAOS_SCALE=0.1 does a tenth of it."""
    return max(1, round(count * float(os.environ.get("CHAOS_SCALE", "1"))))


def start_fake(home: Path, behaviour: dict[str, object] | None = None, **settings: str) -> Road:
    """A server whose runners are fakes that behave so."""
    paths = [str(ROOT / "src"), str(ROOT)]
    given = {"PYTHONPATH": os.pathsep.join(paths), "FAKE_BEHAVIOUR": json.dumps(behaviour or {})}
    runtime = home / "tmp"
    runtime.mkdir(parents=True, exist_ok=True)
    return start_road(home, FAKE, **{**NO_BREAKER, **given, "XDG_RUNTIME_DIR": "", "TMPDIR": str(runtime), **settings})


def start_real(home: Path, **settings: str) -> Road:
    """A server with real runners."""
    return start_road(home, REAL, **{**NO_BREAKER, **settings})


def runner_pids(road: Road) -> list[int]:
    """The runners of a server, fake or real, the spare included."""
    found = []
    for child in psutil.Process(road.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "--listen-fd" in child.cmdline():
                found.append(child.pid)
    return found


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Ending:
    """How one stream went."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    status: int = 0
    ended_at: float = 0.0

    @property
    def is_terminated(self) -> bool:
        """Whether it said itself how it ended, once, and last."""
        ends = [line for line in self.lines if "error" in line or line.get("done")]
        return len(ends) == 1 and ends[0] is self.lines[-1]

    @property
    def error(self) -> str:
        return str(self.lines[-1].get("error", "")) if self.lines else ""


async def stream(
    session: aiohttp.ClientSession, url: str, model: str = "demo", ending: Ending | None = None, **options: Any
) -> Ending:
    """A streamed answer, to its end. An `ending` that is given shows how far it is."""
    ending = ending or Ending()
    with contextlib.suppress(aiohttp.ClientError):
        async with session.post(f"{url}/api/generate", json=body(model, **options)) as response:
            ending.status = response.status
            async for line in response.content:
                ending.lines.append(json.loads(line))
    ending.ended_at = time.monotonic()
    return ending


def body(model: str, prompt: str = "once upon a time there was", **options: Any) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, "raw": True, "options": options}


@contextlib.asynccontextmanager
async def client(seconds: float = 60.0) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose every answer has to end within so long."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session


async def quietly_cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
        await task


@dataclass(frozen=True)
class Held:
    """What a server process holds."""

    descriptors: int
    threads: int
    zombies: int
    files: int
    """In its folders for temporary things and for records of runners."""
    private_bytes: int


def held_by(road: Road) -> Held:
    process = psutil.Process(road.process.pid)
    folders = (road.home / "run", road.home / "tmp")
    return Held(
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        zombies=sum(child.status() == psutil.STATUS_ZOMBIE for child in process.children()),
        files=sum(1 for folder in folders if folder.is_dir() for _ in folder.iterdir()),
        private_bytes=process.memory_full_info().uss,
    )


class Stopwatch:
    """Tells how long something takes on this machine's own time.

    A virtual machine's host may give its processors to others for a third of a second in each; Linux counts that as
    stolen, and a bar in seconds is no judgement of ours for as long as nothing of ours could run.
    """

    def __init__(self) -> None:
        self._began, self._stolen = time.monotonic(), _stolen_seconds()

    def seconds(self) -> float:
        """So far, as a clock on the wall has it."""
        return time.monotonic() - self._began

    def own_seconds(self) -> float:
        """So far, less what the host took."""
        return max(0.0, self.seconds() - (_stolen_seconds() - self._stolen))


def _stolen_seconds() -> float:
    """Of all processors, since the start; 0 where that is not counted."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def summary(name: str, seconds: list[float]) -> str:
    return f"{name} p50 {percentile(seconds, 0.5):.3f} p99 {percentile(seconds, 0.99):.3f} max {max(seconds):.3f} s"
