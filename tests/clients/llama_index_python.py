"""LlamaIndex's package for Ollama, as published."""

from __future__ import annotations

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.ollama import Ollama
from pydantic import BaseModel
from telling import CALLER, DEMO, QUESTION, STORY, THINKER, URL, Telling

telling = Telling("llama-index-llms-ollama", "llama-index-llms-ollama")


class Person(BaseModel):
    """What a story has to be about."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def model(name: str = DEMO, count: int = 24, **options: object) -> Ollama:
    return Ollama(
        model=name,
        base_url=URL,
        temperature=0,
        context_window=2048,
        request_timeout=60,
        additional_kwargs={"num_predict": count},
        **options,
    )


@telling.shows("completion")
def completion() -> str:
    answer = model().complete(STORY)
    assert "fox" in answer.text
    return answer.text


@telling.shows("chat, streamed")
def chat_streamed() -> str:
    parts = list(model().stream_chat([ChatMessage(role="user", content=STORY)]))
    assert "fox" in parts[-1].message.content
    return f"{len(parts)} chunks"


@telling.shows("tools")
def tools() -> str:
    offered = [FunctionTool.from_defaults(get_weather)]
    caller = model(CALLER)
    answer = caller.chat_with_tools(offered, user_msg=QUESTION)
    (call,) = caller.get_tool_calls_from_response(answer)
    assert call.tool_kwargs == {"city": "Paris"}
    return f"{call.tool_name}({call.tool_kwargs})"


@telling.shows("thinking")
def thinking() -> str:
    answer = model(THINKER, thinking=True).chat([ChatMessage(role="user", content=QUESTION)])
    return str(answer.message.blocks[0])


@telling.shows("structured output")
def structured() -> str:
    found = model(count=200).structured_predict(Person, PromptTemplate(STORY))
    assert isinstance(found.age, int)
    return repr(found)


telling.run()
