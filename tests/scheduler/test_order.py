"""How a wish becomes an order."""

from __future__ import annotations

import pytest

from paddock.config import Config
from paddock.scheduler.order import LoadOrder, LoadWish, order
from paddock.supervisor.model_server import RunnerOptions
from tests.scheduler.worlds import stored_model


def order_of(config: Config | None = None, context_length: int = 32768, **fixed: int) -> LoadOrder:
    model = stored_model(context_length=context_length)
    return order(model, LoadWish(**fixed), config or Config(), has_accelerator=False)


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
    keys = {
        order(stored_model(name, digest="same"), LoadWish(), Config(), has_accelerator=False).key for name in ("a", "b")
    }

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
    on_cpu = order(model, LoadWish(num_gpu=0), Config(), has_accelerator=True)
    on_accelerator = order(model, LoadWish(), Config(), has_accelerator=True)

    assert on_cpu.need.kv_bytes == 2 * on_accelerator.need.kv_bytes
