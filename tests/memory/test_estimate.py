"""What a model is said to need."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from paddock.memory.estimate import RUNTIME_BYTES, Need, estimate, gigabytes


@dataclass(frozen=True)
class Shape:
    weights_bytes: int = 1_000_000
    quantization_level: str = "BF16"
    embedding_length: int = 1024
    block_count: int = 10
    head_count_kv: int = 4
    head_dim: int = 128


def need(shape: Shape, num_ctx: int = 4096, parallel: int = 1, on_accelerator: bool = True) -> Need:
    return estimate(shape, num_ctx=num_ctx, parallel=parallel, num_batch=512, on_accelerator=on_accelerator)


@pytest.mark.parametrize(
    ("level", "on_cpu"),
    [("F32", 1_000_000), ("BF16", 2_000_000), ("F16", 2_000_000), ("f16", 2_000_000), ("int4", 1_000_000)],
)
def test_floating_weights_grow_to_float32_without_an_accelerator(level: str, on_cpu: int) -> None:
    shape = Shape(quantization_level=level)

    assert need(shape).weights_bytes == 1_000_000
    assert need(shape, on_accelerator=False).weights_bytes == on_cpu


def test_keys_and_values_follow_from_layers_heads_and_tokens() -> None:
    # 2 (keys and values) x 10 layers x 4 heads x 128 wide x 2 bytes x 4096 tokens
    assert need(Shape()).kv_bytes == 2 * 10 * 4 * 128 * 2 * 4096
    assert need(Shape(), parallel=3).kv_bytes == 3 * need(Shape()).kv_bytes
    assert need(Shape(), on_accelerator=False).kv_bytes == 2 * need(Shape()).kv_bytes


def test_a_context_grows_in_whole_steps() -> None:
    assert need(Shape(), num_ctx=4).kv_bytes == need(Shape(), num_ctx=256).kv_bytes
    assert need(Shape(), num_ctx=257).kv_bytes == need(Shape(), num_ctx=512).kv_bytes


@pytest.mark.parametrize(
    ("layers", "kv_heads", "head_dim", "width", "parameters"),
    [(28, 8, 128, 3072, 3.2e9), (36, 8, 128, 4096, 8.2e9), (32, 32, 128, 4096, 6.7e9), (24, 2, 64, 896, 0.49e9)],
)
def test_the_bound_for_unknown_layers_is_one(
    layers: int, kv_heads: int, head_dim: int, width: int, parameters: float
) -> None:
    known = Shape(int(parameters * 2), "BF16", width, layers, kv_heads, head_dim)
    unknown = Shape(int(parameters * 2), "BF16", width, 0, 0, 0)

    assert need(known).kv_bytes <= need(unknown).kv_bytes


def test_a_model_without_any_size_keeps_nothing() -> None:
    assert need(Shape(embedding_length=0, block_count=0)).kv_bytes == 0
    assert need(Shape(embedding_length=0, block_count=0)).workspace_bytes == 0


def test_the_terms_add_up_and_can_be_read() -> None:
    terms = Need(12_000_000_000, 500_000_000, 100_000_000, 200_000_000)

    assert terms.total_bytes == 12_800_000_000
    assert terms.describe() == "weights 12.0 GB, context 500 MB, workspace 100 MB, runtime 200 MB"
    assert need(Shape()).runtime_bytes == RUNTIME_BYTES


def test_sizes_are_told_in_decimal_units() -> None:
    assert gigabytes(12_345_678_901) == "12.3 GB"
    assert gigabytes(209_715_200) == "210 MB"
    assert gigabytes(0) == "0 MB"
