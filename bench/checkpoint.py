"""The model that benchmarks run on: a Llama of 7 million random float32 parameters with a vocabulary of 8192.

Small enough that the work around the model shows, large enough to be a model. It has no end token, so every answer
is as long as it was asked to be.
"""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "vocab_size": 8192,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}
PADDING = "<pad>"
"""Some servers cannot do without one."""


def write_checkpoint(folder: Path) -> Path:
    """Make the folder; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    _write_tokenizer(folder)
    mx.random.seed(0)
    model = llama.Model(llama.ModelArgs.from_dict(CONFIG))
    weights = {name: 0.02 * mx.random.normal(value.shape) for name, value in tree_flatten(model.parameters())}
    weights |= {name: mx.ones(value.shape) for name, value in weights.items() if "norm" in name}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def prompt_of(tokens: int, seed: int = 1) -> str:
    """A text of about this many words, twice as many tokens."""
    words = _words(random.Random(seed), tokens)
    return " ".join(words)


def _words(source: random.Random, count: int) -> list[str]:
    return ["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 6))) for _ in range(count)]


def _write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=[PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    source = random.Random(0)
    tokenizer.train_from_iterator((" ".join(_words(source, 50)) for _ in range(2000)), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 32768,
        "chat_template": template,
        "pad_token": PADDING,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
