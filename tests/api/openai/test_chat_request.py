"""Every field of /v1/chat/completions: it reaches the runner, or it is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from paddock.api.openai.chat_request import chat_request
from paddock.errors import BadRequest, InvalidOption, Unsupported
from paddock.protocol import ChatMessage
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel
from tests.api.openai.asking import OTHER, QUESTION, SCHEMA, TOOL, blamed, body_of, wanted

# ---- sampling ----


def test_the_parameters_of_the_model_are_the_defaults(smart_model: StoredModel) -> None:
    sampling = wanted(smart_model).sampling

    assert (sampling.temperature, sampling.top_p, sampling.num_predict) == (0.3, 0.7, 99)
    assert (sampling.frequency_penalty, sampling.presence_penalty, sampling.seed) == (0, 0, -1)


@pytest.mark.parametrize(
    ("fields", "option", "value"),
    [
        ({"temperature": 2}, "temperature", 2.0),
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"frequency_penalty": -2}, "frequency_penalty", -2.0),
        ({"presence_penalty": 1.5}, "presence_penalty", 1.5),
        ({"seed": 7}, "seed", 7),
        ({"stop": "END"}, "stop", ("END",)),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", ("a", "b", "c", "d", "e")),
        ({"max_tokens": 5}, "num_predict", 5),
        ({"max_tokens": -1}, "num_predict", -1),
        ({"max_completion_tokens": 6}, "num_predict", 6),
        ({"max_tokens": 6, "max_completion_tokens": 6}, "num_predict", 6),
        ({"logit_bias": {"5": -100, "6": 2.5}}, "logit_bias", {5: -100.0, 6: 2.5}),
        ({"logprobs": True}, "logprobs", True),
        ({"logprobs": True, "top_logprobs": 20}, "top_logprobs", 20),
        ({"logprobs": False, "top_logprobs": 0}, "logprobs", False),
        ({"top_k": 3}, "top_k", 3),
        ({"min_p": 0.1}, "min_p", 0.1),
        ({"typical_p": 0.9}, "typical_p", 0.9),
        ({"repeat_penalty": 1.1}, "repeat_penalty", 1.1),
        ({"repetition_penalty": 1.2}, "repeat_penalty", 1.2),
        ({"options": {"repeat_last_n": 9}}, "repeat_last_n", 9),
        ({"options": {"temperature": 0.9}, "temperature": 0.1}, "temperature", 0.1),
    ],
)
def test_how_tokens_are_chosen_reaches_the_runner(
    smart_model: StoredModel, fields: dict[str, Any], option: str, value: object
) -> None:
    assert getattr(wanted(smart_model, **fields).sampling, option) == value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [str(number) for number in range(17)]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -2}, "max_completion_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"-5": 1}}, "logit_bias"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
    ],
)
def test_numbers_out_of_their_range_are_refused_by_name(
    smart_model: StoredModel, fields: dict[str, Any], param: str
) -> None:
    error = blamed(smart_model, **fields)

    assert error.field == param
    assert f'"{param}"' in error.message


def test_an_option_nobody_knows_is_refused(smart_model: StoredModel) -> None:
    with pytest.raises(InvalidOption, match="warmth"):
        wanted(smart_model, options={"warmth": 1})


def test_a_field_nobody_documents_is_passed_over(smart_model: StoredModel) -> None:
    assert wanted(smart_model, ignore_eos=True, extra_body={"x": 1}) == wanted(smart_model)


# ---- what becomes of the prompt ----


def test_a_prompt_that_is_too_long_is_refused_unless_it_may_be_cut(smart_model: StoredModel) -> None:
    assert not wanted(smart_model).truncate
    assert wanted(smart_model, truncate=True).truncate


def test_runner_options_become_a_wish(smart_model: StoredModel) -> None:
    _, wish = chat_request(body_of(options={"num_ctx": 512}), smart_model, "client")

    assert wish == LoadWish(num_ctx=512)


# ---- formats ----


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_object", "schema": SCHEMA}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "z", "schema": SCHEMA, "strict": True}}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "z", "schema": SCHEMA}}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "z"}}, {"type": "object"}),
    ],
)
def test_a_response_format_is_held(smart_model: StoredModel, response_format: dict[str, Any], schema: object) -> None:
    written = wanted(smart_model, response_format=response_format).answer_schema

    assert (json.loads(written) if written else None) == schema


@pytest.mark.parametrize(
    "response_format", [{"type": "grammar"}, {}, {"type": "json_schema", "json_schema": {"name": "z", "schema": [1]}}]
)
def test_a_response_format_that_is_none_is_refused(smart_model: StoredModel, response_format: dict[str, Any]) -> None:
    assert blamed(smart_model, response_format=response_format).field == "response_format"


# ---- tools ----


@pytest.mark.parametrize(
    ("tool_choice", "choice", "name", "offered"),
    [
        (None, "auto", "", ["add", "subtract"]),
        ("auto", "auto", "", ["add", "subtract"]),
        ("none", "none", "", ["add", "subtract"]),
        ("required", "required", "", ["add", "subtract"]),
        ({"type": "function", "function": {"name": "add"}}, "required", "add", ["add", "subtract"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
            "auto",
            "",
            ["subtract"],
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL, OTHER]}},
            "required",
            "",
            ["add", "subtract"],
        ),
    ],
)
def test_a_tool_choice_reaches_the_runner(
    smart_model: StoredModel, tool_choice: object, choice: str, name: str, offered: list[str]
) -> None:
    request = wanted(smart_model, tools=[TOOL, OTHER], tool_choice=tool_choice)

    assert (request.tool_choice, request.tool_choice_name) == (choice, name)
    assert [tool["function"]["name"] for tool in request.tools] == offered


@pytest.mark.parametrize(
    "tool_choice",
    [
        "always",
        5,
        {"type": "function"},
        {"type": "function", "function": {"name": "multiply"}},
        {"type": "custom", "custom": {"name": "add"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [TOOL]}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "custom", "name": "add"}]}},
        {"type": "allowed_tools"},
    ],
)
def test_a_tool_choice_that_is_none_is_refused(smart_model: StoredModel, tool_choice: object) -> None:
    error = blamed(smart_model, tools=[TOOL], tool_choice=tool_choice)

    assert error.field == "tool_choice"


def test_a_call_cannot_be_demanded_without_tools_nor_with_a_schema(smart_model: StoredModel) -> None:
    error = blamed(smart_model, tool_choice="required")
    assert "there are no tools" in error.message

    both = {"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}}
    error = blamed(smart_model, **(both))
    assert "cannot both call a tool and obey a schema" in error.message


@pytest.mark.parametrize(("parallel", "one_call"), [(None, False), (True, False), (False, True)])
def test_calls_may_be_bounded_to_one(smart_model: StoredModel, parallel: bool | None, one_call: bool) -> None:
    assert wanted(smart_model, tools=[TOOL], parallel_tool_calls=parallel).one_call is one_call


def test_custom_tools_are_refused(smart_model: StoredModel) -> None:
    with pytest.raises(BadRequest, match='of the type "function"'):
        wanted(smart_model, tools=[{"type": "custom", "custom": {"name": "add"}}])


@pytest.mark.parametrize(
    ("function_call", "choice", "name"),
    [(None, "auto", ""), ("none", "none", ""), ("auto", "auto", ""), ({"name": "add"}, "required", "add")],
)
def test_functions_of_former_times_are_tools(
    smart_model: StoredModel, function_call: object, choice: str, name: str
) -> None:
    request = wanted(smart_model, functions=[TOOL["function"]], function_call=function_call)

    assert request.tools == (TOOL,)
    assert (request.tool_choice, request.tool_choice_name, request.one_call) == (choice, name, True)


def test_functions_of_former_times_and_tools_do_not_go_together(smart_model: StoredModel) -> None:
    error = blamed(smart_model, functions=[TOOL["function"]], tools=[TOOL])
    assert error.field == "functions"

    error = blamed(smart_model, functions=[TOOL["function"]], function_call="always")
    assert error.field == "function_call"


def test_tools_are_refused_where_the_model_cannot_call(tiny_model: StoredModel) -> None:
    with pytest.raises(Unsupported, match='"tiny:latest" does not support tools'):
        wanted(tiny_model, tools=[TOOL])

    assert wanted(tiny_model, tools=[TOOL], tool_choice="none").tool_choice == "none"


# ---- thinking ----


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": "medium"}, "medium"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning_effort": "xhigh"}, "high"),
        ({"reasoning": {"effort": "low"}}, "low"),
        ({"reasoning": {}}, None),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"thinking": True}}, True),
    ],
)
def test_how_much_to_think_reaches_the_runner(smart_model: StoredModel, fields: dict[str, Any], think: object) -> None:
    assert wanted(smart_model, **fields).think == think


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"mood": True}}, "chat_template_kwargs"),
    ],
)
def test_an_effort_that_is_none_is_refused(smart_model: StoredModel, fields: dict[str, Any], param: str) -> None:
    assert blamed(smart_model, **fields).field == param


def test_effort_is_refused_where_the_model_cannot_think(tiny_model: StoredModel) -> None:
    for fields in ({"reasoning_effort": "low"}, {"chat_template_kwargs": {"enable_thinking": True}}):
        with pytest.raises(Unsupported, match='"tiny:latest" does not support thinking'):
            wanted(tiny_model, **fields)

    assert wanted(tiny_model, reasoning_effort="none").think is False


# ---- the rest ----


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"verbosity": "low"}, "verbosity"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"store": True}, "store"),
        ({"prompt_cache_options": {"mode": "explicit"}}, "prompt_cache_options"),
    ],
)
def test_what_cannot_be_honoured_is_refused(smart_model: StoredModel, fields: dict[str, Any], param: str) -> None:
    assert blamed(smart_model, **fields).field == param


def test_what_asks_for_nothing_special_has_no_effect(smart_model: StoredModel) -> None:
    fields = {
        "user": "someone",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "prompt_cache_key": "key",
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "implicit"},
        "safety_identifier": "someone",
        "verbosity": "medium",
        "modalities": ["text"],
        "prediction": {"type": "content", "content": "Hello"},
        "stream_options": {"include_obfuscation": True},
    }

    assert wanted(smart_model, **fields) == wanted(smart_model)


def test_sound_is_refused(smart_model: StoredModel) -> None:
    with pytest.raises(Unsupported, match='"smart:latest" does not support audio output'):
        wanted(smart_model, modalities=["text", "audio"])


def test_a_model_that_does_not_chat_says_so(smart_model: StoredModel) -> None:
    encoder = replace(smart_model, facts=replace(smart_model.facts, capabilities=("embedding",)))

    with pytest.raises(Unsupported, match="does not support chat"):
        wanted(encoder)


def test_the_system_message_of_the_model_opens_a_conversation_that_has_none(smart_model: StoredModel) -> None:
    polite = replace(smart_model, system="Be polite.")

    assert wanted(polite).messages[0] == ChatMessage(role="system", content="Be polite.")
    own = wanted(polite, messages=[{"role": "developer", "content": "Be rude."}, *QUESTION])
    assert [message.content for message in own.messages] == ["Be rude.", "Hi"]
