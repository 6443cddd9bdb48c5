"""The shipped demo image model: its files, and pictures of prompts that training never saw, drawn by the engine."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from paddock.demo import image_model_folder
from paddock.runner.engines.base import Engine
from training.image.captions import Request, Subject, held_out, random_request, scene_of
from training.image.draw import PALETTE, SHAPES, draw
from training.image.evaluate import figures, held_out_tasks, judge, load_engine, paint
from training.image.judge import look

MEGABYTE = 1_000_000
PROMPTS = 12


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine()


def test_is_small_and_complete() -> None:
    folder = image_model_folder()
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}

    assert sum(sizes.values()) <= 6 * MEGABYTE
    assert set(sizes) == {
        "LICENSE",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/chat_template.jinja",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_says_itself_what_its_pictures_are_made_with() -> None:
    index = json.loads((image_model_folder() / "model_index.json").read_text(encoding="utf-8"))

    assert index["_class_name"] == "ZImagePipeline"
    assert index["paddock"] == {"steps": 8, "guidance": 0.0, "width": 128, "height": 128}


def test_training_never_asks_for_what_is_held_out() -> None:
    rng = random.Random(1)
    requests = [random_request(rng) for _ in range(2000)]

    assert not any(held_out(each.shape, each.colour, made.background) for made in requests for each in made.subjects)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_judge_recognises_ideal_pictures(shape: str) -> None:
    scene = scene_of(Request((Subject(shape, "green"),), "pink"), random.Random(shape))

    found = look(draw(scene))

    assert (found.background, found.colour, found.shape) == ("pink", "green", shape)
    assert found.overlap > 0.9


def test_the_judge_finds_nothing_in_an_empty_picture() -> None:
    found = look(np.full((64, 64, 3), PALETTE["blue"], np.uint8))

    assert (found.background, found.colour, found.shape) == ("blue", "", "")


def test_pictures_of_unseen_prompts_have_the_colours_that_were_asked_for(engine: Engine) -> None:
    results = judge(engine, held_out_tasks(PROMPTS))

    assert figures(results)["right_colours"] >= 0.9, [(result.task.prompt, result.found) for result in results]


def test_the_picture_on_the_first_page_of_the_manual(engine: Engine) -> None:
    found = look(paint(engine, "a red circle on a blue background"))

    assert (found.background, found.colour, found.shape) == ("blue", "red", "circle")


def test_the_same_seed_draws_the_same_picture(engine: Engine) -> None:
    first, again, other = (paint(engine, "a yellow star on black", seed) for seed in (3, 3, 4))

    assert (first == again).all()
    assert (first != other).any()


def test_a_picture_decoded_in_tiles_looks_like_the_whole_one(engine: Engine) -> None:
    """Every tile is normed by its own statistics. The smallest that there are show the most: below 0.8 of 255."""
    prompt = "a green circle on a pink background"

    whole, tiled = (paint(each, prompt).astype(int) for each in (engine, load_engine(tile_pixels=64)))

    assert 0 < np.abs(whole - tiled).mean() <= 1.5
