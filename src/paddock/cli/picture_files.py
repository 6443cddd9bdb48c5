"""Picture files of the command line: found in a prompt, read to work from, named and saved."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from paddock.errors import BadRequest, PaddockError

MOST_BYTES = 21 * 1024 * 1024
"""Of a picture to work from: what the server takes."""
_SLUG_CHARACTERS = 50
_OTHER_FORMATS = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"})
_PATH_END = re.compile(r"\.(?:png|jpe?g|webp)(?!\w)", re.IGNORECASE)
_PATH_START = re.compile(r"""(?:\A|(?<=[\s'"]))(?:~?/|\.{1,2}/)""")


def split_prompt(text: str) -> tuple[str, tuple[Path, ...]]:
    """A prompt without the paths of existing pictures in it, and these paths.

    A path begins with / ./ ../ or ~/ and ends in .png, .jpg, .jpeg or .webp; it may be in quotes, and may have spaces,
    as they are or behind backslashes, which is what terminals write for a file that is dropped on them.
    """
    parts, paths, end = [], [], 0
    for start, stop, path in _paths_in(text):
        quote = text[start - 1 : start] if start > end else ""
        if quote in ("'", '"') and text[stop : stop + 1] == quote:
            start, stop = start - 1, stop + 1
        parts.append(text[end:start].strip())
        paths.append(path)
        end = stop
    parts.append(text[end:].strip())
    return " ".join(part for part in parts if part) if paths else text, tuple(paths)


def _paths_in(text: str) -> Iterator[tuple[int, int, Path]]:
    """Start, stop and path of each; of two that end together, the one that begins first."""
    done = 0
    starts = [match.start() for match in _PATH_START.finditer(text)]
    for end in _PATH_END.finditer(text):
        for start in starts:
            if done <= start < end.start() and (path := _existing(text[start : end.end()])):
                yield start, end.end(), path
                done = end.end()
                break


def _existing(text: str) -> Path | None:
    for name in (text, re.sub(r"\\(.)", r"\1", text)):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if (path := Path(name).expanduser()).is_file():
                return path
    return None


def read_picture(path: Path) -> bytes:
    """The bytes of a picture to work from. BadRequest for what is no file, or too large for the server."""
    try:
        if not path.is_file():
            raise BadRequest(f"{path} is no picture file: name one that exists.")
        if path.stat().st_size > MOST_BYTES:
            raise BadRequest(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MiB: make it smaller first.")
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}.") from None


def slug(prompt: str) -> str:
    """What a file is called after a prompt: lower case, hyphens for spaces, nothing but a-z, 0-9 and hyphens."""
    kept = re.sub(r"[^a-z0-9-]", "", prompt.lower().replace(" ", "-"))
    return kept.strip("-")[:_SLUG_CHARACTERS].rstrip("-") or "picture"


@dataclass(frozen=True)
class Destination:
    """Where pictures are saved: a file that the user named, or a folder in which they are named after their prompt."""

    folder: Path
    file: Path | None = None

    def check(self, count: int) -> None:
        """BadRequest where saving will fail, or would replace a file: asked before long work."""
        if not self.folder.is_dir():
            raise BadRequest(f"there is no folder {self.folder}: make it first, or save elsewhere with -o.")
        if not os.access(self.folder, os.W_OK):
            raise BadRequest(f"the folder {self.folder} cannot be written to: save elsewhere with -o.")
        for path in self._fixed_paths(count):
            if path.exists():
                raise BadRequest(f"{path} exists already: remove it, or give another name with -o.")

    def save(self, data: bytes, prompt: str, place: int, count: int) -> Path:
        """Write picture `place` (from 0 on) of `count` to a file that did not exist, and return which.

        PaddockError if it cannot be written.
        """
        path = self._fixed_paths(count)[place] if self.file else self._named(prompt, place, count)
        for candidate in _alternatives(path):
            try:
                _write_new(candidate, data)
            except FileExistsError:
                continue
            except OSError as error:
                raise PaddockError(f"the picture cannot be saved to {candidate}: {error.strerror}.") from None
            return candidate
        raise AssertionError("alternatives never end")

    def _fixed_paths(self, count: int) -> list[Path]:
        if self.file is None:
            return []
        return [_numbered(self.file, place, count) for place in range(count)]

    def _named(self, prompt: str, place: int, count: int) -> Path:
        moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        return _numbered(self.folder / f"{slug(prompt)}-{moment}.png", place, count)


def parse_destination(output: str | None) -> Destination:
    """What -o names: a file, a folder (one that exists, or ends in a slash), or nothing, which is where the user is.

    BadRequest for a name that promises another format than PNG.
    """
    if not output:
        return Destination(Path())
    path = Path(output).expanduser()
    if path.is_dir() or output.endswith("/"):
        return Destination(path)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise BadRequest(f"pictures are saved as PNG: give -o a name that ends in .png, not in {path.suffix}.")
    return Destination(path.parent, path)


def _write_new(path: Path, data: bytes) -> None:
    """Half a picture is not left behind."""
    with path.open("xb") as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _numbered(path: Path, place: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{place + 1}{path.suffix}")


def _alternatives(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
