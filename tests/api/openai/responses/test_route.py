"""/v1/responses over runners that do what they are told, mostly through the published client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from paddock.errors import OutOfMemory, RunnerDied
from paddock.keys import KeyFile, Terms, new_key
from paddock.protocol import Likelihood, Text, TokenLogprobs
from tests.api.conftest import Served
from tests.api.openai.responses.conftest import ANSWER, CALL, asked
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

ASK: dict[str, Any] = {"model": "smart", "input": "Hi"}
PATH = "/v1/responses"


# ---- one answer -----------------------------------------------------------------------------------------------------


async def test_an_answer_has_thinking_text_and_calls(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(**ASK)

    thinking, message, call = response.output
    assert (thinking.type, message.type, call.type) == ("reasoning", "message", "function_call")
    assert response.output_text == "Yes"
    assert [part.text for part in thinking.content or ()] == ["Hm"]
    assert thinking.summary == []
    assert (call.call_id, call.name, json.loads(call.arguments)) == ("call_1", "add", CALL.arguments)
    assert response.status == "completed"
    assert [item.id.partition("_")[0] for item in (response, *response.output)] == ["resp", "rs", "msg", "fc"]


async def test_an_answer_is_what_the_client_takes_for_one(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.with_raw_response.create(**ASK, tools=[tool()], metadata={"a": "b"})
    raw = response.http_response.json()

    # The client reads whatever it gets; its types, taken strictly, say what it relies on.
    found = openai.types.responses.Response.model_validate(raw)
    assert found.usage is not None
    assert found.usage.output_tokens == 9
    assert found.usage.total_tokens == found.usage.input_tokens + 9
    assert found.completed_at is not None
    assert found.completed_at >= found.created_at > 1_700_000_000
    assert (found.metadata, found.tool_choice, found.truncation) == ({"a": "b"}, "auto", "disabled")
    assert set(raw) <= set(openai.types.responses.Response.model_fields) | {"store"}


async def test_the_same_answer_comes_as_typed_events(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(**ASK) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()

    names = [event.type.removeprefix("response.") for event in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-1] == "completed"
    assert names.count("output_item.added") == names.count("output_item.done") == 3
    assert [event.sequence_number for event in events] == list(range(len(events)))
    snapshots = [event.snapshot for event in events if event.type == "response.output_text.delta"]
    assert snapshots == ["Ye", "Yes"]
    assert final.output_text == "Yes"
    assert (await client.responses.retrieve(final.id)).output_text == "Yes"


@pytest.mark.parametrize("fields", [{}, {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}])
async def test_every_event_is_what_the_client_takes_for_it(smart: Served, fields: dict[str, Any]) -> None:
    known = pydantic.TypeAdapter[Any](openai.types.responses.ResponseStreamEvent)
    async with smart.session.post(smart.url + PATH, json=ASK | {"stream": True} | fields) as answer:
        text = (await answer.read()).decode()

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    for block in text.rstrip("\n").split("\n\n"):
        event, data = block.split("\n")
        told = known.validate_json(data.removeprefix("data: "))
        assert event == f"event: {told.type}"


async def test_an_answer_that_was_cut_is_incomplete(smart: Served, client: openai.AsyncOpenAI) -> None:
    smart.script("smart:latest").answer = (Text(content="Ye"), done(reason="length"))

    response = await client.responses.create(**ASK, max_output_tokens=1)

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    async with client.responses.stream(**ASK) as stream:
        assert [event.type async for event in stream][-1] == "response.incomplete"


async def test_thinking_may_be_asked_for_as_its_summary(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(**ASK, reasoning={"summary": "auto"})

    thinking = response.output[0]
    assert thinking.type == "reasoning"
    assert [part.text for part in thinking.summary] == ["Hm"]
    assert response.reasoning is not None
    assert response.reasoning.summary == "auto"


async def test_likelihoods_come_where_they_are_asked_for(smart: Served, client: openai.AsyncOpenAI) -> None:
    top = (Likelihood(token="Yes", logprob=-0.1, bytes=(89,)),)
    token = TokenLogprobs(token="Yes", logprob=-0.1, bytes=(89,), top=top)
    smart.script("smart:latest").answer = (Text(content="Yes", logprobs=(token,)), done())

    response = await client.responses.create(**ASK, include=["message.output_text.logprobs"], top_logprobs=1)

    [message] = response.output
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    [found] = part.logprobs or ()
    assert (found.token, found.logprob, found.bytes) == ("Yes", -0.1, [89])
    assert found.top_logprobs[0].token == "Yes"
    assert (asked(smart).sampling.logprobs, asked(smart).sampling.top_logprobs) == (True, 1)


async def test_structured_text_is_parsed(smart: Served, client: openai.AsyncOpenAI) -> None:
    class Person(pydantic.BaseModel):
        name: str
        age: int

    smart.script("smart:latest").answer = (Text(content='{"name":"Ada",'), Text(content='"age":36}'), done())

    response = await client.responses.parse(**ASK, text_format=Person)

    assert response.output_parsed == Person(name="Ada", age=36)
    schema = json.loads(asked(smart).answer_schema)
    assert schema["required"] == ["name", "age"]
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_schema"


async def test_deltas_are_padded_where_that_is_asked_for(smart: Served) -> None:
    deltas = []
    for options in ({"include_obfuscation": True}, {"include_obfuscation": False}, {}):
        body = ASK | {"stream": True, "stream_options": options}
        async with smart.session.post(smart.url + PATH, json=body) as answer:
            lines = [line async for line in answer.content if line.startswith(b"data: ")]
        deltas.append([event for line in lines if "delta" in (event := json.loads(line[6:]))])

    padded, *others = deltas
    assert {len(event["delta"] + event["obfuscation"]) % 32 for event in padded} == {0}
    assert not any("obfuscation" in event for events in others for event in events)


# ---- what goes wrong ------------------------------------------------------------------------------------------------


async def test_an_error_before_the_first_event_has_its_status(smart: Served, client: openai.AsyncOpenAI) -> None:
    smart.script("smart:latest").answer = (OutOfMemory("There is no memory left: try later."),)

    for is_streamed in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(**ASK, stream=is_streamed)
        assert caught.value.status_code == 507
        assert caught.value.body == {
            "message": "There is no memory left: try later.",
            "type": "api_error",
            "param": None,
            "code": None,
        }


async def test_a_late_error_is_an_event_and_a_failed_response(smart: Served, client: openai.AsyncOpenAI) -> None:
    smart.script("smart:latest").answer = (Text(content="Ye"), RunnerDied("The runner died: try again."))

    async with client.responses.stream(**ASK) as stream:
        events = [event async for event in stream]

    *_, done_event, error, failed = events
    assert done_event.type == "response.output_item.done"
    assert (error.type, error.code, error.message) == ("error", "server_error", "The runner died: try again.")
    assert failed.type == "response.failed"
    assert failed.response.error is not None
    assert failed.response.error.message == "The runner died: try again."
    assert failed.response.output_text == "Ye"
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(failed.response.id)


async def test_what_is_wrong_is_told_before_anything_is_loaded(smart: Served) -> None:
    for fields, param, sentence in (
        ({"model": None}, None, "model is required"),
        ({"input": 5}, "input", '"input" must be of type'),
        ({"instructions": 5}, "instructions", "must be of type str"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", '"text.verbosity" must be medium here.'),
        ({"keep_alive": "soon"}, None, "is not a duration"),
    ):
        status, answer = await smart.post(PATH, ASK | fields)
        assert status == 400, answer
        assert sentence in answer["error"]["message"]
        assert (answer["error"]["param"], answer["error"]["type"]) == (param, "invalid_request_error")
    assert smart.servers.made == []


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nobody' not found"):
        await client.responses.create(model="nobody", input="Hi")


async def test_a_client_that_goes_cancels_the_answer(smart: Served) -> None:
    gate = asyncio.Event()
    smart.script("smart:latest").answer = (*ANSWER[:3], gate, done())

    async with smart.session.post(smart.url + PATH, json=ASK | {"stream": True}) as answer:
        await answer.content.readline()
    [server] = smart.servers.made
    await until(lambda: "cancelled" in server.calls)
    await until(lambda: smart.is_at_rest)

    assert server.active == 0


async def test_a_prompt_is_counted_without_an_answer(smart: Served, client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="smart", input="one two")
    counted = await client.responses.input_tokens.count(
        model="smart", input="three", instructions="four", previous_response_id=first.id, tools=[tool()]
    )

    assert counted.input_tokens == len(["four", "one", "two", "Yes", "three"])
    assert smart.servers.made[-1].calls[-1] == "count"
    with pytest.raises(openai.BadRequestError, match="personality"):
        await client.responses.input_tokens.count(model="smart", input="Hi", personality="friendly")
    with pytest.raises(openai.BadRequestError, match="input"):
        await client.responses.input_tokens.count(model="smart")


# ---- kept responses -------------------------------------------------------------------------------------------------


async def test_a_chain_has_all_turns_but_only_its_own_instructions(smart: Served, client: openai.AsyncOpenAI) -> None:
    smart.script("smart:latest").answer = (Text(content="A"), done())
    first = await client.responses.create(model="smart", input="1", instructions="Be brief.")
    second = await client.responses.create(model="smart", input="2", previous_response_id=first.id)
    third = await client.responses.create(
        model="smart", input="3", previous_response_id=second.id, instructions="Be kind."
    )

    messages = [(message.role, message.content) for message in asked(smart).messages]
    assert messages == [
        ("system", "Be kind."),
        *(("user", "1"), ("assistant", "A"), ("user", "2"), ("assistant", "A"), ("user", "3")),
    ]
    assert third.previous_response_id == second.id


async def test_an_answer_to_a_call_follows_it(smart: Served, client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(**ASK, tools=[tool()])
    output = {"type": "function_call_output", "call_id": "call_1", "output": "3"}
    await client.responses.create(
        model="smart",
        previous_response_id=first.id,
        input=[output],
        tools=[tool()],  # type: ignore[list-item]
    )

    _, said, answered = asked(smart).messages
    assert (said.thinking, said.content) == ("Hm", "Yes")
    assert [(call.id, call.name, call.arguments) for call in said.tool_calls] == [("call_1", "add", {"b": 2, "a": 1})]
    assert (answered.role, answered.content, answered.tool_call_id) == ("tool", "3", "call_1")


async def test_an_output_can_be_sent_back_as_it_came(smart: Served, client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(**ASK, store=False, include=["reasoning.encrypted_content"])
    output = {"type": "function_call_output", "call_id": "call_1", "output": "3"}
    history = [{"role": "user", "content": "Hi"}, *(item.to_dict(mode="json") for item in first.output), output]
    await client.responses.create(model="smart", input=history)  # type: ignore[arg-type]

    assert [message.role for message in asked(smart).messages] == ["user", "assistant", "tool"]
    assert asked(smart).messages[1].thinking == "Hm"


async def test_items_may_be_referred_to(smart: Served, client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(**ASK)
    references = [{"type": "item_reference", "id": item.id} for item in first.output[:2]]
    await client.responses.create(model="smart", input=[*references, {"role": "user", "content": "And?"}])

    said, _ = asked(smart).messages
    assert (said.role, said.thinking, said.content) == ("assistant", "Hm", "Yes")
    with pytest.raises(openai.BadRequestError, match="which is not kept here"):
        await client.responses.create(model="smart", input=[{"type": "item_reference", "id": "msg_nobody"}])


async def test_a_kept_response_is_as_it_was_told_until_it_is_deleted(client: openai.AsyncOpenAI) -> None:
    told = await client.responses.create(**ASK)

    assert (await client.responses.retrieve(told.id)).to_dict() == told.to_dict()
    await client.responses.delete(told.id)
    for gone in (client.responses.retrieve(told.id), client.responses.delete(told.id)):
        with pytest.raises(openai.NotFoundError, match=f"Response with id '{told.id}' not found."):
            await gone


async def test_a_response_to_go_on_from_that_is_gone_is_told_as_openai_does(client: openai.AsyncOpenAI) -> None:
    unkept = await client.responses.create(**ASK, store=False)

    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(**ASK, previous_response_id=unkept.id)

    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    assert f"Previous response with id '{unkept.id}' not found" in caught.value.message


async def test_input_items_are_listed_in_pages(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(**ASK)
    second = await client.responses.create(
        model="smart",
        previous_response_id=first.id,
        input=[
            {"type": "function_call_output", "call_id": "call_1", "output": "3"},
            {"role": "user", "content": "So?"},
        ],
    )

    items = [item async for item in client.responses.input_items.list(second.id, order="asc", limit=2)]
    latest = await client.responses.input_items.list(second.id, limit=1)

    kinds = ["message", "reasoning", "message", "function_call", "function_call_output", "message"]
    assert [item.type for item in items] == kinds
    assert latest.data == items[-1:]
    assert latest.has_more
    assert len({item.id for item in items}) == 6
    for wrong in ({"limit": 0}, {"after": "nobody"}, {"order": "up"}, {"include": ["nothing"]}):
        with pytest.raises(openai.BadRequestError):
            await client.responses.input_items.list(second.id, **wrong)  # type: ignore[arg-type]


async def test_a_kept_response_is_not_streamed_again_nor_cancelled(client: openai.AsyncOpenAI) -> None:
    told = await client.responses.create(**ASK)

    with pytest.raises(openai.BadRequestError, match="without stream"):
        await client.responses.retrieve(told.id, stream=True)
    with pytest.raises(openai.BadRequestError, match="Only a response in the background"):
        await client.responses.cancel(told.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_nobody")


async def test_a_key_never_reads_what_is_anothers(smart: Served, tmp_path: Path) -> None:
    headers = []
    for name in ("one", "other"):
        key, secret = new_key(name, Terms())
        KeyFile(tmp_path / "home").add(key)
        headers.append({"Authorization": f"Bearer {secret}"})

    async with smart.session.post(smart.url + PATH, json=ASK, headers=headers[0]) as answer:
        told = await answer.json()
    url, statuses = f"{smart.url}{PATH}/{told['id']}", []
    for method, path in (("GET", url), ("GET", url + "/input_items"), ("POST", url + "/cancel"), ("DELETE", url)):
        async with smart.session.request(method, path, headers=headers[1]) as answer:
            statuses.append(answer.status)
    references = [{"type": "item_reference", "id": told["output"][0]["id"]}]
    for fields in ({"previous_response_id": told["id"]}, {"input": references}):
        async with smart.session.post(smart.url + PATH, json=ASK | fields, headers=headers[1]) as answer:
            statuses.append(answer.status)
    async with smart.session.get(url, headers=headers[0]) as answer:
        statuses.append(answer.status)

    assert statuses == [404, 404, 404, 404, 400, 400, 200]


def tool(**fields: object) -> Any:
    return {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, **fields}
