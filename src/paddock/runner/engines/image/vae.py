"""The autoencoder between pictures and latents (AutoencoderKL), and the variant of FLUX.2 with normed, folded latents.

Layers carry the names of the checkpoint's own tensors. Arrays are [batch, height, width, channels].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.image.convolution import Convolution, Doubling, GroupNorm, Halving, Pointwise, bands_of
from paddock.runner.engines.image.layers import Work, settle
from paddock.runner.engines.image.previews import area_weights

_FOLD = 2
"""Latent cells to a side of one folded cell in the variant of FLUX.2."""


@dataclass(frozen=True)
class VaeConfig:
    """What vae/config.json says. Names and defaults are diffusers'."""

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    decoder_block_out_channels: tuple[int, ...] = ()
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float = 0.0
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
    batch_norm_eps: float = 1e-4

    @property
    def scale(self) -> int:
        """Pixels to a side of one latent cell."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Widths of the decoder's stages, that at the full size of the picture first."""
        return self.decoder_block_out_channels or self.block_out_channels


_FLUX2_DEFAULTS: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 32,
}


def read_vae_config(config: Mapping[str, Any]) -> VaeConfig:
    """The sizes in vae/config.json, of either kind. UnsupportedModel for parts that are not done here."""
    is_flux2 = config.get("_class_name") == "AutoencoderKLFlux2"
    given = {name: config[name] for name in VaeConfig.__dataclass_fields__ if config.get(name) is not None}
    known = {**(_FLUX2_DEFAULTS if is_flux2 else {}), **given}
    known |= {name: tuple(known[name]) for name in known if name.endswith("block_out_channels")}
    sizes = VaeConfig(**known)
    down = config.get("down_block_types", ["DownEncoderBlock2D"])
    up = config.get("up_block_types", ["UpDecoderBlock2D"])
    if {*down, *up} != {"DownEncoderBlock2D", "UpDecoderBlock2D"} or config.get("act_fn", "silu") != "silu":
        raise UnsupportedModel("The blocks of this model's autoencoder are not supported by this version of Paddock.")
    if not is_flux2 and (config.get("latents_mean") or config.get("latents_std")):
        raise UnsupportedModel("The latents of this model's autoencoder are scaled in a way that is not supported.")
    stages = len(sizes.block_out_channels)
    if (sizes.in_channels, sizes.out_channels) != (3, 3) or len(sizes.decoder_channels) != stages:
        raise DamagedModel("The sizes in vae/config.json contradict each other: create the model again.")
    if any(channels % sizes.norm_num_groups for channels in (*sizes.block_out_channels, *sizes.decoder_channels)):
        raise DamagedModel("The sizes in vae/config.json contradict each other: create the model again.")
    return sizes


class _Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(channels_in, groups)
        self.conv1 = Convolution(channels_in, channels_out)
        self.norm2 = GroupNorm(channels_out, groups)
        self.conv2 = Convolution(channels_out, channels_out)
        if channels_in != channels_out:
            self.conv_shortcut = Pointwise(channels_in, channels_out)

    def __call__(self, cells: mx.array) -> mx.array:
        _, height, width, _ = cells.shape
        mixed = self.conv1.over(self.norm1.active_rows(cells), height, width)
        mixed = self.conv2.over(self.norm2.active_rows(mixed), height, width)
        return (self.conv_shortcut(cells) if "conv_shortcut" in self else cells) + mixed


