"""The text engine: any of mlx-lm's architectures, serving many sequences at once.

A step reads some of a prompt, if one waits for that, and makes one token for every sequence that has been read. So
sequences come and go between steps, and a cancelled one costs at most the tokens that are being made.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Items

import mlx.core as mx

from paddock.errors import RunnerError
from paddock.protocol import (
    Activity,
    ChatRequest,
    CompletionRequest,
    Frame,
    MemoryTerms,
    TokenizeRequest,
)
from paddock.runner.engines import allocator
from paddock.runner.engines.base import EngineOptions, Passages, Prompt, Report, RequestId
from paddock.runner.engines.text.batch import can_merge
from paddock.runner.engines.text.decoding import Decoder, Produced
from paddock.runner.engines.text.fair_queue import FairQueue
from paddock.runner.engines.text.group import Caches, Group
from paddock.runner.engines.text.meter import Meter
from paddock.runner.engines.text.model import cpu_forms
from paddock.runner.engines.text.model.kv_caches import CacheMaker
from paddock.runner.engines.text.model.loading import LoadedModel, load
from paddock.runner.engines.text.pace import Pace
from paddock.runner.engines.text.prefix.cache import PrefixCache
from paddock.runner.engines.text.prompt.preparation import Preparation
from paddock.runner.engines.text.prompt.renderer import Renderer
from paddock.runner.engines.text.reading import Reader
from paddock.runner.engines.text.reading_together import can_read_together
from paddock.runner.engines.text.sequence import Sequence, SequenceLimits
from paddock.runner.engines.text.speculation.draft import Draft, load_draft, part_of
from paddock.runner.engines.text.speculation.policy import Policy
from paddock.runner.engines.text.speculation.speculator import Speculator
from paddock.runner.engines.text.speculation.trimming import room
from paddock.runner.failures import as_failed
from paddock.runner.watch import Watch

logger = logging.getLogger(__name__)

Told = list[tuple[RequestId, Frame]]

_NO_TOKEN = "The model found no token that could follow: change the request, or create it again."
_MAIN_SHARE = 0.9
"""Of a load, where a draft model follows."""
_CLEAR_EVERY_STEPS = 256
"""How often MLX's allocator gives its spare buffers back, as mlx-lm's own loop does."""


class TextEngine:
    """Generates text. See `Engine` for which thread calls what."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._loaded: LoadedModel | None = None
        self._watch = Watch()
        self._renderer = Renderer()
        self._preparation: Preparation | None = None
        self._context_length = 0
        self._waiting: FairQueue[Sequence] = FairQueue()
        self._prefilling: FairQueue[Sequence] = FairQueue()
        self._prefixes = PrefixCache(options.prefix_cache_bytes)
        self._pace = Pace(options.num_batch)
        self._reader: Reader | None = None
        self._decoder: Decoder | None = None
        self._tokens_generated = 0
        self._steps = 0
        self._meter = Meter()

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._active_count)

    @property
    def activity(self) -> Activity:
        """What the next step may do."""
        may_read = self._prefilling or (self._waiting and self._active_count < self._options.parallel)
        return Activity.PROMPT if may_read else Activity.DECODE

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

    @property
    def _decoding(self) -> Decoder:
        assert self._decoder is not None, "the engine is asked for something before it is loaded"
        return self._decoder

    @property
    def _reading(self) -> Reader:
        assert self._reader is not None, "the engine is asked for something before it is loaded"
        return self._reader

    @property
    def _active_count(self) -> int:
        return len(self._prefilling) + (len(self._decoder) if self._decoder is not None else 0)

    # ---- on the thread that owns MLX ----

    def load(self, report: Report) -> None:
        allocator.settle(self._options)
        if mx.default_device() == mx.cpu:
            cpu_forms.install()
        self._renderer.start()
        main_share = 1.0 if self._options.draft_path is None else _MAIN_SHARE
        loaded = load(self._options.model_path, part_of(report, 0, main_share), keep_packed=self._options.keep_packed)
        self._context_length = min(self._options.num_ctx, loaded.context_limit or self._options.num_ctx)
        self._preparation = Preparation(loaded, self._renderer, self._watch, self._context_length)
        self._loaded = loaded
        make_caches = CacheMaker(loaded.model, self._options.kv_bits).make
        speculator = self._load_draft(loaded, make_caches, report)
        merges = self._options.parallel > 1 and can_merge(loaded.model, make_caches)
        self._reader = Reader(
            loaded.model,
            make_caches,
            self._prefixes,
            self._pace,
            reads_together=merges and can_read_together(loaded.model, make_caches),
        )
        self._decoder = Decoder(
            loaded.model,
            loaded.vocabulary,
            merges=merges,
            on_device=mx.default_device() != mx.cpu,
            keeps=self._options.prefix_cache_bytes > 0,
            speculator=speculator,
            judge=_judged,
        )
        if mx.default_device() == mx.cpu:
            cpu_forms.lay_out(loaded.model)
        mx.clear_cache()
        self._meter.loaded(loaded.weights_bytes)

    def _load_draft(self, loaded: LoadedModel, make_caches: Callable[[], Caches], report: Report) -> Speculator | None:
        folder = self._options.draft_path
        if folder is None:
            return None
        found = load_draft(folder, loaded, part_of(report, _MAIN_SHARE, 1), keep_packed=self._options.keep_packed)
        draft = Draft(found.model, min(found.vocabulary, loaded.vocabulary))
        if not min(draft.room, room(make_caches())):
            logger.warning("The draft model is of no use: tokens cannot be taken back from all layers of both models")
            return None
        return Speculator(draft, Policy())

    def submit(self, request_id: RequestId, prompt: Prompt | Passages) -> None:
        assert isinstance(prompt, Prompt), "a text engine is given prompts only"
        limits = SequenceLimits(self._context_length, self._options.num_batch, self._model.end_tokens)
        self._waiting.add(prompt.client, Sequence(request_id, self._preparing.decode, prompt, limits))

    def step(self) -> Told:
        if not self._active_count:
            self._meter.begin()
        told = self._admit()
        began, is_decoding = time.monotonic(), len(self._decoding) > 0
        read, reading_seconds = self._read_prompts()
        told += read
        at_work = [*self._prefilling, *self._decoding.sequences]
        if len(self._decoding):
            told += self._decode()
        if is_decoding:
            self._pace.has_stepped(time.monotonic() - began - reading_seconds)
        self._meter.stepped([sequence.length for sequence in at_work])
        self._meter.prefixes_kept(self._prefixes.size_bytes)
        self._steps += 1
        if not self.has_work or self._steps % _CLEAR_EVERY_STEPS == 0:
            mx.clear_cache()
        return told

    def _admit(self) -> Told:
        told: Told = []
        while self._waiting and self._active_count < self._options.parallel:
            sequence = self._waiting.take()
            told += self._alone(sequence, lambda: self._begin(sequence))  # noqa: B023 -- called before the next one
        return told

    def _begin(self, sequence: Sequence) -> list[Frame]:
        frames = self._reading.begin(sequence)
        self._prefilling.add(sequence.prompt.client, sequence)
        return frames

    def _read_prompts(self) -> tuple[Told, float]:
        """Read one chunk; beside answers, as much as the pace allows between two of their tokens. Frames, and the
        seconds that it took."""
        if not self._prefilling:
            return [], 0.0
        if not len(self._decoding):
            return self._read_some(self._options.num_batch), 0.0
        self._decoding.wait()
        began = time.monotonic()
        budget_seconds = self._pace.budget_seconds
        most_tokens = self._pace.chunk(budget_seconds, self._prefilling.first().length)
        told: Told = []
        while most_tokens > 0:
            told += self._read_some(most_tokens)
            if not self._prefilling:
                break
            left_seconds = budget_seconds - (time.monotonic() - began)
            most_tokens = self._pace.chunk(left_seconds, self._prefilling.first().length, is_first=False)
        return told, time.monotonic() - began

    def _read_some(self, most_tokens: int) -> Told:
        """Several whole prompts, or a chunk of one."""
        together = self._reading.together(self._prefilling.in_turn(), most_tokens)
        return self._read_together(together) if len(together) > 1 else self._read_chunk(most_tokens)

    def _read_together(self, sequences: list[Sequence]) -> Told:
        try:
            group, logits = self._reading.read_together(sequences)
        except BaseException as error:  # a native panic is no Exception, and others must go on
            logger.error("%d prompts could not be read together", len(sequences), exc_info=error)
            failed = as_failed(error)
            for sequence in sequences:
                self._forget(sequence)
            return [(sequence.request_id, failed) for sequence in sequences]
        self._join(sequences, group, logits)
        for sequence in sequences:
            self._prefilling.put_behind(sequence.prompt.client)
        return []

    def _join(self, sequences: list[Sequence], group: Group, logits: mx.array) -> None:
        for sequence in sequences:
            sequence.decodes()
            self._prefilling.remove(sequence)
        self._meter.prompt_read()
        self._decoding.join(sequences, group, logits)

    def _read_chunk(self, most_tokens: int) -> Told:
        sequence = self._prefilling.first()
        self._prefilling.pass_on()
        return self._alone(sequence, lambda: self._read(sequence, most_tokens))

    def _read(self, sequence: Sequence, most_tokens: int) -> list[Frame]:
        frames = self._reading.read(sequence, most_tokens)
        if sequence.next_chunk(1):
            return frames
        group, logits, last = self._reading.finish(sequence)
        self._join([sequence], group, logits)
        return [*frames, *last]

    def _decode(self) -> Told:
        try:
            produced = self._decoding.step()
        except BaseException as error:  # noqa: BLE001 -- a native panic is no Exception, and those who wait must go on
            return self._fail_batch(error)
        told: Told = []
        for each in produced:
            told += self._alone(each.sequence, lambda: self._deliver(each))  # noqa: B023 -- called at once
        return told

    def _deliver(self, produced: Produced) -> list[Frame]:
        sequence, caches = produced.sequence, produced.caches
        if produced.token < 0:
            raise sequence.failure or RunnerError(_NO_TOKEN)
        before = sequence.generated
        frames = sequence.add(produced.token, produced.likelihoods)
        self._tokens_generated += sequence.generated - before
        if sequence.is_finished:
            self._keep(sequence, self._decoding.remove(sequence) if caches is None else caches)
        return frames

    def _keep(self, sequence: Sequence, caches: Caches) -> None:
        """Keep what was read for others; the request itself is over, and no failure here is its own."""
        try:
            self._reading.keep(sequence, caches)
        except BaseException as error:  # a native panic is no Exception, and this request is over
            logger.error("nothing is kept of request %d", sequence.request_id, exc_info=error)

    def _alone(self, sequence: Sequence, work: Callable[[], list[Frame]]) -> Told:
        """Do something for one sequence; if that fails, it fails alone."""
        try:
            frames = work()
        except BaseException as error:  # a native panic is no Exception, and others must go on
            logger.error("request %d failed", sequence.request_id, exc_info=error)
            self._forget(sequence)
            frames = [as_failed(error)]
        return [(sequence.request_id, frame) for frame in frames]

    def _fail_batch(self, error: BaseException) -> Told:
        """What a batch holds after an error in the middle of a step is nobody's: all in it fail."""
        logger.error("a batch failed", exc_info=error)
        failed = as_failed(error)
        told: Told = [(sequence.request_id, failed) for sequence in self._decoding.sequences]
        self._decoding.clear()
        mx.clear_cache()
        return told

    def cancel(self, request_id: RequestId) -> None:
        everyone = (*self._waiting, *self._prefilling, *self._decoding.sequences)
        for sequence in everyone:
            if sequence.request_id == request_id:
                caches = self._forget(sequence)
                if sequence.length:
                    self._keep(sequence, caches)
                mx.clear_cache()
                return

    def _forget(self, sequence: Sequence) -> Caches:
        """Have nothing more to do with a sequence, wherever it is; its caches."""
        for queue in (self._waiting, self._prefilling):
            if sequence in queue:
                queue.remove(sequence)
                return sequence.caches
        if any(each is sequence for each in self._decoding.sequences):
            return self._decoding.remove(sequence)
        return []

    def memory(self) -> MemoryTerms:
        return self._meter.read()

    def shrink(self, keep_bytes: int) -> int:
        """First the allocator's spare buffers go, which only go as a whole, then what is kept of earlier prompts."""
        before_bytes = mx.get_cache_memory() + mx.get_active_memory()
        if mx.get_cache_memory() + self._prefixes.size_bytes > keep_bytes:
            mx.clear_cache()
        if self._prefixes.size_bytes > keep_bytes:
            self._prefixes.shrink(keep_bytes)
            mx.clear_cache()
        return int(max(0, before_bytes - mx.get_cache_memory() - mx.get_active_memory()))

    # ---- on the thread that prepares requests: no MLX here ----

    def prepare(self, request: CompletionRequest | ChatRequest) -> Prompt:
        return self._preparing.prepare(request)

    def render(self, request: ChatRequest) -> str:
        return self._preparing.render(request)

    def count(self, request: ChatRequest) -> int:
        return self._preparing.count(request)

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        return self._preparing.tokenize(request)

    def detokenize(self, tokens: Items[int]) -> str:
        return self._preparing.detokenize(tokens)

    @property
    def _preparing(self) -> Preparation:
        assert self._preparation is not None, "the engine is asked for something before it is loaded"
        return self._preparation


def _judged(sequence: Sequence, token: int) -> int | None:
    """As `Sequence.judged`; if that fails, the sequence fails alone."""
    try:
        return sequence.judged(token)
    except BaseException as error:  # noqa: BLE001 -- a native panic is no Exception, and others must go on
        sequence.fails(error)
        return None
