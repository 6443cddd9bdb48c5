"""The image engine against diffusers, float32 on tiny random models: the same numbers part by part, and the same
picture from the same noise. Latents may differ by 1e-3, pixels by 2 of 255."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from PIL import Image as Pillow

from paddock.protocol import Image, ImageRequest
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.engines.image import flow
from paddock.runner.engines.image.families import Family, make_family
from paddock.runner.engines.image.flux2 import Flux2Transformer, read_flux2_config
from paddock.runner.engines.image.folder import read_folder
from paddock.runner.engines.image.job import Job, JobLimits, Stage, make_noise
from paddock.runner.engines.image.layers import finish
from paddock.runner.engines.image.parts import Parts
from paddock.runner.engines.image.pictures import within_area
from paddock.runner.engines.image.vae import Autoencoder, Flux2Autoencoder, read_vae_config
from paddock.runner.engines.image.zimage import ZImageTransformer, read_zimage_config
from paddock.runner.engines.registry import make_engine

torch = pytest.importorskip("torch", reason="parity needs torch (the dependency group of that name)")
diffusers = pytest.importorskip("diffusers", reason="parity needs diffusers (the dependency group of that name)")

from diffusers import FlowMatchEulerDiscreteScheduler, ZImageImg2ImgPipeline  # noqa: E402
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor  # noqa: E402
from diffusers.pipelines.z_image import pipeline_z_image_img2img  # noqa: E402

from tests.parity.image_checkpoints import make_klein, make_z_image, pack_folder  # noqa: E402

LATENT_TOLERANCE = 1e-3
PIXEL_TOLERANCE = 2
WIDTH, HEIGHT, STEPS, SEED = 96, 64, 4, 5
PROMPT = "a red circle, naïve style"


@dataclass(frozen=True)
class Model:
    """A model twice: as diffusers has it and as we have it."""

    reference: Any
    folder: Path
    family: Family
    parts: Parts
    engine: Engine

    @property
    def size(self) -> tuple[int, int]:
        return HEIGHT // self.family.facts.cell, WIDTH // self.family.facts.cell

    def noise(self, count: int = 1) -> np.ndarray:
        shape = (*self.size, self.family.facts.channels)
        return np.stack([make_noise(SEED + index, shape) for index in range(count)])


def opened(reference: Any, folder: Path, **options: bool) -> Model:
    checked = read_folder(folder)
    family = make_family(checked)
    parts = Parts(checked, family, staged=False, **options)
    parts.load(lambda _progress: None)
    engine = make_engine("image", EngineOptions(folder, num_ctx=512))
    engine.load(lambda _progress: None)
    return Model(reference, folder, family, parts, engine)


@pytest.fixture(scope="module", autouse=True)
def _one_thread_and_no_gradients() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def z_image(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("z-image")
    return opened(make_z_image(folder), folder)


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("klein")
    return opened(make_klein(folder), folder)


@pytest.fixture(params=["z_image", "klein"])
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(request.param)
    return found


def channels_last(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.permute(0, 2, 3, 1))


def channels_first(array: np.ndarray) -> Any:
    return torch.tensor(np.asarray(array)).permute(0, 3, 1, 2)


def assert_near(name: str, ours: Any, expected: Any, tolerance: float = LATENT_TOLERANCE) -> None:
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert ours.shape == expected.shape
    difference = float(np.abs(ours - expected).max())
    print(f"\n{name}: largest difference {difference:.2e} of {np.abs(expected).max():.2f}")
    assert expected.std() > 0.02, "numbers this even would be equal by accident"
    assert difference <= tolerance


# ---- part by part ----


@pytest.mark.parametrize("steps", [2, 4, 9, 28])
@pytest.mark.parametrize(
    "config",
    [
        {"shift": 3.0},
        {"shift": 1.0, "use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        {"shift": 6.0, "shift_terminal": 0.1},
        {"use_dynamic_shifting": True, "shift_terminal": 0.02},
        {"shift": 2.0, "invert_sigmas": True},
    ],
    ids=lambda config: " ".join(config),
)
def test_sigmas_are_those_of_the_scheduler(config: dict[str, Any], steps: int) -> None:
    reference = FlowMatchEulerDiscreteScheduler(**config)
    reference.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.8)

    sigmas = flow.make_sigmas(flow.read_flow(reference.config), steps, 0.8)

    difference = np.abs(sigmas - reference.sigmas.numpy()).max()
    print(f"\nsigmas: largest difference {difference:.1e}")
    assert difference <= 1e-6


def text_of(model: Model, prompt: str) -> np.ndarray:
    """diffusers' features of a prompt."""
    encoded = model.reference.encode_prompt(prompt, device="cpu")
    return np.asarray(encoded[0][0])


