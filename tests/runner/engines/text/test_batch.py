"""Sequences that decode together, on a tiny model for each way of keeping what was read."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache

from paddock.runner.engines.text.batch import Batch, can_merge
from paddock.runner.engines.text.group import Group
from paddock.runner.engines.text.model.kv_caches import make_caches
from tests.runner.architectures import ARCHITECTURES, TOGETHER, VOCABULARY, make_model

TOLERANCE = 1e-4
"""Products of many rows are added up in another order than those of one: a few units in the last place."""


@cache
def model_of(name: str) -> nn.Module:
    return make_model(name)


def prompt_of(seed: int) -> list[int]:
    source = random.Random(seed)
    return source.choices(range(VOCABULARY), k=source.randint(1, 40))


class Alone:
    """The reference: one sequence with its own caches, and nothing of ours."""

    def __init__(self, model: nn.Module, prompt: list[int]) -> None:
        self.model = model
        self.caches: list[Any] = make_prompt_cache(model)
        self.logits = model(mx.array([prompt]), cache=self.caches)[0, -1]

    def feed(self, token: int) -> None:
        self.logits = self.model(mx.array([[token]]), cache=self.caches)[0, -1]

    @property
    def numbers(self) -> np.ndarray:
        return np.array(self.logits)


def read(model: nn.Module, prompt: list[int]) -> list[Any]:
    """Caches that hold all of the prompt but its last token."""
    caches = make_prompt_cache(model)
    if prompt[:-1]:
        model(mx.array([prompt[:-1]]), cache=caches)
    return caches


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sequences_that_come_and_go_at_any_time_have_the_logits_they_would_have_alone(name):
    model = model_of(name)
    batch = Batch(model, merges=name in TOGETHER)
    source, rows, tokens, seen = random.Random(5), [], [], set()
    for step in range(32):
        if len(rows) < 5 and (not rows or source.random() < 0.35):
            prompt = prompt_of(step)
            batch.join(Group(read(model, prompt), [len(prompt) - 1]))
            rows.append(Alone(model, prompt))
            tokens.append(prompt[-1])
            is_new = True
        else:
            is_new = False
        found = np.array(batch.forward(mx.array(tokens, dtype=mx.int32)))
        for row, alone in enumerate(rows):
            if not (is_new and row == len(rows) - 1):
                alone.feed(tokens[row])
            assert np.abs(found[row] - alone.numbers).max() <= TOLERANCE * max(1, np.abs(alone.numbers).max())
            assert found[row].argmax() == alone.numbers.argmax()
        tokens = found.argmax(axis=1).tolist()
        seen |= set(tokens)
        if len(rows) > 1 and source.random() < 0.3:
            leaving = source.sample(range(len(rows)), k=source.randint(1, len(rows) - 1))
            batch.leave(leaving)
            rows, tokens = ([each for row, each in enumerate(some) if row not in leaving] for some in (rows, tokens))

    assert len(seen) > 10, "texts this monotonous prove little"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_caches_of_a_sequence_in_a_batch_continue_alone(name):
    model = model_of(name)
    batch = Batch(model, merges=name in TOGETHER)
    prompts = [prompt_of(seed) for seed in (1, 2, 3)]
    alone = [Alone(model, prompt) for prompt in prompts]
    for prompt in prompts:
        batch.join(Group(read(model, prompt), [len(prompt) - 1]))
    fed = mx.array([prompt[-1] for prompt in prompts], dtype=mx.int32)
    for _ in range(20):
        fed = mx.argmax(batch.forward(fed), axis=-1)
        for each in alone:
            token = int(each.numbers.argmax())
            each.feed(token)
            each.last = token

    for row, each in enumerate(alone):
        caches = batch.caches_of(row)
        found = np.array(model(mx.array([[each.last]]), cache=caches)[0, -1])
        assert np.abs(found - each.numbers).max() <= TOLERANCE * max(1, np.abs(each.numbers).max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_cannot_be_merged_is_found_out_by_trying(name):
    model = model_of(name)

    assert can_merge(model, lambda: make_prompt_cache(model)) == (name in TOGETHER)


def test_contexts_in_fewer_bits_are_decoded_one_after_the_other():
    model = make_model("full", head_dim=64)

    assert not can_merge(model, lambda: make_caches(model, 8))
    assert can_merge(model, lambda: make_caches(model, 0))
