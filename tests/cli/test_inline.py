"""Pictures in a terminal, byte for byte."""

import base64
import io
import re

import pytest
from PIL import Image

from paddock.cli.inline import Display, Window, choose_display, drawn, half_blocks, iterm, kitty

WINDOW = Window(80, 24)


@pytest.mark.parametrize(
    ("variables", "display"),
    [
        ({"TERM_PROGRAM": "iTerm.app"}, Display.ITERM),
        ({"TERM_PROGRAM": "WezTerm", "COLORTERM": "truecolor"}, Display.ITERM),
        ({"WEZTERM_PANE": "0"}, Display.ITERM),
        ({"LC_TERMINAL": "iTerm2"}, Display.ITERM),
        ({"KITTY_WINDOW_ID": "1"}, Display.KITTY),
        ({"TERM": "xterm-kitty"}, Display.KITTY),
        ({"GHOSTTY_RESOURCES_DIR": "/usr/share/ghostty"}, Display.KITTY),
        ({"TERM_PROGRAM": "ghostty", "TERM": "xterm-ghostty"}, Display.KITTY),
        ({"COLORTERM": "truecolor"}, Display.TRUE_COLOUR),
        ({"COLORTERM": "24bit"}, Display.TRUE_COLOUR),
        ({"TERM": "xterm-direct"}, Display.TRUE_COLOUR),
        ({"TERM_PROGRAM": "Apple_Terminal"}, Display.COLOURS_256),
        ({"TERM": "screen-256color"}, Display.COLOURS_256),
        ({"TERM": "linux"}, Display.NONE),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, Display.NONE),
        ({"TERM": "", "COLORTERM": "truecolor"}, Display.NONE),
    ],
)
def test_a_terminal_is_known_by_its_variables(variables, display):
    assert choose_display({"TERM": "xterm-256color", **variables}) is display


def test_no_color_shows_no_picture():
    for name, value in (("TERM_PROGRAM", "iTerm.app"), ("KITTY_WINDOW_ID", "1"), ("COLORTERM", "truecolor")):
        assert choose_display({"TERM": "xterm-256color", name: value, "NO_COLOR": "1"}) is Display.NONE
        assert choose_display({"TERM": "xterm-256color", name: value, "NO_COLOR": ""}) is not Display.NONE


