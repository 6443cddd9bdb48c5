"""Tiny random encoders with a byte-level tokenizer, made with MLX alone in a fraction of a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from tokenizers import processors

from paddock.runner.engines.embedding.bert import Bert, BertReranker, BertShape
from tests.runner.tiny import BEGIN_OF_TEXT, END_OF_TEXT, byte_tokenizer, save_tokenizer

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "vocab_size": 258,
}
POOLING = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}


def make_tiny_bert(folder: Path, *, is_reranker: bool = False, config: Mapping[str, Any] | None = None) -> Path:
    """Write a random BERT into a folder, always the same one, with the files of sentence-transformers unless it is a
    reranker. Its tokenizer has one token per byte, between a first and a last one."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**CONFIG, **(config or {})}
    if is_reranker:
        settings |= {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    shape = BertShape.of(settings)
    save_random(folder, BertReranker(shape) if is_reranker else Bert(shape))
    (folder / "config.json").write_text(json.dumps(settings))
    save_byte_tokenizer(folder)
    if not is_reranker:
        save_modules(folder, {"1_Pooling": POOLING})
    return folder


def save_random(folder: Path, module: nn.Module, seed: int = 7) -> dict[str, mx.array]:
    """Random weights for a module, as a checkpoint has them."""
    mx.random.seed(seed)
    shapes = tree_flatten(module.parameters())
    weights = {name: mx.random.normal(array.shape) * 0.3 for name, array in shapes}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    return weights


def save_byte_tokenizer(folder: Path) -> None:
    tokenizer = byte_tokenizer()
    begin, end = tokenizer.token_to_id(BEGIN_OF_TEXT), tokenizer.token_to_id(END_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A {END_OF_TEXT}",
        pair=f"{BEGIN_OF_TEXT} $A {END_OF_TEXT} $B:1 {END_OF_TEXT}:1",
        special_tokens=[(BEGIN_OF_TEXT, begin), (END_OF_TEXT, end)],
    )
    save_tokenizer(folder, tokenizer)


def save_modules(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """modules.json with an encoder, these parts with their settings, and a normalisation."""
    names = ["", *parts, f"{len(parts) + 1}_Normalize"]
    kinds = ["Transformer", *(name.partition("_")[2] for name in parts), "Normalize"]
    modules = [
        {"idx": index, "name": str(index), "path": name, "type": f"sentence_transformers.models.{kind}"}
        for index, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name, settings in parts.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(settings))
