"""What a model is said to need."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from paddock.memory.estimate import (
    ACCELERATOR_RUNTIME_BYTES,
    MIB,
    RUNTIME_BYTES,
    SPARE_BYTES,
    Need,
    Settings,
    estimate,
    gigabytes,
    layer_bytes,
    quantised_group,
    workspace_bytes,
)
from paddock.store.images import ImageFacts
from paddock.store.layers import CacheLayers, Layers


@dataclass(frozen=True)
class Shape:
    weights_bytes: int = 1_000_000
    quantization_level: str = "BF16"
    embedding_length: int = 1024
    block_count: int = 10
    head_count_kv: int = 4
    head_dim: int = 128
    layers: Layers | None = None
    float32_bytes: int = 0
    dense_bytes: int = 0
    largest_tensor_bytes: int = 0
    engine: str = "text"
    draft: Shape | None = None
    image: ImageFacts | None = None


def need(shape: Shape, num_ctx: int = 4096, parallel: int = 1, on_accelerator: bool = True) -> Need:
    return estimate(shape, Settings(num_ctx, parallel), on_accelerator=on_accelerator)


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
    assert need(Shape(embedding_length=0, block_count=0)).workspace_bytes == SPARE_BYTES


def test_the_terms_add_up_and_can_be_read() -> None:
    terms = Need(12_000_000_000, 500_000_000, 100_000_000, 200_000_000)

    assert terms.total_bytes == 12_800_000_000
    assert terms.describe() == "weights 12.0 GB, context 500 MB, workspace 100 MB, runtime 200 MB"
    assert need(Shape()).runtime_bytes == ACCELERATOR_RUNTIME_BYTES
    assert need(Shape(), on_accelerator=False).runtime_bytes == RUNTIME_BYTES


def test_sizes_are_told_in_decimal_units() -> None:
    assert gigabytes(12_345_678_901) == "12.3 GB"
    assert gigabytes(209_715_200) == "210 MB"
    assert gigabytes(0) == "0 MB"


def test_loading_and_working_are_not_at_the_same_time() -> None:
    assert Need(100, 20, 10, 5, load_bytes=25).total_bytes == 135
    assert Need(100, 20, 10, 5, load_bytes=50).total_bytes == 155
    assert "loading 2.0 GB" in Need(100, 20, 10, 5, load_bytes=2_000_000_000).describe()


PLAIN = Layers((CacheLayers(4, 4, 64, 64),), 0, 0, 0, 0, 512, 8, 512, 1536, 32_000)


def test_a_conversion_has_the_largest_tensor_twice_for_a_moment() -> None:
    shape = Shape(float32_bytes=2 * MIB * 1000, weights_bytes=MIB * 1000, largest_tensor_bytes=300 * MIB)

    assert need(shape).load_bytes == 0
    assert need(shape, on_accelerator=False).load_bytes == 300 * MIB
    assert need(shape, on_accelerator=False).weights_bytes == 2000 * MIB


def test_a_window_keeps_itself_and_a_chunk_whatever_the_context() -> None:
    window = CacheLayers(1, 4, 64, 64, window=512)
    long, longer = (layer_bytes(window, Settings(tokens, num_batch=256), 2) for tokens in (4096, 65_536))

    assert long == longer == (512 + 256) * 4 * 128 * 2
    assert layer_bytes(window, Settings(64), 2) < long


@pytest.mark.parametrize(("bits", "share"), [(8, 0.5), (4, 0.25)])
def test_a_quantised_cache_is_its_share_and_its_scales(bits: int, share: float) -> None:
    layer = CacheLayers(1, 8, 128, 128)
    plain = layer_bytes(layer, Settings(4096), 2)

    assert layer_bytes(layer, Settings(4096, kv_bits=bits), 2) == int(plain * (share + 2 / 64))


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (CacheLayers(1, 8, 128, 128), 64),
        (CacheLayers(1, 8, 96, 64), 32),
        (CacheLayers(1, 8, 80, 80), 0),
        (CacheLayers(1, 8, 128, 0), 0),
        (CacheLayers(1, 8, 128, 128, window=512), 0),
        (CacheLayers(1, 8, 128, 128, is_plain=False), 0),
    ],
)
def test_only_whole_plain_contexts_of_fitting_widths_can_be_quantised(layer: CacheLayers, size: int) -> None:
    plain, quantised = (layer_bytes(layer, Settings(4096, kv_bits=bits), 2) for bits in (0, 8))

    assert quantised_group(layer) == size
    assert (quantised < plain) is (size > 0)


def test_packed_weights_grow_on_the_cpu_unless_they_are_kept() -> None:
    shape = Shape(quantization_level="int4", float32_bytes=1_100_000, dense_bytes=7_000_000)

    assert need(shape).weights_bytes == 1_000_000
    assert need(shape, on_accelerator=False).weights_bytes == 7_000_000
    kept = estimate(shape, Settings(4096, keep_packed=True), on_accelerator=False)
    assert kept.weights_bytes == 1_100_000


def test_unpacking_has_the_largest_tensor_twice_as_it_becomes() -> None:
    shape = Shape(
        weights_bytes=900 * MIB, float32_bytes=1000 * MIB, dense_bytes=6400 * MIB, largest_tensor_bytes=200 * MIB
    )

    assert need(shape, on_accelerator=False).load_bytes == 1600 * MIB
    kept = estimate(shape, Settings(4096, keep_packed=True), on_accelerator=False)
    assert kept.load_bytes == 200 * MIB


def test_what_is_kept_of_prompts_is_a_term_of_its_own() -> None:
    plain, keeping = (
        estimate(Shape(), Settings(4096, prefix_cache_bytes=size), on_accelerator=True) for size in (0, 3 * MIB)
    )

    assert keeping.total_bytes - plain.total_bytes == keeping.prefix_cache_bytes == 3 * MIB
    assert "prefix cache 3 MB" in keeping.describe()
    assert "prefix cache" not in plain.describe()


def test_plain_attention_has_some_blocks_of_its_scores_at_once_on_the_cpu() -> None:
    shape = Shape(layers=PLAIN)
    short, long = (workspace_bytes(shape, Settings(tokens), 4, on_accelerator=False) for tokens in (1024, 4096))

    masks = 512 * (4096 - 1024) * 5
    copied = (4096 - 1024) * 4 * 128 * 4
    assert long - short == masks + copied
    assert workspace_bytes(shape, Settings(4096), 4, on_accelerator=True) < long


def test_attention_of_another_kind_has_all_its_scores_written_out_on_the_cpu() -> None:
    other = replace(PLAIN, caches=tuple(replace(group, is_plain=False) for group in PLAIN.caches))
    plain, written = (
        workspace_bytes(Shape(layers=each), Settings(4096), 4, on_accelerator=False) for each in (PLAIN, other)
    )

    assert written - plain == 512 * 4096 * (8 * 4 + 1) - 3 * 4 * 2**20 - 512 * 4096 * 5


def test_one_layer_of_all_sequences_is_copied_when_they_come_and_go() -> None:
    shape = Shape(layers=PLAIN)
    alone, together = (
        workspace_bytes(shape, Settings(4096, parallel=count), 4, on_accelerator=True) for count in (1, 4)
    )

    logits = 4 * PLAIN.vocabulary * 4
    assert together - alone == 3 * (4096 * 4 * 128 * 4 + logits)


def test_a_quantised_context_has_its_scores_written_out_on_accelerators_too() -> None:
    shape = Shape(layers=PLAIN)
    plain, quantised = (workspace_bytes(shape, Settings(4096, kv_bits=bits), 2, on_accelerator=True) for bits in (0, 8))

    assert quantised - plain == 512 * 4096 * (8 * 2 * 2 + 1)


def test_recurrent_layers_work_on_matrices_or_states_of_a_step() -> None:
    space = Layers((), 1000, 0, 16, 0, 512, 0, 1024, 0, 0)
    delta = Layers((), 1000, 0, 0, 32_768, 512, 0, 1024, 0, 0)

    matrices = workspace_bytes(Shape(layers=space), Settings(4096), 4, on_accelerator=False)
    states = workspace_bytes(Shape(layers=delta), Settings(4096), 4, on_accelerator=False)

    assert matrices > 12 * 16 * 256 * 256 * 4
    assert states > 512 * 32_768 * 4


# ---- a draft model


def test_a_draft_is_one_more_term_of_its_weights_and_one_context() -> None:
    draft = Shape(weights_bytes=300_000, block_count=2)
    shape = Shape(draft=draft)
    without = estimate(shape, Settings(4096, 4), on_accelerator=False)
    speculating = estimate(shape, Settings(4096, 4, kv_bits=8, speculates=True), on_accelerator=False)

    assert without.draft_bytes == 0
    assert speculating.draft_bytes == 2 * 300_000 + need(draft, on_accelerator=False).kv_bytes
    assert speculating.total_bytes - estimate(
        shape, Settings(4096, 4, kv_bits=8), on_accelerator=False
    ).total_bytes == speculating.draft_bytes + max(0, speculating.load_bytes - speculating.working_bytes)
    assert "draft model" in speculating.describe()


def test_the_numbers_that_foreseen_tokens_are_judged_with_count() -> None:
    layers = Layers((), 0, 0, 0, 0, 512, 8, 512, 2048, 100_000)
    draft = Shape(layers=layers, weights_bytes=0)

    found = estimate(Shape(draft=draft), Settings(4096, speculates=True), on_accelerator=False).draft_bytes

    assert found == 9 * 100_000 * 16
