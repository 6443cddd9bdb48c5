"""What mlx-lm's caches allow, and what they only seem to allow, checked on the library itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
)

from paddock.runner.engines.text.model.kv_caches import leaves
from paddock.runner.engines.text.prefix import copies as cache_copies

HEADS, WIDTH = 2, 64


def rows(count: int, seed: int = 1) -> mx.array:
    return mx.random.normal((1, HEADS, count, WIDTH), key=mx.random.key(seed))


def write(cache: Any, count: int, seed: int = 1) -> Any:
    mx.eval(cache.update_and_fetch(rows(count, seed), rows(count, seed + 100)))
    return cache


def numbers(cache: Any) -> list[Any]:
    keys, values = cache.keys_and_values()
    arrays = [*keys, *values] if isinstance(keys, (tuple, list)) else [keys, values]
    return [array.tolist() for array in arrays]


def joined(cache: Any, borders: list[int], length: int, capacity: int = 0) -> Any:
    form = cache_copies.layout_of([cache], cache.offset).forms[0]
    assert form is not None
    segments = [cache_copies.cut(cache, start, end) for start, end in pairwise(borders)]
    return cache_copies.join(form, segments, length, capacity)


@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache, ConcatenateKVCache])
@pytest.mark.parametrize("capacity", [0, 512])
def test_a_sequence_put_together_of_its_parts_is_the_same_and_goes_on_the_same(make: Any, capacity: int) -> None:
    whole = write(make(), 300)

    again = joined(whole, [0, 1, 120, 300], 300, capacity)

    assert numbers(again) == numbers(whole)
    assert numbers(write(write(again, 5, 2), 1, 3)) == numbers(write(write(whole, 5, 2), 1, 3))


@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache, ConcatenateKVCache])
def test_a_sequence_may_end_inside_a_part(make: Any) -> None:
    whole, shorter = write(make(), 300), make()
    mx.eval(shorter.update_and_fetch(rows(300)[..., :170, :], rows(300, 101)[..., :170, :]))

    again = joined(whole, [0, 120, 300], 170)

    assert again.offset == 170
    assert numbers(write(again, 5, 2)) == numbers(write(shorter, 5, 2))


@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache, ConcatenateKVCache])
def test_writing_to_a_cache_changes_nothing_that_was_cut_from_it_or_handed_out(make: Any) -> None:
    live = write(make(), 100)
    form = cache_copies.layout_of([live], 100).forms[0]
    assert form is not None
    segment = cache_copies.cut(live, 0, 100)
    before = [array.tolist() for array in segment]

    first = cache_copies.join(form, [segment], 100, 0)
    second = cache_copies.join(form, [segment], 100, 256)
    for cache in (live, first, second):
        cache.trim(50)
        write(cache, 20, 9)

    assert [array.tolist() for array in segment] == before


def test_the_same_array_in_two_caches_would_be_written_by_both() -> None:
    """Why copies need handles of their own: MLX's assignment to a slice changes the Python object."""
    array = mx.zeros((4,))
    alias, handle = array, mx.contiguous(array)

    array[:2] = mx.ones((2,))

    assert alias.tolist() == [1, 1, 0, 0]
    assert handle.tolist() == [0, 0, 0, 0]


def test_what_is_kept_of_a_large_buffer_does_not_keep_the_buffer() -> None:
    """With one head, a stretch of rows is contiguous, and a copy might be taken for needless."""
    spare_before = mx.set_cache_limit(0)
    try:
        before_bytes = mx.get_active_memory()
        cache = KVCache()
        large = mx.zeros((1, 1, 40_000, WIDTH))
        mx.eval(cache.update_and_fetch(large, large))
        del large
        segment = cache_copies.cut(cache, 10_000, 10_100)
        mx.eval(segment)
        del cache

        kept_bytes = mx.get_active_memory() - before_bytes
    finally:
        mx.set_cache_limit(spare_before)

    assert sum(array.nbytes for array in segment) == 2 * 100 * WIDTH * 4
    assert kept_bytes < 100_000


def test_a_state_that_is_a_slice_does_not_keep_what_it_was_taken_from() -> None:
    spare_before = mx.set_cache_limit(0)
    try:
        before_bytes = mx.get_active_memory()
        cache = ArraysCache(2)
        cache[0] = mx.zeros((1, 40_000, WIDTH))[:, -3:, :]
        mx.eval(cache[0])
        state = cache_copies.snapshot(cache)
        mx.eval(cache_copies.arrays_of(state))
        del cache

        kept_bytes = mx.get_active_memory() - before_bytes
    finally:
        mx.set_cache_limit(spare_before)

    assert [array.shape for array in cache_copies.arrays_of(state)] == [(1, 3, WIDTH)]
    assert kept_bytes < 100_000


