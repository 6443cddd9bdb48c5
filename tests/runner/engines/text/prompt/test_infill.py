import pytest
from mlx_lm import utils
from tokenizers import AddedToken

from paddock.errors import Unsupported
from paddock.runner.engines.text.prompt.infill import Infill
from tests.runner.tiny import byte_tokenizer, save_tokenizer

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


@pytest.fixture
def infill_of(tmp_path):
    def make(*tokens: str) -> Infill:
        tokenizer = byte_tokenizer()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in tokens])
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        save_tokenizer(tmp_path, tokenizer)
        return Infill(utils.load_tokenizer(tmp_path, {"trust_remote_code": False}))

    return make


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_the_text_behind_the_gap_comes_before_its_middle(infill_of):
    start, ahead, end = infill_of(*MARKS).parts("ab", "cd", letters, letters)

    assert (start, ahead) == (letters("<|fim_prefix|>"), letters("ab"))
    assert end == letters("<|fim_suffix|>cd<|fim_middle|>")


def test_tokens_that_end_a_gap_stop_the_answer(infill_of):
    assert infill_of(*MARKS, "<|endoftext|>", "<|fim_pad|>").stops == ("<|endoftext|>", "<|fim_pad|>")


def test_a_model_that_fills_no_gaps_says_so(infill_of):
    with pytest.raises(Unsupported, match="does not support insert"):
        infill_of(*MARKS[:2]).parts("a", "b", letters, letters)
