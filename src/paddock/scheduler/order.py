"""What a request asks of a runner, and the order that it becomes: every option settled, its memory estimated. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from paddock.memory.correction import Seen, foresee
from paddock.memory.estimate import Need, Settings
from paddock.memory.fit import Ask
from paddock.supervisor.model_server import RunnerOptions

if TYPE_CHECKING:
    from paddock.config import Config
    from paddock.protocol import MemoryTerms
    from paddock.store.library import StoredModel

DEFAULT_NUM_CTX = 4096
LEAST_NUM_CTX = 4
"""Ollama raises smaller ones to this."""
ANY_DEVICE = -1
DEFAULT_PARALLEL = 1
LOWEST_NUM_CTX = 4096
"""What the context length is lowered to at most to make a model fit; or the model's own limit, if that is smaller."""


@dataclass(frozen=True)
class LoadWish:
    """What a request asks of the runner. None: not fixed, so whatever the runner has is right."""

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None


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

    @property
    def name(self) -> str:
        """The model's name, for people."""
        return self.model.name.display

    @property
    def ask(self) -> Ask:
        """The question of whether it fits."""
        return Ask(self.name, self.need, wants_accelerator=self.options.num_gpu != 0)

    def foreseen_peak(self, memory: MemoryTerms) -> Need | None:
        """What was foreseen for as far as a runner has come, to compare its peak with; None if it did nothing."""
        if not memory.most_sequences:
            return None
        reached = replace(self.options, num_ctx=memory.longest_tokens, parallel=memory.most_sequences)
        return self.need_of(reached)

    def lowered(self) -> Iterator[LoadOrder]:
        """The same with less and less of what nobody fixed: fewer sequences first, then half the context at a time."""
        options = self.options
        while not self.is_parallel_fixed and options.parallel > 1:
            options = replace(options, parallel=options.parallel // 2)
            yield self.with_options(options)
        lowest = _bounded(LOWEST_NUM_CTX, self.model.facts.context_length)
        while not self.is_num_ctx_fixed and options.num_ctx > lowest:
            options = replace(options, num_ctx=max(lowest, options.num_ctx // 2))
            yield self.with_options(options)

    def with_options(self, options: RunnerOptions) -> LoadOrder:
        """The same with other options, and the memory that those need."""
        return replace(self, options=options, need=self.need_of(options))

    def changes_from(self, wanted: LoadOrder) -> str:
        """What was lowered, as a clause that goes after a reason; empty if nothing was."""
        changes = [
            f"{name} {getattr(self.options, name)} instead of {getattr(wanted.options, name)}"
            for name in ("parallel", "num_ctx")
            if getattr(self.options, name) != getattr(wanted.options, name)
        ]
        return f" with {' and '.join(changes)}" if changes else ""

    def is_met_by(self, options: RunnerOptions) -> bool:
        """Whether a runner with these options has everything that the user fixed."""
        return all(
            wanted is None or wanted == had
            for wanted, had in (
                (self.fixed.num_ctx, options.num_ctx),
                (self.fixed.num_batch, options.num_batch),
                (self.fixed.num_gpu, options.num_gpu),
                (self.fixed.num_thread, options.num_thread),
            )
        )


def order(
    model: StoredModel, wish: LoadWish, config: Config, *, has_accelerator: bool, seen: Seen | None = None
) -> LoadOrder:
    """The order of a wish. `num_ctx` is at least 4 and at most what the model was made for, before it is compared.

    `seen`: what was measured of the model before, which corrects what it is foreseen to need.
    """
    fixed = _effective(wish, model.facts.context_length)
    defaults = RunnerOptions(
        num_ctx=_bounded(config.context_length or DEFAULT_NUM_CTX, model.facts.context_length),
        parallel=config.num_parallel or DEFAULT_PARALLEL,
    )
    options = RunnerOptions(
        num_ctx=defaults.num_ctx if fixed.num_ctx is None else fixed.num_ctx,
        parallel=defaults.parallel,
        num_batch=defaults.num_batch if fixed.num_batch is None else fixed.num_batch,
        num_gpu=defaults.num_gpu if fixed.num_gpu is None else fixed.num_gpu,
        num_thread=defaults.num_thread if fixed.num_thread is None else fixed.num_thread,
    )

    def need_of(some: RunnerOptions) -> Need:
        settings = Settings(some.num_ctx, some.parallel, some.num_batch)
        return foresee(model.facts, settings, on_accelerator=has_accelerator and some.num_gpu != 0, seen=seen)

    return LoadOrder(
        key=model.digest,
        model=model,
        options=options,
        fixed=fixed,
        need=need_of(options),
        need_of=need_of,
        is_parallel_fixed=config.num_parallel > 0,
        is_num_ctx_fixed=fixed.num_ctx is not None or config.context_length > 0,
    )


def _effective(wish: LoadWish, limit: int) -> LoadWish:
    """The wish without what makes no difference to a runner, so that it asks for no reload.

    A negative `num_gpu` and a `num_thread` of 0 leave the choice open; any positive `num_gpu` means the same, since a
    model is not split by layers.
    """
    return LoadWish(
        num_ctx=None if wish.num_ctx is None else _bounded(wish.num_ctx, limit),
        num_batch=None if wish.num_batch is None else max(1, wish.num_batch),
        num_gpu=_placement(wish.num_gpu),
        num_thread=wish.num_thread or None,
    )


def _bounded(num_ctx: int, limit: int) -> int:
    """`limit` 0: the model does not say."""
    return max(LEAST_NUM_CTX, min(num_ctx, limit) if limit else num_ctx)


def _placement(num_gpu: int | None) -> int | None:
    if num_gpu is None or num_gpu < 0:
        return None
    return 0 if num_gpu == 0 else ANY_DEVICE