class _CellAttention(nn.Module):
    """All cells look at all, with one head; so many at a time that their scores are bounded."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(channels, groups)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = [nn.Linear(channels, channels)]

    def __call__(self, cells: mx.array) -> mx.array:
        batch, height, width, channels = cells.shape
        normed = self.group_norm(cells).reshape(batch, 1, height * width, channels)
        queries, keys, values = self.to_q(normed), self.to_k(normed), self.to_v(normed)
        scale = channels**-0.5
        parts = [
            settle(mx.fast.scaled_dot_product_attention(queries[:, :, start:end], keys, values, scale=scale))
            for start, end in bands_of(height * width, height * width)
        ]
        mixed = mx.concatenate(parts, axis=2)
        return cells + self.to_out[0](mixed).reshape(cells.shape)


class _Middle(nn.Module):
    def __init__(self, channels: int, config: VaeConfig) -> None:
        super().__init__()
        groups = config.norm_num_groups
        self.resnets = [_Residual(channels, channels, groups) for _ in range(2)]
        if config.mid_block_add_attention:
            self.attentions = [_CellAttention(channels, groups)]

    @property
    def blocks(self) -> list[nn.Module]:
        """Its parts in the order in which they are computed."""
        return [self.resnets[0], *self.get("attentions", ()), self.resnets[1]]


class _Stage(nn.Module):
    """Residual blocks of one size, then a change of the size unless it is the last."""

    def __init__(self, channels_in: int, channels_out: int, count: int, groups: int) -> None:
        super().__init__()
        widths = [channels_in, *[channels_out] * (count - 1)]
        self.resnets = [_Residual(width, channels_out, groups) for width in widths]

    @property
    def blocks(self) -> list[nn.Module]:
        """As in `_Middle`."""
        return [*self.resnets, *self.get("downsamplers", ()), *self.get("upsamplers", ())]


class _Encoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = Convolution(config.in_channels, widths[0])
        self.down_blocks = []
        for index, width in enumerate(widths):
            stage = _Stage(widths[max(0, index - 1)], width, config.layers_per_block, groups)
            if index < len(widths) - 1:
                stage.downsamplers = [Halving(width)]
            self.down_blocks.append(stage)
        self.mid_block = _Middle(widths[-1], config)
        self.conv_norm_out = GroupNorm(widths[-1], groups)
        self.conv_out = Convolution(widths[-1], 2 * config.latent_channels)

    def __call__(self, cells: mx.array) -> Work:
        stages: list[Any] = [*self.down_blocks, self.mid_block]
        return _through(self, [block for stage in stages for block in stage.blocks], cells)


class _Decoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths, groups = config.decoder_channels[::-1], config.norm_num_groups
        self.conv_in = Convolution(config.latent_channels, widths[0])
        self.mid_block = _Middle(widths[0], config)
        self.up_blocks = []
        for index, width in enumerate(widths):
            stage = _Stage(widths[max(0, index - 1)], width, config.layers_per_block + 1, groups)
            if index < len(widths) - 1:
                stage.upsamplers = [Doubling(width)]
            self.up_blocks.append(stage)
        self.conv_norm_out = GroupNorm(widths[-1], groups)
        self.conv_out = Convolution(widths[-1], config.out_channels)

    def __call__(self, cells: mx.array) -> Work:
        stages: list[Any] = [self.mid_block, *self.up_blocks]
        return _through(self, [block for stage in stages for block in stage.blocks], cells)


def _through(module: Any, blocks: Sequence[nn.Module], cells: mx.array) -> Work:
    """An encoder's or a decoder's result; it stops after each block."""
    cells = module.conv_in(cells)
    for block in blocks:
        cells = settle(block(cells))
        yield
    result: mx.array = module.conv_out.over(module.conv_norm_out.active_rows(cells), *cells.shape[1:3])
    return result


class Autoencoder(nn.Module):
    """AutoencoderKL. Latents are as the transformer sees them: shifted and scaled."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self._config = config
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        if config.use_quant_conv:
            self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, kernel_size=1)
        if config.use_post_quant_conv:
            self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, kernel_size=1)

    def encode(self, picture: mx.array) -> Work:
        """Latents of pixels in -1 to 1: the mean of what the encoder tells; float32. It stops after each block."""
        cells = yield from self._raw_latents(picture)
        return (cells - self._config.shift_factor) * self._config.scaling_factor

    def decode(self, latents: mx.array) -> Work:
        """Pixels, about -1 to 1; float32. It stops after each block."""
        return self._pixels(self.unnormed(latents))

    def decode_small(self, latents: mx.array, rows: int, columns: int) -> Work:
        """A small picture of the same, as of latents of so many rows and columns: the decoder sees means of its own
        latents, and costs as much less."""
        cells = self.unnormed(latents)
        _, height, width, _ = cells.shape
        down = mx.array(area_weights(height, rows * height // latents.shape[1]))
        across = mx.array(area_weights(width, columns * width // latents.shape[2]))
        return self._pixels(mx.einsum("rh,bhwc,sw->brsc", down, cells, across))

    def unnormed(self, latents: mx.array) -> mx.array:
        """The decoder's own latents: as they were before they were shifted and scaled."""
        return latents / self._config.scaling_factor + self._config.shift_factor

    def _raw_latents(self, picture: mx.array) -> Work:
        """What the encoder itself gives for pixels in -1 to 1; float32."""
        cells = yield from self.encoder(picture.astype(self.encoder.conv_in.weight.dtype))
        if "quant_conv" in self:
            cells = self.quant_conv(cells)
        return cells[..., : self._config.latent_channels].astype(mx.float32)

    def _pixels(self, cells: mx.array) -> Work:
        """What the decoder itself makes of its own latents; float32."""
        cells = cells.astype(self.decoder.conv_in.weight.dtype)
        if "post_quant_conv" in self:
            cells = self.post_quant_conv(cells)
        pixels: mx.array = yield from self.decoder(cells)
        return pixels.astype(mx.float32)


class _Statistics(nn.Module):
    """Mean and variance of each channel of the folded latents. They stay float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.running_mean = mx.zeros((channels,))
        self.running_var = mx.ones((channels,))


class Flux2Autoencoder(Autoencoder):
    """AutoencoderKLFlux2. Latents are as the transformer sees them: squares of 2 x 2 cells folded into one cell's
    channels, with mean 0 and variance 1."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__(config)
        self.bn = _Statistics(config.latent_channels * _FOLD * _FOLD)

    def encode(self, picture: mx.array) -> Work:
        cells = yield from self._raw_latents(picture)
        return (fold(cells) - self.bn.running_mean) / self._deviation()

    def unnormed(self, latents: mx.array) -> mx.array:
        """The decoder's own latents: with the mean and variance that they had, and unfolded."""
        return unfold(latents * self._deviation() + self.bn.running_mean)

    def _deviation(self) -> mx.array:
        return mx.sqrt(self.bn.running_var + self._config.batch_norm_eps)


def fold(cells: mx.array) -> mx.array:
    """[batch, height, width, channels] as [batch, height / 2, width / 2, 4 channels]; a channel's four lie together."""
    batch, height, width, channels = cells.shape
    squares = cells.reshape(batch, height // _FOLD, _FOLD, width // _FOLD, _FOLD, channels)
    return squares.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // _FOLD, width // _FOLD, -1)


def unfold(folded: mx.array) -> mx.array:
    """The inverse of `fold`."""
    batch, height, width, channels = folded.shape
    squares = folded.reshape(batch, height, width, -1, _FOLD, _FOLD)
    return squares.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * _FOLD, width * _FOLD, channels // _FOLD**2)
