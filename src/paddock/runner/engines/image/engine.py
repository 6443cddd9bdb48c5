"""The image engine: Z-Image and FLUX.2 Klein, making the pictures of several requests in turn.

Each step does one thing for one request (a text, a tile, one step of denoising), or a part of it where that takes long;
so a cancelled request costs at most the one thing that is being done.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import mlx.core as mx

from paddock.errors import OutOfMemory, Unsupported
from paddock.protocol import (
    Activity,
    ChatRequest,
    Failed,
    Frame,
    ImageRequest,
    MemoryTerms,
    Message,
    TokenizeRequest,
)
from paddock.runner.engines import allocator
from paddock.runner.engines.base import EngineOptions, PicturePrompt, Report, RequestId
from paddock.runner.engines.image.families import make_family
from paddock.runner.engines.image.folder import TOKENIZER, read_folder
from paddock.runner.engines.image.job import Job, JobLimits
from paddock.runner.engines.image.parts import Parts
from paddock.runner.engines.image.preparation import Preparation, load_tokenizer
from paddock.runner.engines.text.meter import Meter
from paddock.runner.engines.text.model import cpu_forms
from paddock.runner.engines.text.prompt.renderer import Renderer
from paddock.runner.failures import as_failed
from paddock.runner.watch import Watch

logger = logging.getLogger(__name__)

_NO_TEXT = "This model makes pictures and cannot generate text."
_TOO_LARGE = "There is not enough memory for this picture: ask for a smaller one or unload other models."


class ImageEngine:
    """Makes pictures. See `Engine` for which thread calls what."""

    makes_pictures = True
    tokens_generated = 0

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._watch = Watch()
        self._renderer = Renderer()
        self._preparation: Preparation | None = None
        self._new_job: Callable[[PicturePrompt], Job] | None = None
        self._parts: Parts | None = None
        self._context_length = 0
        self._jobs: deque[tuple[RequestId, Job]] = deque()
        self._meter = Meter()

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def has_work(self) -> bool:
        return bool(self._jobs)

    @property
    def overdue(self) -> str:
        return self._watch.overdue

    @property
    def activity(self) -> Activity:
        """What the next step is. One that first reads a part of the model from disk is a load."""
        if self._jobs and self._parts is not None and not self._parts.has(self._jobs[0][1].part):
            return Activity.LOAD
        return Activity.IMAGE

    # ---- on the thread that owns MLX ----

    def load(self, report: Report) -> None:
        allocator.settle(self._options)
        if mx.default_device() == mx.cpu:
            cpu_forms.install()
        folder = read_folder(self._options.model_path)
        family = make_family(folder)
        self._renderer.start()
        tokenizer = load_tokenizer(folder.path / TOKENIZER)
        report(0.02)
        parts = Parts(folder, family, staged=self._options.staged, keep_packed=self._options.keep_packed)
        parts.load(lambda done: report(0.02 + 0.98 * done))
        self._preparation = Preparation(
            family.facts,
            tokenizer,
            self._renderer,
            self._watch,
            vocabulary=parts.vocabulary,
            most_pixels=self._options.picture_pixels,
        )
        limits = JobLimits(max(1, self._options.pictures_at_once), max(1, self._options.tile_pixels))
        self._new_job = lambda prompt: Job(prompt, family, parts, limits)
        self._parts = parts
        self._context_length = family.facts.text_tokens
        self._meter.loaded(parts.weights_bytes)

    def submit(self, request_id: RequestId, prompt: PicturePrompt) -> None:
        assert self._new_job is not None, "the engine is asked for something before it is loaded"
        if not self._jobs:
            self._meter.begin()
        self._jobs.append((request_id, self._new_job(prompt)))

    def step(self) -> list[tuple[RequestId, Frame]]:
        if not self._jobs:
            return []
        request_id, job = self._jobs[0]
        try:
            frames, is_finished = job.step(), job.is_finished
        except BaseException as error:  # a native panic is no Exception, and others must go on
            logger.error("request %d failed", request_id, exc_info=error)
            frames, is_finished = [_as_failed(error)], True
        self._meter.stepped(job.sizes)
        if is_finished:
            self._jobs.popleft()
            job.close()
            del job
            mx.clear_cache()
        elif job.is_between_things and not self._options.staged:
            # With parts in memory one at a time, taking turns would read them again and again.
            self._jobs.rotate(-1)
        return [(request_id, frame) for frame in frames]

    def cancel(self, request_id: RequestId) -> None:
        if self._drop(request_id):
            mx.clear_cache()

    def memory(self) -> MemoryTerms:
        return self._meter.read()

    def shrink(self, keep_bytes: int) -> int:
        return allocator.drop_spare_buffers(keep_bytes)

    # ---- on the thread that prepares requests: no MLX here ----

    def prepare(self, request: Message) -> PicturePrompt:
        if not isinstance(request, ImageRequest):
            raise Unsupported(_NO_TEXT)
        return self._preparing.prepare(request)

    def render(self, _request: ChatRequest) -> str:
        raise Unsupported(_NO_TEXT)

    def count(self, _request: ChatRequest) -> int:
        raise Unsupported(_NO_TEXT)

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        return self._preparing.tokenize(request)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._preparing.detokenize(tokens)

    def _drop(self, request_id: RequestId) -> bool:
        """Forget a request, if it is there."""
        dropped = [job for other_id, job in self._jobs if other_id == request_id]
        self._jobs = deque(entry for entry in self._jobs if entry[0] != request_id)
        for job in dropped:
            job.close()
        return bool(dropped)

    @property
    def _preparing(self) -> Preparation:
        assert self._preparation is not None, "the engine is asked for something before it is loaded"
        return self._preparation


def _as_failed(error: BaseException) -> Failed:
    failed = as_failed(error)
    return as_failed(OutOfMemory(_TOO_LARGE)) if failed.code == OutOfMemory.code else failed
