"""What was measured of a model corrects what is foreseen for it. Pure.

The rule: what was measured replaces the term that it measures (weights, the runner's own process, the peak of loading),
at once and for all options. The context's term is never measured away: it is exact arithmetic, and what short prompts
filled says nothing of full ones. The workspace is what a peak has beyond these; a peak seen with the whole context
filled by as many sequences gives it but for what varies, any other peak can only raise it, in proportion to what would
have been foreseen for the tokens that it had.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from paddock.memory.estimate import MIB, Need, Settings, estimate
from paddock.memory.shape import ModelShape

FILLED = 0.9
"""Share of the context of all sequences from which on it counts as full."""
VARIATION = 0.02
"""Of a peak: the same work comes to a little more another time, as its sequences take turns in another order."""
_STEP_TOKENS = 256


@dataclass(frozen=True)
class Point:
    """A peak, and what the runner had done by then."""

    longest_tokens: int
    """Of one sequence; of an image model pixels of one picture, with those that were looked at while it was made."""
    sequences: int
    """At work at once."""
    tokens: int
    """Of all of these together."""
    num_batch: int
    kv_bits: int
    peak_bytes: int
    """Of everything, the runner's own process too."""
    prefix_bytes: int = 0
    """Most that was kept of earlier prompts by then."""

    def settings(self, like: Settings) -> Settings:
        """The options that would have been just enough for it, in what it says nothing of like others."""
        reached = replace(
            like,
            parallel=self.sequences,
            num_batch=self.num_batch,
            kv_bits=self.kv_bits,
            prefix_cache_bytes=self.prefix_bytes,
        )
        if like.picture_pixels:
            return replace(reached, picture_pixels=self.longest_tokens, references=0)
        return replace(reached, num_ctx=self.longest_tokens)

    def fills(self, settings: Settings) -> bool:
        """Whether it had all that a runner of these settings can come to have, and no more."""
        return (
            self.num_batch == settings.num_batch
            and self.kv_bits == settings.kv_bits
            and self.sequences == settings.parallel
            and -(-self.longest_tokens // _STEP_TOKENS) == -(-settings.longest // _STEP_TOKENS)
            and self.tokens >= FILLED * settings.longest * settings.parallel
        )


@dataclass(frozen=True)
class Seen:
    """What was measured of one model with its weights in one form on one device, in bytes."""

    weights_bytes: int
    runtime_bytes: int
    """0 where it could not be told."""
    load_bytes: int
    """Beyond these two, while it was loaded."""
    points: tuple[Point, ...] = ()


def foresee(shape: ModelShape, settings: Settings, *, on_accelerator: bool, seen: Seen | None = None) -> Need:
    """The memory that a runner may come to hold, corrected by what was seen of it."""
    need = estimate(shape, settings, on_accelerator=on_accelerator)
    if seen is None:
        return need
    need = _with_measured_terms(need, seen)
    filled = [point for point in seen.points if point.fills(settings)]
    # A full context says nothing of the draft's, which is read only where foreseeing pays.
    if filled and not need.draft_bytes:
        return replace(need, workspace_bytes=max(0, max(_beyond(shape, point, need) for point in filled)))
    factor = max((_factor(shape, point, seen, on_accelerator, settings) for point in seen.points), default=1.0)
    return replace(need, workspace_bytes=round(need.workspace_bytes * factor))


def _with_measured_terms(need: Need, seen: Seen) -> Need:
    return replace(
        need,
        weights_bytes=seen.weights_bytes or need.weights_bytes,
        runtime_bytes=seen.runtime_bytes or need.runtime_bytes,
        load_bytes=seen.load_bytes,
    )


def _beyond(shape: ModelShape, point: Point, need: Need) -> int:
    """The workspace in a peak. What other requests for pictures keep may not have been there."""
    kept_bytes = 0 if shape.image else need.kv_bytes
    known = need.weights_bytes + need.draft_bytes + need.runtime_bytes + kept_bytes + point.prefix_bytes
    return round(point.peak_bytes * (1 + VARIATION)) - known


def _factor(shape: ModelShape, point: Point, seen: Seen, on_accelerator: bool, wanted: Settings) -> float:
    """How much more workspace there was than foreseen; 1 where there was less."""
    foreseen = _with_measured_terms(foresee(shape, point.settings(wanted), on_accelerator=on_accelerator), seen)
    beyond = _beyond(shape, point, foreseen) - VARIATION * point.peak_bytes
    return max(1.0, beyond / max(MIB, foreseen.workspace_bytes))


def error_of(point: Point, foreseen: Need) -> float:
    """By how much of itself a peak was missed: negative where less was foreseen than came."""
    return (foreseen.total_bytes - point.peak_bytes) / max(1, point.peak_bytes)
