"""The text engine against transformers: the same numbers, and the same text through a real runner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from paddock.protocol import CompletionRequest, RunnerState, Sampling
from paddock.runner.engines.text.model.loading import load
from tests.runner.processes import spawn

torch = pytest.importorskip("torch", reason="parity needs torch (the dependency group of that name)")

from tests.parity.checkpoints import ARCHITECTURES, VOCABULARY, Architecture, make_checkpoint  # noqa: E402

NEW_TOKENS = 48
LOGITS_ONLY = {"llama with yarn rope", "smollm3", "glm4_moe", "cohere2"}
"""Near relations of others: for them equal numbers are enough, and a process each would only take time."""
PROMPT = tuple((37 * index + 11) % 250 for index in range(40))


@dataclass(frozen=True)
class Checkpoint:
    architecture: Architecture
    folder: Path
    model: Any


@pytest.fixture(scope="module")
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("checkpoint")
    architecture = ARCHITECTURES[request.param]
    return Checkpoint(architecture, folder, make_checkpoint(folder, architecture))


@pytest.mark.parametrize("checkpoint", ARCHITECTURES, indirect=True)
def test_logits_equal_those_of_transformers(checkpoint: Checkpoint) -> None:
    ours = load(checkpoint.folder, lambda _progress: None)
    with torch.no_grad():
        expected = checkpoint.model(torch.tensor([PROMPT])).logits[0].numpy()

    logits = np.array(ours.model(mx.array([PROMPT]))[0].astype(mx.float32))

    difference = float(np.abs(logits - expected).max())
    name = checkpoint.architecture.model_type
    print(f"\n{name}: largest logit difference {difference:.2e} of {np.abs(expected).max():.2f}")
    assert expected.std() > 0.1, "logits this even would be equal by accident"
    assert ours.vocabulary == VOCABULARY
    assert difference <= checkpoint.architecture.logit_tolerance


@pytest.mark.parametrize("checkpoint", sorted(ARCHITECTURES.keys() - LOGITS_ONLY), indirect=True)
async def test_greedy_text_equals_that_of_transformers_token_for_token(checkpoint: Checkpoint) -> None:
    with torch.no_grad():
        options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        expected = checkpoint.model.generate(torch.tensor([PROMPT]), **options)[0].tolist()
    greedy = Sampling(temperature=0.0, num_predict=NEW_TOKENS)

    async with spawn(checkpoint.folder, num_batch=16) as runner:
        health = await runner.wait_loaded()
        assert health.state is RunnerState.READY, health
        request = CompletionRequest(prompt="", context=PROMPT, sampling=greedy, return_context=True)
        _, done = await runner.answer("/completion", request)

    assert len(set(expected[len(PROMPT) :])) > 3, "a text this monotonous proves little"
    assert list(done.context or ()) == expected
