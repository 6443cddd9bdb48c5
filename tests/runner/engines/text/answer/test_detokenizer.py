from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from paddock.runner.engines.text.answer.detokenizer import Detokenizer
from tests.runner.tiny import byte_tokenizer


def sentencepiece_tokenizer() -> Tokenizer:
    """Words that begin with a visible space, and bytes for everything else, as Llama 2's."""
    words = ["▁", "▁hello", "▁world", "hello", "a", "b", "▁a", ",", "日本"]
    pieces = [f"<0x{byte:02X}>" for byte in range(256)] + words
    tokenizer = Tokenizer(
        models.BPE({piece: index for index, piece in enumerate(pieces)}, [], byte_fallback=True, fuse_unk=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


BYTES = byte_tokenizer()
PIECES = sentencepiece_tokenizer()
decode_bytes = partial(BYTES.decode, skip_special_tokens=False)
decode_pieces = partial(PIECES.decode, skip_special_tokens=False)


def streamed(decode, ids, before=()):
    detokenizer = Detokenizer(decode, before)
    return [*(detokenizer.add(token) for token in ids), detokenizer.finish()]


def piece_ids(text: str) -> list[int]:
    return list(text.encode())


@given(st.text())
def test_pieces_together_are_the_text_for_byte_level_tokenizers(text):
    ids = BYTES.encode(text).ids

    assert "".join(streamed(decode_bytes, ids)) == decode_bytes(ids)


@given(st.lists(st.integers(0, 255)))
def test_even_bytes_that_are_no_text_come_out_as_decoding_them_at_once_would(ids):
    assert "".join(streamed(decode_bytes, ids)) == decode_bytes(ids)


@given(st.lists(st.one_of(st.integers(256, 264).map(lambda word: [word]), st.characters().map(piece_ids))))
def test_pieces_together_are_the_text_for_sentencepiece_tokenizers(parts):
    ids = [token for part in parts for token in part]

    assert "".join(streamed(decode_pieces, ids)) == decode_pieces(ids)


@given(st.text(alphabet="日本語のテキスト😀👩‍👩‍👧é ", min_size=1))
def test_no_piece_holds_half_a_character(text):
    assert "\ufffd" not in "".join(streamed(decode_bytes, BYTES.encode(text).ids))


def test_an_emoji_appears_with_its_last_byte():
    pieces = streamed(decode_bytes, BYTES.encode("😀!").ids)

    assert pieces == ["", "", "", "😀", "!", ""]


def test_an_unfinished_character_becomes_a_replacement_at_the_end():
    assert "".join(streamed(decode_bytes, BYTES.encode("é").ids[:1])) == "\ufffd"


def test_a_completion_keeps_its_leading_space():
    assert "".join(streamed(decode_bytes, BYTES.encode(" leading").ids)) == " leading"


@pytest.mark.parametrize("before", [[259], [256 + 3, 256 + 7]])
def test_text_that_continues_a_prompt_keeps_the_space_that_decoders_drop_at_the_start(before):
    world = PIECES.token_to_id("▁world")

    assert "".join(streamed(decode_pieces, [world])) == "world"
    assert "".join(streamed(decode_pieces, [world], before)) == " world"


def test_a_prompt_that_ends_in_half_a_character_does_not_spoil_the_answer():
    half = BYTES.encode("é").ids[:1]

    assert "".join(streamed(decode_bytes, BYTES.encode("yes").ids, half)) == "yes"
