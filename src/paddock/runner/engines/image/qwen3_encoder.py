"""The text encoder: some hidden states of a Qwen3 language model, computed with mlx-lm's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.qwen3 import ModelArgs, Qwen3Model

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.image.layers import Work, settle


class TextEncoder(nn.Module):
    """As many layers as the deepest state that is taken needs; the language model's other parts are left out.

    Layers carry the names of the checkpoint's own tensors, with the language model under `model`.
    """

    def __init__(self, config: Mapping[str, Any], taken: Sequence[int]) -> None:
        """`taken`: which hidden states, in the order in which they are joined. State 0 are the embedded tokens, state k
        what layer k (from 1 on) gives; a negative k counts from the last, which this encoder never takes."""
        super().__init__()
        layers = config.get("num_hidden_layers", 0)
        self._taken = tuple(state if state >= 0 else layers + 1 + state for state in taken)
        deepest = max(self._taken)
        if config.get("model_type") != "qwen3" or config.get("hidden_act", "silu") != "silu":
            raise UnsupportedModel("The text encoder of this model is not supported: it has to be a Qwen3 model.")
        # The state after the last layer is normed in the language model; no pipeline here takes it.
        if deepest >= layers:
            raise DamagedModel(
                f"The text encoder has {layers} layers, but layer {deepest + 1} is the first not needed."
            )
        self.model = Qwen3Model(ModelArgs.from_dict({**config, "num_hidden_layers": max(1, deepest)}))
        del self.model.norm

    @property
    def vocabulary(self) -> int:
        """Token ids that the embedding has rows for."""
        return int(self.model.embed_tokens.weight.shape[0])

    def needs(self, name: str) -> bool:
        """Whether a tensor of the language model, by its name in the checkpoint, is used here."""
        if name == "model.norm.weight" or name.startswith("lm_head."):
            return False
        if name.startswith("model.layers."):
            index = name.split(".")[2]
            return not index.isdigit() or int(index) < len(self.model.layers)
        return True

    def __call__(self, tokens: Sequence[int], length: int) -> Work:
        """Features of each token, [count, states taken x width], of the weights' own type. It stops after each layer.

        Of `tokens` the first `length` are the text; those that fill up see the text and are seen by none.
        """
        count = len(tokens)
        mask: mx.array | str = "causal"
        if length < count:
            places = mx.arange(count)
            mask = (places[None] <= places[:, None]) & (places[None] < length)
        states = [self.model.embed_tokens(mx.array([list(tokens)]))]
        for layer in self.model.layers[: max(self._taken)]:
            states.append(settle(layer(states[-1], mask, None)))
            yield
        return mx.concatenate([states[state][0] for state in self._taken], axis=-1)


def checkpoint_name(name: str) -> str:
    """A tensor's name with the language model under `model`, as which only some checkpoints have it."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
