"""The command `llm` with its plugin for Ollama, as published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from telling import CALLER, DEMO, QUESTION, SCHEMA, STORY, VECTORS, Telling

telling = Telling("llm with llm-ollama", "llm")
PROGRAM = Path(sys.executable).with_name("llm")
SHORT = ("-o", "temperature", "0", "-o", "num_predict", "24")


def llm(*arguments: str) -> str:
    """What the command prints. It keeps its logs and settings in a folder that goes."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [PROGRAM, *arguments],
            env={**os.environ, "LLM_USER_PATH": folder},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1:]
    return done.stdout


@telling.shows("models")
def models() -> str:
    listed = llm("ollama", "models")
    assert f"{DEMO}:latest" in listed
    return listed.splitlines()[0]


@telling.shows("chat, streamed")
def streamed() -> str:
    text = llm("-m", f"ollama/{DEMO}:latest", *SHORT, STORY)
    assert "fox" in text
    return text


@telling.shows("chat")
def whole() -> str:
    text = llm("-m", f"ollama/{DEMO}:latest", *SHORT, "--no-stream", "--system", "You tell stories.", STORY)
    assert text.strip()
    return text


@telling.shows("structured output")
def structured() -> str:
    text = llm("-m", f"ollama/{DEMO}:latest", "-o", "num_predict", "100", "--schema", json.dumps(SCHEMA), STORY)
    assert set(json.loads(text)) == {"name", "age"}
    return text


@telling.shows("tools")
def tools() -> str:
    function = "def get_weather(city: str) -> str:\n    'The weather in a city.'\n    return f'sunny in {city}'"
    text = llm("-m", f"ollama/{CALLER}:latest", "--functions", function, QUESTION)
    assert "It is sunny in Paris." in text
    return text


@telling.shows("embeddings")
def embeddings() -> str:
    vector = json.loads(llm("embed", "-m", f"ollama/{VECTORS}:latest", "-c", "one"))
    return f"{len(vector)} numbers"


telling.run()
