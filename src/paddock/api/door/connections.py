"""Connections: how many there may be, and the end of those that are too slow. Everything else of HTTP is uvicorn's.

Neither uvicorn nor h11 knows a time within which a request has to come or an answer has to be read, so once a second
all connections are looked at.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from paddock.api.door.framing import ShortConnection
from paddock.api.door.pace import Limits, Pace, Phase, is_overdue
from paddock.api.guard import MOST_HEADER_BYTES

log = logging.getLogger(__name__)

LOOK_SECONDS = 1
_TELL_SECONDS = 60
_OTHER_FILES = 512
"""Descriptors that the server needs beside those of connections."""
_READ_BYTES = 32 * 1024
"""Taken from a socket at once: a body may come in chunks of a byte each, and others wait while it is put together."""
_FAREWELL_SECONDS = 1.0
"""For a client that is turned away to read so."""
_MOST_FAREWELLS = 128
"""So many at once; others are not told."""
_FULL = b'{"error":"The server has as many connections as it may have: try again."}'
_FULL_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


@dataclass
class Connections:
    """All of one server. Used from one event loop alone."""

    most: int = 0
    """0 for no limit."""
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic
    open: set[BoundedProtocol] = field(default_factory=set)
    farewells: int = 0
    """Connections that are being turned away."""
    told_at: float = -math.inf
    looked_at: float = 0.0

    @property
    def is_full(self) -> bool:
        """Whether there may be no more."""
        return bool(self.most) and len(self.open) >= self.most

    def tell(self) -> None:
        """Have the log say once a minute that there are too many."""
        if self.clock() - self.told_at > _TELL_SECONDS:
            self.told_at = self.clock()
            log.warning("event=connections_full most=%d", self.most)

    async def look(self) -> None:
        """End what is overdue."""
        now = self.clock()
        for connection in list(self.open):
            connection.look(now, max(0.0, now - self.looked_at))
        self.looked_at = now


class BoundedProtocol(H11Protocol):
    """uvicorn's side of one connection, with an eye on its pace."""

    def __init__(self, *arguments: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._all = connections
        self._pace = Pace(connections.clock())
        self._is_refused = False
        self.conn = ShortConnection(h11.SERVER, MOST_HEADER_BYTES)

    def _turn_away(self, transport: asyncio.Transport) -> None:
        """Say that there are too many, and go on listening for a moment: a client that is cut off while it sends does
        not read what it was told."""
        self._is_refused = True
        self._all.tell()
        self._all.farewells += 1
        if self._all.farewells > _MOST_FAREWELLS:
            transport.abort()
            return
        transport.write(_FULL_ANSWER)
        transport.write_eof()
        self.loop.call_later(_FAREWELL_SECONDS, transport.abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Take a new connection in, or turn it away at once where there are too many."""
        if self._all.is_full:
            self._turn_away(transport)
            return
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined] # asyncio's own, and missing where it has none
        super().connection_made(transport)
        self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._is_refused:
            self._all.farewells -= 1
            return
        self._all.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand on what came, and note whose turn it is then."""
        if self._is_refused:
            return
        now = self._all.clock()
        if self._pace.phase is Phase.IDLE:
            self._pace.enter(Phase.HEAD, now)
        super().data_received(data)
        self._pace.enter(self._phase(), now)
        self._pace.received(len(data), now)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP. Whoever answers the request that it belongs to has nobody left to tell, and what has
        begun to be answered is cut off: a second head would be no HTTP either."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Note whose turn it is after an answer."""
        super().on_response_complete()
        self._pace.enter(self._phase(), self._all.clock())

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        self._pace.stalled(self._all.clock())
        super().pause_writing()

    def resume_writing(self) -> None:
        """It takes it again."""
        self._pace.flows()
        super().resume_writing()

    def look(self, now: float, passed_seconds: float) -> None:
        """End it if its time is over; `passed_seconds` since the last look."""
        if self._pace.phase is Phase.BODY and self._is_ours():
            self._pace.excuse(passed_seconds)
        if self.transport.is_closing():
            self._pace.enter(Phase.CLOSING, now)
        if is_overdue(self._pace, self._all.limits, now):
            log.debug("event=connection_ended phase=%s", self._pace.phase.value)
            self.transport.abort()

    def _is_ours(self) -> bool:
        """Whether it is the server that does not go on with a body."""
        return self.flow.read_paused or (self.cycle is not None and self.cycle.waiting_for_100_continue)

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.conn.their_state is h11.IDLE:
            is_begun = self.cycle is None or bool(self.conn.trailing_data[0])
            return Phase.HEAD if is_begun else Phase.IDLE
        if self.conn.their_state is h11.SEND_BODY:
            is_answered = self.cycle is not None and self.cycle.response_complete
            return Phase.REST if is_answered else Phase.BODY
        return Phase.ANSWER


def server_config(app: ASGIApp, most_connections: int, limits: Limits | None = None, **others: Any) -> uvicorn.Config:
    """How uvicorn serves an application, with these bounds. `others` are its own settings."""
    connections = Connections(most_connections, limits or Limits())
    return uvicorn.Config(
        app,
        http=partial(BoundedProtocol, connections=connections),  # type: ignore[arg-type] # it is called as a class is
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever comes from this machine could say that it is somebody else
        timeout_keep_alive=round(connections.limits.idle_seconds),
        callback_notify=connections.look,
        timeout_notify=LOOK_SECONDS,
        **others,
    )


def make_room_for(connections: int) -> None:
    """Have the system allow so many open files, as far as it lets itself be asked: macOS begins with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))
    except (OSError, ValueError):
        log.warning("event=few_files limit=%d wanted=%d", soft, wanted)
