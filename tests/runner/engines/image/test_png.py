import io

import numpy as np
from PIL import Image

from paddock.pictures import read_details
from paddock.runner.engines.image.png import parameters, write_png

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
DETAILS = {
    "prompt": "ein „roter“ Kreis\nauf 蓝",
    "negative_prompt": "blur",
    "steps": 8,
    "seed": 2**40,
    "width": 9,
    "height": 6,
    "guidance": 2.5,
    "model": "z-image:latest",
    "version": "1.2",
}


def test_a_file_tells_again_what_it_was_told():
    data = write_png(PIXELS, DETAILS)

    assert read_details(data) == DETAILS
    assert (np.asarray(Image.open(io.BytesIO(data))) == PIXELS).all()


def test_the_same_picture_gives_the_same_bytes():
    assert write_png(PIXELS, DETAILS) == write_png(PIXELS.copy(), dict(reversed(DETAILS.items())))


def test_people_read_it_too():
    text = Image.open(io.BytesIO(write_png(PIXELS, DETAILS))).info["parameters"]

    assert text == parameters(DETAILS)
    assert text.splitlines()[2] == "Negative prompt: blur"
    assert text.splitlines()[3] == (
        "Steps: 8, Size: 9x6, Seed: 1099511627776, Guidance: 2.5, Model: z-image:latest, Version: 1.2"
    )
