"""Pictures in a terminal: how a terminal takes them, and the characters that show one. Pure: variables and bytes in,
text out.
"""

from __future__ import annotations

import base64
import enum
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

KITTY_CHUNK_CHARACTERS = 4096
"""Of base64 in one command (https://sw.kovidgoyal.net/kitty/graphics-protocol/, "remote client")."""
UPPER_HALF = "▀"
PLAIN = "\x1b[0m"
_ESCAPE, _BELL = "\x1b", "\x07"
_MULTIPLEXERS = ("screen", "tmux")
_CUBE = (0, 95, 135, 175, 215, 255)
_FIRST_COLOUR, _COLOURS = 16, 240
"""Of the 256 colours, those that are the same everywhere: a cube of 6 x 6 x 6, then 24 greys."""
_CELL_WIDTH, _CELL_HEIGHT = 10, 20
"""Pixels of a character, where a terminal does not tell."""


class Display(enum.Enum):
    """How a terminal shows pictures."""

    ITERM = "iterm"
    """iTerm2's OSC 1337, which WezTerm knows too."""
    KITTY = "kitty"
    """Kitty's graphics protocol, which Ghostty knows too."""
    TRUE_COLOUR = "true colour"
    """Half blocks, two pixels to a character."""
    COLOURS_256 = "256 colours"
    NONE = "none"


@dataclass(frozen=True)
class Window:
    """A terminal's size in characters and, where it tells, in pixels."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0

    @property
    def usable_rows(self) -> int:
        """Of a picture: the line below it and the next prompt stay in sight."""
        return max(1, self.rows - 3)


def choose_display(variables: Mapping[str, str]) -> Display:
    """What the terminal that these environment variables describe can show.

    A multiplexer keeps the variables of the terminal around it, but passes no pictures on.
    """
    term = variables.get("TERM", "")
    if variables.get("NO_COLOR") or term in ("", "dumb"):
        return Display.NONE
    if not variables.get("TMUX") and not term.startswith(_MULTIPLEXERS):
        for display, is_there in (
            (Display.KITTY, term in ("xterm-kitty", "xterm-ghostty")),
            (Display.ITERM, _is_iterm(variables)),
            (Display.KITTY, _is_kitty(variables)),
        ):
            if is_there:
                return display
    if variables.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct") or "WT_SESSION" in variables:
        return Display.TRUE_COLOUR
    return Display.COLOURS_256 if "256color" in term else Display.NONE


def _is_iterm(variables: Mapping[str, str]) -> bool:
    program = variables.get("TERM_PROGRAM")
    if program:  # other variables may come from a terminal that this one was started in
        return program in ("iTerm.app", "WezTerm")
    return "WEZTERM_PANE" in variables or variables.get("LC_TERMINAL") == "iTerm2"


def _is_kitty(variables: Mapping[str, str]) -> bool:
    program = variables.get("TERM_PROGRAM")
    if program:
        return program == "ghostty"
    return "KITTY_WINDOW_ID" in variables or "GHOSTTY_RESOURCES_DIR" in variables


def drawn(data: bytes, display: Display, window: Window) -> str:
    """What to write to show a PNG file, its last line ended; nothing where it cannot be shown."""
    size = _png_size(data)
    if display is Display.NONE or size is None:
        return ""
    if display is Display.ITERM:
        return iterm(data, _columns(size, window)) + "\n"
    if display is Display.KITTY:
        return "".join(kitty(data, _columns(size, window))) + "\n"
    picture = _fitted(data, window)
    return half_blocks(picture, display is Display.TRUE_COLOUR) if picture else ""


def iterm(data: bytes, columns: int | None = None) -> str:
    """iTerm2's command for a picture in the text, `columns` wide or in its own size.

    https://iterm2.com/documentation-images.html
    """
    width = f"width={columns};" if columns else ""
    text = base64.b64encode(data).decode()
    return f"{_ESCAPE}]1337;File=inline=1;size={len(data)};{width}preserveAspectRatio=1:{text}{_BELL}"


def kitty(data: bytes, columns: int | None = None) -> Iterator[str]:
    """Kitty's commands for a PNG file, `columns` wide or in its own size: "transmit and display", with no answer."""
    text = base64.b64encode(data).decode()
    chunks = [text[start : start + KITTY_CHUNK_CHARACTERS] for start in range(0, len(text), KITTY_CHUNK_CHARACTERS)]
    keys = "a=T,f=100,q=2," + (f"c={columns}," if columns else "")
    for place, chunk in enumerate(chunks, start=1):
        has_more = int(place < len(chunks))
        yield f"{_ESCAPE}_G{keys if place == 1 else ''}m={has_more};{chunk}{_ESCAPE}\\"


