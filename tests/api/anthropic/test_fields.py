"""Each documented field of /v1/messages reaches the runner, or is refused with one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paddock.api.anthropic import schemas
from paddock.api.anthropic.asking import chat_request, sampling_of
from paddock.api.anthropic.schemas import MessagesBody
from paddock.errors import BadRequest, Unsupported
from paddock.protocol import ChatRequest, Sampling
from paddock.store.create import CreateSpec, create, import_folder
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName
from tests.api.anthropic.conftest import ADD, QUESTION, TEMPLATE, Asking, body
from tests.api.conftest import write_model_folder

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
WRITTEN_SCHEMA = json.dumps(SCHEMA, separators=(",", ":"))
BUDGET = {"type": "enabled", "budget_tokens": 1024}
FUNCTION = {"name": "add", "description": "Adds two numbers.", "parameters": ADD["input_schema"]}
TOOL = {"type": "function", "function": FUNCTION}
STRICT = {"type": "function", "function": {**FUNCTION, "strict": True}}

Models = Mapping[str, StoredModel]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """`tiny` neither thinks nor calls tools, `smart` does both; `own` brings a lot along."""
    folder = tmp_path_factory.mktemp("store")
    library = Library(folder / "models")
    import_folder(library, ModelName.parse("tiny"), write_model_folder(folder / "tiny"))
    parameters = {"temperature": 0.1, "top_k": 3, "stop": ["END"], "num_predict": 5, "num_ctx": 512}
    for spec in (
        CreateSpec(ModelName.parse("smart"), "tiny", template=TEMPLATE),
        CreateSpec(ModelName.parse("own"), "tiny", parameters=parameters, system="Be a fox."),
    ):
        create(library, spec, lambda _: None)
    return {name: library.get(ModelName.parse(name)) for name in ("tiny", "smart", "own")}


def asked(models: Models, **fields: Any) -> ChatRequest:
    """The request that a body with these fields becomes."""
    found = msgspec.convert(body(**fields), MessagesBody)
    model = models[found.model or ""]
    return msgspec.structs.replace(chat_request(found, model), sampling=sampling_of(found, model)[0])


def special(request: ChatRequest) -> dict[str, Any]:
    """What of a request differs from the plainest one."""
    plain = {"messages", "template", "think", "sampling", "truncate"}
    found = msgspec.json.decode(msgspec.json.encode(request))
    return {name: value for name, value in found.items() if name not in plain}


def test_the_plainest_request_thinks_nothing_and_cuts_nothing(models: Models) -> None:
    request = asked(models)

    assert special(request) == {}
    assert request.think is False
    assert request.truncate is False
    assert request.sampling == Sampling(num_predict=100)
    assert [(turn.role, turn.content) for turn in request.messages] == [("user", "Hi")]


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"max_tokens": 1}, {"num_predict": 1}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"top_p": 0.25}, {"top_p": 0.25}),
        ({"top_k": 7}, {"top_k": 7}),
        ({"top_k": 0}, {"top_k": 0}),
        ({"stop_sequences": ["A", "\n\n"]}, {"stop": ("A", "\n\n")}),
        ({"stop_sequences": []}, {}),
    ],
)
def test_sampling_reaches_the_runner(models: Models, fields: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert asked(models, **fields).sampling == Sampling(**{"num_predict": 100, **sampling})


def test_a_models_own_parameters_are_the_defaults(models: Models) -> None:
    found = msgspec.convert(body(model="own", top_k=9), MessagesBody)

    sampling, wish = sampling_of(found, models["own"])

    assert sampling == Sampling(temperature=0.1, top_k=9, stop=("END",), num_predict=100)
    assert wish.num_ctx == 512


def test_the_system_prompt_takes_the_place_of_the_models_own(models: Models) -> None:
    own = asked(models, model="own").messages
    given = asked(models, model="own", system="Be an owl.").messages

    assert [(turn.role, turn.content) for turn in own] == [("system", "Be a fox."), ("user", "Hi")]
    assert [(turn.role, turn.content) for turn in given] == [("system", "Be an owl."), ("user", "Hi")]


def with_tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{**ADD, **fields}]}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (with_tool(), {"tools": [TOOL]}),
        (with_tool(type="custom", cache_control={"type": "ephemeral"}), {"tools": [TOOL]}),
        (with_tool(eager_input_streaming=True, defer_loading=False), {"tools": [TOOL]}),
        (with_tool(allowed_callers=["direct"], strict=False), {"tools": [TOOL]}),
        (with_tool(strict=True), {"tools": [STRICT]}),
        ({**with_tool(), "tool_choice": {"type": "auto"}}, {"tools": [TOOL]}),
        ({**with_tool(), "tool_choice": {"type": "none"}}, {"tools": [TOOL], "tool_choice": "none"}),
        ({**with_tool(), "tool_choice": {"type": "any"}}, {"tools": [TOOL], "tool_choice": "required"}),
        (
            {**with_tool(strict=True), "tool_choice": {"type": "tool", "name": "add"}},
            {"tools": [STRICT], "tool_choice": "required", "tool_choice_name": "add"},
        ),
        (
            {**with_tool(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tools": [TOOL], "one_call": True},
        ),
        ({"output_config": {"format": FORMAT}}, {"answer_schema": WRITTEN_SCHEMA}),
        ({"output_format": FORMAT}, {"answer_schema": WRITTEN_SCHEMA}),
        ({"thinking": BUDGET, "max_tokens": 1025}, {"thinking_budget": 1024}),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "I am"}]}, {"prefill": "I am"}),
    ],
)
def test_a_field_reaches_the_runner(models: Models, fields: dict[str, Any], found: dict[str, Any]) -> None:
    assert special(asked(models, **fields)) == found


def test_examples_of_a_tools_input_stand_in_its_schema(models: Models) -> None:
    [tool] = asked(models, **with_tool(input_examples=[{"a": 3}])).tools

    assert tool["function"]["parameters"]["examples"] == [{"a": 3}]


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, False),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, True),
        ({"thinking": {"type": "adaptive"}, "model": "tiny"}, False),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "high"),
        ({"thinking": BUDGET, "max_tokens": 2000, "output_config": {"effort": "medium"}}, "medium"),
    ],
)
def test_how_much_the_model_thinks(models: Models, fields: dict[str, Any], think: object) -> None:
    assert asked(models, **fields).think == think


NO_EFFECT: list[dict[str, Any]] = [
    {"metadata": {"user_id": "somebody"}},
    {"service_tier": "auto"},
    {"service_tier": "standard_only"},
    {"speed": "standard"},
    {"inference_geo": "global"},
    {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"mcp_servers": []},
    {"diagnostics": {"previous_message_id": None}},
    {"context_management": {}},
    {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
    {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "all"}}]}},
    {"output_config": {"effort": "high"}},
    {"nobody_documents_this": True},
]


@pytest.mark.parametrize("fields", NO_EFFECT, ids=lambda fields: str(fields)[:60])
def test_a_field_that_asks_for_nothing_special_is_accepted(models: Models, fields: dict[str, Any]) -> None:
    assert asked(models, **fields) == asked(models)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, '"max_tokens" is required: say how many tokens the answer may have.'),
    ({"max_tokens": 0}, '"max_tokens" must be between 1 and'),
    ({"messages": None}, '"messages" must hold at least one turn.'),
    ({"messages": []}, '"messages" must hold at least one turn.'),
    ({"temperature": 1.5}, '"temperature" must be between 0 and 1.'),
    ({"temperature": -0.1}, '"temperature" must be between 0 and 1.'),
    ({"top_p": 2}, '"top_p" must be between 0 and 1.'),
    ({"top_k": -1}, '"top_k" must be between 0 and'),
    ({"stop_sequences": [""]}, 'Each string of "stop_sequences" must be valid text'),
    ({"stop_sequences": ["a"] * 17}, '"stop_sequences" must hold at most 16 strings.'),
    ({"system": [{"type": "image"}]}, '"system" must be a text, or blocks of the type "text".'),
    ({"system": [{"type": "text"}]}, '"system" must be a text, or blocks of the type "text".'),
    (with_tool(type="web_search_20250305"), 'Tools of the type "web_search_20250305" are Anthropic\'s own'),
    (with_tool(input_schema=None), 'Each tool must have an "input_schema".'),
    (with_tool(name="a b"), "The name of a tool must have"),
    (with_tool(defer_loading=True), '"defer_loading" is not supported'),
    (with_tool(allowed_callers=["code_execution_20250825"]), "Tools can only be called directly"),
    ({"tools": [ADD, ADD]}, "Two of the tools have the same name"),
    ({"tools": [ADD], "tool_choice": {"type": "all"}}, 'The type of "tool_choice" must be'),
    ({"tools": [ADD], "tool_choice": {"type": "tool", "name": "subtract"}}, '"tool_choice" names a tool'),
    ({"tool_choice": {"type": "any"}}, '"tool_choice" needs "tools" to choose from.'),
    ({"model": "tiny", "tools": [ADD]}, '"tiny:latest" does not support tools'),
    ({"model": "tiny", "thinking": BUDGET, "max_tokens": 2000}, '"tiny:latest" does not support thinking'),
    ({"thinking": {"type": "between_tools"}}, 'The type of "thinking" must be'),
    ({"thinking": {"type": "enabled"}}, '"thinking.budget_tokens" must be at least 1024.'),
    ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, '"thinking.budget_tokens" must be at least 1024.'),
    ({"thinking": BUDGET, "max_tokens": 1024}, '"max_tokens" must be greater than "thinking.budget_tokens".'),
    ({"thinking": {"type": "adaptive", "display": "loud"}}, 'The display of "thinking" must be'),
    ({"output_config": {"effort": "some"}}, '"output_config.effort" must be one of low, medium, high, xhigh, max.'),
    ({"output_config": {"format": {"type": "text"}}}, 'The format of an answer must be of the type "json_schema"'),
    ({"output_config": {"format": FORMAT}, "output_format": FORMAT}, "send one of the two"),
    ({"output_config": {"format": FORMAT}, "tools": [ADD]}, '"output_config.format" cannot be combined with tools'),
    ({"mcp_servers": [{"url": "http://x"}]}, '"mcp_servers" is not supported'),
    ({"container": "c"}, '"container" is not supported'),
    ({"fallbacks": [{}]}, '"fallbacks" is not supported'),
    ({"fallback_credit_token": "t"}, '"fallback_credit_token" is not supported'),
    ({"billing_policy": {}}, '"billing_policy" is not supported'),
    ({"compaction": {}}, '"compaction" is not supported'),
    ({"thread": {}}, '"thread" is not supported'),
    ({"diagnostics": {"previous_message_id": "msg_1"}}, '"diagnostics" is not supported'),
    ({"speed": "fast"}, '"speed" is not supported'),
    ({"inference_geo": "us"}, '"inference_geo" is not supported'),
    ({"service_tier": "gold"}, '"service_tier" must be "auto" or "standard_only".'),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, '"context_management" is not'),
    (
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"value": 1}}]}},
        '"context_management" is not',
    ),
    (
        {"messages": [*QUESTION, {"role": "assistant", "content": "{"}], "output_config": {"format": FORMAT}},
        "An answer that has to be a call or JSON cannot be begun",
    ),
    (
        {"messages": [*QUESTION, {"role": "assistant", "content": "I"}], "thinking": {"type": "adaptive"}},
        "An answer cannot be begun while thinking is on",
    ),
]


@pytest.mark.parametrize(("fields", "sentence"), REFUSED, ids=lambda case: str(case)[:60])
def test_what_cannot_be_honoured_is_refused(models: Models, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(models, **fields)

    assert sentence in caught.value.message


async def test_a_refusal_is_a_400_that_loads_nothing(asking: Asking) -> None:
    for fields, sentence in (
        ({"model": ""}, "model is required"),
        ({"max_tokens": "many"}, '"max_tokens" must be of type int, not str.'),
        ({"temperature": 1.5}, '"temperature" must be between 0 and 1.'),
        (with_tool(defer_loading=True), '"defer_loading" is not supported'),
    ):
        status, answer = await asking.ask(**fields)

        assert status == 400
        assert answer["error"]["type"] == "invalid_request_error"
        assert sentence in answer["error"]["message"]
    assert not asking.served.servers.made


def test_a_model_that_makes_pictures_does_not_talk(image_store: Path) -> None:
    painter = Library(image_store).get(ModelName.parse("zimage"))

    with pytest.raises(Unsupported, match="does not support messages"):
        chat_request(msgspec.convert(body(), MessagesBody), painter)


def test_every_field_says_what_becomes_of_it() -> None:
    named = [
        schemas.MessagesBody,
        *(schemas.CountTokensBody, schemas.Turn, schemas.Block, schemas.SystemBlock, schemas.Source),
        *(schemas.Citations, schemas.Tool),
        *(schemas.ToolChoice, schemas.ThinkingWish, schemas.OutputConfig, schemas.OutputFormat, schemas.Diagnostics),
    ]
    for kind in named:
        for name in kind.__struct_fields__:
            clause = schemas.FIELDS.get(f"{kind.__name__}.{name}", schemas.FIELDS.get(name, ""))
            assert clause.startswith(("honoured", "no effect", "400")), f"{kind.__name__}.{name}"
