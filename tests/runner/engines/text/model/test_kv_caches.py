"""Keys and values in fewer bits: where they can be, and that the model still says the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm import utils
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, QuantizedKVCache, RotatingKVCache

from paddock import demo
from paddock.runner.engines.text.model.kv_caches import (
    CacheMaker,
    group_size,
    grow_as_usual,
    grow_at_once,
    make_caches,
)

PROMPT = "Once upon a time there was a small fox who lived near the river."
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 64,
    "rms_norm_eps": 1e-5,
}


def model_of(config: dict[str, Any]) -> Any:
    model_class, arguments = utils._get_classes(config)
    mx.random.seed(0)
    return model_class(arguments.from_dict(config))


@pytest.fixture(scope="module")
def the_demo() -> Any:
    model, tokenizer = utils.load(str(demo.model_folder()))
    model.set_dtype(mx.float32)
    return SimpleNamespace(model=model, prompt=tokenizer.encode(PROMPT))


def logits_of(model: Any, tokens: list[int], kv_bits: int) -> mx.array:
    """Of every position, shape (tokens, vocabulary)."""
    return model(mx.array([tokens]), cache=make_caches(model, kv_bits))[0]


def greedy(model: Any, prompt: list[int], kv_bits: int, count: int) -> list[int]:
    caches = make_caches(model, kv_bits)
    tokens, given = [], prompt
    for _ in range(count):
        tokens.append(mx.argmax(model(mx.array([given]), cache=caches)[0, -1]).item())
        given = tokens[-1:]
    return tokens


@pytest.mark.parametrize(
    ("widths", "size"), [((64, 128), 64), ((128, 32), 32), ((96, 96), 32), ((80,), 0), ((64, 0), 0), ((16, 64), 0)]
)
def test_groups_are_as_large_as_all_widths_allow(widths: tuple[int, ...], size: int) -> None:
    assert group_size(*widths) == size


def test_without_bits_the_caches_are_the_models_own() -> None:
    assert [type(cache) for cache in make_caches(model_of(LLAMA), 0)] == [KVCache, KVCache]


@pytest.mark.parametrize("bits", [8, 4])
def test_plain_caches_are_quantised_in_groups_that_suit_the_heads(bits: int) -> None:
    caches = make_caches(model_of(LLAMA | {"head_dim": 64}), bits)
    narrow = make_caches(model_of(LLAMA), bits)

    assert [(type(cache), cache.group_size, cache.bits) for cache in caches] == [(QuantizedKVCache, 64, bits)] * 2
    assert [cache.group_size for cache in narrow] == [32, 32]


def test_heads_that_no_group_suits_keep_their_numbers() -> None:
    maker = CacheMaker(model_of(LLAMA | {"head_dim": 48}), 8)

    assert not maker.is_quantised
    assert [type(cache) for cache in maker.make()] == [KVCache, KVCache]


def test_windows_stay_as_they_are() -> None:
    config = LLAMA | {
        "model_type": "gemma3_text",
        "num_hidden_layers": 6,
        "head_dim": 64,
        "sliding_window": 16,
        "sliding_window_pattern": 6,
    }

    kinds = [type(cache) for cache in make_caches(model_of(config), 8)]

    assert kinds == [RotatingKVCache] * 5 + [QuantizedKVCache]


def test_recurrent_layers_stay_as_they_are() -> None:
    config = LLAMA | {
        "model_type": "qwen3_next",
        "head_dim": 64,
        "num_hidden_layers": 4,
        "full_attention_interval": 4,
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "num_experts": 0,
        "num_experts_per_tok": 1,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "max_position_embeddings": 512,
    }

    kinds = [type(cache) for cache in make_caches(model_of(config), 8)]

    assert kinds == [ArraysCache] * 3 + [QuantizedKVCache]


def test_attention_that_cannot_read_them_keeps_the_models_own_numbers() -> None:
    """Attention with sinks, as gpt-oss has, refuses quantised keys."""
    config = LLAMA | {
        "model_type": "gpt_oss",
        "head_dim": 64,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "sliding_window": 16,
        "rope_theta": 10000.0,
    }

    maker = CacheMaker(model_of(config), 8)

    assert not maker.is_quantised
    assert QuantizedKVCache not in [type(cache) for cache in maker.make()]


def test_trying_what_the_model_can_do_leaves_no_trace_and_computes_nothing(the_demo: Any) -> None:
    maker = CacheMaker(the_demo.model, 8)

    first, second = maker.make(), maker.make()

    assert all(cache.keys is None and cache.offset == 0 for cache in first)
    assert first[0] is not second[0]


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.03), (4, 0.4)])
def test_logits_stay_close_to_those_of_full_precision(the_demo: Any, bits: int, tolerance: float) -> None:
    """The root mean square of the differences, as a share of the logits' standard deviation."""
    plain, quantised = (logits_of(the_demo.model, the_demo.prompt, kv_bits) for kv_bits in (0, bits))

    assert mx.mean(mx.square(plain - quantised)).item() <= tolerance**2 * mx.var(plain).item()


def test_the_first_words_are_those_of_full_precision(the_demo: Any) -> None:
    """Greedy text with 8 bits: the first 32 tokens are the same."""
    plain, quantised = (greedy(the_demo.model, the_demo.prompt, kv_bits, 32) for kv_bits in (0, 8))

    assert quantised == plain


# ---- how caches grow


def room_of(cache: Any) -> int:
    array = cache.keys[0] if isinstance(cache, QuantizedKVCache) else cache.keys
    return int(array.shape[-2])


def write(cache: Any, tokens: int) -> None:
    rows = mx.zeros((1, 1, tokens, 64))
    cache.update_and_fetch(rows, rows)


@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache])
def test_a_cache_for_a_long_prompt_grows_once_and_then_as_usual(make: Any) -> None:
    cache = make()
    grow_at_once([cache], 1000)

    write(cache, 8)
    assert room_of(cache) == 1024
    write(cache, 992)
    assert room_of(cache) == 1024
    grow_as_usual([cache])
    write(cache, 25)
    assert room_of(cache) == 1000 + 256


def test_a_cache_that_holds_a_part_already_grows_by_the_rest() -> None:
    cache = KVCache()
    write(cache, 300)

    grow_at_once([cache], 2000)
    write(cache, 256)

    assert room_of(cache) == 300 + 1792


def test_caches_that_keep_no_more_than_they_may_grow_as_they_did() -> None:
    window, state, plain = RotatingKVCache(max_size=512), ArraysCache(2), KVCache()

    grow_at_once([window, CacheList(state, plain)], 5000)

    assert window.step == RotatingKVCache.step
    assert not hasattr(state, "step")
    assert plain.step == 5120


def test_a_prompt_that_is_shorter_than_what_is_held_changes_nothing() -> None:
    cache = KVCache()
    write(cache, 300)

    grow_at_once([cache], 10)

    assert cache.step == KVCache.step
