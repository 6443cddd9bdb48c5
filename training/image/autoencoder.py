"""Trains the autoencoder: pictures to latents of mean 0 and variance 1, and back."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional

from training.image.captions import random_request, scene_of
from training.image.draw import SIDE, Pixels, Scene, draw

_NOISE = 0.05
"""Deviation of what is added to the latents, which the decoder has to live with: denoised ones are never exact."""
_LOG_VARIANCE = -10.0
"""What the encoder tells of its own doubts about latents: none."""
_SIZE_WEIGHT = 1e-3
_EDGE_WEIGHT = 0.5
_CONSTANT = 4.0
_PIECE_SIDE = 48


@dataclass(frozen=True)
class Stage:
    """So many steps of so many pictures; the rate is the highest, and falls to nothing."""

    steps: int
    batch: int
    rate: float


PIECES = Stage(1100, 12, 1e-3)
"""Pieces of pictures with an edge in them: they cost less than whole ones, which are mostly plain."""
WHOLE = Stage(200, 3, 5e-4)


@torch.no_grad()
def begin_with_means(model: AutoencoderKL) -> None:
    """Weights with which a latent cell holds the mean colour of its pixels, so that training has only edges to find.

    Red, green and blue run through the layers beside their negatives (silu(x) - silu(-x) is x), and a large constant
    beside its own, next to which no colour matters to what norms the layers.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            if module.conv_shortcut is not None:
                nn.init.dirac_(module.conv_shortcut.weight)
        elif isinstance(module, Downsample2D):
            nn.init.zeros_(module.conv.weight)
            for channel in range(len(module.conv.weight)):
                module.conv.weight[channel, channel, :2, :2] = 0.25
        elif isinstance(module, Upsample2D):
            nn.init.dirac_(module.conv.weight)
    for side in (model.encoder, model.decoder):
        _take_in(side.conv_in)
        _give_out(side.conv_out)
    nn.init.dirac_(model.quant_conv.weight)
    nn.init.dirac_(model.post_quant_conv.weight)


def _take_in(layer: nn.Conv2d) -> None:
    layer.weight[:8] = 0.0
    for channel in range(3):
        layer.weight[channel, channel, 1, 1] = 1.0
        layer.weight[channel + 3, channel, 1, 1] = -1.0
    layer.bias[6], layer.bias[7] = _CONSTANT, -_CONSTANT


def _give_out(layer: nn.Conv2d) -> None:
    deviation = _CONSTANT * math.sqrt(2 / layer.in_channels)
    layer.weight[:3] = 0.0
    for channel in range(3):
        layer.weight[channel, channel, 1, 1] = deviation
        layer.weight[channel, channel + 3, 1, 1] = -deviation


def random_scene(rng: random.Random) -> Scene:
    """A scene as training has it, half of the time in any colours."""
    scene = scene_of(random_request(rng), rng)
    if rng.random() < 0.5:
        return scene
    background, *others = [tuple(rng.randrange(256) for _ in range(3)) for _ in range(1 + len(scene.items))]
    items = tuple(replace(item, colour=colour) for item, colour in zip(scene.items, others, strict=True))
    return Scene(items, background)


def as_tensor(pictures: np.ndarray) -> Tensor:
    """Pixels [count, side, side, 3] as diffusers has them: [count, 3, side, side], -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _piece(rng: random.Random) -> Pixels:
    """Part of a picture that contains a pixel of an edge."""
    picture = draw(random_scene(rng)).astype(np.int16)
    edges = np.argwhere(np.abs(np.diff(picture, axis=1)).sum(axis=-1) > 0)
    top, left = (
        min(max(0, int(place) - rng.randrange(_PIECE_SIDE)), SIDE - _PIECE_SIDE) for place in rng.choice(edges)
    )
    return picture[top : top + _PIECE_SIDE, left : left + _PIECE_SIDE].astype(np.uint8)


def train_autoencoder(model: AutoencoderKL, pieces: Stage = PIECES, whole: Stage = WHOLE) -> None:
    """Learn from pieces of pictures, then norm the latents, then let the decoder learn from whole pictures.

    What norms the layers counts over a whole picture, so that the decoder's colours are a little off after pieces.
    """
    begin_with_means(model)
    model.to(memory_format=torch.channels_last)
    _learn(model, list(model.parameters()), pieces, _piece, "autoencoder")
    _norm_latents(model)
    finish_decoder(model, whole)


def finish_decoder(model: AutoencoderKL, whole: Stage = WHOLE) -> None:
    """Let the decoder learn from whole pictures; the latents stay as they are."""
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    learned = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    _learn(model, learned, whole, lambda rng: draw(random_scene(rng)), "decoder")


def _learn(
    model: AutoencoderKL,
    learned: list[nn.Parameter],
    stage: Stage,
    make: Callable[[random.Random], Pixels],
    name: str,
) -> None:
    optimizer = torch.optim.AdamW(learned, lr=stage.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    rng, recent, began = random.Random(name), 0.0, time.monotonic()
    for step in range(stage.steps):
        left = (stage.steps - step) / (0.6 * stage.steps)
        optimizer.param_groups[0]["lr"] = stage.rate * min(1.0, (step + 1) / 50, left)
        pictures = as_tensor(np.stack([make(rng) for _ in range(stage.batch)]))
        loss = _loss(model, pictures.to(memory_format=torch.channels_last))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent = loss.item() if step == 0 else 0.95 * recent + 0.05 * loss.item()
        if (step + 1) % 50 == 0 or step + 1 == stage.steps:
            seconds = time.monotonic() - began
            print(f"{name}: step {step + 1} of {stage.steps}, {seconds:.0f} s: loss {recent:.4f}", flush=True)


def _loss(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    latents = model.encode(pictures).latent_dist.mean
    difference = model.decode(latents + _NOISE * torch.randn_like(latents)).sample - pictures
    edges = sum(difference.diff(dim=dim).abs().mean() for dim in (2, 3))
    size = latents.square().mean()
    return difference.abs().mean() + difference.square().mean() + _EDGE_WEIGHT * edges + _SIZE_WEIGHT * size


@torch.no_grad()
def _norm_latents(model: AutoencoderKL, count: int = 256) -> None:
    """Give each channel of the latents mean 0 and variance 1, by what surrounds it: the pictures stay the same."""
    rng, width = random.Random("norm"), model.config.latent_channels
    pictures = as_tensor(np.stack([draw(scene_of(random_request(rng), rng)) for _ in range(count)]))
    latents = torch.cat([model.encode(part).latent_dist.mean for part in pictures.split(32)])
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    into, out_of = model.quant_conv, model.post_quant_conv
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean
    out_of.weight *= deviation[None, :, None, None]
    into.bias[:width] -= mean
    into.bias[:width] /= deviation
    into.weight[:width] /= deviation[:, None, None, None]
    into.weight[width:] = 0.0
    into.bias[width:] = _LOG_VARIANCE


@torch.no_grad()
def psnr(model: AutoencoderKL, count: int = 64) -> float:
    """Mean over pictures that training has not seen of the peak signal-to-noise ratio of their reconstructions, dB."""
    rng = random.Random("psnr")
    ratios = []
    for _ in range(count):
        picture = as_tensor(draw(scene_of(random_request(rng), rng))[None])
        again = model.decode(model.encode(picture).latent_dist.mean).sample.clamp(-1.0, 1.0)
        ratios.append(10 * math.log10(4.0 / functional.mse_loss(again, picture).item()))
    return sum(ratios) / len(ratios)
