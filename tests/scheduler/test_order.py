"""How a wish becomes an order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock.config import Config
from paddock.memory.correction import Seen
from paddock.memory.fit import Pool, Supply
from paddock.protocol import MemoryTerms
from paddock.scheduler.defaults import GIB, Machine, machine_of
from paddock.scheduler.order import LoadOrder, LoadWish, order
from paddock.store.layers import CacheLayers, Layers
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import RunnerOptions
from tests.scheduler.worlds import GB, stored_model

LAYERS = Layers((CacheLayers(32, 8, 128, 128),), 0, 0, 0, 0, 64, 1, 64, 64, 64)
KV_TOKEN = 2 * 2 * 64 * 4
"""Bytes of one token of the model of these tests in float32."""
ACCELERATOR = Machine(accelerator_bytes=16 * GIB)


def order_of(config: Config | None = None, context_length: int = 32768, **fixed: int) -> LoadOrder:
    model = stored_model(context_length=context_length)
    return order(model, LoadWish(**fixed), config or Config(), Machine())


@pytest.mark.parametrize(
    ("configured", "limit", "asked", "expected"),
    [
        (0, 32768, None, 4096),
        (0, 2048, None, 2048),
        (0, 0, None, 4096),
        (16384, 32768, None, 16384),
        (16384, 2048, None, 2048),
        (0, 32768, 8192, 8192),
        (0, 2048, 8192, 2048),
        (0, 32768, 1, 4),
        (0, 0, 1_000_000, 1_000_000),
    ],
)
def test_num_ctx(configured: int, limit: int, asked: int | None, expected: int) -> None:
    fixed = {} if asked is None else {"num_ctx": asked}

    assert order_of(Config(context_length=configured), limit, **fixed).options.num_ctx == expected


def test_names_of_one_digest_share_a_key() -> None:
    keys = {order(stored_model(name, digest="same"), LoadWish(), Config(), Machine()).key for name in ("a", "b")}

    assert keys == {"same"}


def test_the_number_of_sequences_comes_from_the_settings() -> None:
    made = order_of(Config(num_parallel=4))

    assert made.options.parallel == 4
    assert made.need.kv_bytes == 4 * order_of().need.kv_bytes


def test_what_is_not_asked_has_the_runners_defaults() -> None:
    assert order_of().options == RunnerOptions(num_ctx=4096)


def test_what_is_asked_reaches_the_runner() -> None:
    made = order_of(num_ctx=8192, num_batch=64, num_gpu=0, num_thread=3)

    assert made.options == RunnerOptions(8192, 1, 64, 0, 3)
    assert not made.ask.wants_accelerator


@pytest.mark.parametrize("num_gpu", [1, 99])
def test_any_number_of_layers_means_the_accelerator(num_gpu: int) -> None:
    made = order_of(num_gpu=num_gpu)

    assert made.options.num_gpu == -1
    assert made.ask.wants_accelerator
    assert not made.is_met_by(RunnerOptions(4096, num_gpu=0))


def test_the_cpu_alone_needs_wider_numbers() -> None:
    model = stored_model()
    on_cpu, on_accelerator = (
        order(model, LoadWish(num_gpu=num_gpu), Config(num_parallel=1), ACCELERATOR) for num_gpu in (0, None)
    )

    assert on_cpu.need.kv_bytes == 2 * on_accelerator.need.kv_bytes


# ---- what nobody fixed


def facts_of(**changes: object) -> StoredModel:
    """A quantised model of 1 GB that would be 8 GB in float32."""
    model = stored_model(context_length=1_000_000)
    facts = replace(model.facts, float32_bytes=GB, dense_bytes=8 * GB, **changes)
    return replace(model, facts=facts)


CPU = Machine(main_bytes=64 * GIB, is_dense_quicker=True)


def ladder(config: Config | None = None, machine: Machine = CPU, **fixed: int) -> list[RunnerOptions]:
    made = order(facts_of(), LoadWish(**fixed), config or Config(), machine)
    return [made.options, *(lower.options for lower in made.lowered())]


def of_memory(options: RunnerOptions) -> tuple[bool, bool, int, int, int]:
    return bool(options.prefix_cache_bytes), options.keep_packed, options.parallel, options.num_ctx, options.kv_bits


def test_what_is_missed_least_is_lowered_first() -> None:
    made = order(facts_of(), LoadWish(), Config(), Machine(accelerator_bytes=24 * GIB))
    made = replace(made, is_parallel_fixed=False).with_options(replace(made.options, parallel=4))

    assert [of_memory(lower.options) for lower in made.lowered()] == [
        (False, False, 4, 32768, 0),
        (False, False, 2, 32768, 0),
        (False, False, 1, 32768, 0),
        (False, False, 1, 16384, 0),
        (False, False, 1, 8192, 0),
        (False, False, 1, 4096, 0),
    ]


def test_every_step_needs_less_than_the_one_before() -> None:
    made = order(facts_of(layers=LAYERS), LoadWish(), Config(), CPU)
    needs = [made.need.total_bytes, *(lower.need.total_bytes for lower in made.lowered())]

    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs) == 6
    assert [of_memory(lower.options) for lower in made.lowered()] == [
        (False, False, 4, 4096, 0),
        (False, True, 4, 4096, 0),
        (False, True, 2, 4096, 0),
        (False, True, 1, 4096, 0),
        (False, True, 1, 4096, 8),
    ]


def test_a_draft_model_is_the_first_thing_to_go() -> None:
    model = facts_of(layers=LAYERS)
    with_draft = replace(model, facts=replace(model.facts, draft=stored_model("small").facts))
    made = order(with_draft, LoadWish(), Config(), CPU)
    lowered = list(made.lowered())

    assert made.options.speculates
    assert made.need.draft_bytes > GB
    assert not any(lower.options.speculates for lower in lowered)
    assert [lower.options.prefix_cache_bytes > 0 for lower in lowered] == [True, *[False] * 5]
    assert lowered[0].need == order(model, LoadWish(), Config(), CPU).need
    assert lowered[0].changes_from(made) == " with no draft model"


def test_what_a_request_or_a_setting_fixed_is_never_lowered() -> None:
    config = Config(num_parallel=4, prefix_cache_bytes=GB, kv_cache_type="f16", context_length=32768)

    assert {of_memory(options) for options in ladder(config, Machine(accelerator_bytes=24 * GIB))} == {
        (True, False, 4, 32768, 0)
    }
    asked = ladder(Config(), Machine(accelerator_bytes=24 * GIB), num_ctx=16384)
    assert {options.num_ctx for options in asked} == {16384}


def test_the_changes_are_told_in_words() -> None:
    made = order(facts_of(layers=LAYERS), LoadWish(), Config(), CPU)
    *_, lowest = made.lowered()

    assert lowest.changes_from(made) == (
        " with no prefix cache and weights as they are stored and parallel 1 instead of 4 and a context of 8 bits"
    )


@pytest.mark.parametrize(("kind", "bits"), [("f16", 0), ("q8_0", 8), ("q4_0", 4)])
def test_the_format_of_the_context_is_ollamas_setting(kind: str, bits: int) -> None:
    assert order_of(Config(kv_cache_type=kind)).options.kv_bits == bits


@pytest.mark.parametrize(
    ("accelerator_gib", "limit", "expected"),
    [(0, 0, 4096), (8, 0, 4096), (23, 0, 32768), (47, 0, 262144), (47, 131072, 131072), (47, 2048, 2048)],
)
def test_the_default_context_follows_from_the_accelerators_memory(
    accelerator_gib: int, limit: int, expected: int
) -> None:
    model = stored_model(context_length=limit)
    made = order(model, LoadWish(), Config(), Machine(accelerator_bytes=accelerator_gib * GIB))

    assert made.options.num_ctx == expected
    assert not made.is_num_ctx_fixed


def test_a_default_context_takes_a_quarter_of_the_memory_at_most() -> None:
    model = facts_of(block_count=64, head_count_kv=8, head_dim=128)
    made = order(model, LoadWish(), Config(), Machine(accelerator_bytes=48 * GIB))

    # 256 KiB for each token: 12 GiB hold 49152 of them, and half of 65536 is the first that they hold.
    assert made.options.num_ctx == 32768
    assert made.need.kv_bytes == made.options.parallel * 8 * GIB


@pytest.mark.parametrize(("memory_gib", "expected"), [(0, 1), (1, 1), (4, 1), (5, 2), (12, 2), (13, 4), (64, 4)])
def test_four_requests_at_once_are_the_default_where_their_contexts_are_small(memory_gib: int, expected: int) -> None:
    """The model's context is 1 GiB: those that are added to the first must take less than a quarter of the memory."""
    model = facts_of(block_count=64, head_count_kv=8, head_dim=128)
    made = order(model, LoadWish(num_ctx=2048), Config(), Machine(main_bytes=memory_gib * GIB))

    assert made.options.parallel == expected
    assert not made.is_parallel_fixed


