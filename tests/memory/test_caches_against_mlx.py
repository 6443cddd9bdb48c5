"""What is said to be kept of each sequence, against the caches that mlx-lm really makes."""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import QuantizedKVCache
from mlx_lm.utils import _get_classes

from bench.memory_checkpoints import CHECKPOINTS, Checkpoint
from paddock.memory.estimate import Settings, kv_bytes, quantised_group
from paddock.runner.engines.text.model.kv_caches import make_caches
from paddock.store.layers import read_layers

CHUNK = 256
TOKENS = 700
SMALL = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 64, "moe_intermediate_size": 32}


def small(checkpoint: Checkpoint) -> dict[str, object]:
    """As narrow as its kind allows: the caches are those of the heads, which stay."""
    config = checkpoint.config | {key: size for key, size in SMALL.items() if key in checkpoint.config}
    if config["model_type"] == "mamba2":
        config |= {"num_heads": 2, "intermediate_size": 128}
    if config["model_type"] == "granitemoehybrid":
        del config["head_dim"]  # it shares out the model's width, whatever this says
    return config


@pytest.mark.parametrize("kv_bits", [0, 8])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def test_the_context_of_a_sequence_is_foreseen_to_the_byte(checkpoint: Checkpoint, kv_bits: int) -> None:
    config = small(checkpoint)
    model_class, arguments = _get_classes(config)
    model = model_class(arguments.from_dict(config))
    cache = make_caches(model, kv_bits)
    for begin in range(0, TOKENS, CHUNK):
        model(mx.zeros((1, min(CHUNK, TOKENS - begin)), dtype=mx.int32), cache=cache)
        mx.eval([layer.state for layer in cache])
    held_bytes = sum(array.nbytes for layer in cache for _, array in tree_flatten(layer.state) if is_array(array))

    layers = read_layers(config)
    foreseen = kv_bytes(
        SimpleNamespace(engine="text", layers=layers), Settings(TOKENS, num_batch=CHUNK, kv_bits=kv_bits), 4
    )

    assert layers is not None
    quantised = sum(group.count for group in layers.caches if quantised_group(group))
    assert sum(isinstance(layer, QuantizedKVCache) for layer in cache) == (quantised if kv_bits else 0)
    # Of convolutions the whole step's input stays behind the few tokens that the cache shows.
    foreseen -= layers.scanned_width * CHUNK * 4
    windowed = sum(group.count * group.heads * 2 * group.key_width for group in layers.caches if group.window)
    # A window may have grown by a step, and a convolution's state is kept with one token less.
    assert held_bytes <= foreseen <= held_bytes + windowed * (CHUNK + 256) * 4 + 0.02 * held_bytes + 40_000


def is_array(value: object) -> bool:
    return isinstance(value, mx.array)
