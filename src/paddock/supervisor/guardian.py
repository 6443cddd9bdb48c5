"""Keeps the guardian: a tiny process that ends the runners' groups when this server can no longer do so itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from paddock.supervisor.exit_watch import until_exited
from paddock.supervisor.identity import start_token

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("guardian_main.py")
RESTART_SECONDS = 1.0
END_SECONDS = 2.0


class Guardian:
    """Tells one guardian process which groups exist, and starts another when it ends.

    All on the event loop's thread. The pipe's write end is this process's alone: when the server ends, however it
    ends, the guardian reads its end of file.
    """

    def __init__(self, restart_seconds: float = RESTART_SECONDS) -> None:
        self._restart_seconds = restart_seconds
        self._groups: dict[int, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """-1 while there is none."""
        return -1 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, on the running loop. A system that refuses is tried again later."""
        self._spawn()
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="guardian")

    def add(self, group: int) -> None:
        """A runner has started; its group's id is its pid."""
        self._groups[group] = start_token(group)
        self._tell(f"+ {group} {self._groups[group]}\n")

    def remove(self, group: int) -> None:
        """A runner's group is gone; to be told before its id can belong to another."""
        if self._groups.pop(group, None) is not None:
            self._tell(f"- {group}\n")

    async def close(self) -> None:
        """End it. What it still knows of is killed."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        process, self._process = self._process, None
        self._close_pipe()
        if process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until_exited(process), END_SECONDS)
            process.kill()
            process.wait()

    async def _keep(self) -> None:
        while True:
            if self._process is not None:
                await until_exited(self._process)
                logger.warning("event=guardian_ended status=%d", self._process.wait())
                self._process = None
                self._close_pipe()
                await asyncio.sleep(self._restart_seconds)
            self._spawn()
            if self._process is None:
                await asyncio.sleep(self._restart_seconds)

    def _spawn(self) -> None:
        """Start one and tell it of everything there is."""
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM)],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={},
            )
        except OSError as error:
            logger.warning("event=guardian_refused error=%s", error)
            os.close(write_end)
            return
        finally:
            os.close(read_end)
        os.set_blocking(write_end, False)
        self._pipe = write_end
        for group, token in self._groups.items():
            self._tell(f"+ {group} {token}\n")

    def _tell(self, line: str) -> None:
        """A pipe that is full or broken means that it does not work: the next one is told everything."""
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, line.encode())
        except OSError:
            self._close_pipe()
            if self._process is not None:
                self._process.kill()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
