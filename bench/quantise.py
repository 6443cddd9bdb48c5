"""Quantising: perplexity and memory of Paddock's conversions beside mlx-lm's own.

    python bench/quantise.py

The checkpoint has 117 MB in one file: the demo model made wider, so that it says the same in eight times as many
channels. The text is of stories of the kind that it was trained on, always the same ones. Memory is what a process
alone holds at most, imports and all. Of int4 and int8 the perplexity may be 2 % above mlx-lm's, and the memory must be
below twice the largest file. The quantised may read the text better than the source does, by luck.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy
import psutil
from mlx_lm import utils as mlx_lm_utils
from safetensors.numpy import load_file, save_file

from paddock import demo
from paddock.protocol import encode
from paddock.protocol.conversion import ORDER_FILE, OUTPUT_FOLDER, PACKINGS, SOURCE_FOLDER, ConversionOrder
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.conversion.engine import ConversionEngine
from paddock.runner.engines.registry import choose_blas
from paddock.runner.engines.text.model.loading import unpack

ROOT = Path(__file__).parents[1]
WIDER, DEEPER = 8, 5
STORIES = 8
SAMPLE_SECONDS = 0.01
JUDGED = ("int4", "int8")


def main() -> None:
    """Print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", nargs=2, metavar=("FOLDER", "KIND"), help="only do this conversion, in this process")
    parser.add_argument("--theirs", nargs=3, metavar=("SOURCE", "TARGET", "KIND"), help="the same with mlx-lm")
    arguments = parser.parse_args()
    if arguments.ours:
        _convert(Path(arguments.ours[0]), arguments.ours[1])
    elif arguments.theirs:
        _convert_with_mlx_lm(Path(arguments.theirs[0]), Path(arguments.theirs[1]), arguments.theirs[2])
    else:
        with tempfile.TemporaryDirectory() as folder:
            _report(Path(folder))


def widened(source: Path, target: Path, wider: int = WIDER, deeper: int = DEEPER) -> Path:
    """A Llama that says the same with `wider` times its channels and `deeper` times its feed-forward width.

    Each channel is there several times, and what sums over channels is divided by how often.
    """
    shutil.copytree(source, target)
    config = json.loads((source / "config.json").read_text())
    tiles = {"norm": (wider,), "embed_tokens": (1, wider), "o_proj": (wider, 1), "down_proj": (wider, deeper)}
    tiles |= dict.fromkeys(("q_proj", "k_proj", "v_proj"), (1, wider))
    tiles |= dict.fromkeys(("gate_proj", "up_proj"), (deeper, wider))
    weights = {}
    for name, array in load_file(source / "model.safetensors").items():
        layer = name.split(".")[-2]
        tile = next(tile for key, tile in tiles.items() if key in layer)
        is_sum = len(tile) > 1 and layer not in ("embed_tokens", "o_proj")
        weights[name] = (numpy.tile(array, tile) / (tile[1] if is_sum else 1)).astype(array.dtype)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] / weights["model.embed_tokens.weight"].dtype.type(
        wider
    )
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config["hidden_size"] *= wider
    config["intermediate_size"] *= deeper
    config["tie_word_embeddings"] = False
    (target / "config.json").write_text(json.dumps(config))
    return target


def story_tokens(tokenizer: Any, count: int = STORIES) -> list[list[int]]:
    """Conversations of the kind that the demo model knows, as token ids; always the same ones."""
    sys.path.insert(0, str(ROOT / "training"))
    from conversations import story_turn

    rng = random.Random(7)
    turns = [story_turn(rng) for _ in range(count)]
    said = [
        [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}] for turn in turns
    ]
    return [list(tokenizer.apply_chat_template(messages, tokenize=True)) for messages in said]


def perplexity(model: Any, texts: list[list[int]]) -> float:
    """Of a model on texts, each on its own."""
    total, count = 0.0, 0
    for tokens in texts:
        scores = model(mx.array([tokens]))[0, :-1].astype(mx.float32)
        scores = scores - mx.logsumexp(scores, axis=-1, keepdims=True)
        total -= mx.take_along_axis(scores, mx.array(tokens[1:])[:, None], axis=-1).sum().item()
        count += len(tokens) - 1
    return math.exp(total / count)


