"""Ollama's client for Python, as published."""

from __future__ import annotations

import asyncio
import base64
import json

import ollama
from telling import (
    ANSWER,
    CALLER,
    DEMO,
    PAINTER,
    PIXEL_SIGNATURE,
    QUESTION,
    SCHEMA,
    STORY,
    THINKER,
    TOOL,
    URL,
    VECTORS,
    Telling,
    raised,
)

telling = Telling("ollama (Python)", "ollama")
client = ollama.Client(URL, timeout=60)
SHORT = {"temperature": 0, "num_predict": 24}


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@telling.shows("chat")
def chat() -> str:
    answer = client.chat(DEMO, asked(STORY), options=SHORT)
    assert "fox" in answer.message.content
    assert answer.eval_count == 24
    return answer.done_reason


@telling.shows("chat, streamed")
def chat_streamed() -> str:
    chunks = list(client.chat(DEMO, asked(STORY), options=SHORT, stream=True))
    assert (
        "".join(chunk.message.content for chunk in chunks)
        == client.chat(DEMO, asked(STORY), options=SHORT).message.content
    )
    assert chunks[-1].done
    return f"{len(chunks)} chunks"


@telling.shows("asynchronous chat")
def chat_asynchronously() -> str:
    async def ask() -> list[str]:
        other = ollama.AsyncClient(URL, timeout=60)
        async with other:
            return [
                part.message.content async for part in await other.chat(DEMO, asked(STORY), stream=True, options=SHORT)
            ]

    parts = asyncio.run(ask())
    assert "fox" in "".join(parts)
    return f"{len(parts)} chunks"


@telling.shows("generate")
def generate() -> str:
    first = client.generate(DEMO, STORY, options=SHORT)
    second = client.generate(DEMO, "And then?", context=first.context, options=SHORT)
    assert list(second.context[: len(first.context)]) == list(first.context)
    return f"{len(second.context)} tokens of context"


@telling.shows("tools")
def tools() -> str:
    def get_weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Where.
        """
        return f"sunny in {city}"

    turns = asked(QUESTION)
    first = client.chat(CALLER, turns, tools=[get_weather])
    (call,) = first.message.tool_calls
    result = {"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)}
    last = client.chat(CALLER, [*turns, first.message, result], tools=[get_weather])
    assert last.message.content == ANSWER
    return f"{call.function.name}({call.function.arguments})"


@telling.shows("tools, streamed")
def tools_streamed() -> str:
    chunks = list(client.chat(CALLER, asked(QUESTION), tools=[TOOL], stream=True))
    (call,) = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert call.function.arguments == {"city": "Paris"}
    return call.function.name


@telling.shows("thinking")
def thinking() -> str:
    thoughtful = client.chat(THINKER, asked(QUESTION), think=True)
    at_once = client.chat(THINKER, asked(QUESTION), think=False)
    assert thoughtful.message.content == at_once.message.content == ANSWER
    assert not at_once.message.thinking
    assert thoughtful.message.thinking
    return thoughtful.message.thinking


@telling.shows("structured output")
def structured() -> str:
    answer = client.chat(DEMO, asked(STORY), format=SCHEMA, options={"num_predict": 100})
    found = json.loads(answer.message.content)
    assert set(found) == {"name", "age"}
    return answer.message.content


@telling.shows("probabilities")
def probabilities() -> str:
    answer = client.generate(DEMO, STORY, logprobs=True, top_logprobs=2, options=SHORT)
    assert "".join(token.token for token in answer.logprobs) == answer.response
    assert all(len(token.top_logprobs) == 2 for token in answer.logprobs)
    return f"{len(answer.logprobs)} tokens"


@telling.shows("embeddings")
def embeddings() -> str:
    answer = client.embed(VECTORS, ["one", "two"])
    assert len(answer.embeddings) == 2
    return f"{len(answer.embeddings[0])} numbers"


@telling.shows("pictures")
def pictures() -> str:
    answer = client.generate(PAINTER, "a red circle", width=64, height=64, steps=2)
    data = base64.b64decode(answer.image)
    assert data.startswith(PIXEL_SIGNATURE)
    return f"{len(data)} bytes"


@telling.shows("models: list, show, ps")
def models() -> str:
    client.generate(DEMO, keep_alive="1m")
    assert f"{DEMO}:latest" in [model.model for model in client.list().models]
    assert f"{DEMO}:latest" in [model.model for model in client.ps().models]
    return ", ".join(client.show(DEMO).capabilities)


@telling.shows("models: create, copy, delete")
def making() -> str:
    statuses = [part.status for part in client.create("made", from_=DEMO, parameters={"num_predict": 3}, stream=True)]
    client.copy("made", "made-copy")
    assert client.generate("made-copy", STORY).eval_count <= 3
    client.delete("made")
    client.delete("made-copy")
    return statuses[-1]


@telling.shows("errors")
def errors() -> str:
    error = raised(ollama.ResponseError, lambda: client.chat("absent", asked(STORY)))
    assert error.status_code == 404
    return error.error


telling.run()
