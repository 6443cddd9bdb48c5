"""Reads several short prompts in one pass, in which a token costs about half of what it costs in a pass of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache

from paddock.runner.engines.text.batch import PROBE, UNABLE, is_same
from paddock.runner.engines.text.group import Caches, Group
from paddock.runner.engines.text.sequence import Sequence

logger = logging.getLogger(__name__)

_LONGEST_TO_SHORTEST = 2
"""Prompts are filled up to the length of the longest of them, and what fills them costs as much as they do."""


def which_together(sequences: Iterable[Sequence], most_tokens: int) -> list[Sequence]:
    """Of these, in their order, the first ones whose prompts can be read whole in a pass of so many tokens. Pure."""
    chosen: list[Sequence] = []
    shortest, longest = most_tokens, 0
    for sequence in sequences:
        unread = len(sequence.prompt.tokens) - 1
        shortest, longest = min(shortest, unread), max(longest, unread)
        fits = longest <= _LONGEST_TO_SHORTEST * shortest and longest * (len(chosen) + 1) <= most_tokens
        if not (fits and unread > 0 and sequence.is_unread):
            break
        chosen.append(sequence)
    return chosen


def read_together(
    model: nn.Module, make_caches: Callable[[], Caches], prompts: list[tuple[int, ...]]
) -> tuple[Group, Callable[[], mx.array]]:
    """Read all tokens of each prompt but its last: the group that holds them, computed, and what feeds it the last ones
    for the logits (prompts, vocabulary), which are not computed yet."""
    lengths = [len(prompt) - 1 for prompt in prompts]
    padding = [max(lengths) - length for length in lengths]
    caches = [_padded(layer, padding) for layer in make_caches()]
    rows = [[0] * pad + list(prompt[:-1]) for pad, prompt in zip(padding, prompts, strict=True)]
    model(mx.array(rows), cache=caches)
    mx.eval([layer.state for layer in caches])
    group = Group(caches, lengths)
    last = mx.array([prompt[-1] for prompt in prompts])
    return group, lambda: group.forward(model, last)


def _padded(layer: Any, padding: list[int]) -> Any:
    merged = layer.merge([layer] * len(padding))
    merged.prepare(left_padding=padding)
    return merged


def can_read_together(model: nn.Module, make_caches: Callable[[], Caches]) -> bool:
    """Whether prompts of this model give the same logits read together as alone. It is tried, once, on two short ones;
    only layers that keep all they have read are asked for."""
    if not all(type(layer) is KVCache for layer in make_caches()):
        return False
    prompts = [tuple(range(length + 1)) for length in PROBE]
    try:
        _, finish = read_together(model, make_caches, prompts)
        alone = [model(mx.array([prompt]), cache=make_caches())[:, -1, :] for prompt in prompts]
        return is_same(mx.concatenate(alone), finish())
    except UNABLE as error:
        logger.info("This architecture reads one prompt at a time: %s", error)
        return False
