"""The work loop: the one thread that owns MLX. It takes commands, steps the engine and hands out what the steps made.

It knows no HTTP and no asyncio: whoever listens brings what it hears to its own thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from paddock.errors import LoadFailed, PaddockError, UnsupportedModel
from paddock.protocol import Activity, Done, Failed, Frame, MemoryTerms, Text, Thinking
from paddock.runner.engines.base import Engine, Passages, PicturePrompt, Prompt, RequestId
from paddock.runner.failures import as_failed, as_paddock_error

logger = logging.getLogger(__name__)

_SAMPLE_SECONDS = 0.25
"""How often memory is measured while there is work."""

LEASE_SECONDS = {
    Activity.IDLE: 0.0,
    Activity.LOAD: 0.0,  # progress of a load has a deadline of its own
    Activity.PROMPT: 60.0,
    Activity.DECODE: 30.0,
    Activity.IMAGE: 120.0,
}
"""How long one step may take, by what it does; 0 promises nothing. A server kills what goes on for longer."""

Frames = list[tuple[RequestId, Frame]]

Result = TypeVar("Result")


class Listener(Protocol):
    """What a work loop tells, always from its own thread."""

    def loading(self, progress: float) -> None:
        """Some more of the model is there."""

    def loaded(self, engine: Engine) -> None:
        """The model is ready."""

    def load_failed(self, failure: Failed) -> None:
        """There will be no model; the loop has ended."""

    def stepped(self, frames: Frames, *, can_wait: bool) -> None:
        """One step made these frames. They can wait for the next ones if each goes on with words that were begun."""


class Pulse(msgspec.Struct, frozen=True):
    """What the loop last wrote down about itself. Replaced as a whole, so any thread may read it at any time."""

    steps: int = 0
    tokens: int = 0
    beats: int = 0
    """Steps and commands, begun or done."""
    activity: Activity = Activity.IDLE
    moved_at: float = 0.0
    """Monotonic clock, seconds."""
    memory: MemoryTerms = MemoryTerms()


class WorkLoop:
    """Runs an engine on a thread of its own."""

    def __init__(self, make: Callable[[], Engine], listener: Listener) -> None:
        self._make = make
        self._listener = listener
        self._commands: queue.SimpleQueue[Callable[[Engine], None]] = queue.SimpleQueue()
        self._active: set[RequestId] = set()
        self._silent: set[RequestId] = set()
        """Those whose first frame is still to come."""
        self._sampled_at = 0.0
        self._pulse = Pulse(moved_at=time.monotonic())

    @property
    def pulse(self) -> Pulse:
        """The newest figures; reading them waits for nothing."""
        return self._pulse

    def start(self) -> None:
        """Begin to load, then to serve."""
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, request_id: RequestId, prompt: Prompt | Passages | PicturePrompt) -> None:
        """Have the engine answer a prompt; the listener gets its frames."""
        self._commands.put(lambda engine: self._submit(engine, request_id, prompt))

    def cancel(self, request_id: RequestId) -> None:
        """Stop working on a request before the next step."""
        self._commands.put(lambda engine: self._cancel(engine, request_id))

    def shrink(self, keep_bytes: int, tell: Callable[[int], None]) -> None:
        """Have the engine give back all but so much of its caches before its next step, and tell what it freed."""
        self._commands.put(lambda engine: self._shrink(engine, keep_bytes, tell))

    def _shrink(self, engine: Engine, keep_bytes: int, tell: Callable[[int], None]) -> None:
        freed_bytes = engine.shrink(keep_bytes)
        self._sample(engine)
        tell(freed_bytes)

    def _submit(self, engine: Engine, request_id: RequestId, prompt: Prompt | Passages | PicturePrompt) -> None:
        self._active.add(request_id)
        self._silent.add(request_id)
        engine.submit(request_id, prompt)

    def _cancel(self, engine: Engine, request_id: RequestId) -> None:
        self._active.discard(request_id)
        self._silent.discard(request_id)
        engine.cancel(request_id)

    def _run(self) -> None:
        self._do(Activity.LOAD)
        engine = self._load()
        while engine is not None:
            self._take_commands(engine, wait=not engine.has_work)
            if engine.has_work:
                self._step(engine)

    def _load(self) -> Engine | None:
        try:
            engine = self._make()
            engine.load(self._report)
        except BaseException as error:  # model code calls sys.exit, and a native panic is no Exception
            logger.debug("the load failed", exc_info=error)
            self._listener.load_failed(_load_failure(error))
            return None
        self._sample(engine)
        self._do(Activity.IDLE)
        self._listener.loaded(engine)
        return engine

    def _report(self, progress: float) -> None:
        self._move()
        self._listener.loading(progress)

    def _take_commands(self, engine: Engine, *, wait: bool) -> None:
        if wait:
            self._do(Activity.IDLE)
            self._apply(engine, self._commands.get())
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            self._apply(engine, command)

    def _apply(self, engine: Engine, command: Callable[[Engine], None]) -> None:
        self._move()
        try:
            command(engine)
        except BaseException as error:  # noqa: BLE001 -- one command must not end the thread that serves all others
            self._tell(self._fail_all(engine, error))
        if not engine.has_work:
            self._sample(engine)

    def _step(self, engine: Engine) -> None:
        # An engine that does not say what its step is gets the longest lease of a text model's.
        self._do(getattr(engine, "activity", Activity.PROMPT))
        try:
            frames = engine.step()
        except BaseException as error:  # noqa: BLE001 -- nor must one step, and a native panic is no Exception
            frames = self._fail_all(engine, error)
        self._active.difference_update(request_id for request_id, frame in frames if isinstance(frame, Done | Failed))
        self._move(steps=self._pulse.steps + 1, tokens=engine.tokens_generated)
        if not engine.has_work or time.monotonic() - self._sampled_at > _SAMPLE_SECONDS:
            self._sample(engine)
        self._tell(frames)

    def _tell(self, frames: Frames) -> None:
        if not frames:
            return
        can_wait = all(isinstance(frame, Text | Thinking) and number not in self._silent for number, frame in frames)
        self._silent.difference_update(request_id for request_id, _ in frames)
        self._listener.stepped(frames, can_wait=can_wait)

    def _fail_all(self, engine: Engine, error: BaseException) -> Frames:
        logger.error("the engine stumbled: every request in it fails", exc_info=error)
        failed = as_failed(error)
        frames: Frames = [(request_id, failed) for request_id in self._active]
        for request_id in list(self._active):
            self._cancel(engine, request_id)
        return frames

    def _move(self, *, steps: int | None = None, tokens: int | None = None) -> None:
        pulse = self._pulse
        self._pulse = replace(
            pulse,
            steps=pulse.steps if steps is None else steps,
            tokens=pulse.tokens if tokens is None else tokens,
            beats=pulse.beats + 1,
            moved_at=time.monotonic(),
        )

    def _do(self, activity: Activity) -> None:
        """Write down what comes now."""
        if activity is not self._pulse.activity:
            self._pulse = replace(self._pulse, activity=activity)

    def _sample(self, engine: Engine) -> None:
        self._sampled_at = time.monotonic()
        self._pulse = replace(self._pulse, memory=engine.memory())


def guarded(call: Callable[[], Result]) -> Result:
    """Call into an engine from beside the loop; whatever goes wrong in there comes out as an error of `errors.py`."""
    try:
        return call()
    except PaddockError:
        raise
    except BaseException as error:  # a panic in a native tokenizer is no Exception
        logger.error("a request could not be prepared", exc_info=error)
        raise as_paddock_error(error) from None


def _load_failure(error: BaseException) -> Failed:
    if isinstance(error, PaddockError):
        return as_failed(error)
    if isinstance(error, SystemExit):
        return as_failed(UnsupportedModel("This architecture needs a package that Paddock does not have."))
    failed = as_failed(error)
    if failed.code == "out_of_memory":
        return Failed(code=failed.code, message="Memory ran out while the model was loading: unload other models.")
    return as_failed(LoadFailed(f"The model could not be loaded ({type(error).__name__}): its files may not fit it."))
