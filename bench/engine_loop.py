"""The engine's own loop, in a process of its own: what there is to be had without any road around it.

    python bench/engine_loop.py MODEL_FOLDER            answers JSON lines on standard input
    python bench/engine_loop.py MODEL_FOLDER --table    compares its step with other ways of making tokens

A line is {"prompt", "num_predict", "streams"} (one stream if it is left out), and its answer {"first_s",
"tokens_per_s"}: seconds to the first text of the first stream, and tokens per second of all streams together from when
all of them decode.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paddock.protocol import CompletionRequest, Done, Sampling, Text
from paddock.runner import blas
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.registry import make_engine
from paddock.runner.hygiene import has_cuda_wheel, leave_torch_out, prepare_environment

STREAMS = (1, 4, 16)
_PROMPT_TOKENS = 64
_STEPS = 40
_ROUNDS = 4

Clock = Callable[[], float]


def measure(engine: Any, prompt: str, num_predict: int, streams: int = 1) -> dict[str, float]:
    """The same prompt answered for so many streams at once."""
    began = time.perf_counter()
    sampling = Sampling(temperature=0, num_predict=num_predict)
    for request_id in range(streams):
        engine.submit(request_id, engine.prepare(CompletionRequest(prompt=prompt, sampling=sampling)))
    first, started, tokens_before, tokens, ended = 0.0, 0.0, 0, 0, 0.0
    seen: set[int] = set()
    while engine.has_work:
        for request_id, frame in engine.step():
            if isinstance(frame, Text):
                first = first or time.perf_counter()
                seen.add(request_id)
            if isinstance(frame, Done) and not ended:
                tokens, ended = engine.tokens_generated, time.perf_counter()
        if len(seen) == streams and not started:
            tokens_before, started = engine.tokens_generated, time.perf_counter()
    if not started or ended <= started:
        raise RuntimeError("the engine ended without an answer long enough to be measured")
    return {"first_s": first - began, "tokens_per_s": (tokens - tokens_before) / (ended - started)}


def loaded(folder: Path, streams: int) -> Any:
    """An engine, on the BLAS that runners use."""
    engine = make_engine("text", EngineOptions(model_path=folder, num_ctx=32768, parallel=streams))
    blas.install(os.environ, has_cuda=has_cuda_wheel())
    engine.load(lambda _share: None)
    return engine


# ---- the table ----


@contextlib.contextmanager
def stock() -> Iterator[None]:
    """MLX as it comes, without the engine's cheaper forms for the CPU; the weights stay as the engine laid them out."""
    import mlx.core as mx

    places = [(mx.fast, name) for name in ("rope", "scaled_dot_product_attention")]
    places += [(mx, name) for name in ("exp", "sigmoid", "softmax", "tanh")]
    ours = [getattr(*place) for place in places]
    for (module, name), operation in zip(places, ours, strict=True):
        setattr(module, name, getattr(operation, "original", operation))
    try:
        yield
    finally:
        for (module, name), operation in zip(places, ours, strict=True):
            setattr(module, name, operation)


def plain_steps(model: Any, streams: int, clock: Clock) -> list[float]:
    """A forward pass with caches of equal length and one argmax: seconds of each step."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    caches = make_prompt_cache(model)
    mx.eval(model(mx.zeros((streams, _PROMPT_TOKENS), dtype=mx.int32), cache=caches))
    tokens = mx.zeros((streams, 1), dtype=mx.int32)
    seconds = []
    for _ in range(_STEPS):
        began = clock()
        tokens = mx.argmax(model(tokens, cache=caches)[:, -1, :], axis=-1)[:, None]
        mx.eval(tokens)
        seconds.append(clock() - began)
    return seconds


def batch_generator_steps(model: Any, streams: int, clock: Clock) -> list[float]:
    """mlx-lm's own way of making tokens for many."""
    from mlx_lm.generate import BatchGenerator

    generator = BatchGenerator(model, max_tokens=_STEPS, completion_batch_size=streams, prefill_batch_size=streams)
    generator.insert([[1] * _PROMPT_TOKENS] * streams)
    seconds = []
    while True:
        began = clock()
        read, made = generator.next()
        if len(made) == streams:
            seconds.append(clock() - began)
        if not read and not made:
            generator.close()
            return seconds[1:]


def engine_steps(engine: Any, prompt: Any, streams: int, clock: Clock) -> list[float]:
    """The engine's: seconds of the steps in which all streams get a token, text and all."""
    for request_id in range(streams):
        engine.submit(request_id, prompt)
    seconds = []
    while engine.has_work:
        before, began = engine.tokens_generated, clock()
        engine.step()
        if engine.tokens_generated - before == streams:
            seconds.append(clock() - began)
    return seconds[1:]


def table(folder: Path, clock: Clock) -> str:
    """Milliseconds of a step, the median of rounds that take turns, as Markdown."""
    from bench.checkpoint import prompt_of

    engine = loaded(folder, max(STREAMS))
    model = engine._model.model
    text = prompt_of(_PROMPT_TOKENS)
    greedy, drawn = (
        engine.prepare(CompletionRequest(prompt=text, sampling=Sampling(temperature=heat, num_predict=_STEPS, seed=1)))
        for heat in (0.0, 0.8)
    )
    ways: dict[str, Callable[[int], list[float]]] = {
        "plain forward and argmax": lambda streams: plain_steps(model, streams, clock),
        "BatchGenerator": lambda streams: batch_generator_steps(model, streams, clock),
    }
    ours: dict[str, Callable[[int], list[float]]] = {
        "engine, greedy": lambda streams: engine_steps(engine, greedy, streams, clock),
        "engine, Ollama's defaults": lambda streams: engine_steps(engine, drawn, streams, clock),
    }
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(_ROUNDS):
        for streams in STREAMS:
            with stock():
                for name, way in ways.items():
                    seconds.setdefault((name, streams), []).extend(way(streams))
            for name, way in ours.items():
                seconds.setdefault((name, streams), []).extend(way(streams))
    lines = ["| ms of a step (fastest tenth / median) | " + " | ".join(map(str, STREAMS)) + " | scaling |"]
    lines.append("|---" * (len(STREAMS) + 2) + "|")
    for name in (*ways, *ours):
        found = [sorted(seconds[name, streams]) for streams in STREAMS]
        cells = [f"{1000 * each[len(each) // 10]:.1f} / {1000 * each[len(each) // 2]:.1f}" for each in found]
        scaling = STREAMS[-1] * found[0][len(found[0]) // 10] / found[-1][len(found[-1]) // 10]
        lines.append(f"| {name} | {' | '.join(cells)} | {scaling:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Load the model, then measure on demand."""
    prepare_environment(os.environ, num_gpu=-1)
    leave_torch_out()
    folder = Path(sys.argv[1])
    if "--table" in sys.argv:
        sys.path.insert(0, str(Path(__file__).parent.parent))
        is_busy = "--cpu" in sys.argv  # where others work too, time of processors says more than time of the clock
        print(table(folder, time.process_time if is_busy else time.perf_counter))
        return
    engine = loaded(folder, max(STREAMS))
    for line in sys.stdin:
        print(json.dumps(measure(engine, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
