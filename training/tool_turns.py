"""Conversations with tools: schemas in many wordings, questions that need them, and questions that do not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qa import HONEST
from thoughts import UNKNOWN
from tool_families import FAMILIES, Family, Parameter
from tool_values import result_text, value
from turns import Call, Turn

# How many names of a kind of tool there are at most; those after the common ones teach to copy, and are left out in the
# end.
ALL_NAMES, COMMON_NAMES = 8, 4


@dataclass(frozen=True)
class Tool:
    """One tool of a conversation: a family with one of its names, and one name for each parameter."""

    family: Family
    name: str
    parameter_names: tuple[str, ...]
    schema: dict[str, Any]


def _parameter_schema(rng: random.Random, parameter: Parameter, described: bool) -> dict[str, str]:
    schema = {"type": "integer" if parameter.kind == "number" else "string"}
    if described:
        schema["description"] = rng.choice(parameter.descriptions)
    return schema


def make_tool(rng: random.Random, family: Family, names: int = ALL_NAMES) -> Tool:
    """A tool of this family, in one of its many wordings, with one of its first `names` names."""
    parameter_names = tuple(rng.choice(parameter.names) for parameter in family.parameters)
    described = rng.random() < 0.4
    properties = {
        name: _parameter_schema(rng, parameter, described)
        for name, parameter in zip(parameter_names, family.parameters, strict=True)
    }
    parameters: dict[str, Any] = {"type": "object", "properties": properties, "required": list(parameter_names)}
    if rng.random() < 0.3:  # the order in which the published client of Ollama writes them
        parameters = {"type": "object", "required": list(parameter_names), "properties": properties}
    name = rng.choice(family.names[:names])
    schema = {"name": name, "description": rng.choice(family.descriptions), "parameters": parameters}
    return Tool(family, name, parameter_names, schema)


def make_tools(rng: random.Random, count: int, names: int = ALL_NAMES) -> list[Tool]:
    """So many tools, of which no two do the same."""
    return [make_tool(rng, family, names) for family in rng.sample(FAMILIES, count)]


def _result(rng: random.Random, text: str) -> str:
    """What comes back over the wire: plain text, or the text in an object."""
    if rng.random() < 0.88:
        return text
    wrapped = text if text.isdigit() else f'"{text}"'
    return f'{{"result": {wrapped}}}'


def tool_turn(rng: random.Random, tool: Tool, unseen: bool = False, rephrased: bool = False) -> Turn:
    """A question for this tool, the call, its result and the answer.

    `unseen` takes values that training never uses, `rephrased` the words that were held out.
    """
    family = tool.family
    question = family.questions[-1] if rephrased else rng.choice(family.trained)
    values = tuple(value(rng, parameter.kind, unseen) for parameter in family.parameters)
    result = result_text(rng, rng.choice(family.results), values)
    call = Call(tool.name, dict(zip(tool.parameter_names, values, strict=True)), _result(rng, result))
    told = rng.choice(family.answers).replace("{result}", result).format(*values)
    asked = question.format(*values)
    named = " and ".join(str(each) for each in values)
    plan = f"I call {tool.name} for {named}." if values else f"I call {tool.name}."
    return Turn(asked, told, thought=f"The tool says: {result}", calls=(call,), plan=plan)


def missing_turn(rng: random.Random, tools: Sequence[Tool]) -> Turn:
    """A question for a tool that is not there (small sums are left out: they need no tool)."""
    present = {"add", *(tool.family.key for tool in tools)}
    family = rng.choice([family for family in FAMILIES if family.key not in present])
    asked = tool_turn(rng, make_tool(rng, family)).question
    return Turn(asked, HONEST, thought=UNKNOWN)
