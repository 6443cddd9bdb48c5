"""What a request asks of a runner, and the order that it becomes: every option settled, its memory estimated. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paddock.memory.correction import Seen, foresee
from paddock.memory.estimate import Need, Settings
from paddock.memory.fit import Ask
from paddock.scheduler.defaults import (
    KV_BITS,
    LOWEST_NUM_CTX,
    Machine,
    bounded,
    keeps_packed,
    with_default_context,
    with_default_parallel,
    with_prefix_cache,
)
from paddock.scheduler.pictures import picture_steps, with_default_pictures
from paddock.supervisor.model_server import RunnerOptions

if TYPE_CHECKING:
    from paddock.config import Config
    from paddock.protocol import MemoryTerms
    from paddock.store.facts import ModelFacts
    from paddock.store.library import StoredModel

ANY_DEVICE = -1
LOWERED_KV_BITS = 8


@dataclass(frozen=True)
class LoadWish:
    """What a request asks of the runner. None: not fixed, so whatever the runner has is right."""

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None
    picture_pixels: int | None = None
    """Of the largest picture that is asked for; a runner that may make larger ones will do."""
    references: int | None = None
    """Pictures to look at meanwhile; a runner that may look at more will do."""


Load = tuple[str, RunnerOptions]
"""Which loads are alike: those of one model, by its digest, with the same options."""


@dataclass(frozen=True)
class LoadOrder:
    """All that starting a runner takes, and which of it the user fixed."""

    key: str
    """The model's digest: names of one digest share a runner."""
    model: StoredModel
    options: RunnerOptions
    fixed: LoadWish
    need: Need
    need_of: Callable[[RunnerOptions], Need] = field(compare=False, repr=False)
    """What it would need with other options."""
    is_parallel_fixed: bool = True
    is_num_ctx_fixed: bool = True
    """By the request, the model or a setting: then it is never lowered."""
    is_prefix_cache_fixed: bool = True
    is_kv_bits_fixed: bool = True
    folder: Path | None = None
    """Where the runner finds all that it needs, if that is no model of the library."""

    @property
    def name(self) -> str:
        """The model's name, for people."""
        return self.model.name.display

    @property
    def load(self) -> Load:
        """What it is for."""
        return self.key, self.options

    @property
    def ask(self) -> Ask:
        """The question of whether it fits."""
        smaller = "a smaller picture" if self.model.facts.image else "a smaller num_ctx"
        if self.folder is not None:
            smaller = "a larger machine"
        return Ask(self.name, self.need, wants_accelerator=self.options.num_gpu != 0, smaller=smaller)

    def foreseen_peak(self, memory: MemoryTerms) -> Need | None:
        """What was foreseen for as far as a runner has come, to compare its peak with; None if it did nothing."""
        if not memory.most_sequences:
            return None
        kept_bytes = min(memory.prefix_peak_bytes, self.options.prefix_cache_bytes)
        reached = replace(self.options, parallel=memory.most_sequences, prefix_cache_bytes=kept_bytes)
        if self.model.facts.image:  # what was looked at is among these pixels
            return self.need_of(replace(reached, picture_pixels=memory.longest_tokens, references=0))
        return self.need_of(replace(reached, num_ctx=memory.longest_tokens))

    def lowered(self) -> Iterator[LoadOrder]:
        """The same with less and less of what nobody fixed, what is missed least first.

        No draft model; nothing kept of earlier prompts; weights as they are stored; fewer sequences; half the context
        at a time; and the context in 8 bits. Of an image model, weights as they are stored and then `picture_steps`. A
        step that does not make the need smaller is left out.
        """
        order = self
        for options in self._steps():
            lower = self.with_options(options)
            if lower.need.total_bytes < order.need.total_bytes:
                yield (order := lower)

    def _steps(self) -> Iterator[RunnerOptions]:
        options = self.options
        if options.speculates:
            options = replace(options, speculates=False)
            yield options
        if not self.is_prefix_cache_fixed and options.prefix_cache_bytes:
            options = replace(options, prefix_cache_bytes=0)
            yield options
        if not options.keep_packed and self.need_of(replace(options, keep_packed=True)).weights_bytes < (
            self.need_of(options).weights_bytes
        ):
            options = replace(options, keep_packed=True)
            yield options
        if self.model.facts.image:
            yield from picture_steps(options, self.fixed, self.need_of, is_parallel_fixed=self.is_parallel_fixed)
            return
        while not self.is_parallel_fixed and options.parallel > 1:
            options = replace(options, parallel=options.parallel // 2)
            yield options
        lowest = bounded(LOWEST_NUM_CTX, self.model.facts.context_length)
        while not self.is_num_ctx_fixed and options.num_ctx > lowest:
            options = replace(options, num_ctx=max(lowest, options.num_ctx // 2))
            yield options
        if not self.is_kv_bits_fixed and not options.kv_bits:
            yield replace(options, kv_bits=LOWERED_KV_BITS)

    def with_options(self, options: RunnerOptions) -> LoadOrder:
        """The same with other options, and the memory that those need."""
        return replace(self, options=options, need=self.need_of(options))

    def changes_from(self, wanted: LoadOrder) -> str:
        """What was lowered, as a clause that goes after a reason; empty if nothing was."""
        mine, theirs = self.options, wanted.options
        changes = [
            *(["no draft model"] if theirs.speculates and not mine.speculates else []),
            *(["no prefix cache"] if mine.prefix_cache_bytes < theirs.prefix_cache_bytes else []),
            *(["weights as they are stored"] if mine.keep_packed and not theirs.keep_packed else []),
            *(
                f"{name} {getattr(mine, name)} instead of {getattr(theirs, name)}"
                for name in ("parallel", "num_ctx")
                if getattr(mine, name) != getattr(theirs, name)
            ),
            *([f"a context of {mine.kv_bits} bits"] if mine.kv_bits != theirs.kv_bits else []),
            *([f"tiles of {mine.tile_pixels} pixels"] if mine.tile_pixels != theirs.tile_pixels else []),
            *(["its parts in memory in turn"] if mine.staged and not theirs.staged else []),
            *(
                f"{name.replace('_', ' ')} {getattr(mine, name)} instead of {getattr(theirs, name)}"
                for name in ("picture_pixels", "references")
                if getattr(mine, name) != getattr(theirs, name)
            ),
        ]
        return f" with {' and '.join(changes)}" if changes else ""

    def is_met_by(self, options: RunnerOptions) -> bool:
        """Whether a runner with these options has everything that the user fixed."""
        fixed = self.fixed
        same = (
            (fixed.num_ctx, options.num_ctx),
            (fixed.num_batch, options.num_batch),
            (fixed.num_gpu, options.num_gpu),
            (fixed.num_thread, options.num_thread),
        )
        enough = ((fixed.picture_pixels, options.picture_pixels), (fixed.references, options.references))
        return all(wanted is None or wanted == had for wanted, had in same) and all(
            wanted is None or wanted <= had for wanted, had in enough
        )


def order(
    model: StoredModel,
    wish: LoadWish,
    config: Config,
    machine: Machine,
    seen: Callable[[RunnerOptions], Seen | None] = lambda _: None,
) -> LoadOrder:
    """The order of a wish. `num_ctx` is at least 4 and at most what the model was made for, before it is compared.

    `seen`: what was measured of the model with weights in the form of such options, which corrects what it is foreseen
    to need.
    """
    facts = model.facts
    fixed = _effective(wish, facts)

    def need_of(some: RunnerOptions) -> Need:
        on_accelerator = machine.runs_on_accelerator(some.num_gpu)
        return foresee(facts, settings_of(some), on_accelerator=on_accelerator, seen=seen(some))

    is_num_ctx_fixed = fixed.num_ctx is not None or config.context_length > 0
    options = _asked(fixed, config, facts.context_length)
    is_packed = keeps_packed(facts, machine, options.num_gpu)
    options = replace(options, keep_packed=is_packed, speculates=facts.draft is not None)
    if not is_num_ctx_fixed:
        options = with_default_context(options, facts.context_length, machine, need_of)
    if facts.image:
        options = with_default_pictures(options, facts.image, fixed, machine, need_of)
    # A processor makes pictures no quicker side by side, and one that is made alone is the same to the last bit.
    is_quicker_together = not facts.image or machine.runs_on_accelerator(options.num_gpu)
    if is_quicker_together and not config.num_parallel:
        options = with_default_parallel(options, machine, need_of)
    options = with_prefix_cache(options, facts, config, machine, need_of)
    return LoadOrder(
        key=model.digest,
        model=model,
        options=options,
        fixed=fixed,
        need=need_of(options),
        need_of=need_of,
        is_parallel_fixed=config.num_parallel > 0,
        is_num_ctx_fixed=is_num_ctx_fixed,
        is_prefix_cache_fixed=config.prefix_cache_bytes is not None,
        is_kv_bits_fixed=bool(config.kv_cache_type) or facts.engine != "text",
    )


def settings_of(options: RunnerOptions) -> Settings:
    """The part of a runner's options that its memory depends on."""
    return Settings(
        num_ctx=options.num_ctx,
        parallel=options.parallel,
        num_batch=options.num_batch,
        kv_bits=options.kv_bits,
        prefix_cache_bytes=options.prefix_cache_bytes,
        keep_packed=options.keep_packed,
        speculates=options.speculates,
        picture_pixels=options.picture_pixels,
        references=options.references,
        tile_pixels=options.tile_pixels,
        staged=options.staged,
    )


def _asked(fixed: LoadWish, config: Config, limit: int) -> RunnerOptions:
    """The options that the request, the model or a setting says, and a runner's own for the others."""
    plain = RunnerOptions(num_ctx=bounded(config.context_length or LOWEST_NUM_CTX, limit))
    return replace(
        plain,
        num_ctx=plain.num_ctx if fixed.num_ctx is None else fixed.num_ctx,
        parallel=config.num_parallel or plain.parallel,
        num_batch=plain.num_batch if fixed.num_batch is None else fixed.num_batch,
        num_gpu=plain.num_gpu if fixed.num_gpu is None else fixed.num_gpu,
        num_thread=plain.num_thread if fixed.num_thread is None else fixed.num_thread,
        kv_bits=KV_BITS[config.kv_cache_type or "f16"],
    )


def _effective(wish: LoadWish, facts: ModelFacts) -> LoadWish:
    """The wish without what makes no difference to a runner, so that it asks for no reload.

    A negative `num_gpu` and a `num_thread` of 0 leave the choice open; any positive `num_gpu` means the same, since a
    model is not split by layers. An image model has no use for a context, and others have none for pictures.
    """
    image = facts.image
    most_references = image.references_most if image and image.edits == "references" else 0
    return LoadWish(
        num_ctx=None if wish.num_ctx is None or image else bounded(wish.num_ctx, facts.context_length),
        num_batch=None if wish.num_batch is None or image else max(1, wish.num_batch),
        num_gpu=_placement(wish.num_gpu),
        num_thread=wish.num_thread or None,
        picture_pixels=wish.picture_pixels or None if image else None,
        references=min(wish.references or 0, most_references) or None,
    )


def _placement(num_gpu: int | None) -> int | None:
    if num_gpu is None or num_gpu < 0:
        return None
    return 0 if num_gpu == 0 else ANY_DEVICE
