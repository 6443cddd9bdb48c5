"""What an image model is, from its own files: its pipeline, what requests to it keep to, and the sizes of its parts.

The image engine decides by the same rules (`runner/engines/image/families.py`); a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from paddock.errors import InvalidModelFiles, UnsupportedModel
from paddock.store.tensors import dense_bytes, float32_bytes, half_bytes, largest_bytes, weights_of
from paddock.vetting.image_folder import (
    AUTOENCODER,
    FLUX2_KLEIN,
    INDEX_FILE,
    SCHEDULER,
    TEXT_ENCODER,
    TRANSFORMER,
    WEIGHTED_PARTS,
    ImageConfigs,
)
from paddock.vetting.safetensors_header import Tensor

IMAGE_CAPABILITIES = ("image", "vision")
"""In Ollama's words: it makes pictures, and it takes some to work from, as both pipelines do."""
MAX_SIDE = 4096
"""Pixels."""
MAX_STEPS = 150
MAX_GUIDANCE = 100.0

_TURBO_SHIFT = 3.0
_MOST_TEXT_TOKENS = 512
_PATCH = 2
"""Of Z-Image: latent cells to a side of one token. FLUX.2 folds as many into one."""
_KLEIN_STATES, _KLEIN_DEEPEST = 3, 27
"""Hidden states of the text encoder that FLUX.2 Klein takes, and the last of them."""
_COUNTER = "bn.num_batches_tracked"
_MOST_STAGES = 16
"""Of an autoencoder; each halves the sides, and real ones have four."""

# Sizes that a config may leave out, as diffusers has them.
_Z_TRANSFORMER = {"in_channels": 16, "dim": 3840, "n_heads": 30, "cap_feat_dim": 2560, "axes_lens": [1024, 512, 512]}
_Z_AUTOENCODER = {"latent_channels": 4, "block_out_channels": [64]}
_FLUX_TRANSFORMER = {
    "in_channels": 128,
    "attention_head_dim": 128,
    "num_attention_heads": 48,
    "joint_attention_dim": 15_360,
}
_FLUX_AUTOENCODER = {"latent_channels": 32, "block_out_channels": [128, 256, 512, 512]}

Given = Mapping[str, Any]


@dataclass(frozen=True)
class PartFacts:
    """The weights of one part that the engine keeps, in bytes."""

    weights_bytes: int
    """As stored."""
    half_bytes: int
    """With all that is floating in 16 bits, as on accelerators; packed weights as they are stored."""
    float32_bytes: int
    """With all that is floating in 32 bits."""
    dense_bytes: int
    """As above with packed weights unpacked too; 0 where it is not known how they are packed."""
    largest_tensor_bytes: int
    """As stored."""


@dataclass(frozen=True)
class ImageFacts:
    """What requests to an image model keep to, what they get where they ask for nothing, and sizes for memory."""

    pipeline: str
    """ZImagePipeline or Flux2KleinPipeline, as diffusers calls them."""
    width: int
    height: int
    """Of a picture where none are asked for, in pixels."""
    steps: int
    guidance: float
    cell: int
    """Pixels: every side is a multiple of it. It is also the side of one token of the transformer."""
    side_most: int
    """Most pixels of a side."""
    edits: Literal["none", "start", "references"]
    """What becomes of a given picture: it is what the new one starts from, or is looked at while that is made."""
    references_most: int
    """Most pictures to work from."""
    guides: bool
    """Whether guidance and a negative prompt mean something."""
    text_tokens: int
    """Most tokens of a prompt."""
    hidden: int
    """Width of the transformer."""
    heads: int
    encoder_width: int
    """Channels of the autoencoder where it works at the size of the picture: on the way in …"""
    decoder_width: int
    """… and on the way out."""
    text_layers: int
    """Layers of the text encoder that are kept."""
    text_hidden: int
    text_feed_forward: int
    text_encoder: PartFacts
    transformer: PartFacts
    autoencoder: PartFacts

    @property
    def is_fused(self) -> bool:
        """Whether blocks of its transformer make attention and feed-forward network of one product, as FLUX.2's do."""
        return self.pipeline == FLUX2_KLEIN

    @property
    def pixels(self) -> int:
        """Of a picture of the model's own size."""
        return self.width * self.height


def model_parts(files: Mapping[str, Path]) -> dict[str, tuple[Tensor, ...]]:
    """The tensors of each part that has weights. InvalidModelFiles."""
    return {part: tuple(weights_of(files, {}, part)[0]) for part in WEIGHTED_PARTS}


def with_packings(files: Mapping[str, Path], configs: ImageConfigs) -> ImageConfigs:
    """The configs with how the weights of each part are packed, where only the tensors tell it. InvalidModelFiles."""
    told = {part: weights_of(files, configs.configs[part], part)[1] for part in WEIGHTED_PARTS}
    return replace(configs, configs={**configs.configs, **told})


