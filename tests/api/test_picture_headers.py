import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image as Pillow

from paddock.api.pictures.headers import size_of

KINDS = [
    {"format": "PNG"},
    {"format": "JPEG"},
    {"format": "JPEG", "progressive": True, "comment": b"hello " * 50},
    {"format": "WEBP"},
    {"format": "WEBP", "lossless": True},
    {"format": "WEBP", "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
]


def a_file(width: int, height: int, **options: object) -> bytes:
    file = io.BytesIO()
    Pillow.effect_noise((width, height), 50).convert("RGB").save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (40, 24), (17, 301), (1500, 2)])
def test_the_size_is_what_pillow_reads(size: tuple[int, int], options: dict[str, object]) -> None:
    assert size_of(a_file(*size, **options)) == size


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_file_that_is_cut_off_has_its_size_or_none(options: dict[str, object]) -> None:
    data = a_file(40, 24, **options)

    assert {size_of(data[:length]) for length in range(len(data))} == {None, (40, 24)}


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBPVP8X", b"BM"])
def test_other_files_have_none(data: bytes) -> None:
    assert size_of(data) is None


@settings(max_examples=200, deadline=None)
@given(some.sampled_from([a_file(9, 9, **options)[:200] for options in KINDS]), some.data())
def test_no_bytes_are_too_broken_to_be_looked_at(whole: bytes, data: some.DataObject) -> None:
    place = data.draw(some.integers(0, len(whole)))
    broken = whole[:place] + data.draw(some.binary(max_size=40)) + whole[place:]

    assert size_of(broken) is None or len(size_of(broken) or ()) == 2
