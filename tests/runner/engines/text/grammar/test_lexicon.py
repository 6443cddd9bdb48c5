"""Rows of bits, one for each token."""

import numpy as np
import pytest

from paddock.runner.engines.text.grammar.lexicon import has, only, row_of, tokens_of, words_of


@pytest.mark.parametrize("token", [0, 31, 32, 63, 151_668])
def test_a_token_is_found_wherever_it_stands(token):
    row = row_of([token], words_of(token + 1))

    assert only(row) == token
    assert tokens_of(row) == [token]
    assert has(row, token)
    assert [has(row, other) for other in range(row.size * 32)].count(True) == 1


def test_of_several_tokens_and_of_none_there_is_no_only_one():
    assert only(row_of([3, 70], 3)) is None
    assert only(np.zeros(3, np.uint32)) is None