def read_image_facts(configs: ImageConfigs, parts: Mapping[str, Iterable[Tensor]]) -> ImageFacts:
    """The facts of a model of these configs and tensors. InvalidModelFiles if a size is missing or wrong, or parts do
    not fit together; UnsupportedModel for a text encoder that is none of Qwen3's."""
    found = _flux2_klein(configs) if configs.pipeline == FLUX2_KLEIN else _z_image(configs)
    encoder, autoencoder = found.text_encoder, found.autoencoder
    _check(found)
    text_layers = max(1, found.deepest_state)
    kept = {part: list(_kept(tensors, part, text_layers)) for part, tensors in parts.items()}
    facts = ImageFacts(
        pipeline=configs.pipeline,
        width=1024,
        height=1024,
        steps=found.steps,
        guidance=found.guidance,
        cell=_PATCH * autoencoder.scale,
        side_most=found.side_most,
        edits=found.edits,
        references_most=found.references_most,
        guides=found.guides,
        text_tokens=found.text_tokens,
        hidden=found.hidden,
        heads=found.heads,
        encoder_width=autoencoder.widths("block_out_channels")[0],
        decoder_width=autoencoder.decoder_widths[0],
        text_layers=text_layers,
        text_hidden=encoder.size("hidden_size"),
        text_feed_forward=encoder.size("intermediate_size"),
        text_encoder=_part_facts(kept[TEXT_ENCODER], encoder.given),
        transformer=_part_facts(kept[TRANSFORMER], found.transformer.given),
        autoencoder=_part_facts(kept[AUTOENCODER], {}),
    )
    return _with_own_defaults(facts, configs.index)


def _kept(tensors: Iterable[Tensor], part: str, text_layers: int) -> Iterator[Tensor]:
    """Without what the engine leaves out: the head of the language model, and layers after the deepest state that the
    pipeline takes; a counter of the autoencoder."""
    for tensor in tensors:
        is_left_out = tensor.name == _COUNTER
        if part == TEXT_ENCODER:
            first, _, rest = tensor.name.removeprefix("model.").partition(".")
            layer = rest.partition(".")[0]
            is_left_out = first in ("norm", "lm_head")
            is_left_out |= first == "layers" and layer.isdigit() and int(layer) >= text_layers
        if not is_left_out:
            yield tensor


def _part_facts(tensors: list[Tensor], config: Given) -> PartFacts:
    return PartFacts(
        weights_bytes=sum(tensor.size_bytes for tensor in tensors),
        half_bytes=sum(map(half_bytes, tensors)),
        float32_bytes=sum(map(float32_bytes, tensors)),
        dense_bytes=dense_bytes(tensors, config),
        largest_tensor_bytes=largest_bytes(tensors),
    )


def _with_own_defaults(facts: ImageFacts, index: Given) -> ImageFacts:
    """As a folder may say itself what its pictures are made with: model_index.json, "paddock": {"steps": 8, ...}."""
    own = index.get("paddock") or {}
    if not isinstance(own, dict):
        raise InvalidModelFiles(f"The file {INDEX_FILE} gives defaults (paddock) that are no object.")
    side = (facts.cell, facts.side_most, facts.cell)
    bounds = {"width": side, "height": side, "steps": (1, MAX_STEPS, 1), "guidance": (0, MAX_GUIDANCE, 0)}
    given = {name: own[name] for name in bounds if own.get(name) is not None}
    for name, value in given.items():
        least, most, step = bounds[name]
        is_number = type(value) is int or (type(value) is float and name == "guidance")
        if not is_number or not least <= value <= most or (step and value % step):
            raise InvalidModelFiles(f"The file {INDEX_FILE} gives a default {name} that no picture can have.")
    return replace(facts, **given)


# ---- what the configs say -------------------------------------------------------------------------------------------


class _Config:
    """One part's config, from which sizes are read; `defaults` are for those that it leaves out."""

    def __init__(self, configs: ImageConfigs, part: str, defaults: Given | None = None) -> None:
        self.given = configs.configs[part]
        self._file = f"{part}/config.json"
        self._defaults = defaults or {}

    def size(self, key: str) -> int:
        """A whole number above 0. InvalidModelFiles."""
        [found] = self._whole_numbers(key, [self._get(key)])
        return found

    def widths(self, key: str) -> tuple[int, ...]:
        """Some of them."""
        found = self._get(key)
        return self._whole_numbers(key, found if isinstance(found, list) else [])

    def refuse(self, why: str) -> InvalidModelFiles:
        """The error for sizes that cannot be."""
        return InvalidModelFiles(f"The file {self._file} {why}.")

    def _get(self, key: str) -> object:
        found = self.given.get(key)
        return self._defaults.get(key) if found is None else found

    def _whole_numbers(self, key: str, found: list[Any]) -> tuple[int, ...]:
        if not 0 < len(found) <= _MOST_STAGES or any(type(number) is not int or number < 1 for number in found):
            raise self.refuse(f"gives no proper {key}")
        return tuple(found)


