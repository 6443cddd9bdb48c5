"""An image engine in this process: how tests load it, ask it and look at what it made."""

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from paddock.protocol import Image, ImageRequest
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.engines.registry import make_engine


def loaded(folder: Path, **options: object) -> Engine:
    engine = make_engine("image", EngineOptions(folder, num_ctx=512, **options))
    engine.load(lambda _progress: None)
    return engine


def ask(prompt: str = "a red circle", **more: object) -> ImageRequest:
    return ImageRequest(prompt=prompt, **{"seed": 5, **more})


def pictures(frames: list) -> list[Image]:
    return [frame for frame in frames if isinstance(frame, Image)]


def pixels(picture: Image) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(picture.data)))


def a_file(width: int = 64, height: int = 64, colour: tuple[int, int, int] = (200, 30, 40), **options: object) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(file, **{"format": "PNG", **options})
    return file.getvalue()


def a_pattern(seed: int) -> bytes:
    """A file of coloured noise."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(file, format="PNG")
    return file.getvalue()


def changed(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "model")
