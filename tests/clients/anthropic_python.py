"""Anthropic's client for Python, as published."""

from __future__ import annotations

import asyncio

import anthropic
from telling import ANSWER, CALLER, DEMO, QUESTION, STORY, THINKER, URL, WEATHER, Telling, raised

telling = Telling("anthropic (Python)", "anthropic")
client = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=60)
TOOL = {"name": WEATHER["name"], "description": WEATHER["description"], "input_schema": WEATHER["parameters"]}


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@telling.shows("messages")
def messages() -> str:
    answer = client.messages.create(
        model=DEMO, system="You tell stories.", messages=asked(STORY), max_tokens=24, extra_body={"temperature": 0}
    )
    (block,) = answer.content
    assert "fox" in block.text
    assert answer.usage.output_tokens == 24
    return answer.stop_reason


@telling.shows("messages, streamed")
def messages_streamed() -> str:
    with client.messages.stream(model=DEMO, messages=asked(STORY), max_tokens=24) as stream:
        parts = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(parts) == final.content[0].text
    assert final.usage.output_tokens == 24
    return f"{len(parts)} parts"


@telling.shows("asynchronous messages")
def messages_asynchronously() -> str:
    async def ask() -> str:
        async with anthropic.AsyncAnthropic(base_url=URL, api_key="none") as other:
            answer = await other.messages.create(model=DEMO, messages=asked(STORY), max_tokens=16)
            return answer.content[0].text

    return asyncio.run(ask())


@telling.shows("stop sequences")
def stop_sequences() -> str:
    answer = client.messages.create(model=CALLER, messages=asked(QUESTION), max_tokens=24, stop_sequences=[" in"])
    assert answer.content[0].text == "It is sunny"
    assert answer.stop_reason == "stop_sequence"
    return repr(answer.stop_sequence)


@telling.shows("tools")
def tools() -> str:
    turns = asked(QUESTION)
    first = client.messages.create(model=CALLER, messages=turns, tools=[TOOL], max_tokens=100)
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert call.input == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(model=CALLER, messages=turns, tools=[TOOL], max_tokens=100)
    assert last.content[0].text == ANSWER
    return f"{call.name}({call.input})"


@telling.shows("tools, streamed")
def tools_streamed() -> str:
    with client.messages.stream(model=CALLER, messages=asked(QUESTION), tools=[TOOL], max_tokens=100) as stream:
        kinds = [event.type for event in stream]
        (call,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    assert call.input == {"city": "Paris"}
    assert "input_json" in kinds
    return call.name


@telling.shows("tools, demanded")
def tools_demanded() -> str:
    choice = {"type": "tool", "name": WEATHER["name"]}
    answer = client.messages.create(model=DEMO, messages=asked(STORY), tools=[TOOL], tool_choice=choice, max_tokens=100)
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert isinstance(call.input["city"], str)
    return str(call.input)


@telling.shows("thinking")
def thinking() -> str:
    answer = client.messages.create(
        model=THINKER, messages=asked(QUESTION), max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    thought, said = answer.content
    assert said.text == ANSWER
    return thought.thinking


@telling.shows("counting tokens")
def counting() -> str:
    counted = client.messages.count_tokens(model=DEMO, messages=asked(STORY)).input_tokens
    usage = client.messages.create(model=DEMO, messages=asked(STORY), max_tokens=1).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    return f"{counted} tokens"


@telling.shows("errors")
def errors() -> str:
    error = raised(
        anthropic.NotFoundError,
        lambda: client.messages.create(model="absent", messages=asked(STORY), max_tokens=8),
    )
    assert error.body["error"]["type"] == "not_found_error"
    return error.message


telling.run()
