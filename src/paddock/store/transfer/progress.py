"""How far a pull or a push is, for any number of followers, each of whom sees it from where it is when they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from paddock.errors import PaddockError

TICK_SECONDS = 0.1
"""Between what a follower is told of the same file."""


@dataclass(frozen=True)
class Line:
    """A line of progress, in Ollama's words and fields."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
    """Both in bytes."""
    file: str = ""
    """The name of the file; not Ollama's."""


class Board:
    """The latest line of every file and every step, in the order in which they began. Used in one event loop."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[int, Line]] = {}
        self._count = 0
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: PaddockError | None = None

    def say(self, status: str) -> None:
        """A step of the whole begins."""
        self._put(status, Line(status))

    def tell(self, digest: str, total: int, completed: int, file: str = "", verb: str = "pulling") -> None:
        """So much of a file is here, or there where it is sent."""
        short = digest.partition(":")[2][:12]
        self._put(f"{digest} {file}", Line(f"{verb} {short}", digest, total, completed, file))

    def tell_sum(self, verb: str, total: int, completed: int) -> None:
        """So much is here, or there, of very many files of which nobody wants to hear one by one."""
        self._put("sum", Line(f"{verb} model", "sha256:model", total, completed))

    def _put(self, key: str, line: Line) -> None:
        self._count += 1
        self._lines[key] = (self._count, line)
        self._changed.set()

    def end(self, error: PaddockError | None = None) -> None:
        """Nothing more will come; `error` says why it failed."""
        self._error = error
        self._ended.set()
        self._changed.set()

    async def follow(self) -> AsyncGenerator[Line, None]:
        """Every line that is new to this follower, the last state of each where several were. Raises the error it
        ended with behind the last one."""
        seen = 0
        while True:
            new = sorted((entry for entry in self._lines.values() if entry[0] > seen), key=lambda entry: entry[0])
            for count, line in new:
                seen = count
                yield line
            if self._ended.is_set() and seen == self._count:
                break
            await self._wait(seen)
        if self._error is not None:
            raise self._error

    async def _wait(self, seen: int) -> None:
        """Until there is something new, and for a tick, so that a quick download does not tell each chunk."""
        while self._count == seen and not self._ended.is_set():
            self._changed.clear()
            await self._changed.wait()
        if not self._ended.is_set():
            try:
                await asyncio.wait_for(self._ended.wait(), TICK_SECONDS)
            except TimeoutError:
                return


class Sum:
    """Very many files, by some key each, of which nobody wants to hear one by one."""

    def __init__(self, board: Board, verb: str, sizes: Mapping[str, int]) -> None:
        self._board = board
        self._verb = verb
        self._total_bytes = sum(sizes.values())
        self._done = dict.fromkeys(sizes, 0)
        self._done_bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def tell(self, key: str, done_bytes: int) -> None:
        """So much of one of them is done."""
        self._done_bytes += done_bytes - self._done[key]
        self._done[key] = done_bytes
        self._board.tell_sum(self._verb, self._total_bytes, self._done_bytes)
