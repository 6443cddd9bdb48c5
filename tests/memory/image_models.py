"""Image models that exist only as facts, as large as real ones."""

from __future__ import annotations

from dataclasses import replace

from paddock.store.facts import ModelFacts
from paddock.store.images import ImageFacts, PartFacts

GB = 1_000_000_000
SQUARE = 1024 * 1024


def part(size_bytes: int) -> PartFacts:
    """Weights that are stored in bfloat16."""
    return PartFacts(size_bytes, size_bytes, 2 * size_bytes, 2 * size_bytes, size_bytes // 100)


FACTS = ImageFacts(
    pipeline="ZImagePipeline",
    width=1024,
    height=1024,
    steps=8,
    guidance=0.0,
    cell=16,
    side_most=4096,
    edits="start",
    references_most=1,
    guides=True,
    text_tokens=512,
    hidden=3840,
    heads=30,
    encoder_width=128,
    decoder_width=128,
    text_layers=35,
    text_hidden=2560,
    text_feed_forward=9728,
    text_encoder=part(8 * GB),
    transformer=part(12 * GB),
    autoencoder=part(GB // 5),
)
KLEIN = replace(FACTS, pipeline="Flux2KleinPipeline", edits="references", references_most=4, hidden=3072, heads=24)


def model(image: ImageFacts = FACTS) -> ModelFacts:
    parts = (image.text_encoder, image.transformer, image.autoencoder)
    return ModelFacts(
        "image", image.pipeline, (image.pipeline,), 1, "1", "BF16", 512, 0,
        weights_bytes=sum(each.weights_bytes for each in parts), capabilities=("image",), image=image,
    )  # fmt: skip
