from __future__ import annotations

import functools
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache

from paddock.runner.engines.text.prefix.cache import PrefixCache
from tests.runner.engines.text.cached_models import (
    CUTTABLE,
    KINDS,
    VOCABULARY,
    WINDOW,
    CachedModel,
    cached_model,
    shared_length,
)

PLENTY_BYTES = 1 << 30
CHUNK = 32
LOGIT_TOLERANCE = 1e-4
"""Other borders between chunks add up the same numbers in another order. Seen: 4e-6, of logits up to 7."""

WINDOWED = ("gemma3_text", "llama4")
model_of = functools.cache(cached_model)


@dataclass
class Reader:
    """What the engine does with a prompt: take, read with pauses, go on greedily, keep."""

    model: CachedModel
    cache: PrefixCache
    lengths: list[int] = field(default_factory=list)
    """Of the prefixes that were found."""

    def answer(self, prompt: list[int], count: int = 6, tenant: str = "") -> tuple[list[int], mx.array]:
        prefix = self.cache.take(tenant, prompt)
        start, caches = (prefix.length, prefix.caches) if prefix else (0, self.model.make_caches())
        self.lengths.append(start)
        stops = self.cache.stops(prompt, start, caches)
        logits = mx.array([])
        for begin, end in itertools.pairwise(sorted({start, *stops, *range(start, len(prompt), CHUNK), len(prompt)})):
            logits = self.model.read(prompt, caches, [begin, end])
            if end in stops:
                self.cache.keep(tenant, prompt[:end], caches)
        answer = self.model.greedy(logits, caches, count)
        self.cache.keep(tenant, prompt + answer[:-1], caches)
        return answer, logits

    def answer_from_scratch(self, prompt: list[int], count: int = 6) -> tuple[list[int], mx.array]:
        caches = self.model.make_caches()
        logits = self.model.read(prompt, caches, [*range(0, len(prompt), CHUNK), len(prompt)])
        return self.model.greedy(logits, caches, count), logits


def some_tokens(chance: random.Random, count: int) -> list[int]:
    return [chance.randrange(VOCABULARY) for _ in range(count)]


