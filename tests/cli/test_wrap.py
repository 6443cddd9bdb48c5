"""Word wrap."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from paddock.cli.wrap import WordWrap

TEXTS = st.text(st.sampled_from("abc de\n\t日本é😀-"), max_size=200)


def wrapped(text, width, cuts=()):
    wrap = WordWrap(width)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    return "".join(wrap.feed(piece) for piece in pieces) + wrap.finish()


def test_lines_break_between_words():
    assert wrapped("the quick brown fox jumps", 10) == "the quick\nbrown fox\njumps"


def test_a_word_longer_than_the_line_is_cut():
    assert wrapped("see abcdefghijklm", 5) == "see\nabcde\nfghij\nklm"


def test_indentation_and_line_breaks_survive():
    assert wrapped("if x:\n    y = 1\n\nend", 20) == "if x:\n    y = 1\n\nend"


def test_wide_characters_count_twice_and_may_be_parted():
    assert wrapped("日本語日本語", 4) == "日本\n語日\n本語"


def test_a_word_is_written_only_when_it_is_complete():
    wrap = WordWrap(10)
    assert wrap.feed("the qui") == "the"
    assert wrap.feed("ck brown") == " quick"
    assert wrap.finish() == "\nbrown"


@given(TEXTS, st.integers(2, 30))
def test_no_line_is_wider_than_the_terminal(text, width):
    assert all(cell_len(line) <= width for line in wrapped(text, width).split("\n"))


@given(TEXTS, st.integers(2, 30), st.lists(st.integers(0, 200), max_size=5))
def test_how_a_text_arrives_does_not_matter(text, width, cuts):
    assert wrapped(text, width, cuts) == wrapped(text, width)


@given(TEXTS, st.integers(2, 30))
def test_only_white_space_changes(text, width):
    assert "".join(wrapped(text, width).split()) == "".join(text.split())
