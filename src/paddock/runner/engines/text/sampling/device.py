"""Chooses tokens from logits as MLX graphs that the host never waits for, for models on an accelerator.

The same rules as `host_sampling`, in single precision: only a draw within rounding (about 1e-6) of the border between
two candidates can come out differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from paddock.runner.engines.text.sampling.host import NOTHING, unpacked
from paddock.runner.engines.text.sampling.options import MOST_TOP_LOGPROBS, Bits, Chooser, Likelihoods, Options


def choose(
    logits: mx.array,
    options: Options,
    choosers: Sequence[Chooser],
    masks: Sequence[Bits | None],
    newest: mx.array | None = None,
    draw: Callable[[Chooser], float] = Chooser.draw,
) -> mx.array:
    """The next token of each sequence, int32 of shape (sequences,), not computed yet; otherwise as on the host.

    `newest` are tokens (sequences,) that the choosers' windows do not have yet, since only the device knows them.
    """
    logits = _adjusted(logits.astype(mx.float32), choosers, masks, newest)
    best = mx.argmax(logits, axis=-1).astype(mx.int32)
    tokens = best
    if not options.is_greedy.all():
        draws = np.array([[draw(chooser)] for chooser in choosers], dtype=np.float32)
        greedy = mx.array(options.is_greedy)
        tokens = mx.where(greedy, best, _draw(logits, options, mx.array(draws)).astype(mx.int32))
    is_sound = mx.isfinite(mx.take_along_axis(logits, best[:, None], axis=-1)[:, 0])
    return mx.where(is_sound, tokens, NOTHING)


def _adjusted(
    logits: mx.array, choosers: Sequence[Chooser], masks: Sequence[Bits | None], newest: mx.array | None
) -> mx.array:
    """Logits with biases, masks and penalties."""
    samplings = [chooser.sampling for chooser in choosers]
    biases = [(row, token, bias) for row, each in enumerate(samplings) for token, bias in each.logit_bias.items()]
    if biases:
        rows, ids, values = zip(*biases, strict=True)
        logits = logits.at[mx.array(rows), mx.array(ids)].add(mx.array(values))
    if any(mask is not None for mask in masks):
        width = logits.shape[-1]
        allowed = [np.ones(width, np.bool_) if mask is None else unpacked(mask, width) for mask in masks]
        logits = mx.where(mx.array(np.stack(allowed)), logits, -mx.inf)
    if any(chooser.window.size for chooser in choosers):
        logits = _penalised(logits, choosers, newest)
    return logits


def _penalised(logits: mx.array, choosers: Sequence[Chooser], newest: mx.array | None) -> mx.array:
    counts = _counts(logits, choosers, newest)

    def column(values: list[float]) -> mx.array:
        return mx.array(values)[:, None]

    repeat = column([chooser.sampling.repeat_penalty for chooser in choosers])
    presence = column([chooser.sampling.presence_penalty for chooser in choosers])
    frequency = column([chooser.sampling.frequency_penalty for chooser in choosers])
    scaled = mx.where(logits > 0, logits / repeat, logits * repeat)
    return mx.where(counts > 0, scaled - presence - counts * frequency, logits)


def _counts(logits: mx.array, choosers: Sequence[Chooser], newest: mx.array | None) -> mx.array:
    """How often each token occurs in each window; the shape of the logits."""
    entries = []
    for row, chooser in enumerate(choosers):
        size = chooser.window.size
        last = chooser.window.last(size - (newest is not None)) if size else []
        entries += [(row, token) for token in last]
    counts = mx.zeros_like(logits)
    if entries:
        rows, ids = zip(*entries, strict=True)
        counts = counts.at[mx.array(rows), mx.array(ids)].add(mx.ones(len(entries)))
    if newest is not None:
        weights = mx.array([float(chooser.window.size > 0) for chooser in choosers])
        # A token that is none stands for a sequence that ends here: where it counts is all the same.
        counts = counts.at[mx.arange(len(choosers)), mx.maximum(newest, 0)].add(weights)
    return counts


def candidates(logits: mx.array, options: Options) -> tuple[mx.array, mx.array]:
    """As on the host."""
    ids = mx.argsort(-logits, axis=-1)
    if options.most_candidates:
        ids = ids[:, : options.most_candidates]
    kept = mx.take_along_axis(logits, ids, axis=-1)
    if options.has_top_k:
        is_beyond = (mx.arange(kept.shape[1]) >= mx.array(options.top_k)) & mx.array(options.top_k > 0)
        kept = mx.where(is_beyond, -mx.inf, kept)
    if options.has_typical_p:
        kept = _typical(kept, mx.array(options.typical_p))
    # The largest is subtracted before the division, which then cannot overflow.
    temperature = mx.array(np.maximum(options.temperature, np.float32(1e-6)))
    weights = mx.exp((kept - mx.max(kept, axis=-1, keepdims=True)) / temperature)
    if options.has_top_p:
        weights = _top_p(weights, mx.array(options.top_p))
    if options.has_min_p:
        least = mx.array(options.min_p) * mx.max(weights, axis=-1, keepdims=True)
        weights = mx.where(weights < least, 0, weights)
    return weights, ids


def _draw(logits: mx.array, options: Options, draws: mx.array) -> mx.array:
    weights, ids = candidates(logits, options)
    reached = mx.cumsum(weights, axis=-1)
    places = mx.argmax(reached > draws * reached[:, -1:], axis=-1)
    return mx.take_along_axis(ids, places[:, None], axis=-1)[:, 0]


def _typical(kept: mx.array, mass: mx.array) -> mx.array:
    logprobs = kept - mx.logsumexp(kept, axis=-1, keepdims=True)
    probabilities = mx.exp(logprobs)
    surprise = mx.where(probabilities > 0, -logprobs, 0)
    entropy = mx.sum(probabilities * surprise, axis=-1, keepdims=True)
    distance = mx.where(probabilities > 0, mx.abs(surprise - entropy), mx.inf)
    order = mx.argsort(distance, axis=-1)
    ordered = mx.take_along_axis(probabilities, order, axis=-1)
    is_reached = (mx.cumsum(ordered, axis=-1) - ordered < mass) | (mass >= 1)
    is_kept = mx.put_along_axis(mx.zeros(kept.shape, dtype=mx.bool_), order, is_reached, axis=-1)
    return mx.where(is_kept, kept, -mx.inf)


def _top_p(weights: mx.array, mass: mx.array) -> mx.array:
    before = mx.cumsum(weights, axis=-1) - weights
    is_likeliest = mx.arange(weights.shape[1]) == mx.argmax(weights, axis=-1, keepdims=True)
    is_kept = (before < mass * mx.sum(weights, axis=-1, keepdims=True)) | is_likeliest | (mass >= 1)
    return mx.where(is_kept, weights, 0)


@dataclass(frozen=True)
class DeviceLikelihoods:
    """Likelihoods of a batch, still on the device: of the tokens (sequences,), and the likeliest (sequences, some)."""

    logprobs: mx.array
    top_ids: mx.array
    top_logprobs: mx.array

    @classmethod
    def of(cls, logits: mx.array, tokens: mx.array) -> DeviceLikelihoods:
        """For raw logits (sequences, vocabulary); a graph, not computed yet."""
        logprobs = logits.astype(mx.float32)
        logprobs = logprobs - mx.logsumexp(logprobs, axis=-1, keepdims=True)
        top_ids = mx.argsort(-logprobs, axis=-1)[:, :MOST_TOP_LOGPROBS]
        return cls(
            logprobs=mx.take_along_axis(logprobs, mx.maximum(tokens, 0)[:, None], axis=-1)[:, 0],
            top_ids=top_ids,
            top_logprobs=mx.take_along_axis(logprobs, top_ids, axis=-1),
        )

    def read(self, row: int, count: int) -> Likelihoods:
        """Those of one sequence, with the `count` likeliest; waits for the device."""
        ids: Any = self.top_ids[row, :count].tolist()
        logprobs: Any = self.top_logprobs[row, :count].tolist()
        logprob: Any = self.logprobs[row].item()
        return Likelihoods(float(logprob), tuple(zip(ids, logprobs, strict=True)))
