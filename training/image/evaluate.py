"""Judges the demo image model by prompts that training never saw, each drawn by Paddock's own engine.

python -m training.image.evaluate --sheet docs/demo-image.png --report training/image/report.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from paddock.demo import image_model_folder
from paddock.protocol import Image, ImageRequest
from paddock.runner import blas
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.engines.registry import make_engine
from paddock.runner.hygiene import has_cuda_wheel
from training.image.captions import held_out_triples
from training.image.draw import SIDE, Pixels
from training.image.judge import Finding, look

PROMPTS = 60
_SEED = 1
_COLUMNS = 10
_MARGIN, _LINE = 6, 30


@dataclass(frozen=True)
class Task:
    """A prompt, and what has to be in its picture."""

    prompt: str
    shape: str
    colour: str
    background: str


@dataclass(frozen=True)
class Result:
    """A picture, and what was found in it."""

    task: Task
    pixels: Pixels
    found: Finding

    @property
    def has_right_background(self) -> bool:
        return self.found.background == self.task.background

    @property
    def has_right_colours(self) -> bool:
        """Of the background and of the shape."""
        return self.has_right_background and self.found.colour == self.task.colour

    @property
    def is_right(self) -> bool:
        """The colours, and the shape too."""
        return self.has_right_colours and self.found.shape == self.task.shape


def held_out_tasks(count: int = PROMPTS) -> list[Task]:
    """Shapes in colours on backgrounds that training never showed together."""
    return [_task(*triple) for triple in held_out_triples()[:count]]


def _task(shape: str, colour: str, background: str) -> Task:
    prompt = f"a {colour} {shape} on a {background} background".replace("a orange", "an orange")
    return Task(prompt, shape, colour, background)


def load_engine(tile_pixels: int = 1024) -> Engine:
    """The shipped model in Paddock's image engine, in this process."""
    engine = make_engine("image", EngineOptions(image_model_folder(), num_ctx=512, tile_pixels=tile_pixels))
    # One thread: of products this small a second one takes time on a busy machine.
    blas.use_threads(1, os.environ, has_cuda=has_cuda_wheel())
    engine.load(lambda _progress: None)
    return engine


def paint(engine: Engine, prompt: str, seed: int = _SEED) -> Pixels:
    """The picture of a prompt, made with the model's own defaults."""
    engine.submit(0, engine.prepare(ImageRequest(prompt=prompt, seed=seed)))
    pictures: list[Image] = []
    while engine.has_work:
        pictures += [frame for _, frame in engine.step() if isinstance(frame, Image)]
    return np.asarray(Pillow.open(io.BytesIO(pictures[0].data)).convert("RGB"))


def judge(engine: Engine, tasks: Sequence[Task]) -> list[Result]:
    """The pictures of all tasks, looked at; each has a seed of its own."""
    results = []
    for place, task in enumerate(tasks):
        pixels = paint(engine, task.prompt, _SEED + place)
        results.append(Result(task, pixels, look(pixels)))
    return results


def figures(results: Sequence[Result]) -> dict[str, float]:
    """Shares of pictures, and the mean overlap with the ideal shape where the shape is right."""
    overlaps = [result.found.overlap for result in results if result.is_right]
    shares = {
        "right_background": sum(result.has_right_background for result in results) / len(results),
        "right_colours": sum(result.has_right_colours for result in results) / len(results),
        "right_colours_and_shape": sum(result.is_right for result in results) / len(results),
        "mean_overlap": sum(overlaps) / max(1, len(overlaps)),
    }
    return {name: round(share, 4) for name, share in shares.items()}


def contact_sheet(results: Sequence[Result]) -> Pillow.Image:
    """All pictures with their prompts below them; what is wrong is marked."""
    rows = -(-len(results) // _COLUMNS)
    width, height = SIDE + _MARGIN, SIDE + _LINE + _MARGIN
    sheet = Pillow.new("RGB", (_COLUMNS * width + _MARGIN, rows * height + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for place, result in enumerate(results):
        x, y = _MARGIN + place % _COLUMNS * width, _MARGIN + place // _COLUMNS * height
        sheet.paste(Pillow.fromarray(result.pixels), (x, y))
        pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), outline="lightgrey")
        task, mark = result.task, "" if result.is_right else " (!)"
        pen.text((x + 2, y + SIDE + 2), f"{task.colour} {task.shape}{mark}\non {task.background}", fill="black")
    return sheet


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet of all pictures")
    parser.add_argument("--report", type=Path, help="file of figures to add these to")
    parser.add_argument("--count", type=int, default=PROMPTS, help="how many prompts")
    return parser.parse_args()


def main() -> None:
    """Draw, judge and tell."""
    arguments = _arguments()
    engine = load_engine()
    began = time.monotonic()
    results = judge(engine, held_out_tasks(arguments.count))
    found = figures(results)
    print(json.dumps(found | {"seconds": round(time.monotonic() - began, 1)}, indent=2))
    for result in results:
        if not result.is_right:
            print(f"{result.task.prompt}: {result.found}")
    if arguments.sheet:
        contact_sheet(results).save(arguments.sheet, optimize=True)
    if arguments.report:
        kept = json.loads(arguments.report.read_text(encoding="utf-8"))
        arguments.report.write_text(json.dumps(kept | {"held_out": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
