"""Makes the modules in `training` importable, and loads the shipped demo model once for all tests of this folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

# The CPU backend compiles kernels with a C++ compiler when it may; a test machine need not have one.
os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))

Messages = list[dict[str, Any]]
Ask = Callable[..., list[str]]


@pytest.fixture(scope="session")
def demo() -> tuple[Any, Any]:
    """The demo model and its tokenizer, in float32 as a CPU likes it."""
    mx = pytest.importorskip("mlx.core")
    from mlx_lm import load

    from paddock.demo import model_folder

    model, tokenizer = load(str(model_folder()))
    model.set_dtype(mx.float32)
    return model, tokenizer


@pytest.fixture(scope="session")
def ask(demo: tuple[Any, Any]) -> Ask:
    """Answers to conversations, all in one batch: greedy unless a sampler is given, at once unless told to think."""
    from mlx_lm import batch_generate

    def answers(
        conversations: Sequence[Messages], think: bool = False, tools: list[Any] | None = None, **options: Any
    ) -> list[str]:
        model, tokenizer = demo
        rendering = {"add_generation_prompt": True, "enable_thinking": think, "tools": tools}
        prompts = [tokenizer.apply_chat_template(messages, **rendering) for messages in conversations]
        return batch_generate(model, tokenizer, prompts, max_tokens=320, **options).texts

    return answers
