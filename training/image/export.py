"""Writes the model in diffusers' layout, with what its pictures are made with unless a request says otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
from torch import nn
from transformers import PreTrainedTokenizerFast

from training.image.draw import SIDE
from training.image.model import STEPS

_TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""The name that every version of transformers knows."""
_DEFAULTS = {"steps": STEPS, "guidance": 0.0, "width": SIDE, "height": SIDE}


def export(
    parts: Mapping[str, nn.Module],
    tokenizer: PreTrainedTokenizerFast,
    scheduler: FlowMatchEulerDiscreteScheduler,
    folder: Path,
) -> int:
    """Write the model into `folder`, weights as float16; the answer is the number of bytes of all that lies there."""
    pipeline = ZImagePipeline(scheduler=scheduler, tokenizer=tokenizer, **parts)
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    _edit(folder / "tokenizer" / "tokenizer_config.json", tokenizer_class=_TOKENIZER_CLASS)
    _edit(folder / "model_index.json", paddock=_DEFAULTS, tokenizer=["transformers", _TOKENIZER_CLASS])
    _edit(folder / "text_encoder" / "config.json", rope_theta=_rope_theta(parts["text_encoder"]))
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)  # safetensors writes files that only their owner may read, and the package is for everybody
    return sum(path.stat().st_size for path in files)


def _rope_theta(encoder: Any) -> float:
    """transformers writes it into a section of its own; older readers look for it here."""
    return float(encoder.config.rope_parameters["rope_theta"])


def _edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
