"""The asyncio side of a runner: its state, its requests and their streams. It knows no HTTP.

Everything here happens on the event loop's thread, which therefore owns all of it without a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from paddock.errors import Busy, ServerClosing, from_code
from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    Done,
    Failed,
    Frame,
    Health,
    RunnerState,
)
from paddock.runner.engines.base import Engine, RequestId
from paddock.runner.failures import as_failed
from paddock.runner.loop import Frames, WorkLoop, guarded

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_NEXT_STATES: dict[RunnerState, frozenset[RunnerState]] = {
    RunnerState.STARTING: frozenset({RunnerState.LOADING, RunnerState.FAILED, RunnerState.DRAINING}),
    RunnerState.LOADING: frozenset({RunnerState.READY, RunnerState.FAILED, RunnerState.DRAINING}),
    RunnerState.READY: frozenset({RunnerState.DRAINING}),
    RunnerState.FAILED: frozenset({RunnerState.DRAINING}),
    RunnerState.DRAINING: frozenset(),
}


class AnswerStream:
    """The frames of one request on their way to its client. It ends with the first Done or Failed."""

    def __init__(self) -> None:
        self._pending: list[Frame] = []
        self._changed = asyncio.Event()
        self._ended = False

    def put(self, frame: Frame) -> None:
        """Append a frame; what comes after the end is dropped."""
        if self._ended:
            return
        self._ended = isinstance(frame, Done | Failed)
        self._pending.append(frame)
        self._changed.set()

    async def next_frames(self) -> list[Frame]:
        """All frames that are waiting, at least one; the last of the last list is Done or Failed."""
        await self._changed.wait()
        self._changed.clear()
        frames, self._pending = self._pending, []
        return frames


class RunnerService:
    """One runner: what it is doing, and who waits for it."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._events = asyncio.get_running_loop()
        self._work = WorkLoop(make, self)
        self._preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._streams: dict[RequestId, AnswerStream] = {}
        self._ids = itertools.count(1)
        self._engine: Engine | None = None
        self._state = RunnerState.STARTING
        self._progress = 0.0
        self._busy_since = time.monotonic()
        self.failure: Failed | None = None
        self.load_ended = asyncio.Event()

    def start(self) -> None:
        """Begin to load."""
        self._enter(RunnerState.LOADING)
        self._work.start()

    # ---- what the work loop tells, from its own thread ----

    def loading(self, progress: float) -> None:
        self._tell(self._set_progress, progress)

    def loaded(self, engine: Engine) -> None:
        self._tell(self._set_engine, engine)

    def load_failed(self, failure: Failed) -> None:
        self._tell(self._set_failure, failure)

    def stepped(self, frames: Frames) -> None:
        self._tell(self._deliver, frames)

    def _tell(self, receive: Callable[[Result], None], news: Result) -> None:
        # A closed loop means that the process is ending: nobody is left to listen.
        with contextlib.suppress(RuntimeError):
            self._events.call_soon_threadsafe(receive, news)

    def _set_progress(self, progress: float) -> None:
        self._progress = max(self._progress, min(progress, 1.0))

    def _set_engine(self, engine: Engine) -> None:
        self._engine = engine
        self._progress = 1.0
        if self._state is RunnerState.LOADING:
            self._enter(RunnerState.READY)
        self.load_ended.set()

    def _set_failure(self, failure: Failed) -> None:
        self.failure = failure
        if self._state is RunnerState.LOADING:
            self._enter(RunnerState.FAILED)
        self.load_ended.set()

    def _deliver(self, frames: Frames) -> None:
        for request_id, frame in frames:
            if (stream := self._streams.get(request_id)) is not None:
                stream.put(frame)

    def _enter(self, state: RunnerState) -> None:
        assert state in _NEXT_STATES[self._state], f"{self._state} -> {state}"
        logger.debug("%s -> %s", self._state, state)
        self._state = state

    # ---- what clients ask ----

    def health(self) -> Health:
        """The state now, from figures that are already there."""
        pulse = self._work.pulse
        return Health(
            state=self._state,
            pid=os.getpid(),
            progress=self._progress,
            context_length=self._engine.context_length if self._engine else 0,
            memory=pulse.memory,
            steps=pulse.steps,
            tokens=pulse.tokens,
            active_requests=len(self._streams),
            # A loop that had nothing to do was not idle when work came: count from then.
            idle_seconds=max(0.0, time.monotonic() - max(pulse.moved_at, self._busy_since)),
            failure=self.failure,
        )

    async def call(self, function: Callable[[Engine], Result]) -> Result:
        """Run something that needs the engine's tokenizer, off the event loop and off the engine's thread."""
        engine = self._ready_engine()
        return await self._events.run_in_executor(self._preparing, lambda: guarded(lambda: function(engine)))

    @contextlib.asynccontextmanager
    async def answer(self, request: CompletionRequest | ChatRequest) -> AsyncIterator[AnswerStream]:
        """The stream of a generation, which is cancelled when the block is left. Errors of preparing it are raised."""
        prompt = await self.call(lambda engine: engine.prepare(request))
        self._ready_engine()
        request_id, stream = next(self._ids), AnswerStream()
        if not self._streams:
            self._busy_since = time.monotonic()
        self._streams[request_id] = stream
        self._work.submit(request_id, prompt)
        try:
            yield stream
        finally:
            del self._streams[request_id]
            self._work.cancel(request_id)

    def drain(self) -> None:
        """Take no more requests and end the active ones at once. Idempotent."""
        if self._state is RunnerState.DRAINING:
            return
        self._enter(RunnerState.DRAINING)
        closing = as_failed(_closing())
        for request_id, stream in self._streams.items():
            stream.put(closing)
            self._work.cancel(request_id)

    def _ready_engine(self) -> Engine:
        if self._state is RunnerState.DRAINING:
            raise _closing()
        if self.failure is not None:
            raise from_code(self.failure.code, self.failure.message)
        if self._engine is None:
            raise Busy("The model is still loading: try again in a moment.")
        return self._engine


def _closing() -> ServerClosing:
    return ServerClosing("The model is being unloaded: send the request again.")
