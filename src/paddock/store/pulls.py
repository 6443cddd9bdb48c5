"""All pulls and pushes of a server: one for each that is the same, however many follow it. It ends when the last one
leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from paddock.errors import PaddockError, ServerClosing
from paddock.store.hub import pull as hub
from paddock.store.hub.settings import HubSettings, read_hub_settings
from paddock.store.library import Library
from paddock.store.registry import pull as registry
from paddock.store.registry import push as pushing
from paddock.store.registry.settings import RegistrySettings, read_registry_settings
from paddock.store.transfer.progress import Board, Line

Order = hub.Order | registry.Order | pushing.Order

_log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A pull or a push, and how many follow it."""

    board: Board
    task: asyncio.Task[None]
    followers: int = 0


class Pulls:
    """The one owner of running pulls and pushes. Used in one event loop."""

    def __init__(
        self,
        hub_settings: Callable[[], HubSettings] = read_hub_settings,
        registry_settings: Callable[[], RegistrySettings] = read_registry_settings,
    ) -> None:
        self._hub_settings = hub_settings
        self._registry_settings = registry_settings
        self._running: dict[tuple[str, ...], _Running] = {}
        self._is_closed = False

    async def follow(self, library: Library, order: Order) -> AsyncGenerator[Line, None]:
        """The lines of a pull or a push until its end, begun now or joined where it is; raises what it failed with.

        Closing the generator leaves it; what the last one leaves is cancelled, and has ended before the generator has.
        """
        if self._is_closed:
            raise ServerClosing("The server is shutting down.")
        running = self._running.get(order.key) or self._begin(library, order)
        running.followers += 1
        try:
            async with aclosing(running.board.follow()) as lines:
                async for line in lines:
                    yield line
        finally:
            running.followers -= 1
            if not running.followers:
                await self._leave(order.key, running)

    def _begin(self, library: Library, order: Order) -> _Running:
        board = Board()
        task = asyncio.create_task(self._run(library, order, board), name=f"transfer {order.name.display}")
        running = self._running[order.key] = _Running(board, task)
        task.add_done_callback(lambda _: self._forget(order.key, running))
        return running

    async def _run(self, library: Library, order: Order, board: Board) -> None:
        error: PaddockError | None = PaddockError("This failed for a reason that is in the server's log.")
        try:
            await self._work(library, order, board)
            error = None
        except PaddockError as failed:
            error = failed
        except asyncio.CancelledError:
            error = ServerClosing("This was given up; ask again to go on from where it is.")
            raise
        finally:
            board.end(error)

    async def _work(self, library: Library, order: Order, board: Board) -> None:
        if isinstance(order, hub.Order):
            await hub.pull(library, order, await asyncio.to_thread(self._hub_settings), board)
            return
        settings = await asyncio.to_thread(self._registry_settings)
        if isinstance(order, registry.Order):
            await registry.pull(library, order, settings, board)
        else:
            await pushing.push(library, order, settings, board)

    def _forget(self, key: tuple[str, ...], running: _Running) -> None:
        """Who comes from now on begins anew."""
        if self._running.get(key) is running:
            del self._running[key]

    async def _leave(self, key: tuple[str, ...], running: _Running) -> None:
        """Nobody follows any more."""
        self._forget(key, running)
        running.task.cancel()
        await asyncio.wait({running.task})
        if not running.task.cancelled() and (error := running.task.exception()) is not None:
            _log.error("a pull or a push failed", exc_info=error)

    async def close(self) -> None:
        """Cancel everything; partials stay, and later orders are refused."""
        self._is_closed = True
        for key, running in list(self._running.items()):
            await self._leave(key, running)
