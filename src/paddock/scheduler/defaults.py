"""What a runner is given where nobody fixed anything, from the model, the settings and the machine. Pure.

These are wishes: `LoadOrder.lowered` takes back what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from paddock.supervisor.model_server import RunnerOptions

if TYPE_CHECKING:
    from paddock.config import Config
    from paddock.memory.estimate import Need
    from paddock.memory.fit import Supply
    from paddock.store.facts import ModelFacts

GIB = 1024**3
LEAST_NUM_CTX = 4
"""Ollama raises smaller ones to this."""
LOWEST_NUM_CTX = 4096
"""What the context length is lowered to at most to make a model fit; or the model's own limit, if that is smaller."""
DEFAULT_PARALLEL = 4
"""Requests that a runner answers side by side; each has a context of its own in the estimate."""
KV_BITS = {"f16": 0, "q8_0": 8, "q4_0": 4}
"""Ollama's names of the formats of a context. Its f16 is the model's own numbers here."""

_CONTEXT_TIERS = ((47 * GIB, 262_144), (23 * GIB, 32_768))
"""Accelerator memory from which on the default context is this long, as in Ollama; below it is the lowest."""
_CONTEXT_SHARE = 4
"""Of the memory, one part in so many is the most that one default context may take."""
_PREFIX_SHARE = 8
_DENSE_LEVELS = ("F32", "F16", "BF16")
_MOST_PREFIX_BYTES = 8 * GIB

NeedOf = Callable[[RunnerOptions], "Need"]


@dataclass(frozen=True)
class Machine:
    """What of the machine a runner's options follow from."""

    accelerator_bytes: int = 0
    """Of the largest; 0 where there is none."""
    main_bytes: int = 0
    """What models may have of the main memory; 0 where it is not known."""
    is_dense_quicker: bool = False
    """Whether the CPU computes faster with quantised weights turned into float32."""

    @property
    def has_accelerator(self) -> bool:
        """Whether any model can run on an accelerator here."""
        return self.accelerator_bytes > 0

    def runs_on_accelerator(self, num_gpu: int) -> bool:
        """Whether a runner with this option lives there."""
        return self.has_accelerator and num_gpu != 0

    def memory_bytes(self, num_gpu: int) -> int:
        """Of the memory that such a runner lives in."""
        return self.accelerator_bytes if self.runs_on_accelerator(num_gpu) else self.main_bytes

    def share_bytes(self, num_gpu: int) -> int:
        """What of it the defaults may take for one context, or for more of what one request needs once."""
        return self.memory_bytes(num_gpu) // _CONTEXT_SHARE


def machine_of(supply: Supply, *, is_dense_quicker: bool = False) -> Machine:
    """The machine that has this memory for models."""
    with_accelerator = [pool.total_bytes for pool in supply.pools if pool.has_accelerator]
    return Machine(
        accelerator_bytes=max(with_accelerator, default=0),
        main_bytes=max((pool.total_bytes for pool in supply.pools if pool.has_cpu), default=0),
        is_dense_quicker=is_dense_quicker and not with_accelerator,
    )


def bounded(num_ctx: int, limit: int) -> int:
    """A context length that a model can have; `limit` 0: the model does not say."""
    return max(LEAST_NUM_CTX, min(num_ctx, limit) if limit else num_ctx)


def keeps_packed(facts: ModelFacts, machine: Machine, num_gpu: int) -> bool:
    """Whether quantised weights have to stay as they are stored: where the other form is not quicker, or not known.

    On an accelerator they always do, and nobody has to say so.
    """
    # Of an image model some parts may be packed and others not, whatever most of it is.
    may_be_packed = facts.quantization_level.upper() not in _DENSE_LEVELS or facts.image is not None
    is_packed = may_be_packed and facts.dense_bytes != facts.float32_bytes
    is_dense_better = machine.is_dense_quicker and facts.dense_bytes > 0
    return is_packed and not machine.runs_on_accelerator(num_gpu) and not is_dense_better


def with_default_context(options: RunnerOptions, limit: int, machine: Machine, need_of: NeedOf) -> RunnerOptions:
    """Ollama's default for this much accelerator memory, halved until one context takes no more than its share."""
    tiers = (tokens for least_bytes, tokens in _CONTEXT_TIERS if machine.accelerator_bytes >= least_bytes)
    wished = next(tiers, LOWEST_NUM_CTX) if machine.runs_on_accelerator(options.num_gpu) else LOWEST_NUM_CTX
    lowest = bounded(LOWEST_NUM_CTX, limit)
    options = replace(options, num_ctx=bounded(wished, limit))
    most_bytes = machine.share_bytes(options.num_gpu)
    while options.num_ctx > lowest and need_of(replace(options, parallel=1)).kv_bytes > most_bytes:
        options = replace(options, num_ctx=max(lowest, options.num_ctx // 2))
    return options


def with_default_parallel(options: RunnerOptions, machine: Machine, need_of: NeedOf) -> RunnerOptions:
    """Four requests at once, halved until what the others add to the first is less than one context may take, so that
    no other model has to go for room that nobody asked for. One where the memory is not known."""

    def working_bytes(parallel: int) -> int:
        need = need_of(replace(options, parallel=parallel))
        return need.kv_bytes + need.workspace_bytes

    most_bytes = machine.share_bytes(options.num_gpu)
    parallel, alone_bytes = DEFAULT_PARALLEL, working_bytes(1)
    while parallel > 1 and working_bytes(parallel) - alone_bytes >= most_bytes:
        parallel //= 2
    return replace(options, parallel=parallel)


def with_prefix_cache(
    options: RunnerOptions, facts: ModelFacts, config: Config, machine: Machine, need_of: NeedOf
) -> RunnerOptions:
    """As the setting says; else one full context, an eighth of the memory and 8 GiB at most. Only text has prompts."""
    if facts.engine != "text":
        return options
    size_bytes = config.prefix_cache_bytes
    if size_bytes is None:
        context_bytes = need_of(replace(options, parallel=1)).kv_bytes
        size_bytes = min(context_bytes, machine.memory_bytes(options.num_gpu) // _PREFIX_SHARE, _MOST_PREFIX_BYTES)
    return replace(options, prefix_cache_bytes=size_bytes)
