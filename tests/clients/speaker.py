"""Tiny checkpoints that say what they are told to: real models on the real road, with words that a client can act on.

A Llama whose attention and MLP add nothing is a table of which token follows which. Each phrase is one token, so what
comes after the mark at the end of a prompt is settled: a call of a tool, a thought, an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from tokenizers import AddedToken

from tests.runner.tiny import END_OF_TEXT, byte_tokenizer, save_tokenizer

HEADS = 4
CERTAINTY = 3.0
"""How far the logit of the token that follows stands above all others, in embeddings' lengths."""

CALL, TELL, THINK = "<|call|>", "<|tell|>", "<|think|>"
"""The marks at the end of a prompt: what is to come."""

_TURNS = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% for tool_call in message.tool_calls or [] %}"
    "<tool_call>{{ (tool_call.function or tool_call) | tojson }}</tool_call>{# tool_call.name, tool_call.arguments #}"
    "{% endfor %}\n{% endfor %}"
)
CALLER_TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>\n{% endif %}"
    + _TURNS
    + "{% if add_generation_prompt %}"
    + f"{{{{ '{CALL}' if tools and messages[-1].role != 'tool' else '{TELL}' }}}}"
    + "{% endif %}"
)
THINKER_TEMPLATE = (
    _TURNS
    + "{% if add_generation_prompt %}"
    + f"{{{{ '{TELL}' if enable_thinking is defined and not enable_thinking else '{THINK}' }}}}"
    + "{% endif %}{# <think> </think> #}"
)

TOOL_NAME, CITY = "get_weather", "Paris"
ANSWER = ("It is", " sunny", " in Paris", ".")
THOUGHT = ("The user", " asks about", " the weather.")
_CALLING = (f'<tool_call>\n{{"name": "{TOOL_NAME}", "arguments": ', f'{{"city": "{CITY}"}}', "}\n</tool_call>")


def make_caller(folder: Path) -> Path:
    """A model that calls `get_weather` for Paris where it is offered tools, and answers once one has spoken."""
    return _make(folder, CALLER_TEMPLATE, {CALL: _CALLING, TELL: ANSWER})


def make_thinker(folder: Path) -> Path:
    """A model that thinks before it answers, unless it is told not to."""
    thinking = ("<think>", *THOUGHT, "</think>", *ANSWER)
    return _make(folder, THINKER_TEMPLATE, {THINK: thinking, TELL: ANSWER})


def _make(folder: Path, template: str, scripts: Mapping[str, Sequence[str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    phrases = sorted({phrase for script in scripts.values() for phrase in script})
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in scripts])
    follows = {
        tokenizer.token_to_id(before): tokenizer.token_to_id(after)
        for mark, script in scripts.items()
        for before, after in zip((mark, *script), (*script, END_OF_TEXT), strict=True)
    }
    _save(folder, tokenizer.get_vocab_size(), follows)
    save_tokenizer(folder, tokenizer, eos_token=END_OF_TEXT, chat_template=template)
    return folder


def _save(folder: Path, vocabulary: int, follows: Mapping[int, int]) -> None:
    """Token n is the n-th unit vector, nothing is added to it on its way, and the head maps it to what follows."""
    # Of each head's part, one half turns against the other.
    hidden = -(-vocabulary // (2 * HEADS)) * 2 * HEADS
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": 1,
        "intermediate_size": hidden,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }
    model = llama.Model(llama.ModelArgs.from_dict(config))
    weights = {
        name: mx.ones(array.shape) if "norm" in name else mx.zeros(array.shape)
        for name, array in tree_flatten(model.parameters())
    }
    weights["model.embed_tokens.weight"] = mx.eye(vocabulary, hidden)
    head = mx.zeros((vocabulary, hidden))
    for before, after in follows.items():
        head[after, before] = CERTAINTY
    weights["lm_head.weight"] = head
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
