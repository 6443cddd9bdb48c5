"""What a runner is told that makes other weights of a model's own, and what it tells of them.

A conversion is a runner whose load is the work. Its model's folder holds the order, the files to start from, perhaps an
adapter, and a folder for what comes out; all of them are named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from paddock.protocol.message import Message

ENGINE = "conversion"
"""The kind of engine, as on a runner's command line."""
ORDER_FILE = "order.json"
SOURCE_FOLDER = "source"
ADAPTER_FOLDER = "adapter"
OUTPUT_FOLDER = "output"
"""The new config.json and weights come here; all other files of the model stay as they are."""
REPLY_FILE = "reply.json"


class Packing(NamedTuple):
    """How MLX packs the numbers of a layer."""

    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
    bits: int
    group_size: int
    """Numbers that share a scale."""


PACKINGS: Mapping[str, Packing] = {
    "int4": Packing("affine", 4, 64),
    "int8": Packing("affine", 8, 64),
    "mxfp4": Packing("mxfp4", 4, 32),
    "mxfp8": Packing("mxfp8", 8, 32),
    "nvfp4": Packing("nvfp4", 4, 16),
}
"""The kinds of quantised weights, by Ollama's names."""
SOURCE = "source"
"""In place of a kind: as it was."""


class ConversionOrder(Message, frozen=True):
    """What is to be made."""

    kind: str = ""
    """One of `PACKINGS`; empty leaves the numbers as they are."""
    has_adapter: bool = False
    """Whether there is an adapter, to be added to the weights."""
    most_file_bytes: int = 5 * 1024**3
    """A file of weights that would be larger is followed by another."""


class ConversionReply(Message, frozen=True):
    """What was made, in the folder for it."""

    layers: Mapping[str, tuple[str, ...]] = {}
    """Layers that are not of the kind that was asked for, by what they are: one of `PACKINGS`, or `SOURCE`. A `*`
    stands for every number."""
