"""All pulls into the library of a server: one for each name and repository, however many follow it. It ends when the
last one leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from paddock.errors import PaddockError, ServerClosing
from paddock.store.hub.progress import Board, Line
from paddock.store.hub.pull import Order, pull
from paddock.store.hub.settings import HubSettings, read_hub_settings
from paddock.store.library import Library

_log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A pull, and how many follow it."""

    board: Board
    task: asyncio.Task[None]
    followers: int = 0


class Pulls:
    """The one owner of running pulls. Used in one event loop."""

    def __init__(self, settings: Callable[[], HubSettings] = read_hub_settings) -> None:
        self._settings = settings
        self._running: dict[tuple[str, str], _Running] = {}
        self._is_closed = False

    async def follow(self, library: Library, order: Order) -> AsyncGenerator[Line, None]:
        """The lines of a pull until its end, begun now or joined where it is; raises what it failed with.

        Closing the generator leaves it; what the last one leaves is cancelled, and has ended before the generator has.
        """
        if self._is_closed:
            raise ServerClosing("The server is shutting down.")
        key = (order.name.key, str(order.source))
        running = self._running.get(key) or self._begin(key, library, order)
        running.followers += 1
        try:
            async with aclosing(running.board.follow()) as lines:
                async for line in lines:
                    yield line
        finally:
            running.followers -= 1
            if not running.followers:
                await self._leave(key, running)

    def _begin(self, key: tuple[str, str], library: Library, order: Order) -> _Running:
        board = Board()
        running = _Running(
            board, asyncio.create_task(self._pull(library, order, board), name=f"pull {order.name.display}")
        )
        self._running[key] = running
        running.task.add_done_callback(lambda _: self._forget(key, running))
        return running

    async def _pull(self, library: Library, order: Order, board: Board) -> None:
        error: PaddockError | None = PaddockError("The pull failed for a reason that is in the server's log.")
        try:
            settings = await asyncio.to_thread(self._settings)
            await pull(library, order, settings, board)
            error = None
        except PaddockError as failed:
            error = failed
        except asyncio.CancelledError:
            error = ServerClosing("The pull was given up; pull again to go on from where it is.")
            raise
        finally:
            board.end(error)

    def _forget(self, key: tuple[str, str], running: _Running) -> None:
        """Who comes from now on begins anew."""
        if self._running.get(key) is running:
            del self._running[key]

    async def _leave(self, key: tuple[str, str], running: _Running) -> None:
        """Nobody follows any more."""
        self._forget(key, running)
        running.task.cancel()
        await asyncio.wait({running.task})
        if not running.task.cancelled() and (error := running.task.exception()) is not None:
            _log.error("a pull failed", exc_info=error)

    async def close(self) -> None:
        """Cancel everything; partials stay, and later orders are refused."""
        self._is_closed = True
        for key, running in list(self._running.items()):
            await self._leave(key, running)