def test_a_multiplexer_gets_half_blocks_whatever_is_around_it():
    around = {"KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}
    assert choose_display({**around, "TERM": "tmux-256color"}) is Display.TRUE_COLOUR
    assert (
        choose_display({**around, "TERM": "xterm-256color", "TMUX": "/tmp/tmux-0/default,1,0"}) is Display.TRUE_COLOUR
    )


def test_a_terminal_that_was_started_in_another_is_not_taken_for_it():
    variables = {"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "COLORTERM": "truecolor"}
    assert choose_display({**variables, "KITTY_WINDOW_ID": "1", "WEZTERM_PANE": "0"}) is Display.TRUE_COLOUR


def test_iterm_takes_the_file_in_one_sequence():
    assert iterm(b"picture") == "\x1b]1337;File=inline=1;size=7;preserveAspectRatio=1:cGljdHVyZQ==\x07"
    assert iterm(b"picture", 80) == "\x1b]1337;File=inline=1;size=7;width=80;preserveAspectRatio=1:cGljdHVyZQ==\x07"


def test_kitty_takes_a_small_file_in_one_command():
    assert list(kitty(b"picture")) == ["\x1b_Ga=T,f=100,q=2,m=0;cGljdHVyZQ==\x1b\\"]
    assert list(kitty(b"picture", 80)) == ["\x1b_Ga=T,f=100,q=2,c=80,m=0;cGljdHVyZQ==\x1b\\"]


@pytest.mark.parametrize(("size_bytes", "chunk_sizes"), [(3072, [4096]), (3073, [4096, 4]), (7000, [4096, 4096, 1144])])
def test_kitty_takes_4096_characters_at_a_time(size_bytes, chunk_sizes):
    data = bytes(index % 251 for index in range(size_bytes))
    commands = list(kitty(data))
    heads = [re.fullmatch(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", command).groups() for command in commands]
    assert [len(chunk) for _, chunk in heads] == chunk_sizes
    last = len(chunk_sizes) - 1
    keys = [f"{'a=T,f=100,q=2,' if place == 0 else ''}m={int(place < last)}" for place in range(len(chunk_sizes))]
    assert [head for head, _ in heads] == keys
    assert base64.b64decode("".join(chunk for _, chunk in heads)) == data


def picture_of(rows):
    picture = Image.new("RGB", (len(rows[0]), len(rows)))
    picture.putdata([pixel for row in rows for pixel in row])
    return picture


RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (8, 8, 8)


def test_half_blocks_have_the_upper_pixel_as_colour_and_the_lower_one_as_background():
    assert half_blocks(picture_of([[RED, BLUE], [BLUE, BLUE]]), has_true_colour=True) == (
        "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;0;255m▀\x1b[0m\n"
    )


def test_colours_are_named_only_where_they_change():
    assert half_blocks(picture_of([[RED] * 3, [BLUE] * 3]), has_true_colour=True) == (
        "\x1b[38;2;255;0;0;48;2;0;0;255m▀▀▀\x1b[0m\n"
    )


def test_an_odd_last_row_lies_on_the_terminals_own_background():
    assert half_blocks(picture_of([[RED], [BLUE], [RED]]), has_true_colour=True) == (
        "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m\n\x1b[38;2;255;0;0m▀\x1b[0m\n"
    )


def test_256_colours_are_those_of_the_cube_and_the_greys():
    # xterm's numbers: 16 + 36 r + 6 g + b, each of 0 to 5; greys from 232 on, 8 and ten more each
    assert half_blocks(picture_of([[RED], [BLUE]]), has_true_colour=False) == "\x1b[38;5;196;48;5;21m▀\x1b[0m\n"
    assert half_blocks(picture_of([[GREY], [(255, 255, 255)]]), has_true_colour=False) == (
        "\x1b[38;5;232;48;5;231m▀\x1b[0m\n"
    )


def test_256_colours_keep_the_brightness_of_what_lies_between_them():
    text = half_blocks(picture_of([[(40, 40, 40)] * 40] * 40), has_true_colour=False)
    shades, counted, colours = [], re.findall(r"\x1b\[([0-9;]*)m(▀*)", text), {}
    for codes, cells in counted:
        colours = {} if codes == "0" else colours | dict(re.findall(r"([34]8);5;(\d+)", codes))
        shades += [int(colours[ground]) for ground in ("38", "48")] * len(cells) if cells else []
    assert len(shades) == 1600
    assert sum(8 + 10 * (shade - 232) if shade >= 232 else 0 for shade in shades) / 1600 == pytest.approx(40, abs=4)


def size_of(text):
    lines = text.splitlines()
    return max(line.count("▀") for line in lines), len(lines)


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((1024, 1024), (42, 21)),
        ((1600, 400), (80, 10)),
        ((400, 1600), (10, 21)),
        ((10, 6), (10, 3)),
        ((4096, 1), (80, 1)),
    ],
)
def test_half_blocks_fit_in_the_window_and_are_never_enlarged(make_png, size, cells):
    assert size_of(drawn(make_png(size=size), Display.TRUE_COLOUR, WINDOW)) == cells


def test_a_picture_that_is_wider_or_higher_than_the_window_is_squeezed_into_it(make_png):
    small, wide, high = make_png(size=(100, 100)), make_png(size=(2000, 100)), make_png(size=(100, 2000))
    pixels = Window(80, 24, width=1600, height=960)  # 20 x 40 pixels to a character
    assert drawn(small, Display.KITTY, WINDOW).startswith("\x1b_Ga=T,f=100,q=2,m=")
    assert drawn(wide, Display.KITTY, WINDOW).startswith("\x1b_Ga=T,f=100,q=2,c=80,")
    assert drawn(high, Display.KITTY, WINDOW).startswith("\x1b_Ga=T,f=100,q=2,c=2,")
    assert drawn(make_png(size=(1600, 100)), Display.ITERM, pixels) == iterm(make_png(size=(1600, 100))) + "\n"
    assert ";width=80;" in drawn(make_png(size=(1601, 100)), Display.ITERM, pixels)


def test_a_picture_ends_its_line(make_png):
    for display in Display:
        text = drawn(make_png(), display, WINDOW)
        assert text == "" if display is Display.NONE else text.endswith("\n")


@pytest.mark.parametrize("display", list(Display))
def test_what_is_no_picture_shows_nothing(display, make_png):
    assert drawn(b"no picture", display, WINDOW) == ""
    assert drawn(b"", display, WINDOW) == ""
    assert drawn(make_png()[:16] + bytes(20), display, WINDOW) == ""


def test_a_picture_cut_short_shows_no_half_blocks(make_png):
    assert drawn(make_png()[:40], Display.TRUE_COLOUR, WINDOW) == ""


def test_a_picture_with_a_palette_or_transparency_is_shown_too():
    for mode in ("P", "L", "RGBA", "1"):
        file = io.BytesIO()
        Image.new(mode, (4, 4)).save(file, format="PNG")
        assert size_of(drawn(file.getvalue(), Display.COLOURS_256, WINDOW)) == (4, 2)
