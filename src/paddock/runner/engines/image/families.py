"""What differs between the pipelines: how a text is written and read, how latents look, and how a step is computed."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.image import flow, flux2, zimage
from paddock.runner.engines.image.flow import Sigmas
from paddock.runner.engines.image.folder import (
    AUTOENCODER,
    FLUX2_KLEIN,
    SCHEDULER,
    TEXT_ENCODER,
    TRANSFORMER,
    ModelFolder,
)
from paddock.runner.engines.image.layers import Rotation, Work
from paddock.runner.engines.image.vae import Autoencoder, Flux2Autoencoder, read_vae_config

MAX_SIDE = 4096
"""Pixels."""
_THOUSAND = 1000.0
_TURBO_SHIFT = 3.0
"""Z-Image-Turbo's folder differs from Z-Image's only in its weights and in this shift of its schedule (the other's is
6)."""


class Edits(enum.Enum):
    """What a pipeline does with pictures that it is given."""

    START = "start"
    """It starts from one picture, under as much noise as `strength` says."""
    REFERENCES = "references"
    """It looks at several while it makes a new one."""


class Guidance(enum.Enum):
    """What a pipeline does with guidance, which asks for more of a prompt than the model would give."""

    ABOVE_ZERO = "above 0"
    """prediction + guidance x (prediction - that of the negative prompt); 0 turns it off."""
    ABOVE_ONE = "above 1"
    """that of the negative prompt + guidance x (prediction - that); 1 turns it off."""
    NONE = "none"
    """The model was trained to do without."""


@dataclass(frozen=True)
class Facts:
    """What requests to a model have to keep to, and what they get where they ask for nothing."""

    steps: int
    guidance: float
    guidance_kind: Guidance
    edits: Edits
    thinks: bool
    """Whether the chat template is told to leave room for thinking."""
    fills_up: bool
    """Whether a text is filled up to its greatest length."""
    width: int = 1024
    height: int = 1024
    text_tokens: int = 512
    """Most tokens of a prompt."""
    side_multiple: int = 16
    """Pixels: every side is a multiple of it."""
    side_most: int = MAX_SIDE
    cell: int = 8
    """Pixels to a side of one cell of the latents that the transformer sees."""
    channels: int = 16
    """Of the latents that the transformer sees."""
    references_most: int = 1

    @property
    def turns_off(self) -> float:
        """Guidance up to this is none."""
        return 0.0 if self.guidance_kind is Guidance.ABOVE_ZERO else 1.0


@dataclass(frozen=True)
class Scene:
    """What the transformer sees beside the latents, the same at every step."""

    text: mx.array
    rotation: Rotation
    """Of the picture; in FLUX.2 of text, picture and references together."""
    text_rotation: Rotation | None = None
    references: mx.array | None = None
    """Tokens of reference pictures, [1, count, channels]."""


class Family(Protocol):
    """One pipeline with the sizes of one folder. It holds no weights."""

    @property
    def facts(self) -> Facts:
        """What requests have to keep to."""

    @property
    def text_states(self) -> tuple[int, ...]:
        """Hidden states of the language model that are taken (`TextEncoder`)."""

    def new_transformer(self) -> nn.Module:
        """Its layers, without weights."""

    def new_autoencoder(self) -> Autoencoder:
        """Its layers, without weights."""

    def sigmas(self, rows: int, columns: int, steps: int) -> Sigmas:
        """Noise levels of a picture of so many latent cells: steps + 1 of them."""

    def scene(
        self, transformer: Any, features: mx.array, size: tuple[int, int], references: Sequence[mx.array]
    ) -> Scene:
        """What the transformer sees of a text's features [length, width] and of encoded references [1, rows, columns,
        channels], beside a picture of `size`, rows and columns of latent cells."""

    def velocity(self, transformer: Any, latents: mx.array, sigma: float, scene: Scene) -> Work:
        """d latents / d sigma at one noise level, [batch, rows, columns, channels] like the latents; float32."""


def make_family(folder: ModelFolder) -> Family:
    """The pipeline of a folder. UnsupportedModel or DamagedModel if its parts do not fit together."""
    kind = Flux2KleinFamily if folder.pipeline == FLUX2_KLEIN else ZImageFamily
    try:
        return kind(folder)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, OverflowError):
        raise DamagedModel("The sizes in the model's configs are wrong: pull or create the model again.") from None


def guided(kind: Guidance, guidance: float, positive: mx.array, negative: mx.array) -> mx.array:
    """Away from what the negative prompt leads to (https://arxiv.org/abs/2207.12598)."""
    if kind is Guidance.ABOVE_ZERO:
        return positive + guidance * (positive - negative)
    return negative + guidance * (positive - negative)


def _text_tokens(folder: ModelFolder) -> int:
    """Most tokens of a prompt: 512 as in diffusers' pipelines, unless the text encoder takes fewer."""
    return min(512, folder.configs[TEXT_ENCODER].get("max_position_embeddings", 512))


def _own_defaults(facts: Facts, folder: ModelFolder) -> Facts:
    """A folder may say itself what its pictures are made with: model_index.json, "paddock": {"steps": 8, ...}."""
    own = folder.index.get("paddock") or {}
    names = ("steps", "guidance", "width", "height")
    given = {name: own[name] for name in names if isinstance(own.get(name), int | float)}
    return replace(facts, **given)


class ZImageFamily:
    """Z-Image and Z-Image-Turbo (diffusers' ZImagePipeline)."""

    text_states = (-2,)

    def __init__(self, folder: ModelFolder) -> None:
        self._transformer = zimage.read_zimage_config(folder.configs[TRANSFORMER])
        self._autoencoder = read_vae_config(folder.configs[AUTOENCODER])
        self._flow = flow.read_flow(folder.configs[SCHEDULER])
        if self._autoencoder.latent_channels != self._transformer.in_channels:
            raise DamagedModel("The transformer and the autoencoder do not fit together: create the model again.")
        if self._transformer.cap_feat_dim != folder.configs[TEXT_ENCODER].get("hidden_size"):
            raise DamagedModel("The transformer and the text encoder do not fit together: create the model again.")
        is_turbo = not self._flow.use_dynamic_shifting and self._flow.shift <= _TURBO_SHIFT
        cell = self._autoencoder.scale
        facts = Facts(
            steps=8 if is_turbo else 50,
            guidance=0.0 if is_turbo else 5.0,
            guidance_kind=Guidance.ABOVE_ZERO,
            edits=Edits.START,
            thinks=True,
            fills_up=False,
            text_tokens=min(_text_tokens(folder), self._transformer.axes_lens[0] - 2),
            side_multiple=cell * zimage.PATCH,
            side_most=min(MAX_SIDE, min(self._transformer.axes_lens[1:]) * cell * zimage.PATCH),
            cell=cell,
            channels=self._transformer.in_channels,
        )
        self.facts = _own_defaults(facts, folder)

    def new_transformer(self) -> nn.Module:
        return zimage.ZImageTransformer(self._transformer)

    def new_autoencoder(self) -> Autoencoder:
        return Autoencoder(self._autoencoder)

    def sigmas(self, rows: int, columns: int, steps: int) -> Sigmas:
        mu = flow.linear_mu(self._flow, (rows // zimage.PATCH) * (columns // zimage.PATCH))
        return flow.make_sigmas(self._flow, steps, mu)

    def scene(
        self, transformer: Any, features: mx.array, size: tuple[int, int], references: Sequence[mx.array]
    ) -> Scene:
        caption = transformer.read_caption(features)
        rows, columns = size
        length = caption.tokens.shape[1]
        rotation = transformer.picture_rotation(rows // zimage.PATCH, columns // zimage.PATCH, length)
        return Scene(caption.tokens, rotation, text_rotation=caption.rotation)

    def velocity(self, transformer: Any, latents: mx.array, sigma: float, scene: Scene) -> Work:
        # The model's time runs from noise to picture, and so does its velocity.
        time = (_THOUSAND - sigma * self._flow.num_train_timesteps) / _THOUSAND
        assert scene.text_rotation is not None
        caption = zimage.Caption(scene.text, scene.text_rotation)
        velocity: mx.array = yield from transformer(latents, time, caption, scene.rotation)
        return -velocity


class Flux2KleinFamily:
    """FLUX.2 Klein, distilled or base (diffusers' Flux2KleinPipeline)."""

    text_states = (9, 18, 27)

    def __init__(self, folder: ModelFolder) -> None:
        self._transformer = flux2.read_flux2_config(folder.configs[TRANSFORMER])
        self._autoencoder = read_vae_config(folder.configs[AUTOENCODER])
        self._flow = flow.read_flow(folder.configs[SCHEDULER])
        if tuple(folder.configs[AUTOENCODER].get("patch_size", (2, 2))) != (2, 2):
            raise UnsupportedModel("An autoencoder of FLUX.2 with other patches than 2 x 2 is not supported.")
        if self._autoencoder.latent_channels * 4 != self._transformer.in_channels:
            raise DamagedModel("The transformer and the autoencoder do not fit together: create the model again.")
        width = folder.configs[TEXT_ENCODER].get("hidden_size", 0)
        if self._transformer.joint_attention_dim != len(self.text_states) * width:
            raise DamagedModel("The transformer and the text encoder do not fit together: create the model again.")
        is_distilled = bool(folder.index.get("is_distilled"))
        cell = 2 * self._autoencoder.scale
        facts = Facts(
            steps=4 if is_distilled else 50,
            guidance=1.0 if is_distilled else 4.0,
            guidance_kind=Guidance.NONE if is_distilled else Guidance.ABOVE_ONE,
            edits=Edits.REFERENCES,
            thinks=False,
            fills_up=True,
            text_tokens=_text_tokens(folder),
            side_multiple=cell,
            cell=cell,
            channels=self._transformer.in_channels,
            references_most=4,
        )
        self.facts = _own_defaults(facts, folder)

    def new_transformer(self) -> nn.Module:
        return flux2.Flux2Transformer(self._transformer)

    def new_autoencoder(self) -> Autoencoder:
        return Flux2Autoencoder(self._autoencoder)

    def sigmas(self, rows: int, columns: int, steps: int) -> Sigmas:
        return flow.make_sigmas(self._flow, steps, flow.empirical_mu(rows * columns, steps))

    def scene(
        self, transformer: Any, features: mx.array, size: tuple[int, int], references: Sequence[mx.array]
    ) -> Scene:
        text = transformer.read_text(features)
        positions = [
            flux2.text_positions(text.shape[1]),
            flux2.picture_positions(*size),
            *(flux2.picture_positions(each.shape[1], each.shape[2], place) for place, each in enumerate(references)),
        ]
        tokens = [each.reshape(1, -1, each.shape[-1]) for each in references]
        return Scene(
            text,
            transformer.rotation(np.concatenate(positions)),
            references=mx.concatenate(tokens, axis=1) if tokens else None,
        )

    def velocity(self, transformer: Any, latents: mx.array, sigma: float, scene: Scene) -> Work:
        batch, rows, columns, channels = latents.shape
        tokens = latents.reshape(batch, rows * columns, channels)
        if scene.references is not None:
            others = mx.broadcast_to(scene.references, (batch, *scene.references.shape[1:]))
            tokens = mx.concatenate([tokens, others], axis=1)
        time = sigma * self._flow.num_train_timesteps
        predicted: mx.array = yield from transformer(tokens, time, scene.text, scene.rotation)
        return predicted[:, : rows * columns].reshape(latents.shape)
