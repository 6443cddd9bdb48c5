"""The engine's own loop, in a process of its own: what there is to be had without any road around it.

    python bench/engine_loop.py MODEL_FOLDER

Reads one JSON object a line, {"prompt", "num_predict"}, and answers each with one: {"first_s", "tokens_per_s"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from paddock.protocol import CompletionRequest, Done, Sampling, Text
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.engines.registry import make_engine
from paddock.runner.hygiene import leave_torch_out, prepare_environment


def measure(engine: Engine, request_id: int, prompt: str, num_predict: int) -> dict[str, float]:
    """One answer: seconds to its first text, and tokens per second after it."""
    began = time.perf_counter()
    first = 0.0
    sampling = Sampling(temperature=0, num_predict=num_predict)
    engine.submit(request_id, engine.prepare(CompletionRequest(prompt=prompt, sampling=sampling)))
    while engine.has_work:
        for _, frame in engine.step():
            if isinstance(frame, Text) and not first:
                first = time.perf_counter()
            if isinstance(frame, Done):
                seconds = time.perf_counter() - first
                return {"first_s": first - began, "tokens_per_s": (frame.eval_count - 1) / seconds}
    raise RuntimeError("the engine ended without an answer")


def main() -> None:
    """Load the model, then measure on demand."""
    prepare_environment(os.environ, num_gpu=-1)
    leave_torch_out()
    engine = make_engine("text", EngineOptions(model_path=Path(sys.argv[1]), num_ctx=8192))
    engine.load(lambda _share: None)
    for request_id, line in enumerate(sys.stdin):
        print(json.dumps(measure(engine, request_id, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
