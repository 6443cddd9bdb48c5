"""How what was measured corrects what is foreseen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.memory.correction import VARIATION, Point, Seen, error_of, foresee
from paddock.memory.estimate import MIB, Need, Settings
from paddock.store.images import ImageFacts
from paddock.store.layers import CacheLayers, Layers

LAYERS = Layers((CacheLayers(4, 4, 64, 64),), 0, 0, 0, 0, 512, 8, 512, 1536, 32_000)


@dataclass(frozen=True)
class Shape:
    engine: str = "text"
    weights_bytes: int = 100 * MIB
    quantization_level: str = "F32"
    embedding_length: int = 512
    block_count: int = 4
    head_count_kv: int = 4
    head_dim: int = 64
    layers: Layers | None = LAYERS
    float32_bytes: int = 100 * MIB
    dense_bytes: int = 100 * MIB
    largest_tensor_bytes: int = 10 * MIB
    draft: Shape | None = None
    image: ImageFacts | None = None


SHAPE = Shape()
FULL = Settings(4096, 4)
TERMS = Seen(weights_bytes=101 * MIB, runtime_bytes=50 * MIB, load_bytes=7 * MIB)


def after(settings: Settings, *points: Point) -> Need:
    return foresee(SHAPE, settings, on_accelerator=False, seen=replace(TERMS, points=points))


def peak(settings: Settings, peak_bytes: int, tokens: int | None = None) -> Point:
    reached = settings.num_ctx * settings.parallel if tokens is None else tokens
    return Point(settings.num_ctx, settings.parallel, reached, settings.num_batch, settings.kv_bits, peak_bytes)


def test_measured_terms_replace_foreseen_ones() -> None:
    before, now = foresee(SHAPE, FULL, on_accelerator=False), after(FULL)

    assert (now.weights_bytes, now.runtime_bytes, now.load_bytes) == (101 * MIB, 50 * MIB, 7 * MIB)
    assert (now.kv_bytes, now.workspace_bytes) == (before.kv_bytes, before.workspace_bytes)


def test_a_runtime_that_was_not_measured_stays_as_foreseen() -> None:
    before = foresee(SHAPE, FULL, on_accelerator=True)
    now = foresee(SHAPE, FULL, on_accelerator=True, seen=replace(TERMS, runtime_bytes=0))

    assert now.runtime_bytes == before.runtime_bytes


@pytest.mark.parametrize("change", [-30 * MIB, 0, 200 * MIB])
def test_a_full_context_is_foreseen_as_it_was_seen(change: int) -> None:
    measured = after(FULL).total_bytes + change

    assert after(FULL, peak(FULL, measured)).total_bytes == pytest.approx(measured * (1 + VARIATION))


def test_a_peak_at_a_short_prompt_shrinks_nothing() -> None:
    short = Settings(100)
    low = peak(short, after(short).total_bytes - 20 * MIB)

    assert after(FULL, low) == after(FULL)


def test_a_context_of_one_sequence_is_not_that_of_four() -> None:
    alone = peak(replace(FULL, parallel=1), after(replace(FULL, parallel=1)).total_bytes - 20 * MIB)

    assert after(FULL, alone) == after(FULL)


def test_a_context_that_was_only_touched_counts_as_not_filled() -> None:
    touched = peak(FULL, 160 * MIB, tokens=4096 + 3 * 10)

    assert after(FULL, touched) == after(FULL)


def test_more_than_foreseen_at_a_short_prompt_raises_a_long_one() -> None:
    short = Settings(1024)
    high = peak(short, after(short).total_bytes + after(short).workspace_bytes)

    assert after(FULL, high).workspace_bytes == pytest.approx(2 * after(FULL).workspace_bytes, rel=0.01)
    assert after(FULL, high).kv_bytes == after(FULL).kv_bytes


def test_what_was_kept_of_prompts_is_no_workspace() -> None:
    keeping = replace(FULL, prefix_cache_bytes=50 * MIB)
    measured = after(FULL).total_bytes + 30 * MIB
    now = after(keeping, replace(peak(keeping, measured), prefix_bytes=30 * MIB))

    assert now.total_bytes == pytest.approx(measured * (1 + VARIATION) + 20 * MIB)


def test_the_error_is_told_as_a_share_of_the_peak() -> None:
    assert error_of(peak(FULL, 200), Need(150, 0, 0, 0)) == pytest.approx(-0.25)


sizes = st.integers(1, 4096)


@given(st.lists(st.tuples(sizes, st.integers(1, 4), st.integers(0, 1000)), max_size=5), sizes, st.integers(1, 4))
def test_nothing_is_foreseen_below_what_has_come_for_less(
    peaks: list[tuple[int, int, int]], num_ctx: int, parallel: int
) -> None:
    settings = Settings(num_ctx, parallel)
    points = [peak(Settings(tokens, sequences), extra * MIB) for tokens, sequences, extra in peaks]
    not_more = [
        point
        for point in points
        if point.longest_tokens <= num_ctx and point.sequences <= parallel and not point.fills(settings)
    ]
    if any(point.fills(settings) for point in points):
        return

    need = after(settings, *points)

    assert need.kv_bytes == foresee(SHAPE, settings, on_accelerator=False).kv_bytes
    # Whatever the peaks, a term is never foreseen smaller than without them.
    assert need.workspace_bytes >= after(settings).workspace_bytes
    assert all(need.total_bytes >= after(point.settings(FULL)).total_bytes for point in not_more)


def test_what_was_measured_with_a_draft_never_measures_it_away() -> None:
    draft = replace(SHAPE, weights_bytes=100 * MIB)
    shape = replace(SHAPE, draft=draft)
    settings = Settings(num_ctx=4096, speculates=True)
    foreseen = foresee(shape, settings, on_accelerator=False)
    full = Point(4096, 1, 4096, 512, 0, foreseen.total_bytes - foreseen.draft_bytes // 2)
    seen = Seen(foreseen.weights_bytes, foreseen.runtime_bytes, 0, (full,))

    corrected = foresee(shape, settings, on_accelerator=False, seen=seen)

    assert corrected.draft_bytes == foreseen.draft_bytes
    assert corrected.workspace_bytes == foreseen.workspace_bytes
