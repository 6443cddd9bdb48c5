"""From a checked folder to an encoder in memory: which architecture, which head, which pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.base import Report
from paddock.runner.engines.embedding import bert, decoder, modernbert
from paddock.runner.engines.embedding.pooling import Dense, pooled
from paddock.runner.engines.embedding.recipe import DenseLayer, Recipe, read_recipe
from paddock.runner.engines.embedding.tokenizer import TextTokenizer, load_tokenizer
from paddock.runner.engines.embedding.weights import fit, open_tensors, own_names, read_all
from paddock.runner.engines.stored_tensors import is_stored_by_tensor
from paddock.runner.engines.text.model import files
from paddock.runner.watch import Watch

_CLASSIFIER = "ForSequenceClassification"
_MODERN = "modernbert"
_DENSE_ACTIVATIONS: Mapping[str, Callable[[mx.array], mx.array]] = {
    "Tanh": mx.tanh,
    "Identity": lambda vectors: vectors,
    "ReLU": nn.relu,
    "GELU": nn.gelu,
    "SiLU": nn.silu,
    "Sigmoid": mx.sigmoid,
}


Run = Callable[[mx.array, mx.array, mx.array], Iterator[mx.array]]
"""From tokens, kinds and lengths, stage by stage (see `Encoder`), to (texts, width): vectors, or of a reranker one
number each."""


@dataclass(frozen=True)
class LoadedEncoder:
    """A model that is ready to run, and what its files say about it."""

    run: Run
    tokenizer: TextTokenizer
    context_limit: int | None
    vocabulary: int
    """Token ids that the embedding has rows for: a greater id would read outside of it."""
    kinds: int
    """Kinds of tokens, as above."""
    weights_bytes: int
    is_reranker: bool


@dataclass(frozen=True)
class Built:
    """An architecture with its weights; `module` is an `Encoder`, or gives one number for each pair of texts."""

    module: nn.Module
    context_limit: int | None
    vocabulary: int
    kinds: int
    default_pooling: str


def load(folder: Path, watch: Watch, report: Report) -> LoadedEncoder:
    """Read a model. DamagedModel or UnsupportedModel in one sentence."""
    config = files.read_config(folder)
    if is_stored_by_tensor(folder):  # each tensor tells how it is packed
        config.pop("quantization", None)
    is_reranker = is_reranker_config(config)
    built = build(config, open_tensors(folder), is_reranker)
    recipe = read_recipe(folder, built.default_pooling) if not is_reranker else Recipe(pooling=())
    dense = [_dense(folder, layer) for layer in recipe.dense]
    report(0.02)
    tokenizer = load_tokenizer(folder, watch, lowers_case=recipe.lowers_case)
    report(0.05)
    weights_bytes = read_all([built.module, *dense], report)
    run: Run = built.module.stages if is_reranker else _embedding(built.module, recipe, dense)
    _warm_up(run)
    limits = [limit for limit in (built.context_limit, recipe.longest) if limit is not None]
    return LoadedEncoder(
        run=run,
        tokenizer=tokenizer,
        context_limit=min(limits, default=None),
        vocabulary=built.vocabulary,
        kinds=built.kinds,
        weights_bytes=weights_bytes,
        is_reranker=is_reranker,
    )


def is_reranker_config(config: Mapping[str, Any]) -> bool:
    architectures = config.get("architectures")
    return isinstance(architectures, list) and any(str(name).endswith(_CLASSIFIER) for name in architectures)


def build(config: dict[str, Any], tensors: dict[str, mx.array], is_reranker: bool) -> Built:
    """The architecture with its weights, still on disk. DamagedModel or UnsupportedModel."""
    kind = config["model_type"]
    if is_reranker:
        _check_one_label(tensors)
    if kind == "bert" or kind in bert.ROBERTAS:
        return _bert(config, tensors, is_reranker)
    if kind == _MODERN:
        return _modernbert(config, tensors, is_reranker)
    if is_reranker:
        raise UnsupportedModel(f'This version of Paddock has no reranking for the architecture "{kind}".')
    module = decoder.build(config, tensors)
    pooling = "mean" if decoder.is_bidirectional(config) else "lasttoken"
    rows = module.backbone.embed_tokens.weight.shape[0]
    return Built(module, files.context_limit(config), rows, kinds=1, default_pooling=pooling)


def _bert(config: dict[str, Any], tensors: dict[str, mx.array], is_reranker: bool) -> Built:
    shape = bert.BertShape.of(config)
    heads = bert.RobertaReranker if config["model_type"] in bert.ROBERTAS else bert.BertReranker
    module = heads(shape) if is_reranker else bert.Bert(shape)
    not_needed = bert.RERANKER_NOT_NEEDED if is_reranker and heads is bert.BertReranker else bert.NOT_NEEDED
    fit(module, own_names(tensors, bert.PREFIXES, not_needed))
    return Built(module, shape.context_limit, shape.vocabulary, shape.kinds, default_pooling="mean")


def _modernbert(config: dict[str, Any], tensors: dict[str, mx.array], is_reranker: bool) -> Built:
    shape = modernbert.ModernBertShape.of(config)
    module = modernbert.ModernBertReranker(shape) if is_reranker else modernbert.ModernBert(shape)
    not_needed = modernbert.RERANKER_NOT_NEEDED if is_reranker else modernbert.NOT_NEEDED
    fit(module, own_names(tensors, modernbert.PREFIXES, not_needed))
    return Built(module, shape.context_limit, shape.vocabulary, kinds=1, default_pooling="mean")


def _check_one_label(tensors: Mapping[str, mx.array]) -> None:
    head = tensors.get("classifier.out_proj.weight", tensors.get("classifier.weight"))
    if head is not None and head.shape[0] != 1:
        raise UnsupportedModel(
            f"This model tells {head.shape[0]} classes apart: only classifiers with one number, rerankers, are run."
        )


def _dense(folder: Path, layer: DenseLayer) -> Dense:
    if layer.activation not in _DENSE_ACTIVATIONS:
        raise UnsupportedModel(f'This version of Paddock does not know the activation "{layer.activation}".')
    module = Dense(layer.inner, layer.outer, bias=layer.has_bias, activation=_DENSE_ACTIVATIONS[layer.activation])
    fit(module, open_tensors(folder / layer.folder))
    return module


def _embedding(module: nn.Module, recipe: Recipe, dense: Sequence[Dense]) -> Run:
    def run(tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        for states in module.stages(tokens, kinds, lengths):
            yield states
        vectors = pooled(states, lengths, recipe.pooling)
        for layer in dense:
            vectors = layer(vectors)
        yield vectors

    return run


def _warm_up(run: Run) -> None:
    """Compute one token, so that what does not fit together is told now."""
    try:
        mx.eval(last_of(run(*as_arrays([[0]], [[0]]))))
    except ValueError:
        raise DamagedModel("The layers behind the encoder do not fit it: pull or create the model again.") from None


def last_of(stages: Iterator[mx.array]) -> mx.array:
    """What all stages come to."""
    *_, last = stages
    return last


def as_arrays(texts: Sequence[Sequence[int]], kinds: Sequence[Sequence[int]]) -> tuple[mx.array, mx.array, mx.array]:
    """Texts of unequal lengths as tokens, kinds and lengths (see `Encoder`), padded with zeros on the right."""
    lengths = [len(text) for text in texts]
    tokens = np.zeros((len(texts), max(lengths)), np.int32)
    types = np.zeros_like(tokens)
    for row, text in enumerate(texts):
        tokens[row, : lengths[row]] = text
        if kinds:
            types[row, : lengths[row]] = kinds[row]
    return mx.array(tokens), mx.array(types), mx.array(np.array(lengths, np.int32))
