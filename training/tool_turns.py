"""Conversations with tools: schemas in many wordings, questions that need them, and questions that do not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from invented import invented_word
from qa import HONEST
from tool_families import (
    FAMILIES,
    INVENTED_ANSWERS,
    INVENTED_DESCRIPTIONS,
    INVENTED_NAMES,
    INVENTED_PARAMETER,
    INVENTED_QUESTIONS,
    Family,
    Parameter,
)
from tool_values import NUMBER_WORDS, UNITS, Value, result_text, value
from turns import Call, Turn

# Two tools of one group would be two ways to answer the same question.
_GROUPS = {"weather_unit": "weather"}


@dataclass(frozen=True)
class Tool:
    """One tool of a conversation: a family with one of its names, and one name for each parameter."""

    family: Family
    name: str
    parameter_names: tuple[str, ...]
    choices: tuple[str, ...]
    schema: dict[str, Any]


def _invented_family(rng: random.Random) -> Family:
    verb = invented_word(rng)
    forms = {"verb": verb, "Verb": verb.capitalize()}

    def told(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(text.replace("{verb}", verb).replace("{Verb}", forms["Verb"]) for text in texts)

    names, descriptions, questions = map(told, (INVENTED_NAMES, INVENTED_DESCRIPTIONS, INVENTED_QUESTIONS))
    results = ("ok", "done", "{n}", "{sky}", "{n} times")
    return Family("invented", names, descriptions, (INVENTED_PARAMETER,), questions, results, told(INVENTED_ANSWERS))


def _parameter_schema(rng: random.Random, parameter: Parameter, choices: tuple[str, ...], described: bool) -> Any:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.kind == "number":
        schema["type"] = rng.choice(("integer", "integer", "number"))
    if described:
        schema["description"] = rng.choice(parameter.descriptions)
    if parameter.kind == "unit":
        schema["enum"] = list(choices)
    return schema


def make_tool(rng: random.Random, family: Family) -> Tool:
    """A tool of this family, in one of its many wordings."""
    names = tuple(rng.choice(parameter.names) for parameter in family.parameters)
    choices, described = tuple(rng.sample(UNITS, len(UNITS))), rng.random() < 0.6
    properties = {
        name: _parameter_schema(rng, parameter, choices, described)
        for name, parameter in zip(names, family.parameters, strict=True)
    }
    parameters: dict[str, Any] = {"type": "object"}
    if rng.random() < 0.3:
        parameters |= {"required": list(names), "properties": properties}
    else:
        parameters |= {"properties": properties}
        if rng.random() < 0.85:
            parameters["required"] = list(names)
    name = rng.choice(family.names)
    description = rng.choice(family.descriptions)
    schema = {"name": name, "description": description, "parameters": parameters}
    if rng.random() < 0.06:
        del schema["description"]
    return Tool(family, name, names, choices, schema)


def make_tools(rng: random.Random, count: int) -> list[Tool]:
    """So many tools, of which no two do the same."""
    known = rng.sample(FAMILIES, count + 1)
    groups = {_GROUPS.get(family.key, family.key): family for family in known}
    families = [_invented_family(rng) if rng.random() < 0.15 else family for family in list(groups.values())[:count]]
    return [make_tool(rng, family) for family in families]


def _asked(rng: random.Random, number: Value) -> str:
    """A value as people write it: small numbers sometimes as words."""
    if isinstance(number, int) and number < len(NUMBER_WORDS) and rng.random() < 0.15:
        return NUMBER_WORDS[number]
    return str(number)


def _result(rng: random.Random, text: str) -> str:
    """What comes back over the wire: plain text, or the text in an object."""
    kind = rng.random()
    if kind < 0.75:
        return text
    wrapped = text if text.lstrip("-").isdigit() else f'"{text}"'
    return f'{{"{rng.choice(("result", "answer", "value", "output"))}": {wrapped}}}'


def tool_turn(rng: random.Random, tool: Tool, unseen: bool = False) -> Turn:
    """A question for this tool, the call, its result and the answer.

    `unseen` asks in the words that were held out, with values that training never uses.
    """
    family = tool.family
    question = family.questions[-1] if unseen else rng.choice(family.trained)
    values = tuple(value(rng, parameter.kind, unseen) for parameter in family.parameters)
    if family.key == "weather_unit" and "{1}" not in question:
        values = (values[0], tool.choices[0])
    result = result_text(rng, rng.choice(family.results), values)
    call = Call(tool.name, dict(zip(tool.parameter_names, values, strict=True)), _result(rng, result))
    told = rng.choice(family.answers).replace("{result}", result).format(*values)
    asked = question.format(*(_asked(rng, each) for each in values))
    named = " and ".join(str(each) for each in values)
    plan = f"I call {tool.name} for {named}." if values else f"I call {tool.name}."
    return Turn(asked, told, thought=f"The tool says: {result}", calls=(call,), plan=plan)


def double_turn(rng: random.Random, tools: Sequence[Tool], unseen: bool = False) -> Turn:
    """Two questions at once, and so two calls in one answer."""
    first, second = (tool_turn(rng, rng.choice(tools), unseen) for _ in range(2))
    link = rng.choice((" And ", " And ", " Then: ", " Also, "))
    asked = second.question
    asked = asked[0].lower() + asked[1:] if link != " Then: " else asked
    return Turn(
        first.question.rstrip(".!") + ("" if first.question.endswith("?") else ".") + link + asked,
        f"{first.answer} {second.answer}",
        thought=f"{first.thought} {second.thought}",
        calls=first.calls + second.calls,
        plan=f"{first.plan} {second.plan}",
    )


def missing_turn(rng: random.Random, tools: Sequence[Tool]) -> Turn | None:
    """A question for a tool that is not there; None if this draw asks for one that is."""
    family = rng.choice([family for family in FAMILIES if family.key not in ("add", "message", "date")])
    present = {_GROUPS.get(tool.family.key, tool.family.key) for tool in tools}
    if _GROUPS.get(family.key, family.key) in present:
        return None
    asked = tool_turn(rng, make_tool(rng, family)).question
    return Turn(asked, HONEST, thought="I cannot know that.")
