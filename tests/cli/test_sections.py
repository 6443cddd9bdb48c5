"""How an overview looks on a terminal: folded to its width, with colours where it has any."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from paddock.cli.sections import Section, draw, show

SECTIONS = [
    Section("Model", [["architecture", "llama"], ["pulled from", "an-organisation/" + "a-repository-" * 6]]),
    Section("Memory", [["4096", "fits after eviction of other:latest"]], ("CONTEXT", "NOW"), {"fits": "green"}),
    Section("System", [["Two \x1b[31mwords\x07."]]),
]


def drawn(width, **settings):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, **settings)
    draw(SECTIONS, console)
    return console.file.getvalue()


def without_styles(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [50, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off(width):
    text = without_styles(drawn(width, color_system="standard"))
    assert max(len(line) for line in text.splitlines()) <= width
    assert "a-repository-" * 6 in "".join(text.split())


def test_marks_and_labels_have_styles_where_there_are_colours():
    text = drawn(100, color_system="standard")
    assert "\x1b[32mfits\x1b[0m" in text
    assert "\x1b[1m  Memory" in text


def test_without_colours_the_words_are_the_same():
    plain = drawn(100, color_system=None)
    assert "\x1b" not in plain
    assert plain == without_styles(drawn(100, color_system="standard"))


def test_what_a_model_says_moves_no_cursor():
    assert "Two [31mwords." in drawn(100, color_system=None)


def test_what_is_piped_is_never_folded(capsys):
    show(SECTIONS)
    out = capsys.readouterr().out
    assert "an-organisation/" + "a-repository-" * 6 in out
    assert "\x1b" not in out
