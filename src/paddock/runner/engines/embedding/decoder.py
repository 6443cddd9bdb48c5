"""Decoders of mlx-lm as text encoders: their hidden states before the head, as Qwen3-Embedding uses them, and Gemma 3
with attention in both directions, as EmbeddingGemma does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm import utils as mlx_lm_utils

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.embedding.layers import key_mask, window_mask
from paddock.runner.engines.embedding.weights import fit
from paddock.runner.engines.stored_tensors import pack_as_stored
from paddock.runner.engines.text.model.normalise import misread, overrides

logger = logging.getLogger(__name__)

_PREFIX = "model."
_HEAD = "lm_head"
BIDIRECTIONAL = frozenset({"gemma3_text"})


def is_bidirectional(config: Mapping[str, Any]) -> bool:
    """Whether tokens look at those after them, too."""
    return config.get("use_bidirectional_attention") is True


def build(config: dict[str, Any], tensors: Mapping[str, mx.array]) -> nn.Module:
    """An encoder (see `Encoder`) of a decoder's config and weights. UnsupportedModel for an architecture that mlx-lm
    does not have or would compute wrongly, DamagedModel where config and weights do not fit."""
    if reason := misread(config):
        raise UnsupportedModel(f"This version of Paddock cannot run {reason}: its embeddings would be wrong.")
    if is_bidirectional(config) and config.get("model_type") not in BIDIRECTIONAL:
        raise UnsupportedModel("This version of Paddock does not know this architecture with attention both ways.")
    model, tensors = _with_weights(config, tensors)
    if not is_bidirectional(config):
        return CausalEncoder(model.model)
    window = config.get("sliding_window")
    stored = next((tensor.dtype for name, tensor in tensors.items() if name.endswith("norm.weight")), mx.float32)
    return GemmaEncoder(model.model, window if isinstance(window, int) else 512, stored)


def _with_weights(config: dict[str, Any], tensors: Mapping[str, mx.array]) -> tuple[Any, Mapping[str, mx.array]]:
    try:
        model_class, arguments_class = mlx_lm_utils._get_classes(config)
    except (ValueError, AttributeError, SystemExit):
        unknown = f'The architecture "{config.get("model_type")}" is not supported by this version of Paddock.'
        raise UnsupportedModel(unknown) from None
    try:
        model = model_class(arguments_class.from_dict({**config, **overrides(config)}))
        tensors = model.sanitize(_named(tensors)) if hasattr(model, "sanitize") else _named(tensors)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        logger.debug("the model could not be built", exc_info=error)
        raise DamagedModel("The model's config.json does not describe it: pull or create the model again.") from None
    # Vectors are made before the head, which takes much of a small model.
    model.pop(_HEAD, None)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_HEAD)}
    _pack(model, config, tensors)
    fit(model, tensors)
    return model, tensors


def _named(tensors: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """As a whole language model names them: models without a head are saved without the prefix."""
    if any(name.startswith(_PREFIX) for name in tensors):
        return dict(tensors)
    return {_PREFIX + name: tensor for name, tensor in tensors.items()}


def _pack(model: nn.Module, config: Mapping[str, Any], tensors: Mapping[str, mx.array]) -> None:
    """Make the layers quantised whose weights are: as the config says, or where it says nothing as their shapes do."""
    settings = config.get("quantization")
    if not isinstance(settings, dict):
        pack_as_stored(model, tensors, {})
        return

    def how(path: str, module: nn.Module) -> bool | dict[str, Any]:
        own = settings.get(path)
        if isinstance(own, dict):
            return own
        return hasattr(module, "to_quantized") and f"{path}.scales" in tensors

    try:
        mode = settings.get("mode", "affine")
        nn.quantize(model, group_size=settings["group_size"], bits=settings["bits"], mode=mode, class_predicate=how)
    except (ValueError, TypeError, KeyError) as error:
        logger.debug("the weights could not be packed", exc_info=error)
        raise DamagedModel("The model's config.json has settings of a quantisation that make no sense.") from None


class CausalEncoder(nn.Module):
    """Tokens look back only, so padding on the right changes nothing."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        yield self.backbone(tokens)


class GemmaEncoder(nn.Module):
    """Gemma 3 where tokens see each other both ways: all of them, or in layers with a window the half of it to either
    side (`Gemma3TextConfig.use_bidirectional_attention`)."""

    def __init__(self, backbone: Any, window: int, stored: mx.Dtype) -> None:
        super().__init__()
        self.backbone = backbone
        self._reach = window // 2
        # The factor has the precision of the stored weights, as where the model was trained.
        self._scale = mx.array(backbone.args.hidden_size**0.5).astype(stored).astype(mx.float32)

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        length = tokens.shape[1]
        everywhere, near = key_mask(lengths, length), window_mask(lengths, length, self._reach)
        states = self.backbone.embed_tokens(tokens) * self._scale
        for layer in self.backbone.layers:
            states = layer(states, near if layer.self_attn.is_sliding else everywhere)
            yield states
        yield self.backbone.norm(states)
