"""What the engine refuses: requests that it cannot honour, and models that are damaged."""

import mlx.core as mx
import pytest

from paddock.errors import BadRequest, ContextTooLong, DamagedModel, InvalidOption, Unsupported, UnsupportedModel
from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    TokenizeRequest,
)
from paddock.runner.engines.base import Engine
from tests.runner.engines.image.running import a_file, ask, changed, loaded
from tests.runner.engines.image.tiny_folders import edit_config, edit_weights


@pytest.fixture(scope="module")
def engine(tiny_z_image) -> Engine:
    return loaded(tiny_z_image)


@pytest.fixture(scope="module")
def klein(tiny_klein) -> Engine:
    return loaded(tiny_klein)


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
