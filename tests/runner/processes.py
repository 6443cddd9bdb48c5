"""Real runner processes for tests: a socket, a control pipe, a child, and an HTTP client on top."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from paddock import protocol
from paddock.protocol import Done, Failed, Frame, Health, Message, RunnerState, Text

SOURCES = Path(__file__).parents[2] / "src"


@dataclass
class RunnerProcess:
    """One running child and a client for it."""

    child: subprocess.Popen[bytes]
    client: aiohttp.ClientSession
    control: int
    """The server's end of the control pipe."""
    folder: Path
    is_control_open: bool = field(default=True)

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def close_control(self) -> None:
        if self.is_control_open:
            os.close(self.control)
            self.is_control_open = False

    async def health(self) -> Health:
        async with self.client.get("http://runner/health") as response:
            return protocol.decode(await response.read(), Health)

    async def wait_loaded(self, seconds: float = 30.0) -> Health:
        """The first health that is no longer that of a load."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            health = await self.health()
            if health.state not in (RunnerState.STARTING, RunnerState.LOADING):
                return health
            await asyncio.sleep(0.02)
        raise AssertionError(f"the runner is still loading after {seconds} s: {self.stderr()}")

    async def wait_exit(self, seconds: float = 5.0) -> int:
        """The exit status, once there is one."""
        return await asyncio.wait_for(asyncio.to_thread(self.child.wait), seconds)

    async def post(self, route: str, message: Message) -> tuple[int, bytes]:
        async with self.client.post(f"http://runner{route}", data=protocol.encode(message)) as response:
            return response.status, await response.read()

    async def failure(self, route: str, message: Message) -> tuple[int, Failed]:
        """Status and error of a request that fails before its first frame."""
        status, body = await self.post(route, message)
        assert status != 200, body[:500]
        return status, protocol.decode(body, Failed)

    async def frames(self, route: str, message: Message) -> list[Frame]:
        """All frames of a generation."""
        status, body = await self.post(route, message)
        assert status == 200, body
        return [protocol.decode_frame(line) for line in body.splitlines()]

    async def answer(self, route: str, message: Message) -> tuple[str, Done]:
        """Text and last frame of a generation that succeeds."""
        *rest, last = await self.frames(route, message)
        assert isinstance(last, Done), last
        return "".join(frame.content for frame in rest if isinstance(frame, Text)), last

    @contextlib.asynccontextmanager
    async def stream(self, route: str, message: Message) -> AsyncIterator[AsyncIterator[Frame]]:
        """Frames as they come; leaving the block closes the connection."""
        async with self.client.post(f"http://runner{route}", data=protocol.encode(message)) as response:
            assert response.status == 200, await response.read()

            async def decoded() -> AsyncIterator[Frame]:
                async for line in response.content:
                    yield protocol.decode_frame(line)

            yield decoded()
            response.close()


@contextlib.asynccontextmanager
async def spawn(
    model_path: Path, *, num_ctx: int = 512, engine: str = "text", **options: int
) -> AsyncIterator[RunnerProcess]:
    """A runner for a folder, killed at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="runner-"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "paddock", "runner", "--engine", engine, "--model", "tiny"]
    command += ["--model-path", str(model_path), "--listen-fd", str(listener.fileno())]
    command += ["--control-fd", str(read_end), "--num-ctx", str(num_ctx)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with (folder / "stderr").open("wb") as stderr:
        child = subprocess.Popen(  # noqa: ASYNC220 -- it returns at once; the tests want the object
            command,
            pass_fds=(listener.fileno(), read_end),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            start_new_session=True,
        )
    os.close(read_end)
    listener.close()
    connector = aiohttp.UnixConnector(path=str(folder / "socket"), limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as client:
        runner = RunnerProcess(child, client, write_end, folder)
        try:
            yield runner
        finally:
            child.send_signal(signal.SIGKILL) if child.poll() is None else None
            child.wait()
            runner.close_control()
            shutil.rmtree(folder)
