"""What is foreseen for encoders against what a runner that computes its largest batches really holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock.memory.encoders import batch_bytes
from paddock.memory.estimate import Settings, estimate
from paddock.protocol import EmbeddingRequest, RunnerState
from paddock.runner.engines.embedding.modernbert import ModernBert, ModernBertShape
from paddock.store.facts import read_facts
from paddock.store.layers import CacheLayers, Layers
from paddock.store.model_files import model_files
from tests.runner.engines.embedding.tiny import make_tiny_bert, save_byte_tokenizer, save_random
from tests.runner.processes import spawn

NUM_CTX = 512
SIZES = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "max_position_embeddings": NUM_CTX,
    "vocab_size": 258,
}


def make_modernbert(folder: Path) -> Path:
    config: dict[str, Any] = {**SIZES, "model_type": "modernbert", "architectures": ["ModernBertModel"]}
    save_random(folder, ModernBert(ModernBertShape.of(config)))
    (folder / "config.json").write_text(json.dumps(config))
    save_byte_tokenizer(folder)
    return folder


def make_bert(folder: Path) -> Path:
    return make_tiny_bert(folder, config=SIZES)


@pytest.mark.parametrize("make", [make_bert, make_modernbert])
async def test_an_encoder_never_holds_more_than_was_foreseen(tmp_path: Path, make: Any) -> None:
    num_batch = 2 * NUM_CTX
    folder = make(tmp_path)
    need = estimate(read_facts(model_files(folder)), Settings(NUM_CTX, 1, num_batch), on_accelerator=False)

    async with spawn(folder, num_ctx=NUM_CTX, engine="embedding", num_batch=num_batch) as runner:
        assert (await runner.wait_loaded()).state is RunnerState.READY
        for texts in (("x" * NUM_CTX,) * 4, ("x" * 30,) * (num_batch // 32)):
            status, _ = await runner.post("/embedding", EmbeddingRequest(inputs=texts))
            assert status == 200
        memory = (await runner.health()).memory

    assert memory.weights_bytes == need.weights_bytes
    assert memory.longest_tokens == NUM_CTX
    assert memory.most_bytes <= need.total_bytes <= 3 * memory.most_bytes


def test_an_encoder_keeps_nothing_between_batches(tmp_path: Path) -> None:
    facts = read_facts(model_files(make_bert(tmp_path)))

    assert estimate(facts, Settings(NUM_CTX, 4), on_accelerator=False).kv_bytes == 0


def test_a_long_context_costs_in_proportion_until_masks_do() -> None:
    layers = Layers((CacheLayers(12, 12, 64, 64),), 0, 0, 0, 0, 768, 12, 768, 3072, 30_000)

    short = batch_bytes(layers, 512, 512, 4, on_accelerator=False)
    wider = batch_bytes(layers, 512, 1024, 4, on_accelerator=False)
    longer = batch_bytes(layers, 8192, 512, 4, on_accelerator=False)

    assert 1.9 < wider / short < 2
    assert 16 < longer / short < 32
    assert batch_bytes(layers, 512, 512, 4, on_accelerator=True) < short
