"""The engine itself, on tiny models and in this process."""

import io
import shutil
from collections import defaultdict
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image as Pillow

from paddock.errors import BadRequest, ContextTooLong, DamagedModel, InvalidOption, Unsupported, UnsupportedModel
from paddock.protocol import (
    Activity,
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Done,
    Failed,
    Image,
    ImageRequest,
    Step,
    TokenizeRequest,
)
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.engines.image.png import read_details
from paddock.runner.engines.registry import make_engine
from tests.runner.engines.image.tiny_folders import edit_config, edit_weights


def loaded(folder: Path, **options: object) -> Engine:
    engine = make_engine("image", EngineOptions(folder, num_ctx=512, **options))
    engine.load(lambda _progress: None)
    return engine


@pytest.fixture(scope="module")
def engine(tiny_z_image) -> Engine:
    return loaded(tiny_z_image)


@pytest.fixture(scope="module")
def klein(tiny_klein) -> Engine:
    return loaded(tiny_klein)


def ask(prompt: str = "a red circle", **more: object) -> ImageRequest:
    return ImageRequest(prompt=prompt, **{"seed": 5, **more})


def run(engine: Engine, *requests: ImageRequest) -> list[list]:
    """The frames of each request, all submitted at once."""
    for request_id, request in enumerate(requests):
        engine.submit(request_id, engine.prepare(request))
    frames = defaultdict(list)
    while engine.has_work:
        for request_id, frame in engine.step():
            frames[request_id].append(frame)
    return [frames[request_id] for request_id in range(len(requests))]


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
    several, alone = run(engine, ask(count=3), ask(seed=7))

    assert [picture.index for picture in pictures(several)] == [0, 1, 2]
    assert [picture.seed for picture in pictures(several)] == [5, 6, 7]
    assert pictures(several)[2].data == pictures(alone)[0].data
    assert [frame.total for frame in several if isinstance(frame, Step)] == [9] * 10


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


# ---- what is refused ----


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"prompt": " "}, BadRequest, "prompt"),
        ({"width": 33, "height": 32}, InvalidOption, "multiple of 8"),
        ({"width": 8192, "height": 32}, InvalidOption, "width"),
        ({"width": 32}, InvalidOption, "together"),
        ({"steps": 151}, InvalidOption, "steps"),
        ({"count": 0}, InvalidOption, "count"),
        ({"guidance": -1.0}, InvalidOption, "guidance"),
        ({"guidance": float("nan")}, InvalidOption, "guidance"),
        ({"seed": 2**63}, InvalidOption, "seed"),
        ({"negative_prompt": "blue"}, BadRequest, "guidance above 0"),
        ({"strength": 0.5}, Unsupported, "picture"),
        ({"prompt": "x" * 600}, ContextTooLong, "254"),
        ({"images": (b"AAAA",)}, BadRequest, "Image 1"),
        ({"images": (a_file(), a_file())}, BadRequest, "at most one"),
        ({"images": (a_file(20, 20),)}, BadRequest, "at least 64"),
        ({"images": (a_file(64, 640),)}, BadRequest, "narrow"),
        ({"images": (a_file(),), "strength": 0.0}, InvalidOption, "strength"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_a_sentence(engine, more, error, words):
    with pytest.raises(error, match=words) as caught:
        engine.prepare(ask(**{"prompt": "a circle", **more}))

    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("more", [{"guidance": 3.0}, {"negative_prompt": "blue"}, {"strength": 0.5}])
def test_a_distilled_model_refuses_what_it_would_ignore(klein, more):
    with pytest.raises(Unsupported):
        klein.prepare(ask(**more))


def test_a_picture_may_have_only_as_many_pixels_as_memory_is_promised_for(tiny_z_image):
    engine = loaded(tiny_z_image, picture_pixels=64 * 64)

    engine.prepare(ask(width=64, height=64))
    with pytest.raises(BadRequest, match="4096 pixels"):
        engine.prepare(ask(width=64, height=72))


@pytest.mark.parametrize(
    "request_", [CompletionRequest(prompt="hello"), ChatRequest(messages=(ChatMessage(role="user", content="hello"),))]
)
def test_an_image_model_generates_no_text(engine, request_):
    with pytest.raises(Unsupported, match="pictures"):
        engine.prepare(request_)


def test_its_tokenizer_can_be_asked(engine):
    tokens = engine.tokenize(TokenizeRequest(text="hello"))

    assert engine.detokenize(tokens) == "hello"
    with pytest.raises(BadRequest):
        engine.detokenize([100_000])


# ---- damaged models ----


def changed(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "model")


def test_a_missing_tensor_fails_the_load_and_is_named(tiny_z_image, tmp_path):
    folder = changed(tiny_z_image, tmp_path)
    edit_weights(folder, "transformer", {"layers.0.attention.to_q.weight": None, "x_pad_token": None})

    with pytest.raises(DamagedModel, match=r"transformer lacks 2 tensors, layers.0.attention.to_q.weight first"):
        loaded(folder)


def test_an_unknown_tensor_fails_the_load_and_is_named(tiny_z_image, tmp_path):
    folder = changed(tiny_z_image, tmp_path)
    edit_weights(folder, "vae", {"decoder.conv_in.gain": mx.zeros((1,))})

    with pytest.raises(DamagedModel, match=r"decoder.conv_in.gain"):
        loaded(folder)


def test_a_tensor_of_another_shape_fails_the_load(tiny_z_image, tmp_path):
    folder = changed(tiny_z_image, tmp_path)
    edit_weights(folder, "text_encoder", {"model.embed_tokens.weight": mx.zeros((258, 16))})

    with pytest.raises(DamagedModel, match=r"embed_tokens.weight is not of the shape"):
        loaded(folder)


@pytest.mark.parametrize(
    ("file", "changes", "error"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, UnsupportedModel),
        ("model_index.json", {"transformer": ["diffusers", "Flux2Transformer2DModel"]}, UnsupportedModel),
        ("scheduler/scheduler_config.json", {"use_karras_sigmas": True}, UnsupportedModel),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, UnsupportedModel),
        ("transformer/config.json", {"dim": "large"}, DamagedModel),
        ("transformer/config.json", {"n_layers": 10_000}, DamagedModel),
        ("transformer/config.json", {"siglip_feat_dim": 16}, UnsupportedModel),
        ("text_encoder/config.json", {"model_type": "llama"}, UnsupportedModel),
        ("text_encoder/config.json", {"vocab_size": None}, DamagedModel),
        ("vae/config.json", {"act_fn": "relu"}, UnsupportedModel),
        ("vae/config.json", {"latent_channels": 8}, DamagedModel),
    ],
)
def test_configs_that_are_wrong_or_ask_for_more_fail_the_load(tiny_z_image, tmp_path, file, changes, error):
    folder = changed(tiny_z_image, tmp_path)
    edit_config(folder, file, **changes)

    with pytest.raises(error):
        loaded(folder)


@pytest.mark.parametrize(
    "file", ["model_index.json", "vae/config.json", "transformer/diffusion_pytorch_model.safetensors"]
)
def test_a_missing_file_fails_the_load(tiny_z_image, tmp_path, file):
    folder = changed(tiny_z_image, tmp_path)
    (folder / file).unlink()

    with pytest.raises(DamagedModel):
        loaded(folder)
