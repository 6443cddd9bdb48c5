"""Chooses tokens from logits with numpy, for models on the CPU, where MLX sorts and adds up many times slower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paddock.runner.engines.text.sampling.options import Bits, Chooser, Floats, Ints, Likelihoods, Options

NOTHING = -1
"""In place of a token where no token has a probability."""
_REFUSED = np.float32(-np.inf)


def choose(
    logits: Floats,
    options: Options,
    choosers: Sequence[Chooser],
    masks: Sequence[Bits | None],
    draw: Callable[[Chooser], float] = Chooser.draw,
) -> Ints:
    """The next token of each sequence, shape (sequences,), for single-precision logits (sequences, vocabulary).

    `masks` say which tokens are allowed, None all of them; `draw` is what choosers are asked for. NOTHING where every
    token is refused or the logits are no numbers.
    """
    draws = np.array([draw(chooser) for chooser in choosers])
    adjusted, allowed = _adjusted(logits, choosers), _allowed(masks, logits.shape[1])
    if allowed is None:
        return _chosen(adjusted, options, draws)
    # Mostly few tokens are allowed, among which it is quick to choose.
    columns = np.flatnonzero(allowed.any(axis=0))
    if not columns.size:
        return np.full(len(masks), NOTHING)
    if columns.size < allowed.shape[1]:
        adjusted, allowed = adjusted[:, columns], allowed[:, columns]
    tokens = _chosen(np.where(allowed, adjusted, _REFUSED), options, draws)
    return np.where(tokens == NOTHING, NOTHING, columns[tokens])


def _chosen(adjusted: Floats, options: Options, draws: Floats) -> Ints:
    tokens = np.argmax(adjusted, axis=1)
    best = adjusted[np.arange(len(tokens)), tokens]
    is_sound = np.isfinite(best)
    tokens[~is_sound] = NOTHING
    is_drawn = is_sound & ~options.is_greedy
    is_cut = (options.top_k[:, 0] > 0) & (options.top_k[:, 0] < adjusted.shape[1])
    for rows in (np.flatnonzero(is_drawn & is_cut), np.flatnonzero(is_drawn & ~is_cut)):
        if rows.size:
            chosen = adjusted if rows.size == len(tokens) else adjusted[rows]
            tokens[rows] = _draw(chosen, options[rows], draws[rows, None])
    return tokens


def _adjusted(logits: Floats, choosers: Sequence[Chooser]) -> Floats:
    """Logits with biases and penalties. The ones given are never written to: they are MLX's own memory."""
    changed = [row for row, each in enumerate(choosers) if each.window.size or each.sampling.logit_bias]
    if not changed:
        return logits
    logits = logits.copy()
    for row in changed:
        _adjust(logits[row], choosers[row])
    return logits


def _adjust(logits: Floats, chooser: Chooser) -> None:
    """Change the logits (vocabulary,) of one sequence.

    The repeat penalty divides positive and multiplies negative logits; presence is subtracted once, frequency once per
    occurrence.
    """
    sampling = chooser.sampling
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    if chooser.window.size:
        ids, counts = chooser.window.counts()
        found = logits[ids]
        scaled = np.where(found > 0, found / sampling.repeat_penalty, found * sampling.repeat_penalty)
        logits[ids] = scaled - sampling.presence_penalty - counts * sampling.frequency_penalty


def _allowed(masks: Sequence[Bits | None], vocabulary: int) -> npt.NDArray[np.bool_] | None:
    """One boolean for each sequence and token; None if all may come."""
    if all(mask is None for mask in masks):
        return None
    return np.stack([np.ones(vocabulary, np.bool_) if mask is None else unpacked(mask, vocabulary) for mask in masks])


def unpacked(mask: Bits, vocabulary: int) -> npt.NDArray[np.bool_]:
    """A mask as one boolean per token; tokens that it is too short for are refused."""
    bits = np.unpackbits(np.ascontiguousarray(mask).view(np.uint8), bitorder="little", count=vocabulary)
    return bits.view(np.bool_)


def likeliest(logits: Floats, count: int) -> Ints:
    """Ids of the `count` largest of each row, largest first, equal ones by id; shape (rows, count)."""
    width = logits.shape[1]
    if not 0 < count < width:
        return np.argsort(-logits, axis=1, kind="stable")
    ids = np.argpartition(logits, width - count, axis=1)[:, width - count :]
    ids.sort(axis=1)
    values = _taken(logits, ids)
    # A partition takes any of the tokens that equal the last one: such rows are sorted whole, unless they are refused.
    last = values.min(axis=1, keepdims=True)
    ambiguous = np.flatnonzero((np.count_nonzero(logits >= last, axis=1) > count) & (last[:, 0] > -np.inf))
    if ambiguous.size:
        ids[ambiguous] = np.argsort(-logits[ambiguous], axis=1, kind="stable")[:, :count]
        values[ambiguous] = _taken(logits[ambiguous], ids[ambiguous])
    order = np.argsort(-values, axis=1, kind="stable")
    return _taken(ids, order)


