"""Picture files: found in prompts, read, named and saved."""

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.cli import picture_files
from paddock.cli.picture_files import Destination, parse_destination, read_picture, slug, split_prompt
from paddock.errors import BadRequest, PaddockError


@pytest.fixture
def folder(tmp_path, monkeypatch, make_png):
    """A folder with pictures, which the user is in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("cat.png", "DOG.JPG", "my cat.webp", "cat.txt", "home/bird.jpeg", "it's.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(make_png())
    return tmp_path


@pytest.mark.parametrize(
    ("text", "prompt", "names"),
    [
        ("./cat.png in watercolours", "in watercolours", ["cat.png"]),
        ("paint ./cat.png and ./DOG.JPG, please", "paint and , please", ["cat.png", "DOG.JPG"]),
        ("make '{folder}/cat.png' blue", "make blue", ["{folder}/cat.png"]),
        ('make "./my cat.webp" blue', "make blue", ["my cat.webp"]),
        ("make ./my cat.webp blue", "make blue", ["my cat.webp"]),
        ("make {folder}/my\\ cat.webp blue", "make blue", ["{folder}/my cat.webp"]),
        ("make ./it\\'s.png blue", "make blue", ["it's.png"]),
        ("a bird like ~/bird.jpeg", "a bird like", ["~/bird.jpeg"]),
        ("a/b of ./none and ./cat.png", "a/b of ./none and", ["cat.png"]),
        ("./cat.png", "", ["cat.png"]),
        ("cat.png as it is", "cat.png as it is", []),
        ("./none.png as it is", "./none.png as it is", []),
        ("./cat.txt as it is", "./cat.txt as it is", []),
        ("see http://example.org/cat.png", "see http://example.org/cat.png", []),
        ("two  spaces\nand lines stay", "two  spaces\nand lines stay", []),
        ("./cat.pngs", "./cat.pngs", []),
    ],
)
def test_paths_of_existing_pictures_are_taken_out_of_a_prompt(folder, text, prompt, names):
    wanted = tuple(Path(name.format(folder=folder)).expanduser() for name in names)
    assert split_prompt(text.format(folder=folder)) == (prompt, wanted)


@given(st.text(alphabet="a ./~\\'\"pngPNG\n\0é", max_size=60))
def test_any_prompt_without_pictures_stays_as_it_is(text):
    assert split_prompt(text) == (text, ())


def test_a_picture_to_work_from_must_be_a_file_that_can_be_read(folder, monkeypatch):
    assert read_picture(Path("cat.png")) == (folder / "cat.png").read_bytes()
    for name in ("none.png", "home"):
        with pytest.raises(BadRequest, match=f"{name} is no picture file"):
            read_picture(Path(name))
    monkeypatch.setattr(picture_files, "MOST_BYTES", 10)
    with pytest.raises(BadRequest, match=r"cat\.png is larger than"):
        read_picture(Path("cat.png"))


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A cat, sitting on THE mat!", "a-cat-sitting-on-the-mat"),
        ("two  spaces - and 3 hyphens", "two--spaces---and-3-hyphens"),
        ("x" * 80, "x" * 50),
        ("word " * 10 + "end", "word-word-word-word-word-word-word-word-word-word"),
        ("../../etc/passwd", "etcpasswd"),
        ("-rf everything", "rf-everything"),
        ("日本の猫", "picture"),
        ("!?", "picture"),
    ],
)
def test_a_file_is_called_after_its_prompt(prompt, name):
    assert slug(prompt) == name


@given(st.text(max_size=200))
def test_a_file_name_is_always_a_plain_one(prompt):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,49}", slug(prompt))


def test_pictures_are_saved_under_prompt_and_time(folder):
    path = Destination(Path()).save(b"data", "A red fox", 0, 1)
    assert re.fullmatch(r"a-red-fox-\d{8}-\d{6}\.png", str(path))
    assert path.read_bytes() == b"data"


def test_several_pictures_are_numbered_from_one_on(folder):
    names = [Destination(Path("home")).save(b"data", "A fox", place, 3).name for place in range(3)]
    assert [name[-6:] for name in names] == ["-1.png", "-2.png", "-3.png"]
    assert [path.name for path in Destination(Path(), Path("x.png"))._fixed_paths(2)] == ["x-1.png", "x-2.png"]


def test_a_file_that_came_into_being_meanwhile_is_not_replaced(folder):
    destination = Destination(folder, folder / "cat.png")
    before = (folder / "cat.png").read_bytes()
    assert [destination.save(b"new", "", 0, 1).name for _ in range(2)] == ["cat-2.png", "cat-3.png"]
    assert (folder / "cat.png").read_bytes() == before


def test_a_file_that_exists_is_refused_before_anything_is_made(folder):
    with pytest.raises(BadRequest, match=r"^cat\.png exists already: remove it, or give another name with -o\.$"):
        parse_destination("cat.png").check(1)
    parse_destination("cat.png").check(2)
    (folder / "cat-2.png").touch()
    with pytest.raises(BadRequest, match=r"^cat-2\.png exists already"):
        parse_destination("cat.png").check(2)


def test_a_folder_that_is_missing_or_closed_is_refused_before_anything_is_made(folder, monkeypatch):
    with pytest.raises(BadRequest, match=r"^there is no folder none: make it first"):
        parse_destination("none/fox.png").check(1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(BadRequest, match=r"^the folder home cannot be written to"):
        parse_destination("home").check(1)


def test_a_destination_is_a_file_a_folder_or_where_the_user_is(folder):
    assert parse_destination(None) == Destination(Path())
    assert parse_destination("home") == Destination(Path("home"))
    assert parse_destination("none/") == Destination(Path("none"))
    assert parse_destination("home/fox.png") == Destination(Path("home"), Path("home/fox.png"))
    assert parse_destination("fox") == Destination(Path(), Path("fox"))
    assert parse_destination("fox.v2") == Destination(Path(), Path("fox.v2"))
    with pytest.raises(BadRequest, match=r"ends in \.png, not in \.JPG\."):
        parse_destination("fox.JPG")


class _FullFile:
    """A file on a disk that is full."""

    def __init__(self, path):
        path.touch()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_leaves_no_half_picture(folder, monkeypatch):
    monkeypatch.setattr(Path, "open", lambda path, mode: _FullFile(path))
    with pytest.raises(PaddockError, match=r"^the picture cannot be saved to fox\.png: No space left on device\.$"):
        parse_destination("fox.png").save(b"data", "", 0, 1)
    assert not (folder / "fox.png").exists()
