"""Files of strangers: what becomes of good ones, and that bad ones cost nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from paddock.errors import BadRequest
from paddock.runner.engines.image import pictures
from paddock.runner.engines.image.pictures import fitted, read_pictures, within_area

RED, BLUE = (255, 0, 0), (0, 0, 255)


def saved(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, **{"format": "PNG", **options})
    return file.getvalue()


def half_red_half_blue() -> Image.Image:
    picture = Image.new("RGB", (40, 20), RED)
    picture.paste(BLUE, (20, 0, 40, 20))
    return picture


def png_of_zeros(width: int, height: int, mode: int = 2) -> bytes:
    """A small file of a large picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + width * (3 if mode == 2 else 1))
    data = b"".join(packer.compress(row) for _ in range(min(height, 64))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_read(kind):
    [picture] = read_pictures([saved(half_red_half_blue(), format=kind)])

    assert (picture.mode, picture.size) == ("RGB", (40, 20))
    assert np.abs(np.asarray(picture)[10, 5].astype(int) - RED).max() < 12


def test_a_photograph_is_turned_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    [picture] = read_pictures([saved(half_red_half_blue(), format="JPEG", exif=exif, quality=95)])

    pixels = np.asarray(picture).astype(int)
    assert picture.size == (20, 40)
    assert np.abs(pixels[5, 10] - RED).max() < 12
    assert np.abs(pixels[35, 10] - BLUE).max() < 12


def test_what_is_transparent_becomes_white():
    layered = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layered.paste((*RED, 255), (0, 0, 4, 8))
    layered.paste((0, 0, 0, 128), (4, 4, 8, 8))
    [picture] = read_pictures([saved(layered)])

    pixels = np.asarray(picture)
    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[0, 7]) == (255, 255, 255)
    assert abs(int(pixels[7, 7, 0]) - 127) <= 1


def test_a_palette_with_a_transparent_colour_becomes_white_there():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([*BLUE, *RED])
    picture.putpixel((0, 0), 1)
    [read] = read_pictures([saved(picture, transparency=0)])

    assert tuple(np.asarray(read)[0, 0]) == RED
    assert tuple(np.asarray(read)[3, 3]) == (255, 255, 255)


def test_grey_of_sixteen_bits_keeps_its_shades():
    grey = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    [picture] = read_pictures([saved(grey)])

    assert np.asarray(picture)[0, :, 0].tolist() == [0, 128, 255]


def test_of_a_moving_picture_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    file = saved(frames[0], format="WEBP", save_all=True, append_images=frames[1:], lossless=True)

    assert tuple(np.asarray(read_pictures([file])[0])[0, 0]) == RED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"AAAA",
        saved(half_red_half_blue(), format="GIF"),
        saved(half_red_half_blue(), format="TIFF"),
        saved(half_red_half_blue())[:-40],
        saved(half_red_half_blue(), format="JPEG")[:300],
        saved(half_red_half_blue(), format="WEBP")[:40],
        saved(half_red_half_blue()).replace(b"IDAT", b"IDAX"),
        b"\x89PNG\r\n\x1a\n" + bytes(200),
    ],
)
def test_a_broken_file_is_refused_in_our_own_words(data):
    with pytest.raises(BadRequest, match="Image 2") as caught:
        read_pictures([saved(half_red_half_blue()), data])

    assert "object" not in caught.value.message
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("size", [(20_000, 20_000), (6_000, 6_000), (1, 16_385), (60_000, 60_000)])
def test_a_bomb_is_refused_before_it_is_decoded(size, monkeypatch):
    monkeypatch.setattr(pictures, "_decode", None)

    with pytest.raises(BadRequest, match="Image 1"):
        read_pictures([png_of_zeros(*size)])


def test_pictures_are_bounded_together(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS_TOGETHER", 1500)

    with pytest.raises(BadRequest, match="together"):
        read_pictures([saved(half_red_half_blue())] * 2)


def test_a_file_is_bounded(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 50)

    with pytest.raises(BadRequest, match="Image 1 is larger"):
        read_pictures([saved(half_red_half_blue())])


def test_a_picture_of_one_pixel_is_one():
    assert read_pictures([saved(Image.new("RGB", (1, 1), RED))])[0].size == (1, 1)


def test_a_reference_is_cut_around_its_middle_and_never_enlarged():
    pixels = within_area(half_red_half_blue(), 1024 * 1024, 16)

    assert pixels.shape == (16, 32, 3)
    assert (tuple(pixels[0, 15]), tuple(pixels[0, 16])) == (RED, BLUE)


def test_a_large_reference_keeps_its_shape_within_the_area():
    pixels = within_area(half_red_half_blue().resize((400, 200)), 20_000, 8)

    assert pixels.shape == (96, 200, 3)


def test_a_picture_to_start_from_is_cut_to_the_shape_and_resized():
    pixels = fitted(half_red_half_blue(), 32, 32)

    assert pixels.shape == (32, 32, 3)
    assert (tuple(pixels[16, 2]), tuple(pixels[16, 29])) == (RED, BLUE)
