"""What a config says of a model's layers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from paddock.store.layers import CacheLayers, Layers, read_layers

PLAIN: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 1000,
}


def layers(**changes: object) -> Layers:
    found = read_layers(PLAIN | changes)
    assert found is not None
    return found


def test_plain_attention_keeps_everything() -> None:
    assert layers().caches == (CacheLayers(6, 4, 64, 64),)
    assert layers(head_dim=128).caches == (CacheLayers(6, 4, 128, 128),)
    assert layers().state_values == 0


def test_heads_of_keys_default_to_those_of_queries() -> None:
    assert layers(num_key_value_heads=None).caches == (CacheLayers(6, 16, 64, 64),)


def test_a_window_bounds_the_layers_that_slide() -> None:
    found = layers(model_type="gemma3_text", sliding_window=512, sliding_window_pattern=3)

    assert found.caches == (CacheLayers(2, 4, 64, 64), CacheLayers(4, 4, 64, 64, window=512))


def test_layer_types_are_taken_as_listed() -> None:
    types = ["sliding_attention", "full_attention"] * 3

    assert [group.count for group in layers(layer_types=types, sliding_window=128).caches] == [3, 3]


def test_a_family_that_is_run_without_its_window_keeps_everything() -> None:
    found = layers(model_type="qwen3", layer_types=["sliding_attention"] * 6, sliding_window=128)

    assert found.caches == (CacheLayers(6, 4, 64, 64),)


def test_latent_attention_keeps_the_compressed_form() -> None:
    sizes = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}

    assert layers(model_type="deepseek_v3", **sizes).caches == (CacheLayers(6, 1, 512, 64, is_plain=False),)
    assert layers(model_type="deepseek_v2", **sizes).caches == (CacheLayers(6, 16, 192, 128),)


def test_every_fourth_layer_attends_and_the_others_keep_a_state() -> None:
    found = layers(
        model_type="qwen3_next",
        num_hidden_layers=8,
        full_attention_interval=4,
        linear_num_value_heads=8,
        linear_num_key_heads=4,
        linear_key_head_dim=64,
        linear_value_head_dim=32,
        linear_conv_kernel_dim=4,
    )

    assert found.caches == (CacheLayers(2, 4, 64, 64),)
    assert found.state_values == 6 * (8 * 64 * 32 + 4 * (2 * 4 * 64 + 8 * 32))
    assert found.delta_state == 8 * 64 * 32


def test_the_letters_of_a_hybrid_pattern_are_read() -> None:
    found = layers(model_type="nemotron_h", hybrid_override_pattern="M-*E", mamba_num_heads=8, mamba_head_dim=16)

    assert [group.count for group in found.caches] == [1]
    assert found.state_values > 0


def test_a_state_space_model_keeps_no_keys() -> None:
    found = layers(model_type="mamba2", num_heads=8, head_dim=64, state_size=16, conv_kernel=4)

    assert found.caches == ()
    assert found.query_heads == 0
    assert found.state_values == 6 * (8 * 64 * 16 + 4 * (8 * 64 + 2 * 16))


def test_a_mixture_counts_the_experts_of_one_token() -> None:
    one = layers(num_local_experts=8, num_experts_per_tok=1, moe_intermediate_size=512)
    two = layers(num_local_experts=8, num_experts_per_tok=2, moe_intermediate_size=512)

    assert two.feed_forward == 2 * one.feed_forward


@pytest.mark.parametrize("config", [{}, {"model_type": "llama"}, {"hidden_size": 64}, {"num_hidden_layers": 3}])
def test_a_config_that_says_too_little_describes_no_layers(config: dict[str, Any]) -> None:
    assert read_layers(config) is None


@pytest.mark.parametrize("nonsense", ["x", [1, 2], {"a": 1}, -5, 1.5, True, None])
@pytest.mark.parametrize(
    "key", ["layer_types", "sliding_window", "head_dim", "kv_lora_rank", "full_attention_interval"]
)
def test_nonsense_in_a_config_is_passed_over(key: str, nonsense: object) -> None:
    assert layers(**{key: nonsense}).hidden == 1024


def test_layers_survive_being_stored() -> None:
    found = layers(model_type="gemma3_text", sliding_window=512)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Layers) == found
