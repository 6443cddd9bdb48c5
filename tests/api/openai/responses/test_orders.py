"""Every field of /v1/responses: what the runner got of it, what the response tells of it, or why it was refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from paddock.api.openai.fields import new_id
from paddock.api.openai.responses.orders import Order, Origin, order_of
from paddock.api.openai.responses.schemas import ResponseBody
from paddock.errors import BadRequest, InvalidField
from paddock.store.create import import_folder
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName
from tests.api.conftest import write_model_folder

ASK: dict[str, Any] = {"model": "smart", "input": "Hi"}
TOOL: dict[str, Any] = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
OTHER = TOOL | {"name": "sub", "description": "Subtract.", "strict": False}
SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    """A stored model that only completes."""
    library = Library(tmp_path_factory.mktemp("models"))
    import_folder(library, ModelName.parse("tiny"), write_model_folder(tmp_path_factory.mktemp("tiny")))
    return library.get(ModelName.parse("tiny"))


@pytest.fixture(scope="module")
def smart(tiny: StoredModel) -> StoredModel:
    """One that thinks and calls tools as well."""
    return replace(tiny, facts=replace(tiny.facts, capabilities=("completion", "tools", "thinking")))


def ordered(model: StoredModel, **fields: object) -> Order:
    origin = Origin(client="me", tenant="mine", created_at=1)
    return order_of(msgspec.convert(ASK | fields, ResponseBody), model, origin, new_id)


def told(order: Order) -> dict[str, Any]:
    """The response before anything is said, as clients read it."""
    return dict(json.loads(msgspec.json.encode(order.response)))


# ---- honoured -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": None}, {"temperature": 0.5}),
        ({"top_p": 0.25}, {"top_p": 0.25}),
        ({"max_output_tokens": 7}, {"num_predict": 7}),
        ({"seed": 9}, {"seed": 9}),
        ({"options": {"top_k": 3, "temperature": 1}, "temperature": 2}, {"top_k": 3, "temperature": 2.0}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({}, {"temperature": 0.5, "top_p": 0.75, "logprobs": False}),
    ],
)
def test_options_reach_the_runner_over_the_models_own(
    smart: StoredModel, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    order = ordered(replace(smart, parameters={"temperature": 0.5, "top_p": 0.75}), **fields)

    sampling, answer = order.wanted.sampling, told(order)
    assert {name: getattr(sampling, name) for name in expected} == expected
    assert (answer["temperature"], answer["top_p"]) == (sampling.temperature, sampling.top_p)


@pytest.mark.parametrize(
    ("effort", "think"),
    [(None, None), ("none", False), ("minimal", "low"), ("low", "low"), ("high", "high"), ("xhigh", "high")],
)
def test_effort_reaches_the_runner(smart: StoredModel, effort: str | None, think: object) -> None:
    order = ordered(smart, reasoning={"effort": effort})
    answer = told(order)

    assert order.wanted.think == think
    assert answer["reasoning"] == {"effort": effort, "summary": None}


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        ({"type": "text"}, ""),
        ({"type": "json_object"}, '{"type":"object"}'),
        ({"type": "json_schema", "name": "it", "schema": SCHEMA, "strict": True}, json.dumps(SCHEMA)),
    ],
)
def test_a_format_reaches_the_runner_and_is_told(smart: StoredModel, wanted: dict[str, Any], schema: str) -> None:
    order = ordered(smart, text={"format": wanted, "verbosity": "medium"})
    answer = told(order)

    assert order.wanted.answer_schema == schema.replace(" ", "")
    assert answer["text"] == {"format": wanted, "verbosity": "medium"}


@pytest.mark.parametrize(
    ("choice", "names", "word", "name"),
    [
        (None, ["add", "sub"], "auto", ""),
        ("none", ["add", "sub"], "none", ""),
        ("required", ["add", "sub"], "required", ""),
        ({"type": "function", "name": "sub"}, ["add", "sub"], "required", "sub"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [TOOL]}, ["add"], "auto", ""),
        ({"type": "allowed_tools", "mode": "required", "tools": [TOOL]}, ["add"], "required", ""),
    ],
)
def test_tools_and_their_choice_reach_the_runner(
    smart: StoredModel, choice: object, names: list[str], word: str, name: str
) -> None:
    order = ordered(smart, tools=[TOOL, OTHER], tool_choice=choice)
    answer = told(order)

    request = order.wanted
    assert [tool["function"]["name"] for tool in request.tools] == names
    assert (request.tool_choice, request.tool_choice_name) == (word, name)
    assert answer["tool_choice"] == (choice or "auto")
    assert answer["tools"] == [TOOL | {"description": None, "strict": True}, OTHER]


@pytest.mark.parametrize("parallel", [None, True, False])
def test_an_answer_may_have_to_end_with_its_first_call(smart: StoredModel, parallel: bool | None) -> None:
    order = ordered(smart, tools=[TOOL], parallel_tool_calls=parallel)
    answer = told(order)

    assert order.wanted.one_call is (parallel is False)
    assert answer["parallel_tool_calls"] is (parallel is not False)


@pytest.mark.parametrize(("truncation", "truncates"), [(None, False), ("disabled", False), ("auto", True)])
def test_truncation_reaches_the_runner(smart: StoredModel, truncation: str | None, truncates: bool) -> None:
    order = ordered(smart, truncation=truncation)
    answer = told(order)

    assert order.wanted.truncate is truncates
    assert answer["truncation"] == (truncation or "disabled")


def test_a_models_own_system_message_gives_way_to_instructions(smart: StoredModel) -> None:
    own = replace(smart, system="Be kind.")

    for fields, system in (({}, "Be kind."), ({"instructions": "Be brief."}, "Be brief.")):
        order = ordered(own, **fields)
        assert [message.content for message in order.wanted.messages] == [system, "Hi"]
        assert told(order)["instructions"] == fields.get("instructions")


def test_what_asks_for_nothing_comes_back_as_it_was(smart: StoredModel) -> None:
    fields = {
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "max_tool_calls": 3,
        "max_output_tokens": 100,
    }
    nothing = {
        "service_tier": "auto",
        "background": False,
        "context_management": [],
        "conversation": None,
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "implicit"},
        "reasoning": {"context": "auto", "mode": "standard"},
        "include": ["web_search_call.results"],
        "a_field_of_tomorrow": {"x": 1},
    }

    order = ordered(smart, **fields, **nothing)
    answer = told(order)

    assert {name: answer[name] for name in fields} == fields
    assert (answer["service_tier"], answer["background"], answer["error"]) == ("default", False, None)


def test_a_request_says_who_asks(smart: StoredModel) -> None:
    order = ordered(smart)

    assert (order.wanted.client, order.wanted.tenant) == ("me", "mine")


def test_a_model_may_be_asked_to_stay_or_to_be_loaded_otherwise(smart: StoredModel) -> None:
    assert ordered(smart, options={"num_ctx": 64}).wish.num_ctx == 64


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "sentence"),
    [
        ({"input": None}, "input", '"input" is required, or "previous_response_id".'),
        ({"input": []}, "input", '"input" is required'),
        ({"conversation": "conv_1"}, "conversation", "use previous_response_id."),
        ({"prompt": {"id": "p"}}, "prompt", "prompts are not kept here"),
        ({"background": True}, "background", "while its request waits"),
        ({"background_options": {"completion_window": "2h"}}, "background_options", "while its request waits"),
        ({"context_management": [{"type": "compaction"}]}, "context_management", "are not compacted here"),
        ({"moderation": {"model": "m"}}, "moderation", "nothing here moderates"),
        ({"access_programs": {"cyber": "standard"}}, "access_programs", "there are none here"),
        ({"image": {"context_compression": "enabled"}}, "image", "looks at pictures"),
        ({"service_tier": "flex"}, "service_tier", '"service_tier" must be auto or default here.'),
        ({"truncation": "middle"}, "truncation", '"truncation" must be auto or disabled here.'),
        ({"prompt_cache_retention": "1w"}, "prompt_cache_retention", "must be in_memory"),
        ({"prompt_cache_options": {"mode": "explicit"}}, "prompt_cache_options", "nothing but the mode implicit"),
        ({"include": ["everything"]}, "include", '"include" holds what is not known'),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", '"reasoning.effort" must be one of'),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary", "must be auto or detailed here."),
        ({"reasoning": {"generate_summary": "concise"}}, "reasoning.generate_summary", "must be auto or detailed"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context", "must be auto here."),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "must be standard here."),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "must be medium here."),
        ({"text": {"format": {"type": "xml"}}}, "text.format", 'The type of "text.format" must be'),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "must have a schema"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16 pairs"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "its values 512"),
        ({"metadata": {"k" * 65: "v"}}, "metadata", "may have 64 characters"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options", 'needs "stream" to be true'),
        ({"max_output_tokens": 0}, "max_output_tokens", "must be at least 1"),
        ({"max_tool_calls": 0}, "max_tool_calls", "must be at least 1"),
        ({"temperature": 2.5}, "temperature", "must be between 0 and 2"),
        ({"top_p": -1}, "top_p", "must be between 0 and 1"),
        ({"top_logprobs": 21}, "top_logprobs", "must be between 0 and 20"),
        ({"tools": [{"type": "web_search"}]}, "", 'is of the type "web_search", which is not supported'),
        ({"tools": [{"type": "custom", "name": "x"}]}, "", 'is of the type "custom"'),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "", 'is of the type "mcp"'),
        ({"tools": [TOOL | {"name": ""}]}, "", "The name of a tool must have 1 to 128 letters"),
        ({"tools": [TOOL | {"defer_loading": True}]}, "", "are not supported: leave them out."),
        ({"tools": [TOOL | {"async": True}]}, "", "are not supported: leave them out."),
        ({"tools": [TOOL | {"allowed_callers": ["programmatic"]}]}, "", 'nothing but ["direct"]'),
        ({"tools": [TOOL, TOOL]}, "", "have the same name"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tool_choice": "always"}, "tool_choice", '"tool_choice" must be none, auto or required'),
        ({"tool_choice": {"type": "function", "name": "mul"}, "tools": [TOOL]}, "tool_choice", 'names "mul"'),
        ({"tool_choice": {"type": "web_search_preview"}, "tools": [TOOL]}, "tool_choice", "must be none, auto"),
        ({"options": {"invented": 1}}, "", 'unknown option "invented"'),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_words(
    smart: StoredModel, fields: dict[str, Any], param: str, sentence: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        ordered(smart, **fields)

    assert sentence in caught.value.message
    assert caught.value.message.endswith(".") or not param
    assert (caught.value.field if isinstance(caught.value, InvalidField) else "") == param


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tools": [TOOL]}, '"tiny:latest" does not support tools'),
        ({"reasoning": {"effort": "low"}}, '"tiny:latest" does not support thinking'),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"}]},
            '"tiny:latest" does not support tools',
        ),
    ],
)
def test_a_model_is_asked_only_for_what_it_can_do(tiny: StoredModel, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ordered(tiny, **fields)

    assert caught.value.message == sentence


def test_a_model_that_makes_pictures_or_vectors_does_not_respond(smart: StoredModel) -> None:
    for changes in ({"engine": "image"}, {"capabilities": ("embedding",)}):
        with pytest.raises(BadRequest, match="does not answer in words"):
            ordered(replace(smart, facts=replace(smart.facts, **changes)))