def half_blocks(picture: Image, has_true_colour: bool) -> str:
    """Two rows of pixels to a line: the upper one is the characters' colour, the lower one their background."""
    colours = _true_colours(picture) if has_true_colour else _palette_colours(picture)
    lines = []
    for top in range(0, len(colours), 2):
        below = colours[top + 1] if top + 1 < len(colours) else [""] * picture.width
        lines.append(_line(colours[top], below))
    return "".join(lines)


def _line(above: list[str], below: list[str]) -> str:
    """Colours are named only where they change. An empty one below is the terminal's own background."""
    text, last = "", ("", "")
    for colours in zip(above, below, strict=True):
        upper, lower = (colour if colour != old else "" for colour, old in zip(colours, last, strict=True))
        codes = ";".join(f"{ground};{colour}" for ground, colour in (("38", upper), ("48", lower)) if colour)
        text += (f"{_ESCAPE}[{codes}m" if codes else "") + UPPER_HALF
        last = colours
    return f"{text}{PLAIN}\n"


def _true_colours(picture: Image) -> list[list[str]]:
    width, data = picture.width, picture.tobytes()
    names = [f"2;{data[start]};{data[start + 1]};{data[start + 2]}" for start in range(0, len(data), 3)]
    return [names[start : start + width] for start in range(0, len(names), width)]


def _palette_colours(picture: Image) -> list[list[str]]:
    """The nearest of the 240 colours, with the error spread over the neighbours (Floyd and Steinberg)."""
    from PIL import Image as Images

    palette = Images.new("P", (1, 1))
    palette.putpalette([value for colour in _fixed_colours() for value in colour])
    data = picture.quantize(palette=palette, dither=Images.Dither.FLOYDSTEINBERG).tobytes()
    width = picture.width
    names = [f"5;{_FIRST_COLOUR + min(index, _COLOURS - 1)}" for index in data]
    return [names[start : start + width] for start in range(0, len(names), width)]


def _fixed_colours() -> list[tuple[int, int, int]]:
    cube = [(red, green, blue) for red in _CUBE for green in _CUBE for blue in _CUBE]
    return [*cube, *((grey, grey, grey) for grey in range(8, 248, 10))]


def _fitted(data: bytes, window: Window) -> Image | None:
    """The picture with a pixel for every half of a character, no larger than the window or than it is."""
    from PIL import Image as Images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Images.DecompressionBombWarning)
            with Images.open(io.BytesIO(data), formats=["PNG"]) as picture:
                scale = min(1.0, window.columns / picture.width, 2 * window.usable_rows / picture.height)
                size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
                return picture.convert("RGB").resize(size, Images.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Images.DecompressionBombError):
        return None


def _columns(size: tuple[int, int], window: Window) -> int | None:
    """How many columns a picture has to be squeezed into to stay in sight; None where it fits as it is."""
    cell_width = window.width / window.columns if window.width else _CELL_WIDTH
    cell_height = window.height / window.rows if window.height else _CELL_HEIGHT
    scale = min(window.columns * cell_width / size[0], window.usable_rows * cell_height / size[1])
    return max(1, int(size[0] * scale / cell_width)) if scale < 1 else None


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height; None for what is no PNG file."""
    if len(data) < 24 or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return (width, height) if width and height else None
