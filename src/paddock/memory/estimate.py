"""What a model will need in memory, in terms, from its own facts and the options of its runner. It reads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MIB = 1024 * 1024

RUNTIME_BYTES = 200 * MIB
"""A runner's own process: the interpreter, MLX and the tokenizer."""

KV_STEP_TOKENS = 256
"""MLX's caches grow in steps of this many tokens."""

_FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_ACCELERATOR_ITEM_BYTES = 2
_CPU_ITEM_BYTES = 4
_ACTIVATIONS_PER_LAYER = 24
"""Vectors of the model's width that one layer has in flight for each token of a prompt's step: the attention's and the
feed-forward network's (four times as wide, twice), with their temporaries."""


class ModelShape(Protocol):
    """The facts of a stored model that its memory follows from. 0 stands for unknown."""

    @property
    def weights_bytes(self) -> int:
        """As stored."""

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


@dataclass(frozen=True)
class Need:
    """The memory of one runner, in bytes."""

    weights_bytes: int
    kv_bytes: int
    """Keys and values of all sequences at their full length."""
    workspace_bytes: int
    """Intermediate results of the longest step."""
    runtime_bytes: int = RUNTIME_BYTES

    @property
    def total_bytes(self) -> int:
        """All terms."""
        return self.weights_bytes + self.kv_bytes + self.workspace_bytes + self.runtime_bytes

    def describe(self) -> str:
        """The terms for a user: "weights 12.0 GB, context 0.2 GB, workspace 0.1 GB, runtime 0.2 GB"."""
        terms = {
            "weights": self.weights_bytes,
            "context": self.kv_bytes,
            "workspace": self.workspace_bytes,
            "runtime": self.runtime_bytes,
        }
        return ", ".join(f"{name} {gigabytes(size_bytes)}" for name, size_bytes in terms.items())


def gigabytes(size_bytes: int) -> str:
    """ "12.3 GB", in units of 10^9 bytes; smaller ones as "210 MB"."""
    if abs(size_bytes) < 1_000_000_000:
        return f"{round(size_bytes / 1e6)} MB"
    return f"{size_bytes / 1e9:.1f} GB"


def estimate(shape: ModelShape, *, num_ctx: int, parallel: int, num_batch: int, on_accelerator: bool) -> Need:
    """The memory that a runner may come to hold with these options.

    Weights: as stored; without an accelerator the engine turns floating weights into float32, and quantised ones stay.
    Keys and values: layers x 2 x heads x width of a head x bytes of an item, for every token of every sequence.
    Workspace: the activations of one step of a prompt. Runtime: a constant.
    """
    item_bytes = _ACCELERATOR_ITEM_BYTES if on_accelerator else _CPU_ITEM_BYTES
    steps = -(-num_ctx // KV_STEP_TOKENS)
    return Need(
        weights_bytes=_weights_bytes(shape, on_accelerator),
        kv_bytes=steps * KV_STEP_TOKENS * parallel * _kv_bytes_per_token(shape, item_bytes),
        workspace_bytes=num_batch * shape.embedding_length * _ACTIVATIONS_PER_LAYER * item_bytes,
    )


def _weights_bytes(shape: ModelShape, on_accelerator: bool) -> int:
    stored_item_bytes = _FLOAT_BYTES.get(shape.quantization_level.upper())
    if on_accelerator or stored_item_bytes is None:
        return shape.weights_bytes
    return shape.weights_bytes * _CPU_ITEM_BYTES // stored_item_bytes


def _kv_bytes_per_token(shape: ModelShape, item_bytes: int) -> int:
    """Exact for plain attention where the layers are known.

    Else a bound: a layer's keys are at most as wide as the model (d), and a transformer's layer has about 12 d^2
    weights, so L layers of P weights in all keep 2 x L x d = P / (6 d) values for each token. The weights are taken
    for 4 bit ones where they are not known to be floating, which errs on the safe side.
    """
    if shape.block_count and shape.head_count_kv and shape.head_dim:
        return 2 * shape.block_count * shape.head_count_kv * shape.head_dim * item_bytes
    if not shape.embedding_length:
        return 0
    stored_item_bytes = _FLOAT_BYTES.get(shape.quantization_level.upper(), 0.5)
    weights = shape.weights_bytes / stored_item_bytes
    return int(weights / (6 * shape.embedding_length)) * item_bytes
