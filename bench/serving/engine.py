"""The text engine alone, in a process of its own: the rate that there is to be had without any road around it.

Reads one JSON object a line, {"prompts", "tokens"}, and answers each with the tokens per second of all together.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from paddock.protocol import CompletionRequest, Failed, Sampling
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.engines.registry import make_engine
from paddock.runner.hygiene import leave_torch_out, prepare_environment

PREFIX_CACHE_BYTES = 192 << 20
"""As the server settles it for this model: keeping what was read is the engine's work, not the road's."""


def measure(engine: Engine, prompts: list[str], tokens: int) -> float:
    """Tokens per second of these prompts, submitted at once."""
    sampling = Sampling(temperature=0, num_predict=tokens)
    began = time.perf_counter()
    for request_id, prompt in enumerate(prompts):
        engine.submit(request_id, engine.prepare(CompletionRequest(prompt=prompt, sampling=sampling)))
    while engine.has_work:
        for _, frame in engine.step():
            if isinstance(frame, Failed):
                raise SystemExit(frame.message)
    return len(prompts) * tokens / (time.perf_counter() - began)


def main() -> None:
    """Load the model, then measure on demand."""
    prepare_environment(os.environ, num_gpu=-1)
    leave_torch_out()
    options = EngineOptions(Path(sys.argv[1]), num_ctx=32768, parallel=16, prefix_cache_bytes=PREFIX_CACHE_BYTES)
    engine = make_engine("text", options)
    engine.load(lambda _share: None)
    for line in sys.stdin:
        print(json.dumps(measure(engine, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