def set_up(folder: Path, source: Path, kind: str) -> Path:
    """The folder of a conversion."""
    folder.mkdir()
    (folder / SOURCE_FOLDER).symlink_to(source)
    (folder / ORDER_FILE).write_bytes(encode(ConversionOrder(kind=kind)))
    return folder


def _convert(folder: Path, kind: str) -> None:
    mx.set_default_device(mx.cpu)
    ConversionEngine(EngineOptions(model_path=folder, num_ctx=0, num_gpu=0)).load(lambda _: None)
    for path in (folder / SOURCE_FOLDER).iterdir():
        if path.suffix == ".json" and not (folder / OUTPUT_FOLDER / path.name).exists():
            shutil.copy(path, folder / OUTPUT_FOLDER)


def _convert_with_mlx_lm(source: Path, target: Path, kind: str) -> None:
    """As `mlx_lm.convert` does, without the card that it would write."""
    mx.set_default_device(mx.cpu)
    packing = PACKINGS[kind]
    model, config = mlx_lm_utils.load_model(source, lazy=True)
    model, config = mlx_lm_utils.quantize_model(model, config, packing.group_size, packing.bits, mode=packing.mode)
    mlx_lm_utils.save_model(target, model, donate_model=True)
    mlx_lm_utils.save_config(config, config_path=target / "config.json")


def _report(folder: Path) -> None:
    mx.set_default_device(mx.cpu)
    choose_blas()
    source = widened(demo.model_folder(), folder / "source")
    size_bytes = (source / "model.safetensors").stat().st_size
    texts = story_tokens(mlx_lm_utils.load_tokenizer(source))
    before = perplexity(_model(source), texts)
    print(f"source: {size_bytes / 1e6:.0f} MB, perplexity {before:.3f} on {sum(map(len, texts))} tokens")
    print("kind    size MB       perplexity            seconds         peak MB")
    print("        ours  mlx-lm  ours   mlx-lm    +%   ours  mlx-lm   ours  mlx-lm")
    for kind in PACKINGS:
        job = set_up(folder / kind, source, kind)
        theirs = folder / f"{kind}-mlx-lm"
        ours_seconds, ours_bytes = _run("--ours", str(job), kind)
        theirs_seconds, theirs_bytes = _run("--theirs", str(source), str(theirs), kind)
        ours = job / OUTPUT_FOLDER
        sizes = [(path / "model.safetensors").stat().st_size / 1e6 for path in (ours, theirs)]
        mine, other = (perplexity(_model(path), texts) for path in (ours, theirs))
        print(
            f"{kind:7} {sizes[0]:5.1f} {sizes[1]:6.1f}  {mine:6.3f} {other:6.3f} {100 * (mine / other - 1):+6.2f}"
            f"  {ours_seconds:5.1f} {theirs_seconds:6.1f}  {ours_bytes / 1e6:6.0f} {theirs_bytes / 1e6:6.0f}"
            f"  {_verdict(kind, mine <= 1.02 * other and ours_bytes < 2 * size_bytes)}",
            flush=True,
        )
        shutil.rmtree(job)
        shutil.rmtree(theirs)


def _verdict(kind: str, is_met: bool) -> str:
    if kind not in JUDGED:
        return ""
    return "pass" if is_met else "FAIL"


def _model(folder: Path) -> Any:
    model, _ = mlx_lm_utils.load_model(folder)
    model.set_dtype(mx.float32)
    unpack(model)  # the CPU computes packed products many times slower
    return model


def _run(*arguments: str) -> tuple[float, int]:
    """Seconds of a process of its own, and the most bytes that it alone held."""
    began = time.perf_counter()
    process = psutil.Popen([sys.executable, __file__, *arguments], stdout=subprocess.DEVNULL)
    most_bytes = 0
    while process.poll() is None:
        try:
            memory = process.memory_info()
        except psutil.Error:
            break
        most_bytes = max(most_bytes, memory.rss - getattr(memory, "shared", 0))
        time.sleep(SAMPLE_SECONDS)
    if process.wait():
        sys.exit(f"{' '.join(arguments)} failed")
    return time.perf_counter() - began, most_bytes


if __name__ == "__main__":
    main()
