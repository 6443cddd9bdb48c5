"""Tiny random models with byte-level tokenizers, made with MLX alone in a fraction of a second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END_OF_TEXT = "<|end|>"
BEGIN_OF_TEXT = "<|begin|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role not in ('system', 'user', 'assistant') %}"
    "{{ raise_exception('There is no role ' ~ message.role) }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@dataclass(frozen=True)
class TinyShape:
    """How large a random Llama is."""

    hidden: int = 32
    layers: int = 2
    context: int = 512
    chat_template: str | None = CHAT_TEMPLATE
    ends: bool = False
    """Whether a token ends the text; otherwise it goes on until it is cut off."""


def byte_tokenizer() -> Tokenizer:
    """One token per byte, then the two special ones: 258 in all."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True), AddedToken(BEGIN_OF_TEXT, special=True)])
    return tokenizer


def save_tokenizer(folder: Path, tokenizer: Tokenizer, **config: object) -> None:
    """The two files that transformers reads a tokenizer from."""
    tokenizer.save(str(folder / "tokenizer.json"))
    known = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    known |= {name: value for name, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(known))


def make_tiny_model(folder: Path, shape: TinyShape) -> Path:
    """Write a random Llama into a folder, always the same one."""
    tokenizer = byte_tokenizer()
    vocabulary = tokenizer.get_vocab_size()
    config = {
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.hidden * 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
        "max_position_embeddings": shape.context,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }
    mx.random.seed(7)
    model = llama.Model(llama.ModelArgs.from_dict(config))
    weights = {name: mx.random.normal(array.shape) * 0.3 for name, array in tree_flatten(model.parameters())}
    # Printable letters come first in the vocabulary; the other bytes are made unlikely, so answers are mostly text.
    weights["lm_head.weight"] *= mx.where(mx.arange(vocabulary) < 94, 1.0, 0.1)[:, None]
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    end = END_OF_TEXT if shape.ends else None
    save_tokenizer(folder, tokenizer, eos_token=end, chat_template=shape.chat_template)
    return folder
