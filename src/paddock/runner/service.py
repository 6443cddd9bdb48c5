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

from paddock.errors import Busy, DamagedModel, ServerClosing, Unsupported, from_code
from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    Done,
    EmbeddingRequest,
    Failed,
    Frame,
    Health,
    ImageRequest,
    RerankRequest,
    RunnerState,
)
from paddock.runner.engines.base import Engine, Passages, PicturePrompt, Prompt, RequestId
from paddock.runner.failures import as_failed
from paddock.runner.joining import add_to
from paddock.runner.loop import LEASE_SECONDS, Frames, WorkLoop, guarded
from paddock.runner.outbox import Outbox

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Request = CompletionRequest | ChatRequest | EmbeddingRequest | RerankRequest | ImageRequest

_WATCH_SECONDS = 0.25
"""How often work that is being prepared is looked at."""

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

    @property
    def has_ended(self) -> bool:
        """Whether all of it is there; who reads it may be slow."""
        return self._ended

    def put(self, frame: Frame) -> None:
        """Append a frame; what comes after the end is dropped."""
        if self._ended:
            return
        self._ended = isinstance(frame, Done | Failed)
        add_to(self._pending, frame)
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
        self._outbox = Outbox(self._deliver)
        self._preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._streams: dict[RequestId, AnswerStream] = {}
        self._ids = itertools.count(1)
        self._engine: Engine | None = None
        self._state = RunnerState.STARTING
        self._progress = 0.0
        self._preparing_count = 0
        self._prepared_count = 0
        self._busy_since = time.monotonic()
        self.failure: Failed | None = None
        self.load_ended = asyncio.Event()
        self.given_up = asyncio.Event()
        """Set once the process is of no more use: a new one must take its place."""

    @property
    def has_model(self) -> bool:
        """Whether one is loaded, is being loaded, or could not be."""
        return self._state is not RunnerState.STARTING

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

    def stepped(self, frames: Frames, *, can_wait: bool) -> None:
        self._outbox.put(frames, can_wait=can_wait)

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
            active_requests=self._preparing_count + sum(not stream.has_ended for stream in self._streams.values()),
            beats=pulse.beats + self._prepared_count,
            activity=pulse.activity,
            lease_seconds=LEASE_SECONDS[pulse.activity],
            # A loop that had nothing to do was not idle when work came: count from then.
            idle_seconds=max(0.0, time.monotonic() - max(pulse.moved_at, self._busy_since)),
            failure=self.failure,
        )

    async def call(self, function: Callable[[Engine], Result]) -> Result:
        """Run something that needs the engine's tokenizer, off the event loop and off the engine's thread."""
        engine = self._ready_engine()
        self._note_work_comes()
        self._preparing_count += 1
        try:
            work = self._events.run_in_executor(self._preparing, lambda: guarded(lambda: function(engine)))
            return await self._unless_overdue(engine, work)
        finally:
            self._preparing_count -= 1
            self._prepared_count += 1

    async def _unless_overdue(self, engine: Engine, work: asyncio.Future[Result]) -> Result:
        """What work gives; but once it takes longer than it may it is given up, and the process with it: native code
        cannot be interrupted, and nothing else could be prepared while it goes on."""
        try:
            while not (await asyncio.wait((work,), timeout=_WATCH_SECONDS))[0]:
                if problem := engine.overdue:
                    logger.error("%s This runner ends, because such work cannot be interrupted.", problem)
                    self.given_up.set()
                    raise DamagedModel(problem)
        except asyncio.CancelledError:
            work.cancel()
            raise
        return work.result()

    @contextlib.asynccontextmanager
    async def answer(self, request: Request) -> AsyncIterator[AnswerStream]:
        """The stream of a generation, which is cancelled when the block is left. Errors of preparing it are raised."""
        prompt = await self.call(lambda engine: _prepared(engine, request))
        self._ready_engine()
        request_id, stream = next(self._ids), AnswerStream()
        self._note_work_comes()
        self._streams[request_id] = stream
        self._work.submit(request_id, prompt)
        try:
            yield stream
        finally:
            del self._streams[request_id]
            self._work.cancel(request_id)

    def _note_work_comes(self) -> None:
        if not self._streams and not self._preparing_count:
            self._busy_since = time.monotonic()

    async def shrink(self, keep_bytes: int) -> int:
        """Have the engine give back all but so much of its caches; returns the bytes that became free."""
        self._ready_engine()
        freed: asyncio.Future[int] = self._events.create_future()
        self._work.shrink(keep_bytes, lambda freed_bytes: self._tell(_answer, (freed, freed_bytes)))
        return await freed

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


def _prepared(engine: Engine, request: Request) -> Prompt | Passages | PicturePrompt:
    is_for_vectors = isinstance(request, EmbeddingRequest | RerankRequest)
    # An engine that does not say so makes none.
    if is_for_vectors and not getattr(engine, "makes_vectors", False):
        raise Unsupported("This model generates text and cannot make embeddings.")
    if isinstance(request, ImageRequest) and not getattr(engine, "makes_pictures", False):
        raise Unsupported("This model cannot make pictures.")
    return engine.prepare(request)


def _answer(news: tuple[asyncio.Future[int], int]) -> None:
    future, value = news
    if not future.done():
        future.set_result(value)


def _closing() -> ServerClosing:
    return ServerClosing("The model is being unloaded: send the request again.")