def test_text_features_are_those_of_the_pipeline(model: Model) -> None:
    [text] = model.engine.prepare(ImageRequest(prompt=PROMPT)).texts

    features = finish(model.parts.text_encoder()(text.tokens, text.length))

    assert_near("text", features, text_of(model, PROMPT))


def test_pictures_are_encoded_as_by_the_autoencoder(model: Model) -> None:
    picture = np.random.default_rng(0).uniform(-1, 1, (1, HEIGHT, WIDTH, 3)).astype(np.float32)
    pipeline = model.reference
    if model.family.facts.fills_up:
        expected = channels_last(pipeline._encode_vae_image(channels_first(picture), generator=None))
    else:
        mean = channels_last(pipeline.vae.encode(channels_first(picture)).latent_dist.mode())
        expected = (mean - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor

    assert_near("encoded", finish(model.parts.autoencoder.encode(mx.array(picture))), expected)


def test_latents_are_decoded_as_by_the_autoencoder(model: Model) -> None:
    latents, vae = channels_first(model.noise()), model.reference.vae
    if model.family.facts.fills_up:
        deviation = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).view(1, -1, 1, 1)
        folded = latents * deviation + vae.bn.running_mean.view(1, -1, 1, 1)
        raw = model.reference._unpatchify_latents(folded)
    else:
        raw = latents / vae.config.scaling_factor + vae.config.shift_factor
    expected = channels_last(vae.decode(raw).sample)

    assert_near("decoded", finish(model.parts.autoencoder.decode(mx.array(model.noise()))), expected)


def test_one_step_of_the_transformer_is_the_same(model: Model) -> None:
    """Two pictures at once; 24 tokens each, which Z-Image fills up to 32."""
    sigma, features, noise = 0.7, text_of(model, PROMPT), model.noise(2)
    latents, text = channels_first(noise), torch.tensor(features)
    if model.family.facts.fills_up:
        pipeline = model.reference
        expected = pipeline.transformer(
            hidden_states=pipeline._pack_latents(latents),
            timestep=torch.tensor([sigma, sigma]),
            encoder_hidden_states=torch.stack([text, text]),
            txt_ids=pipeline._prepare_text_ids(text[None]),
            img_ids=pipeline._prepare_latent_ids(latents),
        ).sample.reshape(noise.shape)
    else:
        times = torch.tensor([1 - sigma, 1 - sigma])
        velocities = model.reference.transformer([each[:, None] for each in latents], times, [text, text]).sample
        expected = -channels_last(torch.stack(velocities)[:, :, 0])

    transformer = model.parts.transformer()
    scene = model.family.scene(transformer, mx.array(features), model.size, [])
    velocity = finish(model.family.velocity(transformer, mx.array(noise), sigma, scene))

    assert_near("velocity", velocity, expected)


# ---- at their real size ----

REAL_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
REAL_Z_IMAGE_VAE = REAL_VAE | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
REAL_KLEIN = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}


