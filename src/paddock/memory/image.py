"""What an image model computes with and keeps, from the sizes of its parts and the pictures asked for. Pure.

`estimate` adds the rest. The numbers of values were found with the MLX engine on a CPU, where it computes in float32
and waits for each block (`runner/engines/image/layers.py`, `settle`): at many sizes each stage's peak of arrays was
measured and a line drawn through it. `make memory-report` compares the outcome with real runners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paddock.store.images import ImageFacts, PartFacts

if TYPE_CHECKING:
    from paddock.memory.estimate import Settings

DEFAULT_TILE_PIXELS = 1024
"""The engine's, where it is not told otherwise."""
REFERENCE_PIXELS = 1024 * 1024
"""Most of a picture to work from, and no more than of one that is made (`preparation.py`, `_reference_pixels`)."""

_CPU_VALUE_BYTES = 4
_ACCELERATOR_VALUE_BYTES = 6
"""Half precision, and three values held where the CPU holds one: without waiting for each block, MLX's peak was so much
higher. A bound that was not measured on an accelerator."""
_VECTORS, _FUSED_VECTORS = 16, 24
"""Of the transformer's width, that one block has for each token. FLUX.2's fused blocks make queries, keys, values and
the doubled feed-forward network of one product (`flux2.py`, `_FusedAttention`)."""
_SCORES = 1 << 20
"""Attention goes block by block: scores that exist at once (`text/model/cpu_forms.py`)."""
_DECODE, _DECODE_BAND, _DECODE_BAND_MOST = 5.1, 22.5, 18.5 * (1 << 20)
_ENCODE, _ENCODE_BAND = 4.1, 11.0
"""Of the autoencoder, for each pixel and channel of its outermost stage: pictures that exist at once, and beside them
the neighbours that a convolution writes out, which are made band by band (`convolution.py`, `_BAND_VALUES`)."""
_TEXT_VECTORS = 8
_PIXEL_BYTES = 12
"""Of a picture on the host: three channels in float32."""


def resident_bytes(facts: ImageFacts, *, on_accelerator: bool, keep_packed: bool, staged: bool) -> int:
    """Weights: the autoencoder, and the text encoder and the transformer both, or staged the larger of the two
    (`Parts.weights_bytes`)."""
    encoder, transformer, autoencoder = (
        part_bytes(part, on_accelerator=on_accelerator, keep_packed=keep_packed)
        for part in (facts.text_encoder, facts.transformer, facts.autoencoder)
    )
    return autoencoder + (max(encoder, transformer) if staged else encoder + transformer)


def part_bytes(part: PartFacts, *, on_accelerator: bool, keep_packed: bool) -> int:
    """As the engine turns them: all that is floating into half precision, on the CPU into float32, where packed numbers
    are unpacked as well unless they are to be kept (`Parts`, `compute_type`)."""
    if on_accelerator:
        return part.half_bytes
    return part.float32_bytes if keep_packed or not part.dense_bytes else part.dense_bytes


def work_bytes(facts: ImageFacts, settings: Settings, *, on_accelerator: bool) -> int:
    """The largest of the stages that a picture goes through one after the other, and the picture itself on the host:
    once, and a second time where it is put together from tiles, or is one to work from (`tiling.Mosaic`)."""
    values = max(
        reading_values(facts),
        denoising_values(facts, settings),
        decoding_values(facts, settings),
        encoding_values(facts, settings),
    )
    value_bytes = _ACCELERATOR_VALUE_BYTES if on_accelerator else _CPU_VALUE_BYTES
    is_twice = settings.picture_pixels > _tile_pixels(settings) or settings.references > 0
    return round(values) * value_bytes + settings.picture_pixels * _PIXEL_BYTES * (2 if is_twice else 1)


def kept_bytes(facts: ImageFacts, settings: Settings) -> int:
    """What other requests keep, of which a runner is given as many as it makes pictures at once: texts as the
    transformer reads them, with and without guidance, latents, and a picture that is not whole yet. In float32.

    A request that is at work has its own in `work_bytes`.
    """
    texts = (2 if facts.guides else 1) * facts.text_tokens * facts.hidden * 4
    pictures = settings.picture_pixels * _PIXEL_BYTES if settings.picture_pixels > _tile_pixels(settings) else 0
    return settings.parallel * (texts + pictures)


def reading_values(facts: ImageFacts) -> int:
    """The text encoder: the state after every layer is kept (`qwen3_encoder.py`), and one layer has three vectors of
    the feed-forward network's width and eight of its own for each token."""
    kept = (facts.text_layers + _TEXT_VECTORS) * facts.text_hidden
    return facts.text_tokens * (kept + 3 * facts.text_feed_forward)


def denoising_values(facts: ImageFacts, settings: Settings) -> int:
    """One block of the transformer, of all pictures that are made at once: so many vectors of its width for each token,
    and the scores of attention that exist at once."""
    tokens, batch = tokens_of(facts, settings), settings.parallel
    vectors = _FUSED_VECTORS if facts.is_fused else _VECTORS
    return batch * tokens * facts.hidden * vectors + min(batch * facts.heads * tokens * tokens, _SCORES)


def tokens_of(facts: ImageFacts, settings: Settings) -> int:
    """Of one picture: one for each cell, those of the text, and those of the pictures that are looked at."""
    looked_at = settings.references * reference_pixels(settings.picture_pixels)
    return -(-(settings.picture_pixels + looked_at) // facts.cell**2) + facts.text_tokens


def reference_pixels(picture_pixels: int) -> int:
    """Most pixels of one picture to work from."""
    return min(REFERENCE_PIXELS, picture_pixels)


def decoding_values(facts: ImageFacts, settings: Settings) -> float:
    """A tile, or the whole picture where that is smaller; pictures are decoded one after the other."""
    values = min(settings.picture_pixels, _tile_pixels(settings)) * facts.decoder_width
    return _DECODE * values + min(_DECODE_BAND * values, _DECODE_BAND_MOST)


def encoding_values(facts: ImageFacts, settings: Settings) -> float:
    """The same on the way in, of a picture to work from."""
    pixels = settings.picture_pixels if facts.edits == "start" else reference_pixels(settings.picture_pixels)
    values = min(pixels, _tile_pixels(settings)) * facts.encoder_width
    return _ENCODE * values + min(_ENCODE_BAND * values, _DECODE_BAND_MOST)


def _tile_pixels(settings: Settings) -> int:
    """Of one tile."""
    return int((settings.tile_pixels or DEFAULT_TILE_PIXELS) ** 2)
