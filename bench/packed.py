"""Quantised weights on the CPU in both forms: packed as they are stored, and turned into float32.

    python bench/packed.py

A Llama of 37 million random parameters, quantised to 4 bits in groups of 64, and a mixture of experts likewise. Both
forms of one model run in the same process, one after the other, with the BLAS that runners use.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
from memory_checkpoints import CHECKPOINTS, write

from paddock.runner.engines.registry import choose_blas
from paddock.runner.engines.text.model.kv_caches import make_caches
from paddock.runner.engines.text.model.loading import load

PROMPT_TOKENS = 128
DECODED_TOKENS = 4
BATCHES = (1, 16)
WIDE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4, "vocab_size": 16_000}
QUANTISED = {"group_size": 64, "bits": 4}


def main() -> None:
    """Make the models, and print tokens per second of both forms."""
    mx.set_default_device(mx.cpu)
    print(f"BLAS: {choose_blas()}, {os.environ.get('OPENBLAS_NUM_THREADS', 'all')} threads")
    for name in ("llama", "qwen3-moe"):
        checkpoint = next(each for each in CHECKPOINTS if each.name == name)
        config = checkpoint.config | WIDE if name == "llama" else checkpoint.config
        quantised = replace(checkpoint, config=config, dtype="bfloat16", quantization=QUANTISED)
        with tempfile.TemporaryDirectory() as folder:
            path = write(quantised, Path(folder) / name)
            for is_packed in (True, False):
                _measure(name, path, is_packed)


def _measure(name: str, path: Path, is_packed: bool) -> None:
    loaded = load(path, lambda _: None, keep_packed=is_packed)
    figures = [f"weights {loaded.weights_bytes / 1e6:.0f} MB", f"prefill {_prefill(loaded.model):.0f}"]
    figures += [f"decode x{batch} {_decode(loaded.model, batch):.0f}" for batch in BATCHES]
    print(f"{name:10} {'packed' if is_packed else 'float32':8} {', '.join(figures)}  (tokens/s)", flush=True)


def _prefill(model: object) -> float:
    prompt = mx.arange(PROMPT_TOKENS)[None] % 1000
    return PROMPT_TOKENS / _best_seconds(lambda: model(prompt, cache=make_caches(model, 0)))


def _decode(model: object, batch: int) -> float:
    caches = make_caches(model, 0)
    tokens = mx.zeros((batch, 1), dtype=mx.int32)
    mx.eval(model(mx.zeros((batch, 16), dtype=mx.int32), cache=caches))
    return batch / _best_seconds(lambda: model(tokens, cache=caches), times=DECODED_TOKENS)


def _best_seconds(work: object, times: int = 2) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        mx.eval(work())
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
