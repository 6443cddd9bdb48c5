"""LangChain's package for Ollama, as published."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel
from telling import ANSWER, CALLER, DEMO, QUESTION, STORY, THINKER, URL, VECTORS, Telling

telling = Telling("langchain-ollama", "langchain-ollama")


class Person(BaseModel):
    """What a story has to be about."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def model(name: str = DEMO, **options: object) -> ChatOllama:
    return ChatOllama(model=name, base_url=URL, **{"temperature": 0, "num_predict": 24, **options})


@telling.shows("chat")
def chat() -> str:
    answer = model().invoke(STORY)
    assert "fox" in answer.content
    return str(answer.usage_metadata)


@telling.shows("chat, streamed")
def chat_streamed() -> str:
    parts = list(model().stream(STORY))
    assert "fox" in "".join(part.content for part in parts)
    return f"{len(parts)} chunks"


@telling.shows("completion")
def completion() -> str:
    return OllamaLLM(model=DEMO, base_url=URL, temperature=0, num_predict=12).invoke(STORY)


@telling.shows("tools")
def tools() -> str:
    offered = model(CALLER).bind_tools([get_weather])
    turns = [HumanMessage(QUESTION)]
    first = offered.invoke(turns)
    (call,) = first.tool_calls
    last = offered.invoke([*turns, first, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])])
    assert last.content == ANSWER
    return f"{call['name']}({call['args']})"


@telling.shows("thinking")
def thinking() -> str:
    answer = model(THINKER, reasoning=True).invoke(QUESTION)
    assert answer.content == ANSWER
    return answer.additional_kwargs["reasoning_content"]


@telling.shows("structured output")
def structured() -> str:
    found = model(num_predict=200).with_structured_output(Person, method="json_schema").invoke(STORY)
    assert isinstance(found.age, int)
    return repr(found)


@telling.shows("embeddings")
def embeddings() -> str:
    vectors = OllamaEmbeddings(model=VECTORS, base_url=URL).embed_documents(["one", "two"])
    assert len(vectors) == 2
    return f"{len(vectors[0])} numbers"


telling.run()
