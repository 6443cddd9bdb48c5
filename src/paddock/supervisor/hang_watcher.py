"""Asks a runner how it gets on while somebody waits for it, and has it killed when it stands still."""

from __future__ import annotations

import asyncio
import logging

from paddock.errors import PaddockError
from paddock.protocol import Health
from paddock.supervisor.client import RunnerClient
from paddock.supervisor.hang_watch import HangLimits, HangWatch
from paddock.supervisor.process import RunnerProcess

logger = logging.getLogger(__name__)


async def watch_for_hangs(process: RunnerProcess, client: RunnerClient, limits: HangLimits) -> None:
    """Watch a runner that is ready, until it is condemned or the watch is cancelled."""
    while True:
        await client.in_use.wait()
        if verdict := await _watch_while_in_use(client, limits):
            process.condemn(verdict)
            return


async def _watch_while_in_use(client: RunnerClient, limits: HangLimits) -> str:
    """The verdict, or nothing when nobody waits any longer.

    One question is open at a time and is never given up: a runner that answers late, because its work leaves it little
    time, has answered.
    """
    loop = asyncio.get_running_loop()
    watch = HangWatch(limits, loop.time())
    pause_seconds = limits.first_poll_seconds
    asking: asyncio.Task[Health] | None = None
    try:
        while client.in_use.is_set() and not watch.verdict:
            await asyncio.sleep(pause_seconds)
            pause_seconds = limits.poll_seconds
            asking = asking or loop.create_task(client.health(None))
            await asyncio.wait({asking}, timeout=limits.answer_seconds)
            if health := _answer_of(asking):
                watch.heard(health, loop.time())
            else:
                watch.silence(loop.time())
            asking = None if asking.done() else asking
    finally:
        if asking is not None:
            asking.cancel()
    return watch.verdict if client.in_use.is_set() else ""


def _answer_of(asking: asyncio.Task[Health]) -> Health | None:
    """What it said, if it has and could be asked."""
    if not asking.done():
        return None
    try:
        return asking.result()
    except PaddockError as error:
        logger.debug("a runner could not be asked how it gets on: %r", error)
        return None
