"""Several short prompts in one pass: which ones, and that each comes out as it would alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.models.cache import make_prompt_cache

from paddock.runner.engines.text.reading_together import can_read_together, read_together, which_together
from tests.runner.architectures import ARCHITECTURES, VOCABULARY, make_model

TOLERANCE = 1e-4
"""As of sequences that decode together."""
ABLE = ("full", "partly rotated", "compressed")


@dataclass(frozen=True)
class Waiting:
    """A sequence, as far as it matters here."""

    length: int
    is_unread: bool = True

    @property
    def prompt(self) -> Any:
        return SimpleNamespace(tokens=(0,) * self.length)


def chosen(*waiting: Waiting, most_tokens: int = 512) -> list[int]:
    return [each.length for each in which_together(waiting, most_tokens)]  # type: ignore[arg-type]


def test_prompts_of_about_one_length_are_read_together():
    assert chosen(Waiting(60), Waiting(50), Waiting(40)) == [60, 50, 40]


def test_no_more_are_read_than_the_pass_has_room_for():
    assert chosen(Waiting(101), Waiting(101), Waiting(101), most_tokens=250) == [101, 101]


def test_a_prompt_that_would_be_mostly_padding_waits_for_the_next_pass():
    assert chosen(Waiting(201), Waiting(20), Waiting(200)) == [201]


def test_what_was_begun_or_has_to_pause_is_read_alone():
    assert chosen(Waiting(60), Waiting(60, is_unread=False), Waiting(60)) == [60]
    assert chosen(Waiting(60, is_unread=False), Waiting(60)) == []


def test_a_prompt_of_one_token_has_nothing_to_read_together():
    assert chosen(Waiting(1), Waiting(1)) == []


@given(st.lists(st.integers(1, 400), max_size=12), st.integers(1, 512))
def test_a_pass_never_has_more_tokens_than_it_may_and_at_most_half_are_padding(lengths, most_tokens):
    found = [length - 1 for length in chosen(*map(Waiting, lengths), most_tokens=most_tokens)]

    assert found == [length - 1 for length in lengths[: len(found)]]
    if found:
        assert len(found) * max(found) <= most_tokens
        assert 2 * sum(found) >= len(found) * max(found)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_whose_layers_all_keep_what_they_have_read_can_read_together(name):
    model = make_model(name)

    assert can_read_together(model, lambda: make_prompt_cache(model)) == (name in ABLE)


@pytest.mark.parametrize("name", ABLE)
def test_prompts_that_are_read_together_have_the_logits_they_would_have_alone(name):
    model = make_model(name)
    source = random.Random(3)
    prompts = [tuple(source.choices(range(VOCABULARY), k=length)) for length in (33, 20, 40, 27)]

    group, finish = read_together(model, lambda: make_prompt_cache(model), prompts)
    found = np.array(finish())

    for place, prompt in enumerate(prompts):
        caches = make_prompt_cache(model)
        alone = np.array(model(mx.array([prompt]), cache=caches)[0, -1])
        assert np.abs(found[place] - alone).max() <= TOLERANCE * max(1, np.abs(alone).max())
        for mine, own in zip(group.caches_of(place), caches, strict=True):
            assert mine.offset == own.offset == len(prompt)
            assert (
                np.abs(np.array(mine.keys[..., : mine.offset, :] - own.keys[..., : own.offset, :])).max() <= TOLERANCE
            )