def _taken(values: npt.NDArray[Any], places: Ints) -> npt.NDArray[Any]:
    """From each row the values in these places: what numpy's own function does, without its detours."""
    return values[np.arange(len(values))[:, None], places]


def candidates(logits: Floats, options: Options) -> tuple[Floats, Ints]:
    """Weights and ids of the tokens that may be drawn, likeliest first; refused ones weigh 0. Both (rows, any)."""
    ids = likeliest(logits, options.most_candidates)
    kept = _taken(logits, ids).astype(np.float64)
    if options.has_top_k:
        kept[(np.arange(kept.shape[1]) >= options.top_k) & (options.top_k > 0)] = -np.inf
    if options.has_typical_p:
        _typical(kept, options.typical_p)
    # The largest is subtracted before the division, which then cannot overflow.
    weights = np.exp((kept - kept.max(axis=1, keepdims=True)) / options.temperature)
    if options.has_top_p:
        _top_p(weights, options.top_p)
    if options.has_min_p:
        weights[weights < options.min_p * weights.max(axis=1, keepdims=True)] = 0
    return weights, ids


def probabilities(
    logits: Floats, options: Options, choosers: Sequence[Chooser], masks: Sequence[Bits | None]
) -> Floats:
    """Of each token for each sequence to come next, in the shape of the logits; no numbers where `choose` has NOTHING.
    For sequences that draw."""
    with np.errstate(invalid="ignore"):
        adjusted, allowed = _adjusted(logits, choosers), _allowed(masks, logits.shape[1])
        weights, ids = candidates(adjusted if allowed is None else np.where(allowed, adjusted, _REFUSED), options)
        whole = np.zeros(logits.shape)
        np.put_along_axis(whole, ids, weights / weights.sum(axis=1, keepdims=True), axis=1)
    return whole


def _draw(logits: Floats, options: Options, draws: Floats) -> Ints:
    weights, ids = candidates(logits, options)
    reached = weights.cumsum(axis=1)
    places = np.argmax(reached > draws * reached[:, -1:], axis=1)
    return ids[np.arange(len(ids)), places]


def _typical(kept: Floats, mass: Floats) -> None:
    """Keep the tokens whose surprise is nearest to the expected one, up to a mass (Meister et al. 2022)."""
    logprobs = kept - kept.max(axis=1, keepdims=True)
    logprobs -= np.log(np.exp(logprobs).sum(axis=1, keepdims=True))
    probabilities = np.exp(logprobs)
    surprise = np.where(probabilities > 0, -logprobs, 0)
    entropy = (probabilities * surprise).sum(axis=1, keepdims=True)
    order = np.argsort(np.abs(np.where(probabilities > 0, surprise, np.inf) - entropy), axis=1, kind="stable")
    ordered = _taken(probabilities, order)
    is_kept = np.empty(kept.shape, dtype=np.bool_)
    np.put_along_axis(is_kept, order, (ordered.cumsum(axis=1) - ordered < mass) | (mass >= 1), axis=1)
    kept[~is_kept] = -np.inf


def _top_p(weights: Floats, mass: Floats) -> None:
    """Keep the fewest of the likeliest tokens that reach the mass, at least one. Rows are sorted, likeliest first."""
    before = weights.cumsum(axis=1) - weights
    is_kept = before < mass * weights.sum(axis=1, keepdims=True)
    is_kept |= (mass >= 1) | (np.arange(weights.shape[1]) == np.argmax(weights, axis=1)[:, None])
    weights[~is_kept] = 0


def likelihoods(logits: Floats, tokens: Sequence[int], row: int, count: int) -> Likelihoods:
    """Of the token of one row and of the `count` likeliest, for raw logits (sequences, vocabulary)."""
    wide = logits[row].astype(np.float64)
    best = wide.max()
    whole = best + np.log(np.exp(wide - best).sum())
    top = likeliest(logits[row : row + 1], count)[0] if count else ()
    return Likelihoods(float(wide[tokens[row]] - whole), tuple((int(each), float(wide[each] - whole)) for each in top))