@pytest.mark.parametrize(
    ("reference", "ours", "config", "billions"),
    [
        (diffusers.ZImageTransformer2DModel, lambda c: ZImageTransformer(read_zimage_config(c)), {}, 6.15),
        (diffusers.Flux2Transformer2DModel, lambda c: Flux2Transformer(read_flux2_config(c)), REAL_KLEIN, 3.88),
        (diffusers.AutoencoderKL, lambda c: Autoencoder(read_vae_config(c)), REAL_Z_IMAGE_VAE, 0.084),
        (
            diffusers.AutoencoderKLFlux2,
            lambda c: Flux2Autoencoder(read_vae_config({**c, "_class_name": "AutoencoderKLFlux2"})),
            REAL_VAE,
            0.084,
        ),
    ],
    ids=["Z-Image", "FLUX.2 Klein 4B", "Z-Image's autoencoder", "FLUX.2's autoencoder"],
)
def test_the_real_models_tensors_have_their_names_and_shapes_here(
    reference: Any, ours: Any, config: dict[str, Any], billions: float
) -> None:
    with torch.device("meta"):
        state = reference(**config).state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.dim() > 0}

    found = {}
    for name, parameter in tree_flatten(ours(config).parameters()):
        shape = tuple(parameter.shape)
        found[name] = (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape

    assert found == expected
    assert sum(map(math.prod, found.values())) / 1e9 == pytest.approx(billions, rel=0.005)


# ---- whole pictures ----


def made(model: Model, **request: Any) -> tuple[np.ndarray, np.ndarray]:
    """Our latents and pixels of a request."""
    prompt = model.engine.prepare(ImageRequest(prompt=PROMPT, seed=SEED, **{"steps": STEPS, **request}))
    job = Job(prompt, model.family, model.parts, JobLimits(pictures_at_once=1, tile_pixels=512))
    while job.stage is not Stage.DEVELOP:
        job.step()
    latents = np.array(job.latents)
    [picture] = [frame for frame in job.step() if isinstance(frame, Image)]
    return latents, np.asarray(Pillow.open(io.BytesIO(picture.data)))


def assert_same_picture(model: Model, ours: tuple[np.ndarray, np.ndarray], pipeline: Any, **arguments: Any) -> None:
    """Both latents and pixels are those that diffusers' pipeline makes."""
    common = {"prompt": PROMPT, "num_inference_steps": STEPS, **arguments}
    expected = channels_last(pipeline(**common, output_type="latent").images)
    [picture] = pipeline(**common, output_type="pil").images
    latents, pixels = ours
    if model.family.facts.fills_up:
        latents = np.asarray(model.parts.autoencoder.unnormed(mx.array(latents)))
    assert_near("latents", latents, expected)
    assert_near("pixels", pixels.astype(float), np.asarray(picture).astype(float), PIXEL_TOLERANCE)


def test_z_image_makes_the_same_picture(z_image: Model) -> None:
    ours = made(z_image, width=WIDTH, height=HEIGHT)

    arguments = {"width": WIDTH, "height": HEIGHT, "guidance_scale": 0.0, "latents": channels_first(z_image.noise())}
    assert_same_picture(z_image, ours, z_image.reference, **arguments)


def test_z_image_makes_the_same_picture_with_guidance(z_image: Model) -> None:
    ours = made(z_image, width=WIDTH, height=HEIGHT, guidance=2.5, negative_prompt="a blue square that is long")

    arguments = {"width": WIDTH, "height": HEIGHT, "latents": channels_first(z_image.noise())}
    arguments |= {"guidance_scale": 2.5, "negative_prompt": "a blue square that is long"}
    assert_same_picture(z_image, ours, z_image.reference, **arguments)


def test_z_image_makes_the_same_picture_with_shifts_by_its_size(tmp_path: Path) -> None:
    scheduler = {"use_dynamic_shifting": True, "base_shift": 0.3, "max_shift": 1.7}
    model = opened(make_z_image(tmp_path, scheduler=scheduler), tmp_path)
    ours = made(model, width=WIDTH, height=HEIGHT, guidance=0.0)

    arguments = {"width": WIDTH, "height": HEIGHT, "guidance_scale": 0.0, "latents": channels_first(model.noise())}
    assert_same_picture(model, ours, model.reference, **arguments)


def coloured_noise(width: int, height: int, seed: int) -> tuple[Any, bytes]:
    """A picture, as Pillow has it and as a file."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture, file = Pillow.fromarray(noise), io.BytesIO()
    picture.save(file, format="PNG")
    return picture, file.getvalue()


def test_z_image_starts_from_the_same_picture(z_image: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers draws from what the encoder tells; we take its mean, so it is given that."""
    picture, file = coloured_noise(WIDTH, HEIGHT, seed=3)
    ours = made(z_image, images=(file,), strength=0.6, steps=STEPS)
    pixels = np.asarray(picture, np.float32)[None] / 127.5 - 1.0
    looked = channels_first(np.asarray(finish(z_image.parts.autoencoder.encode(mx.array(pixels)))))
    noise = channels_first(z_image.noise())
    monkeypatch.setattr(pipeline_z_image_img2img, "randn_tensor", lambda *_arguments, **_options: noise)
    pipeline = ZImageImg2ImgPipeline(**z_image.reference.components)
    pipeline.set_progress_bar_config(disable=True)
    monkeypatch.setattr(pipeline.image_processor, "preprocess", lambda *_arguments, **_options: looked)

    arguments = {"image": picture, "strength": 0.6, "width": WIDTH, "height": HEIGHT, "guidance_scale": 0.0}
    assert_same_picture(z_image, ours, pipeline, **arguments)


def test_klein_makes_the_same_picture(klein: Model) -> None:
    ours = made(klein, width=WIDTH, height=HEIGHT)

    arguments = {"width": WIDTH, "height": HEIGHT, "latents": channels_first(klein.noise()), "guidance_scale": 1.0}
    assert_same_picture(klein, ours, klein.reference, **arguments)


def test_klein_makes_the_same_picture_from_references(klein: Model) -> None:
    """The first gives the size, cut to multiples of 16."""
    (one, one_file), (other, other_file) = coloured_noise(WIDTH + 9, HEIGHT + 3, seed=3), coloured_noise(64, 80, seed=4)
    ours = made(klein, images=(one_file, other_file))

    arguments = {"image": [one, other], "latents": channels_first(klein.noise()), "guidance_scale": 1.0}
    assert_same_picture(klein, ours, klein.reference, **arguments)


def test_klein_base_makes_the_same_picture_with_guidance(tmp_path: Path) -> None:
    model = opened(make_klein(tmp_path, is_distilled=False), tmp_path)
    ours = made(model, width=WIDTH, height=HEIGHT, guidance=3.0, steps=2)

    arguments = {"width": WIDTH, "height": HEIGHT, "latents": channels_first(model.noise()), "guidance_scale": 3.0}
    assert_same_picture(model, ours, model.reference, num_inference_steps=2, **arguments)


@pytest.mark.parametrize("size", [(1500, 1100), (1024, 1024), (333, 217), (2000, 600)])
def test_references_are_cut_and_resized_as_by_the_pipeline(size: tuple[int, int]) -> None:
    picture, _ = coloured_noise(*size, seed=1)
    processor, expected = Flux2ImageProcessor(vae_scale_factor=16), picture
    if size[0] * size[1] > 1024 * 1024:
        expected = processor._resize_to_target_area(picture, 1024 * 1024)
    width, height = (side // 16 * 16 for side in expected.size)
    expected = processor.preprocess(expected, height=height, width=width, resize_mode="crop")

    ours = within_area(picture, 1024 * 1024, 16)

    assert_near("reference", ours / 127.5 - 1.0, channels_last(expected)[0], tolerance=1e-6)


# ---- quantised ----


@pytest.mark.parametrize(
    ("bits", "least_decibels", "keep_packed"), [(8, 30.0, True), (8, 30.0, False), (4, 20.0, True)]
)
def test_quantised_weights_make_nearly_the_same_picture(
    z_image: Model, tmp_path: Path, bits: int, least_decibels: float, keep_packed: bool
) -> None:
    packed = opened(None, pack_folder(z_image.folder, tmp_path / "packed", bits=bits), keep_packed=keep_packed)
    _, exact = made(z_image, width=WIDTH, height=HEIGHT)

    _, pixels = made(packed, width=WIDTH, height=HEIGHT)

    error = ((pixels.astype(float) - exact.astype(float)) ** 2).mean()
    decibels = 10 * np.log10(255**2 / error)
    print(f"\n{bits} bits: PSNR {decibels:.1f} dB")
    assert least_decibels <= decibels < 100, "and the weights are not the exact ones"


def test_a_quantised_klein_makes_nearly_the_same_picture(klein: Model, tmp_path: Path) -> None:
    packed = opened(None, pack_folder(klein.folder, tmp_path / "packed", bits=8))
    _, exact = made(klein, width=WIDTH, height=HEIGHT)

    _, pixels = made(packed, width=WIDTH, height=HEIGHT)

    decibels = 10 * np.log10(255**2 / ((pixels.astype(float) - exact.astype(float)) ** 2).mean())
    print(f"\n8 bits: PSNR {decibels:.1f} dB")
    assert decibels >= 30.0
