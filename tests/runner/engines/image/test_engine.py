"""The engine itself, on tiny models and in this process."""

import mlx.core as mx
import numpy as np
import pytest

from paddock.pictures import read_details
from paddock.protocol import (
    Activity,
    Done,
    Failed,
    Step,
)
from paddock.runner.engines.base import Engine
from tests.runner.engines.image.running import a_file, a_pattern, ask, changed, loaded, pictures, pixels
from tests.runner.engines.image.tiny_folders import edit_weights
from tests.runner.running import run


@pytest.fixture(scope="module")
def engine(tiny_z_image) -> Engine:
    return loaded(tiny_z_image)


@pytest.fixture(scope="module")
def klein(tiny_klein) -> Engine:
    return loaded(tiny_klein)


# ---- making pictures ----


def test_a_picture_comes_after_its_steps_and_before_exactly_one_done(engine):
    [frames] = run(engine, ask())

    *steps, picture, done = frames
    assert [(step.done, step.total) for step in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert (picture.width, picture.height, picture.index, picture.seed) == (32, 24, 0, 5)
    assert pixels(picture).shape == (24, 32, 3)
    assert pixels(picture).std() > 5, "a picture this even proves little"
    assert isinstance(done, Done)
    assert (done.reason, done.eval_count) == ("stop", 3)
    assert done.prompt_eval_count == len("<user>a red circle\n<assistant>")


def test_the_same_request_gives_the_same_bytes_whatever_ran_between(engine):
    [first] = run(engine, ask())
    run(engine, ask("something else", seed=9, width=40, height=40), ask("a third", count=2))
    [again, _] = run(engine, ask(), ask("beside it", seed=1))

    assert pictures(first)[0].data == pictures(again)[0].data


def test_prompts_and_seeds_and_sizes_change_the_picture(engine):
    first, other_prompt, other_seed = (
        pixels(pictures(frames)[0]) for frames in run(engine, ask(), ask("a blue square"), ask(seed=6))
    )

    assert not np.array_equal(first, other_seed)
    assert not np.array_equal(first, other_prompt)


def test_a_seed_that_is_not_given_is_drawn_and_told(engine):
    one, other = (pictures(frames)[0] for frames in run(engine, ask(seed=-1), ask(seed=-1)))
    [same] = run(engine, ask(seed=one.seed))

    assert one.seed != other.seed
    assert pictures(same)[0].data == one.data


def test_each_of_several_pictures_has_the_next_seed_and_can_be_made_alone(engine):
    several, *alone = run(engine, ask(count=4), *(ask(seed=seed) for seed in range(5, 9)))

    assert [picture.index for picture in pictures(several)] == [0, 1, 2, 3]
    assert [picture.seed for picture in pictures(several)] == [5, 6, 7, 8]
    assert [picture.data for picture in pictures(several)] == [pictures(each)[0].data for each in alone]
    assert [frame.total for frame in several if isinstance(frame, Step)] == [12] * 13


def test_pictures_of_a_batch_are_those_that_come_one_after_the_other(engine, tiny_z_image):
    [alone] = run(engine, ask(count=3))
    [together] = run(loaded(tiny_z_image, pictures_at_once=2), ask(count=3))

    assert [frame.total for frame in together if isinstance(frame, Step)] == [6] * 7
    for one, other in zip(pictures(alone), pictures(together), strict=True):
        assert one.seed == other.seed
        assert np.abs(pixels(one).astype(int) - pixels(other).astype(int)).max() <= 1


def test_requests_take_turns(engine):
    for request_id in (1, 2):
        engine.submit(request_id, engine.prepare(ask(seed=request_id)))
    order = []
    while engine.has_work:
        order += [(request_id, frame.done) for request_id, frame in engine.step() if isinstance(frame, Step)]

    assert order == [(request_id, done) for done in range(4) for request_id in (1, 2)]


def test_a_long_step_is_done_in_slices_and_no_other_request_comes_between(engine, monkeypatch):
    """With slices of no time every engine step makes one block, so each shows that the work goes on."""
    [expected] = run(engine, ask())
    monkeypatch.setattr("paddock.runner.engines.image.job.SLICE_SECONDS", 0.0)
    for request_id in (1, 2):
        engine.submit(request_id, engine.prepare(ask()))
    frames, steps = [], 0
    while engine.has_work:
        frames += engine.step()
        steps += 1

    assert steps > 2 * 10
    done = [(request_id, frame.done) for request_id, frame in frames if isinstance(frame, Step)]
    assert done == [(request_id, done) for done in range(4) for request_id in (1, 2)]
    assert pictures([frame for _, frame in frames])[0].data == pictures(expected)[0].data


def test_a_negative_prompt_works_with_guidance(engine):
    plain, guided, away = run(
        engine, ask(), ask(guidance=3.0), ask(guidance=3.0, negative_prompt="a blue square on a green ground")
    )
    images = [pixels(pictures(frames)[0]) for frames in (plain, guided, away)]

    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_a_picture_tells_how_it_was_made(engine):
    [frames] = run(engine, ask("a röd circle", model="tiny:latest", model_digest="abc", count=2))

    details = read_details(pictures(frames)[1].data)
    assert details is not None
    assert details["prompt"] == "a röd circle"
    assert (details["seed"], details["steps"], details["width"], details["height"]) == (6, 3, 32, 24)
    assert (details["model"], details["model_digest"], details["guidance"]) == ("tiny:latest", "abc", 0.0)


# ---- cancelling and failing ----


def test_a_cancelled_request_has_no_more_frames_and_others_go_on(engine):
    alone = run(engine, ask(seed=2))[0]
    for request_id in (1, 2):
        engine.submit(request_id, engine.prepare(ask(seed=request_id)))
    for _ in range(4):
        engine.step()
    engine.cancel(1)
    rest = []
    while engine.has_work:
        rest += engine.step()

    assert {request_id for request_id, _ in rest} == {2}
    assert pictures([frame for _, frame in rest])[0].data == pictures(alone)[0].data


def test_memory_is_back_at_the_loaded_level_after_a_cancelled_request(engine):
    run(engine, ask())
    level = mx.get_active_memory()
    for steps in (1, 3, 4):
        engine.submit(1, engine.prepare(ask(width=128, height=128)))
        for _ in range(steps):
            engine.step()
        engine.cancel(1)

        assert not engine.has_work
        assert mx.get_active_memory() <= level + 64 * 1024


@pytest.mark.parametrize("slice_seconds", [5.0, 0.0])
def test_a_request_can_be_cancelled_between_any_two_steps_of_the_engine(tiny_z_image, monkeypatch, slice_seconds):
    """Between steps of denoising, previews and tiles, and where slices of time end within one of these."""
    monkeypatch.setattr("paddock.runner.engines.image.job.SLICE_SECONDS", slice_seconds)
    tiled = loaded(tiny_z_image, tile_pixels=32)
    other = ask(width=16, height=16, steps=1, seed=2)
    [alone] = run(tiled, other)
    request = ask(width=64, height=32, steps=2, previews=1)
    tiled.submit(1, tiled.prepare(request))
    steps = 0
    while tiled.has_work:
        tiled.step()
        steps += 1
    level = mx.get_active_memory()

    for cancelled_after in range(1, steps, 1 + steps // 8):
        tiled.submit(1, tiled.prepare(request))
        for _ in range(cancelled_after):
            tiled.step()
        tiled.submit(2, tiled.prepare(other))
        tiled.cancel(1)
        frames = []
        while tiled.has_work:
            frames += tiled.step()

        assert {request_id for request_id, _ in frames} == {2}
        assert pictures([frame for _, frame in frames])[0].data == pictures(alone)[0].data
        assert mx.get_active_memory() <= level + 64 * 1024
    assert steps == 7 if slice_seconds else steps > 20


def test_what_goes_wrong_in_one_request_fails_that_one_alone(engine, monkeypatch):
    [alone] = run(engine, ask())

    def fail(*_arguments):
        raise RuntimeError("[malloc] Unable to allocate 99 bytes.")

    engine.submit(1, engine.prepare(ask()))
    engine.submit(2, engine.prepare(ask()))
    with monkeypatch.context() as patch:
        patch.setattr("paddock.runner.engines.image.job.mx.eval", fail)
        [(failed_id, failed)] = engine.step()
    rest = []
    while engine.has_work:
        rest += engine.step()

    assert failed_id == 1
    assert isinstance(failed, Failed)
    assert failed.code == "out_of_memory"
    assert "smaller" in failed.message
    assert pictures([frame for _, frame in rest])[0].data == pictures(alone)[0].data


def test_the_engine_says_that_it_works_on_a_picture(engine):
    assert engine.activity is Activity.IMAGE


def test_a_picture_of_no_numbers_is_an_error(tiny_z_image, tmp_path):
    folder = changed(tiny_z_image, tmp_path)
    edit_weights(folder, "vae", {"decoder.conv_out.bias": mx.array([1.0, float("nan"), 1.0])})

    [frames] = run(loaded(folder), ask())

    assert isinstance(frames[-1], Failed)
    assert frames[-1].code == "damaged_model"


# ---- staged residency ----


def test_parts_that_are_in_memory_one_at_a_time_give_the_same_picture(engine, tiny_z_image):
    staged = loaded(tiny_z_image, staged=True)
    activities = []
    staged.submit(1, staged.prepare(ask()))
    frames = []
    while staged.has_work:
        activities.append(staged.activity)
        frames += [frame for _, frame in staged.step()]
    [again] = run(staged, ask())
    [expected] = run(engine, ask())

    assert activities[:3] == [Activity.IMAGE, Activity.LOAD, Activity.IMAGE]
    assert pictures(frames)[0].data == pictures(again)[0].data == pictures(expected)[0].data
    assert staged.memory().weights_bytes < engine.memory().weights_bytes


# ---- half precision ----


@pytest.mark.parametrize("model", ["tiny_z_image", "tiny_klein"])
def test_half_precision_makes_nearly_the_same_picture(request, monkeypatch, model):
    """As on an accelerator, but on the CPU: no part of the way may fall back to another type, or fail in this one."""
    folder = request.getfixturevalue(model)
    single = loaded(folder)
    monkeypatch.setattr("paddock.runner.engines.image.parts.compute_type", lambda: mx.bfloat16)
    half = loaded(folder)
    exact, near = (
        pixels(pictures(run(engine, ask(width=32, height=24, steps=2))[0])[0]).astype(float)
        for engine in (single, half)
    )

    assert half.memory().weights_bytes < 0.55 * single.memory().weights_bytes
    decibels = 10 * np.log10(255**2 / ((exact - near) ** 2).mean())
    assert 30 <= decibels < 100, "near, and not the same"


# ---- tiles ----


def test_a_large_picture_is_decoded_in_tiles_that_are_a_step_each(engine, tiny_z_image):
    request = ask(width=96, height=64, steps=1)
    tiled = loaded(tiny_z_image, tile_pixels=48)
    [whole] = run(engine, request)
    tiled.submit(1, tiled.prepare(request))
    steps, frames = 0, []
    while tiled.has_work:
        frames += [frame for _, frame in tiled.step()]
        steps += 1

    assert steps == 1 + 1 + 6, "a text, a step of denoising, and 3 x 2 tiles"
    difference = np.abs(pixels(pictures(frames)[0]).astype(int) - pixels(pictures(whole)[0]).astype(int))
    assert difference.mean() < 20, "each tile has its own statistics, but it is the same picture"


# ---- working from pictures ----


def test_z_image_starts_from_a_picture_and_makes_a_part_of_the_steps(engine):
    [frames] = run(engine, ask(images=(a_file(70, 66),), steps=4, strength=0.5))

    [picture] = pictures(frames)
    assert (picture.width, picture.height) == (64, 64)
    assert [frame.total for frame in frames if isinstance(frame, Step)] == [2, 2, 2]
    assert read_details(picture.data)["strength"] == 0.5


def test_the_picture_that_it_starts_from_shows_more_with_less_strength(engine):
    def difference(strength: float) -> float:
        """Between what two given pictures become."""
        requests = (ask(images=(a_pattern(seed),), steps=8, strength=strength, width=32, height=32) for seed in (1, 2))
        one, other = (pixels(pictures(frames)[0]).astype(float) for frames in run(engine, *requests))
        return float(np.abs(one - other).mean())

    assert difference(0.13) > 2 * difference(0.5) > 0
    assert difference(1.0) == 0, "all noise, nothing of the picture is left"


def test_klein_looks_at_references_and_takes_the_size_of_the_first(klein):
    files = (a_file(80, 72), a_file(64, 64, (10, 200, 10)))
    with_both, with_one, without = run(
        klein,
        ask(images=files, steps=2),
        ask(images=files[:1], steps=2),
        ask(steps=2, width=80, height=72),
    )
    images = [pixels(pictures(frames)[0]) for frames in (with_both, with_one, without)]

    assert images[0].shape == (72, 80, 3)
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])
