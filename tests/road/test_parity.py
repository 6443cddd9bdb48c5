"""Greedy text through the whole road equals that of transformers, token for token, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.road.conftest import Road

torch = pytest.importorskip("torch", reason="parity needs torch (the dependency group of that name)")

from tests.parity.checkpoints import ARCHITECTURES, make_checkpoint  # noqa: E402

NEW_TOKENS = 48
PROMPT = "The quick brown fox jumps over the lazy dog, twice."
CHOSEN = [
    "llama with llama3 rope",
    "qwen3",
    "gemma3_text",
    "mixtral",
    "qwen3_moe",
    "mamba2",
    "falcon_h1",
    "phi3",
]


@pytest.mark.parametrize("name", CHOSEN)
def test_greedy_text_over_http_equals_that_of_transformers(road: Road, tmp_path: Path, name: str) -> None:
    torch.set_num_threads(1)
    reference = make_checkpoint(tmp_path, ARCHITECTURES[name])
    files = {path.name: road.client.create_blob(path) for path in tmp_path.iterdir()}
    model = name.replace(" ", "-")
    road.client.create(model, files=files)

    options = {"temperature": 0, "num_predict": NEW_TOKENS}
    answer = road.client.generate(model, PROMPT, options=options, keep_alive=0)

    prompt, made = list(answer.context[: answer.prompt_eval_count]), list(answer.context[answer.prompt_eval_count :])
    with torch.no_grad():
        settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        expected = reference.generate(torch.tensor([prompt]), **settings)[0, len(prompt) :].tolist()
    assert len(made) == NEW_TOKENS
    assert made == expected
    assert len(set(made)) > 3, "a text this monotonous proves little"
