from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.errors import DamagedModel
from paddock.runner.engines.embedding.tokenizer import TextTokenizer, load_tokenizer
from paddock.runner.watch import Watch
from tests.runner.engines.embedding.tiny import save_byte_tokenizer
from tests.runner.tiny import END_OF_TEXT, byte_tokenizer, save_tokenizer


def loaded(folder: Path, *, lowers_case: bool = False) -> TextTokenizer:
    return load_tokenizer(folder, Watch(), lowers_case=lowers_case)


def test_lengths_that_the_file_asks_for_do_not_count(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    save_tokenizer(tmp_path, tokenizer)

    assert len(loaded(tmp_path).encode("a text", 100).tokens) == 6
    assert len(loaded(tmp_path).encode("a", 100).tokens) == 1


def test_a_cut_keeps_the_special_tokens_and_tells_the_full_length(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path)
    tokenizer = loaded(tmp_path)

    whole, cut = tokenizer.encode("abcdef", 100), tokenizer.encode("abcdef", 5)

    assert cut.tokens == (*whole.tokens[:4], whole.tokens[-1])
    assert cut.full_length == len(whole.tokens) == 8
    assert tokenizer.decode(tokenizer.encode("abc", 9, special=False).tokens) == "abc"


def test_the_second_text_of_a_pair_is_of_another_kind(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path)

    pair = loaded(tmp_path).encode_pair("ab", "cde", 100)

    assert pair.kinds == (0, 0, 0, 0, 1, 1, 1, 1)
    assert pair.full_length == 8


def test_an_end_token_that_the_settings_want_is_appended(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, byte_tokenizer(), add_eos_token=True, eos_token=END_OF_TEXT)
    end = byte_tokenizer().token_to_id(END_OF_TEXT)

    assert loaded(tmp_path).encode("ab", 100).tokens[-1] == end
    assert loaded(tmp_path).encode("abcdef", 3).tokens[-1] == end
    assert len(loaded(tmp_path).encode("abcdef", 3).tokens) == 3
    assert loaded(tmp_path).encode("ab", 100, special=False).tokens[-1] != end


def test_an_end_token_that_is_there_is_not_doubled(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path)
    settings = {"add_eos_token": True, "eos_token": END_OF_TEXT}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))

    assert loaded(tmp_path).encode("ab", 100).full_length == 4


def test_letters_are_made_small_where_the_model_wants_it(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path)

    assert loaded(tmp_path, lowers_case=True).encode("AbC", 9) == loaded(tmp_path).encode("abc", 9)


def test_a_vocabulary_alone_is_enough_for_a_word_piece_tokenizer(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "wor", "##ld"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))

    assert loaded(tmp_path).encode("Hello world", 9).tokens == (2, 5, 6, 7, 3)


def test_a_damaged_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(DamagedModel, match=r"tokenizer\.json"):
        loaded(tmp_path)
