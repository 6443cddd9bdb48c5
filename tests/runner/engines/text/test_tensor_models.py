"""A model that is stored one tensor at a time, in a real runner: it says what mlx-lm says with the same weights."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from transformers import AutoTokenizer

from paddock.protocol import CompletionRequest, Sampling
from paddock.store.library import Library
from tests.fakes.tensor_models import EXPERTS, LLAMA, Config, KindOf, all_of, promoted, tensor_model
from tests.runner.engines.text.model.test_tensor_loading import as_mlx_has_it
from tests.runner.processes import spawn

PROMPT = "tensor by tensor"
TOKENS = 12


def greedy(folder: Path, config: Config, kind_of: KindOf) -> str:
    """What mlx-lm's own model says, token by token."""
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    try:
        model = as_mlx_has_it(folder, config, kind_of)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokens = tokenizer.encode(PROMPT)
        start = len(tokens)
        for _ in range(TOKENS):
            tokens.append(int(mx.argmax(model(mx.array([tokens]))[0, -1]).item()))
        return str(tokenizer.decode(tokens[start:]))
    finally:
        mx.set_default_device(before)


@pytest.mark.parametrize(("config", "kind_of"), [(LLAMA, all_of("nvfp4")), (EXPERTS, promoted)])
@pytest.mark.parametrize("keep_packed", [0, 1])
async def test_a_runner_says_what_mlx_lm_says(
    tmp_path: Path, config: Config, kind_of: KindOf, keep_packed: int
) -> None:
    library = Library(tmp_path / "store")
    view = library.view(tensor_model(config, kind_of).put_into(library, "stored"))
    expected = greedy(tmp_path / "reference", config, kind_of)

    async with spawn(view, num_ctx=128) as runner:
        await runner.wait_loaded()
        request = CompletionRequest(prompt=PROMPT, sampling=Sampling(temperature=0.0, num_predict=TOKENS))
        text, done = await runner.answer("/completion", request)

    assert text == expected
    assert done.eval_count == TOKENS
