"""Writes the model in the layout of Hugging Face, in the classic style of config.json that every reader knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from model import DemoModel
from tokens import CHAT_TEMPLATE, MARKS, SPECIAL_TOKENS
from turns import END, END_OF_TEXT

LICENSE = """Paddock demo model
Copyright the Paddock developers

Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except in compliance with
the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the specific
language governing permissions and limitations under the License.

The weights were trained from scratch, only on text that the script in the folder `training` of Paddock generates.
"""


def _config(model: DemoModel, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **model.config.as_dict(),
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(END),
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "pad_token_id": tokenizer.token_to_id(END_OF_TEXT),
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
    }


def _tokenizer_config(model: DemoModel, tokenizer: Tokenizer) -> dict[str, Any]:
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {"content": token, **plain, "special": token in SPECIAL_TOKENS}
            for token in (*SPECIAL_TOKENS, *MARKS)
        },
        "additional_special_tokens": [token for token in SPECIAL_TOKENS if token.startswith("<|im_")],
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": model.config.max_position_embeddings,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }


def _generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "eos_token_id": [tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)],
        "pad_token_id": tokenizer.token_to_id(END_OF_TEXT),
    }


def export(model: DemoModel, tokenizer: Tokenizer, folder: Path) -> int:
    """Write every file of the model into `folder`; the answer is the number of bytes of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    texts = {
        "config.json": _config(model, tokenizer),
        "tokenizer_config.json": _tokenizer_config(model, tokenizer),
        "generation_config.json": _generation_config(tokenizer),
    }
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "LICENSE").write_text(LICENSE, encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner may read, and the package is for everybody
    return sum(path.stat().st_size for path in folder.iterdir())
