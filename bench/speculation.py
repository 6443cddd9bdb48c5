"""What a draft model brings on this machine: tokens per second of one stream, alone, without and with drafts.

    python bench/speculation.py FOLDER            makes its models in the folder, and prints a table

The drafts are the model itself (right, and as slow), its first layer alone (quick and right: the other layers of the
models here are computed as any are, but add nothing), and one of other weights (quick and wrong, to be left out).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models import llama

sys.path.insert(0, str(Path(__file__).parent))

from checkpoint import CONFIG, write_checkpoint

from paddock.protocol import CompletionRequest, Sampling
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.registry import make_engine
from paddock.runner.hygiene import leave_torch_out, prepare_environment

LARGE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12}
WRONG = {"num_hidden_layers": 1, "tie_word_embeddings": False}
"""Tied to nothing, a random model does not even repeat itself as the others do."""
TOKENS = 256
ROUNDS = 3


def models(folder: Path) -> dict[str, Path]:
    """The benchmark's model, a larger one, and drafts for both: folders by name."""
    like = write_checkpoint(folder / "like")
    small = _written(like, folder / "small", {}, seed=0, is_idle=True)
    return {
        "small": small,
        "small, first layer": _written(small, folder / "small-first", {"num_hidden_layers": 1}, seed=0, source=small),
        "small, wrong": _written(small, folder / "small-wrong", WRONG, seed=5),
        "large": (large := _written(small, folder / "large", LARGE, seed=0, is_idle=True)),
        "large, first layer": _written(
            small, folder / "large-first", {**LARGE, "num_hidden_layers": 1}, seed=0, source=large
        ),
        "large, wrong": _written(small, folder / "large-wrong", {**LARGE, **WRONG}, seed=5),
    }


def _written(
    like: Path, folder: Path, changes: dict[str, Any], seed: int, source: Path | None = None, *, is_idle: bool = False
) -> Path:
    """A model of this shape with random weights, or with those that `source` has under the same names. `is_idle`: its
    layers after the first add nothing."""
    shutil.copytree(like, folder, dirs_exist_ok=True)
    config = {**CONFIG, **changes}
    config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(seed)
    shapes = tree_flatten(llama.Model(llama.ModelArgs.from_dict(config)).parameters())
    weights = {
        name: mx.ones(value.shape) if "norm" in name else 0.02 * mx.random.normal(value.shape) for name, value in shapes
    }
    if source is not None:
        known = mx.load(str(source / "model.safetensors"))
        weights = {name: known[name] for name in weights}
    if is_idle:
        ends = ("o_proj.weight", "down_proj.weight")
        late = [name for name in weights if name.endswith(ends) and ".layers.0." not in name]
        weights |= {name: mx.zeros(weights[name].shape) for name in late}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def tokens_per_second(engine: Any, sampling: Sampling) -> float:
    """The best of some rounds; what takes the processors meanwhile only makes rounds slower."""
    best = 0.0
    for _ in range(ROUNDS):
        engine.submit(0, engine.prepare(CompletionRequest(prompt="a few words to begin with", sampling=sampling)))
        engine.step()
        began, before = time.perf_counter(), engine.tokens_generated
        while engine.has_work:
            engine.step()
        best = max(best, (engine.tokens_generated - before) / (time.perf_counter() - began))
    return best


def main(folder: Path) -> None:
    """Print the table."""
    prepare_environment(os.environ, 0)
    leave_torch_out()
    found = models(folder)
    for size in ("small", "large"):
        drafts = {"none": None, "itself": found[size]}
        drafts |= {kind: found[f"{size}, {kind}"] for kind in ("first layer", "wrong")}
        for kind, draft in drafts.items():
            engine = make_engine("text", EngineOptions(model_path=found[size], num_ctx=4096, draft_path=draft))
            engine.load(lambda _: None)
            rates = [
                tokens_per_second(engine, Sampling(temperature=temperature, num_predict=TOKENS))
                for temperature in (0.0, 0.8)
            ]
            print(f"{size:6} draft {kind:12} greedy {rates[0]:7.1f}  sampled {rates[1]:7.1f} tokens/s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
