"""Signatures of thinking, and the thinking that some of them hold; ids of calls there and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.api.anthropic.signatures import omitted_thinking, signature_of
from paddock.api.anthropic.tool_ids import anthropic_id, own_id


@settings(deadline=None)
@given(st.text(min_size=1))
def test_thinking_that_was_left_out_comes_back(thinking: str) -> None:
    assert omitted_thinking(signature_of(thinking, is_omitted=True)) == thinking


@settings(deadline=None)
@given(st.text(min_size=1))
def test_a_signature_of_thinking_that_was_told_holds_none(thinking: str) -> None:
    signature = signature_of(thinking, is_omitted=False)

    assert signature
    assert omitted_thinking(signature) == ""


@pytest.mark.parametrize("signature", ["", "EqQBCgIYAhIM", "omitted.", "omitted.!", "omitted./w=="])
def test_what_is_no_signature_of_ours_holds_nothing(signature: str) -> None:
    assert omitted_thinking(signature) == ""


@pytest.mark.parametrize("own", ["call_a1b2c3d4", "abc123XYZ", "a-b_c"])
def test_the_id_of_a_call_comes_back_as_it_was(own: str) -> None:
    assert own_id(anthropic_id(own)) == own


@pytest.mark.parametrize("own", ["functions.add:0", "", "ä", "x" * 65, "a b"])
def test_an_id_that_no_client_would_take_is_made_anew(own: str) -> None:
    assert re.fullmatch(r"toolu_[0-9a-f]{24}", anthropic_id(own))
