"""Instructor, as published, over OpenAI's and Anthropic's clients."""

from __future__ import annotations

from typing import Annotated

import anthropic
import instructor
import openai
from pydantic import BaseModel, Field
from telling import DEMO, STORY, URL, Telling

telling = Telling("instructor", "instructor")


class Person(BaseModel):
    """What a story has to be about."""

    name: Annotated[str, Field(max_length=8)]
    age: Annotated[int, Field(ge=0, le=120)]


def extracted(client: instructor.Instructor, model: str) -> str:
    found = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": STORY}],
        response_model=Person,
        max_tokens=200,
        max_retries=0,
    )
    assert isinstance(found, Person)
    return repr(found)


def over_openai(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0), mode=mode)


@telling.shows("OpenAI, JSON schema")
def json_schema() -> str:
    return extracted(over_openai(instructor.Mode.JSON_SCHEMA), DEMO)


@telling.shows("OpenAI, tools")
def tools() -> str:
    return extracted(over_openai(instructor.Mode.TOOLS), DEMO)


@telling.shows("OpenAI, fields as they come")
def partial() -> str:
    client = over_openai(instructor.Mode.JSON_SCHEMA)
    parts = list(
        client.chat.completions.create_partial(
            model=DEMO, messages=[{"role": "user", "content": STORY}], response_model=Person, max_tokens=200
        )
    )
    assert isinstance(parts[-1].age, int)
    return f"{len(parts)} parts"


@telling.shows("Anthropic, tools")
def anthropic_tools() -> str:
    client = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0)
    return extracted(instructor.from_anthropic(client, mode=instructor.Mode.ANTHROPIC_TOOLS), DEMO)


telling.run()