class _Autoencoder(_Config):
    """Widths are those at the full size of a picture first."""

    @property
    def scale(self) -> int:
        """Pixels to a side of one cell of its latents."""
        return int(2 ** (len(self.widths("block_out_channels")) - 1))

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Where they are not given, the encoder's."""
        own = "decoder_block_out_channels"
        return self.widths(own if self.given.get(own) else "block_out_channels")


@dataclass(frozen=True)
class _Pipeline:
    """What the pipelines differ in."""

    text_encoder: _Config
    transformer: _Config
    autoencoder: _Autoencoder
    steps: int
    guidance: float
    guides: bool
    edits: Literal["start", "references"]
    references_most: int
    side_most: int
    text_tokens: int
    deepest_state: int
    """The last hidden state of the text encoder that is taken."""
    hidden: int
    heads: int
    text_width: int
    """Of the features of a token, as the transformer expects them."""
    text_states: int
    """Hidden states that are joined to make them."""
    latent_channels: int
    """As the transformer expects them."""
    folded: int
    """Cells of the autoencoder's latents in one of the transformer's."""


def _z_image(configs: ImageConfigs) -> _Pipeline:
    """Z-Image and Z-Image-Turbo, which differ in their weights and in the shift of their schedule."""
    encoder = _Config(configs, TEXT_ENCODER)
    transformer = _Config(configs, TRANSFORMER, _Z_TRANSFORMER)
    autoencoder = _Autoencoder(configs, AUTOENCODER, _Z_AUTOENCODER)
    flow = configs.configs[SCHEDULER]
    shift = flow.get("shift") or 1.0
    is_turbo = not flow.get("use_dynamic_shifting") and isinstance(shift, int | float) and shift <= _TURBO_SHIFT
    lengths = transformer.widths("axes_lens")
    if len(lengths) != 3:
        raise transformer.refuse("gives no proper axes_lens")
    return _Pipeline(
        encoder,
        transformer,
        autoencoder,
        steps=8 if is_turbo else 50,
        guidance=0.0 if is_turbo else 5.0,
        guides=True,
        edits="start",
        references_most=1,
        side_most=min(MAX_SIDE, min(lengths[1:]) * _PATCH * autoencoder.scale),
        # On the first axis of positions a text's come before the picture's.
        text_tokens=min(_longest_text(encoder), lengths[0] - 2),
        deepest_state=encoder.size("num_hidden_layers") - 1,
        hidden=transformer.size("dim"),
        heads=transformer.size("n_heads"),
        text_width=transformer.size("cap_feat_dim"),
        text_states=1,
        latent_channels=transformer.size("in_channels"),
        folded=1,
    )


def _flux2_klein(configs: ImageConfigs) -> _Pipeline:
    """FLUX.2 Klein, distilled or base."""
    encoder = _Config(configs, TEXT_ENCODER)
    transformer = _Config(configs, TRANSFORMER, _FLUX_TRANSFORMER)
    autoencoder = _Autoencoder(configs, AUTOENCODER, _FLUX_AUTOENCODER)
    is_distilled = bool(configs.index.get("is_distilled"))
    heads = transformer.size("num_attention_heads")
    return _Pipeline(
        encoder,
        transformer,
        autoencoder,
        steps=4 if is_distilled else 50,
        guidance=1.0 if is_distilled else 4.0,
        guides=not is_distilled,
        edits="references",
        references_most=4,
        side_most=MAX_SIDE,
        text_tokens=_longest_text(encoder),
        deepest_state=_KLEIN_DEEPEST,
        hidden=heads * transformer.size("attention_head_dim"),
        heads=heads,
        text_width=transformer.size("joint_attention_dim"),
        text_states=_KLEIN_STATES,
        latent_channels=transformer.size("in_channels"),
        folded=_PATCH**2,
    )


def _longest_text(encoder: _Config) -> int:
    """As many tokens as diffusers' pipelines read, unless the text encoder takes fewer."""
    most = encoder.given.get("max_position_embeddings")
    return min(_MOST_TEXT_TOKENS, most) if type(most) is int else _MOST_TEXT_TOKENS


def _check(found: _Pipeline) -> None:
    """Whether the parts fit together."""
    encoder, transformer, autoencoder = found.text_encoder, found.transformer, found.autoencoder
    if encoder.given.get("model_type") != "qwen3":
        raise UnsupportedModel("The text encoder in text_encoder/config.json is not supported: it has to be a Qwen3.")
    if found.deepest_state >= encoder.size("num_hidden_layers"):
        raise encoder.refuse(f"gives fewer layers than the {found.deepest_state + 1} that the pipeline needs")
    if found.text_width != found.text_states * encoder.size("hidden_size"):
        raise transformer.refuse("expects texts of another width than the text encoder gives")
    if found.latent_channels != found.folded * autoencoder.size("latent_channels"):
        raise transformer.refuse("expects other latents than the autoencoder gives")
    if len(autoencoder.decoder_widths) != len(autoencoder.widths("block_out_channels")):
        raise autoencoder.refuse("gives the encoder and the decoder different numbers of stages")
    if found.text_tokens < 1:
        raise transformer.refuse("leaves no room for a text")
