"""What it takes to borrow a model for one request, and what happens when its runner dies under the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from paddock.api.account import current_account
from paddock.api.services import Services
from paddock.config import parse_keep_alive
from paddock.errors import BadRequest
from paddock.scheduler.service import Lease, LoadWish
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import ModelServer

_NOTICE_SECONDS = 0.02
"""How long after the end of a runner its replacement is asked for …"""
_LONGEST_NOTICE_SECONDS = 5.0
"""… and how long the dead one may still be lent."""


@dataclass(frozen=True)
class Borrowing:
    """Which model, how it should be loaded, and for how long it should stay."""

    services: Services
    model: StoredModel
    wish: LoadWish
    keep_alive_seconds: float | None = None

    @asynccontextmanager
    async def lease(self, *, takes_slot: bool = True, ticket: int | None = None) -> AsyncIterator[Lease]:
        """The model, loaded first if need be. `ticket` is one of the scheduler's, to ask for the place in the queue."""
        account, began = current_account(), time.monotonic()
        account.model = self.model.name.display
        async with AsyncExitStack() as stack:
            try:
                lease = await stack.enter_async_context(
                    self.services.scheduler.lease(
                        self.model,
                        self.wish,
                        self.keep_alive_seconds,
                        takes_slot=takes_slot,
                        ticket=ticket,
                        client=self.services.caller.client,
                    )
                )
            finally:
                account.waited(time.monotonic() - began)
            yield lease

    async def hold(self) -> Literal["load", "unload"]:
        """Have the model loaded, or with a keep_alive of 0 let go; which of the two it was."""
        if self.keep_alive_seconds == 0:
            await self.services.scheduler.unload(self.model.digest)
            return "unload"
        async with self.lease(takes_slot=False):
            return "load"


class Replaced:
    """The one runner that died under a request before it said anything; a request that sees two die ends."""

    def __init__(self) -> None:
        self._dead: ModelServer | None = None
        self._until = 0.0

    def allows_another(self, server: ModelServer) -> bool:
        """Whether the request may be tried again after this server failed it. That the scheduler lends the dead one
        once more, because it has not noticed yet, does not count for a while."""
        if not server.has_exited:
            return False
        now = time.monotonic()
        if self._dead is None:
            self._dead, self._until = server, now + _LONGEST_NOTICE_SECONDS
            return True
        return server is self._dead and now < self._until

    async def be_noticed(self) -> None:
        """Give the scheduler time to see that the runner has ended."""
        await asyncio.sleep(_NOTICE_SECONDS)


def keep_alive_of(given: object) -> float | None:
    """Seconds; None where the request does not say. BadRequest."""
    if given is None:
        return None
    try:
        return parse_keep_alive(given)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None
