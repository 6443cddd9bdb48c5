import pytest

from paddock.errors import DamagedModel
from paddock.runner.engines.text.prompt.encoding import Encoding
from paddock.runner.watch import Watch


class Tokenizer:
    """Makes `each` tokens of every character."""

    def __init__(self, each: int, watch: Watch) -> None:
        self._each = each
        self._watch = watch
        self.allowed: list[bool] = []

    def encode(self, text, add_special_tokens):
        self.allowed.append(self._watch._allowance is not None)
        return [1] * (len(text) * self._each + add_special_tokens)

    def decode(self, tokens, clean_up_tokenization_spaces):
        return "x" * len(tokens)


def encoding(each: int) -> tuple[Encoding, Tokenizer]:
    watch = Watch()
    tokenizer = Tokenizer(each, watch)
    return Encoding(tokenizer, watch), tokenizer


def test_work_on_a_text_has_an_allowance():
    made, tokenizer = encoding(1)

    assert made.encode("abc", special=True) == [1] * 4
    assert tokenizer.allowed == [True]
    assert made.decode([1, 1]) == "xx"


def test_four_tokens_a_byte_are_many_and_more_are_refused():
    assert len(encoding(4)[0].encode("a" * 5000, special=False)) == 20_000
    with pytest.raises(DamagedModel, match="too many tokens"):
        encoding(5)[0].encode("a" * 5000, special=False)
    assert len(encoding(100)[0].encode("a" * 10, special=False)) == 1000


def test_lone_surrogates_have_a_size_too():
    assert encoding(1)[0].encode("\ud800", special=False) == [1]
