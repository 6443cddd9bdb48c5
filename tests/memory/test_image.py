"""What an image model is said to need."""

from __future__ import annotations

from dataclasses import replace

from paddock.memory.image import ImageParts, decode_bytes, denoise_bytes, estimate_image, tokens_of

GB = 1_000_000_000
PARTS = ImageParts(4 * GB, 12 * GB, GB // 5, frees_text_encoder=True)


def test_a_token_is_a_patch_of_latent_cells() -> None:
    assert tokens_of(PARTS, 1024, 1024) == 64 * 64 + 512
    assert tokens_of(PARTS, 1025, 16) == 65 + 512


def test_an_encoder_that_goes_early_is_a_peak_of_the_beginning() -> None:
    early = estimate_image(PARTS, 1024, 1024, writes_scores=False)
    staying = estimate_image(replace(PARTS, frees_text_encoder=False), 1024, 1024, writes_scores=False)

    assert early.load_bytes == 4 * GB
    assert staying.load_bytes == 0
    assert staying.weights_bytes - early.weights_bytes == 4 * GB
    assert early.total_bytes < staying.total_bytes


def test_a_larger_picture_needs_more_and_scores_the_square() -> None:
    small, large = (denoise_bytes(PARTS, side, side, writes_scores=True) for side in (512, 1024))

    assert large > 4 * small
    assert denoise_bytes(PARTS, 1024, 1024, writes_scores=False) < large


def test_tiles_bound_the_decoding() -> None:
    whole = replace(PARTS, tile_pixels=0)

    assert decode_bytes(PARTS, 2048, 2048) < decode_bytes(whole, 2048, 2048) / 8
    assert decode_bytes(PARTS, 256, 256) == decode_bytes(whole, 256, 256)