def a_prompt(chance: random.Random, known: list[list[int]]) -> list[int]:
    """One that begins like a known one, for any number of tokens, or like none."""
    begun = chance.choice(known)[: chance.randint(0, 150)] if known and chance.random() < 0.85 else []
    return begun + some_tokens(chance, chance.randint(1, 90))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_answered_the_same_whether_or_not_its_beginning_was_kept(kind: str) -> None:
    chance = random.Random(kind)
    reader = Reader(model_of(kind), PrefixCache(PLENTY_BYTES))
    known: list[list[int]] = []
    for _ in range(10):
        prompt = a_prompt(chance, known)

        answer, logits = reader.answer(prompt)
        expected, expected_logits = reader.answer_from_scratch(prompt)

        assert answer == expected
        assert float(mx.abs(logits - expected_logits).max()) <= LOGIT_TOLERANCE
        shared = max((shared_length(prompt[:-1], other) for other in known), default=0)
        assert reader.lengths[-1] == shared if kind in CUTTABLE else reader.lengths[-1] <= shared
        known.append(prompt + answer[:-1])
    assert sum(length > 0 for length in reader.lengths) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_same_chunks_kept_and_fresh_logits_are_the_same_bits(kind: str) -> None:
    model, cache = model_of(kind), PrefixCache(PLENTY_BYTES)
    prompt = some_tokens(random.Random(5), 100)
    caches = model.make_caches()
    for begin, end in [(0, 37), (37, 70)]:
        model.read(prompt, caches, [begin, end])
        cache.keep("", prompt[:end], caches)
    fresh = model.read(prompt, caches, [70, 100])

    prefix = cache.take("", prompt)

    assert prefix is not None
    assert prefix.length == 70
    assert model.read(prompt, prefix.caches, [70, 100]).tolist() == fresh.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_beginning_is_read_once_or_twice_and_then_taken(kind: str) -> None:
    """Where caches cannot be cut, the second prompt shows where prompts part, and leaves a checkpoint there."""
    chance = random.Random(8)
    reader = Reader(model_of(kind), PrefixCache(PLENTY_BYTES))
    system = some_tokens(chance, 120)

    for first in range(3):
        reader.answer([*system, first, *some_tokens(chance, 60)])

    assert reader.lengths[-1] == len(system)
    assert reader.lengths[1] == (len(system) if kind in CUTTABLE else 0 if kind not in WINDOWED else WINDOW - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_turn_of_a_conversation_goes_on_where_the_last_one_ended(kind: str) -> None:
    chance = random.Random(9)
    reader = Reader(model_of(kind), PrefixCache(PLENTY_BYTES))
    prompt = some_tokens(chance, 80)
    for _ in range(3):
        answer, _ = reader.answer(prompt)
        kept = len(prompt) + len(answer) - 1
        prompt = prompt + answer + some_tokens(chance, 30)
        reader.answer(list(prompt), count=1)

        assert reader.lengths[-1] == kept


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_prompt_again_leaves_only_its_tail_to_read(kind: str) -> None:
    reader = Reader(model_of(kind), PrefixCache(PLENTY_BYTES))
    prompt = some_tokens(random.Random(10), 90)

    answers = [reader.answer(list(prompt))[0] for _ in range(2)]

    assert answers[0] == answers[1]
    assert reader.lengths[1] == (len(prompt) - 1 if kind in CUTTABLE else len(prompt) - 8)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_kept_for_one_tenant_is_handed_to_another(kind: str) -> None:
    chance = random.Random(11)
    reader = Reader(model_of(kind), PrefixCache(PLENTY_BYTES))
    kept: dict[str, list[list[int]]] = {"ann": [], "bob": [], "": []}
    everything: list[list[int]] = []
    for _ in range(8):
        tenant = chance.choice(sorted(kept))
        prompt = a_prompt(chance, everything)

        reader.answer(prompt, count=2, tenant=tenant)

        own = max((shared_length(prompt, other) for other in kept[tenant]), default=0)
        assert reader.lengths[-1] <= own
        kept[tenant].append(prompt)
        everything.append(prompt)
    assert reader.cache.take("eve", everything[0]) is None


BATCHED = tuple(kind for kind in KINDS if kind not in ("llama in 8 bits", "llama4"))
"""mlx-lm can merge their caches."""


@pytest.mark.parametrize("kind", BATCHED)
@pytest.mark.parametrize("lengths", [(20, 36), (130, 60)])
def test_what_a_batch_has_read_can_be_kept(kind: str, lengths: tuple[int, int]) -> None:
    """Of a batch, mlx-lm gives caches of one sequence back; here they follow five steps together."""
    chance = random.Random(14)
    model, cache = model_of(kind), PrefixCache(PLENTY_BYTES)
    texts = [some_tokens(chance, length + 5) for length in lengths]
    alone = [model.make_caches() for _ in texts]
    for text, caches, length in zip(texts, alone, lengths, strict=True):
        model.read(text, caches, [0, length])
    batch = [type(layers[0]).merge(list(layers)) for layers in zip(*alone, strict=True)]
    for step in range(5):
        mx.eval(
            model.model(mx.array([[text[length + step]] for text, length in zip(texts, lengths, strict=True)]), batch)
        )

    for place, text in enumerate(texts):
        cache.keep("", text, [layer.extract(place) for layer in batch])
        for asked in (text[: len(text) - 10], text):
            prompt = asked + some_tokens(chance, 9)
            prefix = cache.take("", prompt)
            if prefix is None:
                assert asked is not text
                continue
            logits = model.read(prompt, prefix.caches, [prefix.length, len(prompt)])
            expected = model.read(prompt, model.make_caches(), [0, len(prompt)])

            assert prefix.length == len(asked)
            assert float(mx.abs(logits - expected).max()) <= LOGIT_TOLERANCE


def plain(count: int, seed: int = 0, heads: int = 1) -> list[Any]:
    """Caches of two layers that hold `count` tokens; a token takes 2 layers x 2 arrays x 8 numbers x 4 bytes."""
    caches = [KVCache(), KVCache()]
    for layer, cache in enumerate(caches):
        values = mx.random.normal((1, heads, count, 8), key=mx.random.key(seed + layer))
        cache.update_and_fetch(values, values)
    return caches


TOKEN_BYTES = 128


def test_a_growing_conversation_is_stored_once() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    tokens = list(range(1000))

    for length in range(100, 1001, 100):
        cache.keep("", tokens[:length], plain(length))

    assert cache.size_bytes == 1000 * TOKEN_BYTES


def test_conversations_store_what_they_share_once() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    shared = list(range(500))

    for conversation in range(10):
        cache.keep("", shared + [1000 + conversation] * 20, plain(520))

    assert cache.size_bytes == (500 + 10 * 20) * TOKEN_BYTES


def test_bytes_counted_are_bytes_held() -> None:
    spare_before = mx.set_cache_limit(0)
    try:
        before_bytes = mx.get_active_memory()
        cache = PrefixCache(PLENTY_BYTES)
        shared = list(range(3000))
        for conversation in range(4):
            cache.keep("", shared + [5000 + conversation] * 2000, plain(5000))

        held_bytes = mx.get_active_memory() - before_bytes
        counted_bytes = cache.size_bytes
        cache.clear()
        left_bytes = mx.get_active_memory() - before_bytes
    finally:
        mx.set_cache_limit(spare_before)

    assert counted_bytes == (3000 + 4 * 2000) * TOKEN_BYTES
    assert counted_bytes <= held_bytes <= 1.05 * counted_bytes
    assert left_bytes == 0


def test_a_window_that_can_still_be_cut_stands_for_its_own_beginnings() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    tokens = list(range(60))
    for length in (20, 40, 60):
        caches = [RotatingKVCache(max_size=64)]
        rows = mx.ones((1, 1, length, 8))
        caches[0].update_and_fetch(rows, rows)
        cache.keep("", tokens[:length], caches)

    prefix = cache.take("", [*tokens[:30], 99, 98])

    assert cache.size_bytes == 60 * 2 * 8 * 4
    assert prefix is not None
    assert (prefix.length, prefix.caches[0].offset) == (30, 30)


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = PrefixCache(3 * 100 * TOKEN_BYTES)
    prompts = [[name] * 100 for name in range(4)]
    for prompt in prompts[:3]:
        cache.keep("", prompt, plain(100))
    assert cache.take("", prompts[0]) is not None

    cache.keep("", prompts[3], plain(100))

    assert [cache.take("", prompt) is not None for prompt in prompts] == [True, False, True, True]


def test_one_tenant_makes_room_for_another() -> None:
    cache = PrefixCache(100 * TOKEN_BYTES)
    cache.keep("ann", [1] * 80, plain(80))

    cache.keep("bob", [1] * 80, plain(80))

    assert cache.take("ann", [1] * 80) is None
    assert cache.take("bob", [1] * 80) is not None


def test_the_beginning_of_a_conversation_outlives_its_branches() -> None:
    cache = PrefixCache(250 * TOKEN_BYTES)
    shared = [1] * 100
    for branch in range(2, 8):
        cache.keep("", shared + [branch] * 50, plain(150))

    prefix = cache.take("", [*shared, 99, 99])

    assert cache.size_bytes <= 250 * TOKEN_BYTES
    assert prefix is not None
    assert prefix.length == 100


def test_rows_after_the_last_checkpoint_go_with_it() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    state = ArraysCache(1)
    state[0] = mx.ones((1, 10))
    cache.keep("", [1] * 50, [state, *plain(50)])
    cache.keep("", [1] * 40 + [2] * 10, [state, *plain(50)])
    both_bytes = cache.size_bytes

    freed_bytes = cache.shrink(both_bytes - 1)

    assert both_bytes == 2 * 40 + 60 * TOKEN_BYTES
    assert freed_bytes == 40 + 10 * TOKEN_BYTES
    assert cache.shrink(1) == both_bytes - freed_bytes
    assert cache.size_bytes == 0


def test_an_old_checkpoint_goes_before_the_conversation_that_grew_from_it() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    for length in (50, 100, 150):
        state = ArraysCache(1)
        state[0] = mx.ones((1, 10)) * length
        cache.keep("", [1] * length, [state])

    cache.shrink(80)

    assert cache.size_bytes == 80
    assert [prefix.length if prefix else 0 for prefix in (cache.take("", [1] * n) for n in (60, 120, 170))] == [
        0,
        100,
        150,
    ]


def test_it_shrinks_on_demand_and_says_by_how_much() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    for name in range(10):
        cache.keep(str(name % 3), [name] * 100, plain(100))

    assert cache.shrink(2 * PLENTY_BYTES) == 0
    assert cache.shrink(450 * TOKEN_BYTES) == 600 * TOKEN_BYTES
    assert cache.size_bytes == 400 * TOKEN_BYTES
    assert cache.shrink(0) == 400 * TOKEN_BYTES
    assert cache.size_bytes == 0
    assert cache.take("0", [9] * 100) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_holds_whatever_is_kept(kind: str) -> None:
    chance = random.Random(12)
    limit_bytes = 150_000
    reader = Reader(model_of(kind), PrefixCache(limit_bytes))
    known: list[list[int]] = []
    for _ in range(10):
        prompt = a_prompt(chance, known)
        reader.answer(prompt, count=2, tenant=chance.choice("ab"))
        known.append(prompt)

        held_bytes = sum(shelf.size_bytes for shelf in reader.cache._shelves.values())
        counted = (node.held.size_bytes for shelf in reader.cache._shelves.values() for node in shelf._tree.nodes())
        assert held_bytes == sum(counted) <= limit_bytes


def test_a_limit_of_nothing_keeps_nothing_and_plans_nothing() -> None:
    cache = PrefixCache(0)

    cache.keep("", [1] * 100, plain(100))

    assert cache.stops(list(range(500)), 0, [ArraysCache(2)]) == ()
    assert cache.take("", [1] * 100) is None
    assert cache.size_bytes == 0


def test_what_is_larger_than_the_limit_is_not_kept_and_drives_nothing_out() -> None:
    cache = PrefixCache(100 * TOKEN_BYTES)
    cache.keep("", [1] * 90, plain(90))

    cache.keep("", [2] * 101, plain(101))

    assert cache.size_bytes == 90 * TOKEN_BYTES
    assert cache.take("", [2] * 101) is None


def test_one_token_is_always_left_to_read() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    cache.keep("", [1, 2, 3], plain(3))

    lengths = {count: cache.take("", [1, 2, 3, 4][:count]) for count in range(5)}

    assert {count: prefix.length for count, prefix in lengths.items() if prefix} == {2: 1, 3: 2, 4: 3}


def test_tokens_may_carry_the_digest_of_an_image() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    cache.keep("", [1, ("image", "cat"), 2], plain(3))

    cat, dog = (cache.take("", [1, ("image", name), 2, 3]) for name in ("cat", "dog"))

    assert cat is not None
    assert dog is not None
    assert (cat.length, dog.length) == (3, 1)


def test_caches_that_hold_another_number_of_tokens_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    cache = PrefixCache(PLENTY_BYTES)

    cache.keep("", [1] * 50, plain(51))

    assert cache.take("", [1] * 60) is None
    assert "not kept" in caplog.text


def test_caches_of_another_layout_take_the_place_of_those_kept() -> None:
    cache = PrefixCache(PLENTY_BYTES)
    cache.keep("", [1] * 50, plain(50))

    cache.keep("", [1] * 20, plain(20)[:1])

    prefix = cache.take("", [1] * 60)
    assert prefix is not None
    assert (prefix.length, len(prefix.caches)) == (20, 1)
    assert cache.size_bytes == 20 * TOKEN_BYTES // 2


def test_a_copy_that_fails_leaves_nothing_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*arrays: Any) -> None:
        raise RuntimeError("[metal::malloc] Attempting to allocate too much")

    cache = PrefixCache(PLENTY_BYTES)
    cache.keep("", [1] * 50, plain(50))
    monkeypatch.setattr(mx, "eval", out_of_memory)

    with pytest.raises(RuntimeError):
        cache.keep("", [1] * 60, plain(60))

    assert cache.size_bytes == 0
    assert cache.take("", [1] * 60) is None


def test_looking_up_a_long_prompt_among_many_takes_no_time_to_speak_of() -> None:
    """Measured: 0.9 ms. The bound leaves room for a busy machine."""
    chance = random.Random(13)
    cache = PrefixCache(PLENTY_BYTES)
    base = [chance.randrange(100_000) for _ in range(32_000)]
    for entry in range(50):
        tokens = base[: chance.randrange(1000, 32_000)] + [200_000 + entry] * 10
        cache.keep("", tokens, plain(len(tokens)))
    asked = [*base, 1]
    times = []
    for _ in range(5):
        started = time.perf_counter()
        prefix = cache.take("", asked)
        times.append(time.perf_counter() - started)
        assert prefix is not None

    assert min(times) < 0.02
