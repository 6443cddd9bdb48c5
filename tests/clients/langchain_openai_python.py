"""LangChain's package for OpenAI, as published."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from telling import ANSWER, CALLER, DEMO, QUESTION, STORY, URL, VECTORS, Telling

telling = Telling("langchain-openai", "langchain-openai")


class Person(BaseModel):
    """What a story has to be about."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def model(name: str = DEMO, **options: object) -> ChatOpenAI:
    known = {"temperature": 0, "max_tokens": 24, "max_retries": 0, "timeout": 60}
    return ChatOpenAI(model=name, base_url=f"{URL}/v1", api_key="none", **{**known, **options})


@telling.shows("chat")
def chat() -> str:
    answer = model().invoke(STORY)
    assert "fox" in answer.content
    return str(answer.usage_metadata)


@telling.shows("chat, streamed")
def chat_streamed() -> str:
    parts = list(model(stream_usage=True).stream(STORY))
    assert "fox" in "".join(part.content for part in parts)
    return f"{len(parts)} chunks"


@telling.shows("responses")
def responses() -> str:
    answer = model(use_responses_api=True).invoke(STORY)
    assert "fox" in answer.text
    return str(answer.usage_metadata)


@telling.shows("tools")
def tools() -> str:
    offered = model(CALLER).bind_tools([get_weather])
    turns = [HumanMessage(QUESTION)]
    first = offered.invoke(turns)
    (call,) = first.tool_calls
    last = offered.invoke([*turns, first, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])])
    assert last.content == ANSWER
    return f"{call['name']}({call['args']})"


@telling.shows("tools, demanded")
def tools_demanded() -> str:
    offered = model(max_tokens=100).bind_tools([get_weather], tool_choice="get_weather")
    (call,) = offered.invoke(STORY).tool_calls
    return str(call["args"])


@telling.shows("structured output")
def structured() -> str:
    found = model(max_tokens=200).with_structured_output(Person, method="json_schema").invoke(STORY)
    assert isinstance(found.age, int)
    return repr(found)


@telling.shows("embeddings")
def embeddings() -> str:
    # Without it the texts would be sent as token ids of a tokenizer of OpenAI's own.
    client = OpenAIEmbeddings(model=VECTORS, base_url=f"{URL}/v1", api_key="none", check_embedding_ctx_length=False)
    vectors = client.embed_documents(["one", "two"])
    assert len(vectors) == 2
    return f"{len(vectors[0])} numbers"


telling.run()
