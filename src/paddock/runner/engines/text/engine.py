"""The text engine: any of mlx-lm's architectures, serving a few sequences in turn.

Each step advances one sequence, so a cancelled one costs at most the token that is being made.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence as Items

import mlx.core as mx

from paddock.protocol import ChatRequest, CompletionRequest, Frame, MemoryTerms, TokenizeRequest
from paddock.runner.engines.base import EngineOptions, Prompt, Report, RequestId
from paddock.runner.engines.text.loading import LoadedModel, load
from paddock.runner.engines.text.meter import Meter
from paddock.runner.engines.text.preparation import Preparation
from paddock.runner.engines.text.renderer import Renderer
from paddock.runner.engines.text.sequence import Sequence, SequenceLimits
from paddock.runner.failures import as_failed
from paddock.runner.watch import Watch

logger = logging.getLogger(__name__)

_SPARE_SHARE = 8
"""Of the memory limit, one part in so many may be spare buffers."""


class TextEngine:
    """Generates text. See `Engine` for which thread calls what."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._loaded: LoadedModel | None = None
        self._watch = Watch()
        self._renderer = Renderer()
        self._preparation: Preparation | None = None
        self._context_length = 0
        self._waiting: deque[tuple[RequestId, Sequence]] = deque()
        self._active: deque[tuple[RequestId, Sequence]] = deque()
        self._tokens_generated = 0
        self._meter = Meter()

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._active)

    @property
    def tokens_generated(self) -> int:
        return self._tokens_generated

    @property
    def overdue(self) -> str:
        return self._watch.overdue

    @property
    def _model(self) -> LoadedModel:
        assert self._loaded is not None, "the engine is asked for something before it is loaded"
        return self._loaded

    # ---- on the thread that owns MLX ----

    def load(self, report: Report) -> None:
        if self._options.num_gpu == 0:
            mx.set_default_device(mx.cpu)
        _leave_wired_limit_alone()
        _bound_memory(self._options.memory_limit_bytes)
        self._renderer.start()
        loaded = load(self._options.model_path, report)
        self._context_length = min(self._options.num_ctx, loaded.context_limit or self._options.num_ctx)
        self._preparation = Preparation(loaded, self._renderer, self._watch, self._context_length)
        self._loaded = loaded
        self._meter.loaded(loaded.weights_bytes)

    def submit(self, request_id: RequestId, prompt: Prompt) -> None:
        limits = SequenceLimits(self._context_length, self._options.num_batch, self._model.end_tokens)
        self._waiting.append((request_id, Sequence(self._model.model, self._preparing.decode, prompt, limits)))

    def step(self) -> list[tuple[RequestId, Frame]]:
        if not self._active:
            self._meter.begin()
        while self._waiting and len(self._active) < self._options.parallel:
            self._active.append(self._waiting.popleft())
        if not self._active:
            return []
        request_id, sequence = self._active.popleft()
        before, had_read_prompt = sequence.generated, sequence.has_read_prompt
        try:
            frames = sequence.step()
        except BaseException as error:  # a native panic is no Exception, and others must go on
            logger.error("request %d failed", request_id, exc_info=error)
            frames, finished = [as_failed(error)], True
        else:
            finished = sequence.is_finished
        if sequence.has_read_prompt and not had_read_prompt:
            self._meter.prompt_read()
        self._meter.stepped([sequence.length, *(other.length for _, other in self._active)])
        self._tokens_generated += sequence.generated - before
        if finished:
            mx.clear_cache()
        else:
            self._active.append((request_id, sequence))
        return [(request_id, frame) for frame in frames]

    def cancel(self, request_id: RequestId) -> None:
        before = len(self._active)
        self._waiting = deque(entry for entry in self._waiting if entry[0] != request_id)
        self._active = deque(entry for entry in self._active if entry[0] != request_id)
        if len(self._active) < before:
            mx.clear_cache()

    def memory(self) -> MemoryTerms:
        return self._meter.read()

    def shrink(self, keep_bytes: int) -> int:
        """There are only the allocator's spare buffers, which go as a whole."""
        before_bytes = mx.get_cache_memory()
        if before_bytes > keep_bytes:
            mx.clear_cache()
        return int(before_bytes - mx.get_cache_memory())

    # ---- on the thread that prepares requests: no MLX here ----

    def prepare(self, request: CompletionRequest | ChatRequest) -> Prompt:
        return self._preparing.prepare(request)

    def render(self, request: ChatRequest) -> str:
        return self._preparing.render(request)

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        return self._preparing.tokenize(request)

    def detokenize(self, tokens: Items[int]) -> str:
        return self._preparing.detokenize(tokens)

    @property
    def _preparing(self) -> Preparation:
        assert self._preparation is not None, "the engine is asked for something before it is loaded"
        return self._preparation


def _leave_wired_limit_alone() -> None:
    """Memory is the server's to plan: no library may wire it down for this process."""
    mx.set_wired_limit = lambda limit: 0


def _bound_memory(limit_bytes: int) -> None:
    """What MLX may hold, and how much of that as spare buffers, never more than by itself; 0 leaves both to MLX."""
    if limit_bytes > 0:
        mx.set_memory_limit(limit_bytes)
        own_bytes = mx.set_cache_limit(limit_bytes // _SPARE_SHARE)
        mx.set_cache_limit(min(own_bytes, limit_bytes // _SPARE_SHARE))
