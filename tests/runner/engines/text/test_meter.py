"""What a runner says of its own memory."""

from __future__ import annotations

import mlx.core as mx
import numpy

from paddock.runner.engines.text.meter import Meter, private_bytes

MB = 1_000_000


def test_private_memory_is_no_more_than_its_high_water_mark() -> None:
    before, _ = private_bytes()
    block = numpy.ones(100 * MB, dtype=numpy.uint8)
    held, peak = private_bytes()
    del block

    assert held >= before + 90 * MB
    assert private_bytes()[1] >= peak - 10 * MB
    assert peak >= held


def test_a_peak_outlives_what_caused_it_and_requests_are_told_apart() -> None:
    meter = Meter()
    meter.loaded(7)
    meter.begin()
    block = mx.zeros((30 * MB,), dtype=mx.float32)
    mx.eval(block)
    meter.prompt_read()
    first = meter.read()
    del block
    mx.clear_cache()
    meter.begin()
    second = meter.read()

    assert first.weights_bytes == 7
    assert first.prefill_peak_bytes >= 120 * MB
    assert second.peak_bytes >= first.request_peak_bytes >= 120 * MB
    assert second.request_peak_bytes < first.request_peak_bytes


def test_how_far_sequences_came_is_kept() -> None:
    meter = Meter()
    meter.stepped([10, 20, 5])
    meter.stepped([30])
    memory = meter.read()

    assert (memory.longest_tokens, memory.most_sequences, memory.most_tokens) == (30, 3, 35)


def test_the_peak_that_counts_is_that_of_where_the_model_lives() -> None:
    memory = Meter().read()

    assert memory.most_bytes == (memory.peak_bytes if memory.is_on_accelerator else memory.private_peak_bytes)


def test_what_is_kept_of_prompts_is_told_now_and_at_most() -> None:
    meter = Meter()
    meter.prefixes_kept(30)
    meter.prefixes_kept(10)
    memory = meter.read()

    assert (memory.prefix_bytes, memory.prefix_peak_bytes) == (10, 30)
