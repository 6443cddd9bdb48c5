"""Notices the end of a child process the moment it happens, without threads where the system has a way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading


async def until_exited(process: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended. Where the system allows it the process is left unreaped, so that its id, and
    that of its group, still cannot belong to anyone else; call `wait()` after that.

    Linux tells it through a descriptor. Elsewhere a daemon thread waits.
    """
    descriptor = _open_descriptor(process.pid)
    if descriptor is None:
        await _wait_in_thread(process)
    else:
        await _wait_on(descriptor)


def _open_descriptor(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox that forbids it
        return None


async def _wait_on(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    loop.add_reader(descriptor, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _wait_in_thread(process: subprocess.Popen[bytes]) -> None:
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()

    def wait() -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:  # macOS before Python 3.13
            process.wait()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(exited.set)

    threading.Thread(target=wait, name="runner-exit", daemon=True).start()
    await exited.wait()