@pytest.mark.parametrize("keep", [0, 4])
@pytest.mark.parametrize("chunks", [[10], [16], [40], [40, 1, 1], [9, 30, 1], [40, *[1] * 20]])
@pytest.mark.parametrize("following", [1, 7])
def test_a_sliding_window_goes_on_from_a_snapshot_as_it_does_itself(
    keep: int, chunks: list[int], following: int
) -> None:
    live = RotatingKVCache(max_size=16, keep=keep)
    for seed, count in enumerate(chunks):
        write(live, count, seed)

    state = cache_copies.snapshot(live)
    again = cache_copies.revive(state)
    expected = live.update_and_fetch(rows(following, 50), rows(following, 51))
    got = again.update_and_fetch(rows(following, 50), rows(following, 51))

    assert [array.tolist() for array in got] == [array.tolist() for array in expected]
    assert (again.offset, again.make_mask(1)) == (live.offset, live.make_mask(1))
    assert state.keys.shape[2] == min(16, live.offset - following)


def test_a_snapshot_of_a_window_holds_no_more_than_the_window() -> None:
    live = write(RotatingKVCache(max_size=16), 500)

    assert live.keys.shape[2] == 500
    assert cache_copies.snapshot(live).keys.shape[2] == 16


@pytest.mark.parametrize("make", [lambda: RotatingKVCache(max_size=64), lambda: ChunkedKVCache(64)])
def test_a_window_that_is_not_full_can_be_cut(make: Any) -> None:
    live, shorter = write(make(), 40), make()
    mx.eval(shorter.update_and_fetch(rows(40)[..., :25, :], rows(40, 101)[..., :25, :]))
    state = cache_copies.snapshot(live)
    assert cache_copies.can_be_cut(state)

    again = cache_copies.revive(state, 25)

    for count in (1, 3):
        assert numbers(write(again, count, 7)) == numbers(write(shorter, count, 7))
    assert numbers(cache_copies.revive(state)) == numbers(live)


def test_a_window_that_has_dropped_tokens_cannot_be_cut_though_a_chunked_one_says_so() -> None:
    rotating = write(RotatingKVCache(max_size=16), 20)
    chunked = write(ChunkedKVCache(16), 20)
    chunked.maybe_trim_front()

    assert chunked.is_trimmable()
    assert not any(map(cache_copies.can_be_cut, (rotating, chunked, ArraysCache(2))))


@pytest.mark.parametrize(
    ("cache", "horizon"),
    [
        (KVCache(), float("inf")),
        (QuantizedKVCache(), float("inf")),
        (RotatingKVCache(max_size=16), 16),
        (ChunkedKVCache(24), 24),
        (ArraysCache(2), 0),
        (CacheList(ArraysCache(2), KVCache()), 0),
        (CacheList(KVCache(), KVCache()), float("inf")),
    ],
)
def test_the_kind_of_a_cache_says_how_far_it_can_be_cut(cache: Any, horizon: float) -> None:
    assert cache_copies.cut_horizon([KVCache(), cache]) == horizon


def test_lists_of_caches_are_unfolded_and_folded_again() -> None:
    caches = [CacheList(ArraysCache(2), write(KVCache(), 9)), write(KVCache(), 9), KVCache()]
    layout = cache_copies.layout_of(caches, 9)

    again = cache_copies.assemble(layout, leaves(caches))

    assert layout.has_states
    assert [form and form.is_written for form in layout.forms] == [None, True, True, False]
    assert again[0].caches == caches[0].caches
    assert again[1:] == caches[1:]


def test_a_cache_of_an_unknown_class_is_kept_as_a_state() -> None:
    class Derived(KVCache):
        def __init__(self) -> None:
            super().__init__()
            self.seen = [mx.zeros((3,)), "a note"]

    live = write(Derived(), 9)
    assert cache_copies.layout_of([live], 9).forms == (None,)

    state = cache_copies.snapshot(live)
    expected = numbers(live)
    write(live, 3, 5)
    live.seen[0][:1] = mx.ones((1,))

    assert numbers(cache_copies.revive(state)) == expected
    assert state.seen[0].tolist() == [0, 0, 0]
    assert state.seen[1] == "a note"
