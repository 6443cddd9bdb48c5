"""An engine that does what a test tells it, one step at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from paddock.protocol import Done, Frame, MemoryTerms, Sampling, Text, Vectors
from paddock.runner.engines.base import Prompt, Report

DONE = Done(reason="stop", prompt_eval_count=1, prompt_eval_duration_ns=1, eval_count=1, eval_duration_ns=1)


class ScriptedEngine:
    """Each step waits for `allow` and then gives every request one letter, or ends it after `length` of them."""

    context_length = 64
    overdue = ""

    def __init__(self, length: int = 1_000_000, load: Callable[[Report], None] = lambda _report: None) -> None:
        self.length = length
        self.tokens_generated = 0
        self.steps = 0
        self.kept_bytes = -1
        self.makes_vectors = False
        self.rows: tuple[tuple[float, ...], ...] = ()
        self.active: dict[int, int] = {}
        self.errors: deque[BaseException] = deque()
        self.prepare_errors: deque[BaseException] = deque()
        self._load = load
        self._permits = threading.Semaphore(0)

    def allow(self, steps: int) -> None:
        """Let the engine do some more steps."""
        self._permits.release(steps)

    @property
    def has_work(self) -> bool:
        return bool(self.active)

    def load(self, report: Report) -> None:
        self._load(report)

    def prepare(self, request: Any) -> Prompt:
        if self.prepare_errors:
            raise self.prepare_errors.popleft()
        return Prompt(tokens=(1,), sampling=getattr(request, "sampling", Sampling()))

    def render(self, request: Any) -> str:
        return "rendered"

    def count(self, request: Any) -> int:
        return len(request.messages)

    def tokenize(self, request: Any) -> list[int]:
        return [len(request.text)]

    def detokenize(self, tokens: Any) -> str:
        return "x" * len(tokens)

    def submit(self, request_id: int, prompt: Prompt) -> None:
        self.active[request_id] = 0

    def step(self) -> list[tuple[int, Frame]]:
        self._permits.acquire()
        self.steps += 1
        if self.errors:
            raise self.errors.popleft()
        if self.rows:
            return self._ended_with_vectors()
        frames: list[tuple[int, Frame]] = []
        for request_id in list(self.active):
            self.tokens_generated += 1
            self.active[request_id] += 1
            frames.append((request_id, Text(content="x")))
            if self.active[request_id] >= self.length:
                del self.active[request_id]
                frames.append((request_id, DONE))
        return frames

    def _ended_with_vectors(self) -> list[tuple[int, Frame]]:
        asked, self.active = list(self.active), {}
        return [(request_id, frame) for request_id in asked for frame in (Vectors(rows=self.rows), DONE)]

    def cancel(self, request_id: int) -> None:
        self.active.pop(request_id, None)

    def shrink(self, keep_bytes: int) -> int:
        self.kept_bytes = keep_bytes
        return 11

    def memory(self) -> MemoryTerms:
        return MemoryTerms(active_bytes=7)