def test_a_model_that_is_kept_off_the_accelerator_has_the_lowest_context() -> None:
    assert order(stored_model(), LoadWish(num_gpu=0), Config(), Machine(48 * GIB, 64 * GIB)).options.num_ctx == 4096


@pytest.mark.parametrize(
    ("machine", "is_packed"),
    [
        (CPU, False),
        (Machine(main_bytes=64 * GIB), True),
        (Machine(accelerator_bytes=24 * GIB), False),
    ],
)
def test_weights_stay_packed_on_a_cpu_that_is_not_quicker_without(machine: Machine, is_packed: bool) -> None:
    """On an accelerator they do so anyway."""
    made = order(facts_of(), LoadWish(), Config(), machine)

    assert made.options.keep_packed is is_packed
    assert made.need.weights_bytes == (8 * GB if machine is CPU else GB)


def test_a_form_that_is_not_known_is_left_alone() -> None:
    model = facts_of()
    unknown = replace(model, facts=replace(model.facts, dense_bytes=0))

    assert order(unknown, LoadWish(), Config(), CPU).options.keep_packed


@pytest.mark.parametrize(
    ("config", "machine", "expected"),
    [
        (Config(), CPU, 4096 * KV_TOKEN),
        (Config(num_parallel=4), CPU, 4096 * KV_TOKEN),
        (Config(), Machine(main_bytes=4096 * KV_TOKEN), 4096 * KV_TOKEN // 8),
        (Config(prefix_cache_bytes=0), CPU, 0),
        (Config(prefix_cache_bytes=7), CPU, 7),
        (Config(), Machine(), 0),
    ],
)
def test_the_prefix_cache_holds_one_full_context_or_an_eighth_of_the_memory(
    config: Config, machine: Machine, expected: int
) -> None:
    made = order(stored_model(), LoadWish(), config, machine)

    assert made.options.prefix_cache_bytes == made.need.prefix_cache_bytes == expected


def test_the_prefix_cache_has_a_bound_of_its_own() -> None:
    model = facts_of(block_count=64, head_count_kv=8, head_dim=128)
    made = order(model, LoadWish(num_ctx=262_144), Config(), Machine(accelerator_bytes=141 * GIB))

    assert made.options.prefix_cache_bytes == 8 * GIB


def test_only_text_models_have_prompts_to_keep() -> None:
    made = order(facts_of(engine="embedding"), LoadWish(), Config(), CPU)

    assert made.options.prefix_cache_bytes == 0
    assert made.is_kv_bits_fixed


def test_what_was_seen_is_asked_for_the_form_of_the_weights() -> None:
    measured = {True: Seen(2 * GB, 1, 0), False: Seen(9 * GB, 1, 0)}
    made = order(facts_of(), LoadWish(), Config(), CPU, lambda options: measured[options.keep_packed])

    assert made.need.weights_bytes == 9 * GB
    assert [lower.need.weights_bytes for lower in made.lowered()][1] == 2 * GB


def test_how_far_a_runner_has_come_counts_what_it_keeps_of_prompts() -> None:
    made = order(stored_model(), LoadWish(), Config(), CPU)
    reached = MemoryTerms(longest_tokens=256, most_sequences=1, prefix_peak_bytes=1000)

    found = made.foreseen_peak(reached)

    assert found is not None
    assert found.prefix_cache_bytes == 1000
    assert made.foreseen_peak(MemoryTerms()) is None


def test_the_machine_is_read_from_the_memory_of_its_pools() -> None:
    gpu = Pool("cuda:0", 24 * GIB, GIB, has_accelerator=True, has_cpu=False)
    main = Pool("cpu", 64 * GIB, GIB, has_accelerator=False, has_cpu=True)

    assert machine_of(Supply((gpu, main)), is_dense_quicker=True) == Machine(24 * GIB, 64 * GIB)
    assert machine_of(Supply((main,)), is_dense_quicker=True) == Machine(0, 64 * GIB, is_dense_quicker=True)
