"""The facts of a stored model that its memory follows from, as `estimate` asks for them."""

from __future__ import annotations

from typing import Protocol

from paddock.store.images import ImageFacts
from paddock.store.layers import Layers


class Weights(Protocol):
    """The weights of a model, or of a part of one."""

    @property
    def weights_bytes(self) -> int:
        """As stored."""

    @property
    def float32_bytes(self) -> int:
        """Of the weights once all that is floating is float32, quantised ones as stored."""

    @property
    def dense_bytes(self) -> int:
        """As above with quantised ones as float32 too; 0 where it is not known how they are packed."""

    @property
    def largest_tensor_bytes(self) -> int:
        """As stored; experts of one layer count as one."""


class ModelShape(Weights, Protocol):
    """The facts of a stored model that its memory follows from. 0 stands for unknown."""

    @property
    def engine(self) -> str:
        """text | embedding | image"""

    @property
    def quantization_level(self) -> str:
        """F32, F16, BF16, or the name of a quantisation."""

    @property
    def embedding_length(self) -> int:
        """Width of the model."""

    @property
    def block_count(self) -> int:
        """Layers that keep keys and values."""

    @property
    def head_count_kv(self) -> int:
        """Heads of keys and values in each layer."""

    @property
    def head_dim(self) -> int:
        """Width of one head."""

    @property
    def layers(self) -> Layers | None:
        """What each layer keeps; None where it is not known."""

    @property
    def draft(self) -> ModelShape | None:
        """The smaller model that foresees its tokens."""

    @property
    def image(self) -> ImageFacts | None:
        """Of an image model, the sizes of its parts."""
