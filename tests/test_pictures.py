"""Files of pictures that tell nothing of how they were made; those that do are tested where they are written."""

import io

import pytest
from PIL import Image

from paddock.pictures import read_details
from paddock.runner.engines.image.png import write_png
from tests.runner.engines.image.test_png import DETAILS, PIXELS


def plain() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        plain(),
        write_png(PIXELS, DETAILS)[:100],
        write_png(PIXELS, DETAILS).replace(b'"steps": 8', b'"steps": 9'),
        write_png(PIXELS, {"steps": [1]}),
    ],
    ids=["empty", "other", "plain", "cut", "changed", "odd"],
)
def test_a_file_that_tells_nothing_readable_tells_nothing(data):
    assert read_details(data) is None
