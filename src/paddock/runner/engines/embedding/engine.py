"""The embedding engine: encoders and rerankers. Each step computes one batch of texts, of whichever requests they are,
so a cancelled request costs at most the batch that is being computed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from paddock.errors import BadRequest, DamagedModel
from paddock.protocol import (
    Activity,
    ChatRequest,
    CompletionRequest,
    Done,
    EmbeddingRequest,
    Frame,
    MemoryTerms,
    RerankRequest,
    TokenizeRequest,
    Vectors,
)
from paddock.runner.engines import allocator
from paddock.runner.engines.base import EngineOptions, Passages, Prompt, Report, RequestId
from paddock.runner.engines.embedding.batching import Batches
from paddock.runner.engines.embedding.loading import LoadedEncoder, as_arrays, load
from paddock.runner.engines.embedding.preparation import Preparation
from paddock.runner.engines.text.meter import Meter
from paddock.runner.failures import as_failed
from paddock.runner.watch import Watch

logger = logging.getLogger(__name__)

_AT_ONCE_TOKENS = 1024
"""A larger batch is computed a layer per step, so that a step of a large model stays short on a slow machine."""
_DECIMALS = 9
"""Of a number of a vector of length one: finer than 32 bits have it, and half as long to write as 64 bits."""


@dataclass
class _Job:
    """A request under way."""

    passages: Passages
    rows: dict[int, tuple[float, ...]] = field(default_factory=dict)
    began_ns: int = field(default_factory=time.monotonic_ns)


@dataclass
class _Work:
    """A batch that is being computed."""

    batch: list[tuple[RequestId, int]]
    stages: Iterator[mx.array]
    tokens: int
    """With their padding."""
    states: mx.array | None = None
    """What the last stage made."""

    def advance(self) -> bool:
        """Compute the next stage, or of a small batch all of them; whether that was the last."""
        for states in self.stages:
            self.states = states
            if self.tokens > _AT_ONCE_TOKENS:
                mx.eval(states)
                return False
        return True


class EmbeddingEngine:
    """Turns texts into vectors, or pairs of them into scores. See `Engine` for which thread calls what."""

    makes_vectors = True
    activity = Activity.PROMPT
    tokens_generated = 0

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._watch = Watch()
        self._loaded: LoadedEncoder | None = None
        self._preparation: Preparation | None = None
        self._context_length = 0
        self._jobs: dict[RequestId, _Job] = {}
        self._batches: Batches[RequestId] = Batches(max(1, options.num_batch))
        self._work: _Work | None = None
        self._meter = Meter()

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def has_work(self) -> bool:
        return self._work is not None or bool(self._batches)

    @property
    def overdue(self) -> str:
        return self._watch.overdue

    # ---- on the thread that owns MLX ----

    def load(self, report: Report) -> None:
        allocator.settle(self._options)
        loaded = load(self._options.model_path, self._watch, report)
        self._context_length = min(self._options.num_ctx, loaded.context_limit or self._options.num_ctx)
        self._preparation = Preparation(loaded, self._context_length)
        self._loaded = loaded
        self._meter.loaded(loaded.weights_bytes)

    def submit(self, request_id: RequestId, prompt: Prompt | Passages) -> None:
        assert isinstance(prompt, Passages), "this engine prepared it"
        if not self.has_work:
            self._meter.begin()
        self._jobs[request_id] = _Job(prompt)
        self._batches.add(request_id, [len(text) for text in prompt.texts])

    def step(self) -> list[tuple[RequestId, Frame]]:
        batch = self._work.batch if self._work else self._batches.take()
        if not batch:
            return []
        try:
            self._work = self._work or self._begun(batch)
            if not self._work.advance():
                return []
            rows = self._rows(self._work)
        except BaseException as error:  # a native panic is no Exception, and others must go on
            logger.error("a batch of %d texts failed", len(batch), exc_info=error)
            self._work = None
            return [self._failed(request_id, error) for request_id in self._concerned(batch)]
        self._work = None
        for (request_id, index), row in zip(batch, rows, strict=True):
            if request_id in self._jobs:
                self._jobs[request_id].rows[index] = row
        return [frame for request_id in self._concerned(batch) for frame in self._finished(request_id)]

    def cancel(self, request_id: RequestId) -> None:
        self._jobs.pop(request_id, None)
        self._batches.remove(request_id)
        if self._work and not self._concerned(self._work.batch):
            self._work = None
        self._rest()

    def memory(self) -> MemoryTerms:
        return self._meter.read()

    def shrink(self, keep_bytes: int) -> int:
        return allocator.drop_spare_buffers(keep_bytes)

    def _concerned(self, batch: list[tuple[RequestId, int]]) -> list[RequestId]:
        """The requests of a batch that were not cancelled since."""
        return [request_id for request_id in dict.fromkeys(key for key, _ in batch) if request_id in self._jobs]

    def _begun(self, batch: list[tuple[RequestId, int]]) -> _Work:
        assert self._loaded is not None, "the engine is asked for something before it is loaded"
        texts = [self._jobs[request_id].passages.texts[index] for request_id, index in batch]
        kinds = [self._jobs[request_id].passages.kinds[index] for request_id, index in batch]
        longest = max(map(len, texts))
        self._meter.stepped([longest] * len(texts))
        return _Work(batch, self._loaded.run(*as_arrays(texts, kinds)), longest * len(texts))

    def _rows(self, work: _Work) -> list[tuple[float, ...]]:
        assert work.states is not None, "there is always a stage"
        vectors = np.array(work.states.astype(mx.float32))
        self._meter.prompt_read()
        return [tuple(vector.tolist()) for vector in vectors]

    def _finished(self, request_id: RequestId) -> list[tuple[RequestId, Frame]]:
        """The frames of a request, once all its texts are done."""
        job = self._jobs[request_id]
        if len(job.rows) < len(job.passages.texts):
            return []
        try:
            rows = tuple(_shaped(job.rows[index], job.passages) for index in range(len(job.rows)))
        except (BadRequest, DamagedModel) as error:
            return [self._failed(request_id, error)]
        tokens = sum(map(len, job.passages.texts))
        took_ns = time.monotonic_ns() - job.began_ns
        done = Done(
            reason="stop", prompt_eval_count=tokens, prompt_eval_duration_ns=took_ns, eval_count=0, eval_duration_ns=0
        )
        self._forget(request_id)
        return [(request_id, Vectors(rows=rows)), (request_id, done)]

    def _failed(self, request_id: RequestId, error: BaseException) -> tuple[RequestId, Frame]:
        self._forget(request_id)
        return request_id, as_failed(error)

    def _forget(self, request_id: RequestId) -> None:
        del self._jobs[request_id]
        self._batches.remove(request_id)
        self._rest()

    def _rest(self) -> None:
        if not self._jobs:
            mx.clear_cache()

    # ---- on the thread that prepares requests: no MLX here ----

    def prepare(self, request: CompletionRequest | ChatRequest | EmbeddingRequest | RerankRequest) -> Passages:
        return self._preparing.prepare(request)

    def render(self, request: ChatRequest) -> str:
        raise BadRequest("This model has no chat template.")

    def count(self, _request: ChatRequest) -> int:
        raise BadRequest("This model has no chat template.")

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        return self._preparing.tokenize(request)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._preparing.detokenize(tokens)

    @property
    def _preparing(self) -> Preparation:
        assert self._preparation is not None, "the engine is asked for something before it is loaded"
        return self._preparation


def _shaped(row: tuple[float, ...], passages: Passages) -> tuple[float, ...]:
    """A vector as the request wants it: cut to its dimensions (Kusupati et al. 2022), then of length one."""
    if passages.dimensions is not None and passages.dimensions > len(row):
        raise BadRequest(f"dimensions must be at most {len(row)}: this model's vectors have no more.")
    vector = np.array(row[: passages.dimensions], np.float64)
    if not np.isfinite(vector).all():
        raise DamagedModel("The model makes vectors that are no numbers: pull or create the model again.")
    if not passages.is_unit:
        return tuple(vector.tolist())
    length = float(np.linalg.norm(vector))
    return tuple(np.round(vector / (length or 1.0), _DECIMALS).tolist())
