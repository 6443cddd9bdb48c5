"""OpenAI's client for Python, as published."""

from __future__ import annotations

import asyncio
import base64
import json

import openai
from pydantic import BaseModel
from telling import (
    ANSWER,
    CALLER,
    DEMO,
    PAINTER,
    PIXEL_SIGNATURE,
    QUESTION,
    SCHEMA,
    STORY,
    TOOL,
    URL,
    VECTORS,
    WEATHER,
    Telling,
    raised,
)

telling = Telling("openai (Python)", "openai")
client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=60)
FLAT_TOOL = {"type": "function", "strict": False, **WEATHER}


class Person(BaseModel):
    """What a story has to be about."""

    name: str
    age: int


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@telling.shows("chat")
def chat() -> str:
    answer = client.chat.completions.create(model=DEMO, messages=asked(STORY), temperature=0, max_tokens=24)
    assert "fox" in answer.choices[0].message.content
    assert answer.usage.completion_tokens == 24
    return answer.choices[0].finish_reason


@telling.shows("chat, streamed with usage")
def chat_streamed() -> str:
    chunks = list(
        client.chat.completions.create(
            model=DEMO,
            messages=asked(STORY),
            temperature=0,
            max_completion_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "fox" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens == 24
    return f"{len(chunks)} chunks"


@telling.shows("asynchronous chat")
def chat_asynchronously() -> str:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none") as other:
            answer = await other.chat.completions.create(model=DEMO, messages=asked(STORY), max_tokens=16, seed=1)
            return answer.choices[0].message.content

    return asyncio.run(ask())


@telling.shows("probabilities")
def probabilities() -> str:
    answer = client.chat.completions.create(
        model=DEMO, messages=asked(STORY), max_tokens=8, logprobs=True, top_logprobs=2
    )
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 for token in tokens)
    return f"{len(tokens)} tokens"


@telling.shows("tools")
def tools() -> str:
    turns = asked(QUESTION)
    first = client.chat.completions.create(model=CALLER, messages=turns, tools=[TOOL])
    (call,) = first.choices[0].message.tool_calls
    assert first.choices[0].finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    last = client.chat.completions.create(
        model=CALLER, messages=[*turns, first.choices[0].message, result], tools=[TOOL]
    )
    assert last.choices[0].message.content == ANSWER
    return f"{call.function.name}({call.function.arguments})"


@telling.shows("tools, streamed")
def tools_streamed() -> str:
    with client.chat.completions.stream(model=CALLER, messages=asked(QUESTION), tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert "tool_calls.function.arguments.done" in kinds
    return call.function.name


@telling.shows("tools, demanded")
def tools_demanded() -> str:
    choice = {"type": "function", "function": {"name": WEATHER["name"]}}
    answer = client.chat.completions.create(
        model=DEMO, messages=asked(STORY), tools=[TOOL], tool_choice=choice, max_tokens=100
    )
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    return call.function.arguments


@telling.shows("structured output, parsed")
def parsed() -> str:
    answer = client.chat.completions.parse(
        model=DEMO, messages=asked(STORY), response_format=Person, max_tokens=200, seed=1
    )
    found = answer.choices[0].message.parsed
    assert isinstance(found.age, int)
    return repr(found)


@telling.shows("structured output, any object")
def any_object() -> str:
    answer = client.chat.completions.create(
        model=DEMO, messages=asked("Answer in JSON"), response_format={"type": "json_object"}, max_tokens=60
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)
    return answer.choices[0].message.content


@telling.shows("completions")
def completions() -> str:
    whole = client.completions.create(model=DEMO, prompt="Once upon a time", max_tokens=12, temperature=0)
    parts = client.completions.create(model=DEMO, prompt="Once upon a time", max_tokens=12, temperature=0, stream=True)
    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    return whole.choices[0].finish_reason


@telling.shows("responses")
def responses() -> str:
    answer = client.responses.create(model=DEMO, input=STORY, temperature=0, max_output_tokens=24)
    assert "fox" in answer.output_text
    assert answer.usage.output_tokens == 24
    return answer.status


@telling.shows("responses, streamed")
def responses_streamed() -> str:
    with client.responses.stream(model=CALLER, input=QUESTION, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == ANSWER
    assert kinds[0] == "response.created"
    return f"{len(kinds)} events"


@telling.shows("responses, tools")
def responses_tools() -> str:
    turns = asked(QUESTION)
    first = client.responses.create(model=CALLER, input=turns, tools=[FLAT_TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "Paris"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    last = client.responses.create(model=CALLER, input=[*turns, *first.output, result], tools=[FLAT_TOOL])
    assert last.output_text == ANSWER
    return f"{call.name}({call.arguments})"


@telling.shows("responses, parsed")
def responses_parsed() -> str:
    answer = client.responses.parse(model=DEMO, input=STORY, text_format=Person, max_output_tokens=200)
    assert isinstance(answer.output_parsed.age, int)
    return repr(answer.output_parsed)


@telling.shows("embeddings")
def embeddings() -> str:
    answer = client.embeddings.create(model=VECTORS, input=["one", "two"])
    assert len(answer.data) == 2
    return f"{len(answer.data[0].embedding)} numbers"


@telling.shows("pictures")
def pictures() -> str:
    answer = client.images.generate(
        model=PAINTER, prompt="a red circle", size="64x64", response_format="b64_json", extra_body={"steps": 2}
    )
    data = base64.b64decode(answer.data[0].b64_json)
    assert data.startswith(PIXEL_SIGNATURE)
    return f"{len(data)} bytes"


@telling.shows("models")
def models() -> str:
    names = [model.id for model in client.models.list()]
    assert any(name.startswith(DEMO) for name in names)
    return client.models.retrieve(names[0]).id


@telling.shows("errors")
def errors() -> str:
    return raised(
        openai.NotFoundError, lambda: client.chat.completions.create(model="absent", messages=asked(STORY))
    ).message


@telling.shows("errors of schemas")
def errors_of_schemas() -> str:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {**SCHEMA, "type": 7}}}
    return raised(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=DEMO, messages=asked(STORY), response_format=form),
    ).message


telling.run()
