"""What an image model will need in memory: its parts that are in memory together, and the peak of each stage. Pure.

No engine checks these terms yet: they follow from the shapes of latent diffusion with a transformer, and what a
runner measures will correct them like all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from paddock.memory.estimate import RUNTIME_BYTES, Need


@dataclass(frozen=True)
class ImageParts:
    """An image model's components and sizes. Bytes are as the engine holds them; widths are numbers of values."""

    text_encoder_bytes: int
    transformer_bytes: int
    decoder_bytes: int
    frees_text_encoder: bool
    """Whether the text encoder goes before the denoising begins."""
    latent_scale: int = 8
    """Pixels to a side of one latent cell."""
    patch: int = 2
    """Latent cells to a side of one token of the transformer."""
    text_tokens: int = 512
    hidden: int = 3072
    heads: int = 24
    feed_forward: int = 12_288
    decoder_width: int = 128
    """Channels of the decoder at the full size of the picture."""
    tile_pixels: int = 512
    """Side of a tile that is decoded at once; 0 decodes the whole picture."""
    item_bytes: int = 2


def estimate_image(parts: ImageParts, width: int, height: int, *, writes_scores: bool) -> Need:
    """The memory of one picture at a time.

    Resident: the transformer, the decoder, and the text encoder unless it goes early; then its bytes are a peak of
    the beginning, as loading is. Workspace: the larger of a denoising step and of the decoding of a tile.
    """
    encoder = parts.text_encoder_bytes
    kept = 0 if parts.frees_text_encoder else encoder
    denoising = denoise_bytes(parts, width, height, writes_scores=writes_scores)
    return Need(
        weights_bytes=parts.transformer_bytes + parts.decoder_bytes + kept,
        kv_bytes=0,
        workspace_bytes=max(denoising, decode_bytes(parts, width, height)),
        runtime_bytes=RUNTIME_BYTES,
        load_bytes=encoder - kept,
    )


def tokens_of(parts: ImageParts, width: int, height: int) -> int:
    """Tokens of the transformer: one for each patch of the latent picture, and those of the text."""
    side = parts.latent_scale * parts.patch
    return -(-width // side) * -(-height // side) + parts.text_tokens


def denoise_bytes(parts: ImageParts, width: int, height: int, *, writes_scores: bool) -> int:
    """One step: for each token three vectors of the feed-forward network's width and eight of the model's (a block's
    input, its modulated copy, queries, keys, values, the attention's result and two residues); and the scores of one
    layer, heads x tokens x tokens, where they are written out (on the CPU)."""
    tokens = tokens_of(parts, width, height)
    scores = parts.heads * tokens * tokens if writes_scores else 0
    return (tokens * (3 * parts.feed_forward + 8 * parts.hidden) + scores) * parts.item_bytes


def decode_bytes(parts: ImageParts, width: int, height: int) -> int:
    """The decoder's last stage works at the full size with `decoder_width` channels: a block's input, its normed copy,
    the convolution's unfolded input (nine times) and its result. In tiles only one of them is that large at a time;
    the picture itself, three channels in float32, is whole."""
    whole = width * height
    tile = min(whole, parts.tile_pixels**2) if parts.tile_pixels else whole
    return tile * parts.decoder_width * 12 * parts.item_bytes + whole * 3 * 4
