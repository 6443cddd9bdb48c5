"""LiteLLM, as published, through each of the dialects that it knows."""

from __future__ import annotations

import json

import litellm
from telling import CALLER, DEMO, QUESTION, SCHEMA, STORY, TOOL, URL, VECTORS, Telling

telling = Telling("litellm", "litellm")
OLLAMA = {"model": f"ollama_chat/{DEMO}", "api_base": URL}
OPENAI = {"model": f"openai/{DEMO}", "api_base": f"{URL}/v1", "api_key": "none"}
ANTHROPIC = {"model": f"anthropic/{DEMO}", "api_base": URL, "api_key": "none"}


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(dialect: dict[str, str]) -> str:
    answer = litellm.completion(**dialect, messages=asked(STORY), temperature=0, max_tokens=24)
    assert "fox" in answer.choices[0].message.content
    assert answer.usage.completion_tokens == 24
    return answer.choices[0].finish_reason


def streamed(dialect: dict[str, str]) -> str:
    chunks = list(litellm.completion(**dialect, messages=asked(STORY), temperature=0, max_tokens=24, stream=True))
    assert "fox" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return f"{len(chunks)} chunks"


def tools(dialect: dict[str, str]) -> str:
    caller = {**dialect, "model": dialect["model"].replace(DEMO, CALLER)}
    answer = litellm.completion(**caller, messages=asked(QUESTION), tools=[TOOL], max_tokens=100)
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    return call.function.name


def structured(dialect: dict[str, str]) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    answer = litellm.completion(**dialect, messages=asked(STORY), response_format=form, max_tokens=100)
    assert set(json.loads(answer.choices[0].message.content)) == {"name", "age"}
    return answer.choices[0].message.content


for name, dialect in (("ollama_chat", OLLAMA), ("openai", OPENAI), ("anthropic", ANTHROPIC)):
    telling.shows(f"{name}: chat")(lambda dialect=dialect: chat(dialect))
    telling.shows(f"{name}: chat, streamed")(lambda dialect=dialect: streamed(dialect))
    telling.shows(f"{name}: tools")(lambda dialect=dialect: tools(dialect))
telling.shows("ollama_chat: structured output")(lambda: structured(OLLAMA))
telling.shows("openai: structured output")(lambda: structured(OPENAI))


@telling.shows("openai: responses")
def responses() -> str:
    answer = litellm.responses(**OPENAI, input=STORY, max_output_tokens=24)
    assert answer.output
    return answer.status


@telling.shows("ollama: embeddings")
def ollama_embeddings() -> str:
    answer = litellm.embedding(model=f"ollama/{VECTORS}", input=["one", "two"], api_base=URL)
    assert len(answer.data) == 2
    return f"{len(answer.data[0]['embedding'])} numbers"


@telling.shows("openai: embeddings")
def openai_embeddings() -> str:
    answer = litellm.embedding(
        model=f"openai/{VECTORS}", input=["one", "two"], api_base=f"{URL}/v1", api_key="none", encoding_format="float"
    )
    assert len(answer.data) == 2
    return f"{len(answer.data[0]['embedding'])} numbers"


telling.run()
