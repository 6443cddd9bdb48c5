"""/api/generate and /api/chat, field by field, over runners that do what they are told."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from paddock.errors import LoadFailed, RunnerDied
from paddock.protocol import ChatRequest, CompletionRequest, Text
from tests.api.conftest import Served
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

HELLO = {"model": "tiny", "prompt": "Hi"}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


async def test_generate_streams_a_line_per_piece_and_then_the_figures(served: Served) -> None:
    lines = await served.lines("/api/generate", HELLO)

    assert [line["response"] for line in lines] == ["Hello", " world", ""]
    assert [line["done"] for line in lines] == [False, False, True]
    assert all(line["model"] == "tiny" and str(line["created_at"]).endswith("Z") for line in lines)
    assert lines[-1]["done_reason"] == "stop"
    assert lines[-1]["eval_count"] == 2
    assert lines[-1]["prompt_eval_count"] == 1
    assert lines[-1]["eval_duration"] == 2_000_000
    assert lines[-1]["total_duration"] >= lines[-1]["load_duration"] > 0


async def test_a_model_that_is_there_already_has_a_load_duration_too(served: Served) -> None:
    await served.lines("/api/generate", HELLO)

    for path, body in (("/api/generate", HELLO), ("/api/chat", CHAT)):
        _, answer = await served.post(path, body | {"stream": False})
        assert answer["total_duration"] > answer["load_duration"] > 0


async def test_generate_without_streaming_is_one_object(served: Served) -> None:
    status, answer = await served.post("/api/generate", HELLO | {"stream": False})

    assert status == 200
    assert answer["response"] == "Hello world"
    assert answer["done"] is True
    assert answer["done_reason"] == "stop"


async def test_chat_streams_messages_of_the_assistant(served: Served) -> None:
    lines = await served.lines("/api/chat", CHAT)

    assert [line["message"] for line in lines] == [
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": " world"},
        {"role": "assistant", "content": ""},
    ]
    assert lines[-1]["done"] is True
    assert "context" not in lines[-1]


async def test_chat_without_streaming_is_one_object(served: Served) -> None:
    status, answer = await served.post("/api/chat", CHAT | {"stream": False})

    assert status == 200
    assert answer["message"] == {"role": "assistant", "content": "Hello world"}
    assert answer["eval_count"] == 2


async def test_the_body_may_come_under_any_content_type(served: Served) -> None:
    headers = {"Content-Type": "text/plain"}
    async with served.session.post(
        served.url + "/api/generate", data=b'{"model": "tiny", "prompt": "x", "stream": false}', headers=headers
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_no_prompt_loads_the_model_and_keep_alive_zero_lets_it_go(served: Served, path: str) -> None:
    _, loaded = await served.post(path, {"model": "tiny"})
    assert loaded["done_reason"] == "load"
    assert len(served.scheduler.residents()) == 1

    _, unloaded = await served.post(path, {"model": "tiny", "keep_alive": 0})
    assert unloaded["done_reason"] == "unload"
    await until(lambda: not served.scheduler.residents())
    assert served.servers.running("tiny:latest") == []


async def test_a_model_that_makes_no_texts_is_loaded_and_let_go_all_the_same(painting: Served) -> None:
    status, answer = await painting.post("/api/generate", {"model": "zimage"})
    assert (status, answer["done_reason"]) == (200, "load")

    status, answer = await painting.post("/api/generate", {"model": "zimage", "keep_alive": 0})
    assert (status, answer["done_reason"]) == (200, "unload")


@pytest.mark.parametrize(
    ("path", "fields", "rendered"),
    [
        ("/api/generate", {"prompt": "Hi", "system": "Be brief."}, "<system>Be brief.<user>Hi<assistant>"),
        ("/api/generate", {"prompt": "Hi", "raw": True}, "Hi"),
        ("/api/chat", {"messages": [{"role": "user", "content": "Hi"}]}, "<user>Hi<assistant>"),
    ],
)
async def test_the_prompt_alone_can_be_asked_for(
    served: Served, path: str, fields: dict[str, object], rendered: str
) -> None:
    status, answer = await served.post(path, {"model": "tiny", "_debug_render_only": True} | fields)

    assert status == 200
    assert answer["_debug_info"] == {"rendered_template": rendered}
    assert answer["model"] == "tiny"
    assert [request for server in served.servers.made for request in server.requests] == []


async def test_options_reach_the_runner_over_the_models_own(served: Served) -> None:
    await served.post(
        "/api/create",
        {"model": "warm", "from": "tiny", "parameters": {"temperature": 0.5, "stop": ["END"], "num_ctx": 512}},
    )

    await served.lines("/api/generate", {"model": "warm", "prompt": "x", "options": {"temperature": 0, "seed": 7}})

    runner = served.servers.made[-1]
    request = runner.requests[-1]
    assert request.sampling.temperature == 0
    assert request.sampling.seed == 7
    assert request.sampling.stop == ("END",)
    assert runner.spec.options.num_ctx == 512


async def test_generate_renders_system_and_prompt_as_a_conversation(served: Served) -> None:
    await served.lines("/api/generate", HELLO | {"system": "Be brief.", "context": [1, 2]})

    request = served.servers.made[-1].requests[-1]
    assert isinstance(request, ChatRequest)
    assert [(message.role, message.content) for message in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert request.context == (1, 2)
    assert request.return_context


async def test_raw_generation_sends_the_prompt_as_it_is(served: Served) -> None:
    await served.lines("/api/generate", HELLO | {"raw": True})

    request = served.servers.made[-1].requests[-1]
    assert isinstance(request, CompletionRequest)
    assert request.prompt == "Hi"
    assert not request.return_context


async def test_the_models_system_gives_way_to_the_clients(served: Served) -> None:
    await served.post("/api/create", {"model": "polite", "from": "tiny", "system": "Be polite."})

    await served.lines("/api/chat", {"model": "polite", "messages": [{"role": "user", "content": "a"}]})
    await served.lines(
        "/api/chat",
        {"model": "polite", "messages": [{"role": "System", "content": "Be rude."}, {"role": "user", "content": "a"}]},
    )

    requests = served.servers.made[-1].requests
    assert [message.content for message in requests[0].messages] == ["Be polite.", "a"]
    assert [message.content for message in requests[1].messages] == ["Be rude.", "a"]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/api/generate", {"model": "", "prompt": "x"}, 400, "invalid model name"),
        ("/api/chat", {}, 400, "model is required"),
        ("/api/generate", {"model": "nobody", "prompt": "x"}, 404, "model 'nobody' not found"),
        ("/api/chat", {"model": "nobody"}, 404, "model 'nobody' not found"),
        ("/api/generate", {"model": "../etc/passwd", "prompt": "x"}, 400, "is not a model name"),
        ("/api/generate", HELLO | {"prompt": 5}, 400, '"prompt" must be of type str, not int.'),
        ("/api/generate", HELLO | {"raw": True, "system": "s"}, 400, "raw mode does not support"),
        ("/api/generate", HELLO | {"suffix": "s"}, 400, "does not support insert"),
        ("/api/generate", HELLO | {"images": ["AAAA"]}, 400, "does not support image input"),
        ("/api/generate", HELLO | {"width": 64}, 400, "does not support image generation"),
        ("/api/generate", HELLO | {"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        ("/api/generate", HELLO | {"top_logprobs": 2}, 400, '"top_logprobs" needs "logprobs"'),
        ("/api/generate", HELLO | {"format": "yaml"}, 400, 'invalid format: "yaml"; expected "json" or a valid'),
        ("/api/generate", HELLO | {"format": [1]}, 400, "invalid format: [1]"),
        ("/api/generate", {"model": "tiny", "prompt": "x", "raw": True, "format": 5}, 400, "invalid format: 5"),
        ("/api/generate", HELLO | {"raw": True, "think": True}, 400, "does not support thinking"),
        ("/api/generate", HELLO | {"shift": True}, 400, "shift"),
        ("/api/generate", HELLO | {"think": True}, 400, "does not support thinking"),
        ("/api/generate", {"model": "tiny", "think": True}, 400, "does not support thinking"),
        ("/api/chat", {"model": "tiny", "format": "yaml"}, 400, "invalid format"),
        ("/api/generate", HELLO | {"template": "{{ .Prompt }}"}, 400, "Go template"),
        ("/api/generate", HELLO | {"template": "{% if %}"}, 400, "not valid Jinja"),
        ("/api/generate", HELLO | {"keep_alive": 10**400}, 400, "more than 64 bits"),
        ("/api/generate", HELLO | {"context": [10**30]}, 400, "more than 64 bits"),
        ("/api/generate", HELLO | {"think": "hard"}, 400, 'invalid think value: "hard"'),
        ("/api/generate", HELLO | {"keep_alive": "soon"}, 400, '"soon" is not a duration'),
        ("/api/generate", HELLO | {"keep_alive": []}, 400, "keep_alive must be a number"),
        ("/api/generate", HELLO | {"options": {"temperature": "hot"}}, 400, "temperature"),
        ("/api/generate", HELLO | {"options": {"warmth": 1}}, 400, "warmth"),
        ("/api/chat", CHAT | {"tools": [{"type": "function"}]}, 400, "does not support tools"),
        ("/api/chat", {"model": "tiny", "messages": [{"role": "user", "images": ["AAAA"]}]}, 400, "image input"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_in_words(
    served: Served, path: str, body: object, status: int, sentence: str
) -> None:
    answered, error = await served.post(path, body)

    assert answered == status
    assert sentence in error["error"]
    assert served.servers.made == []


@pytest.mark.parametrize("data", [b"{", b"[1]", b"nonsense", b'{"model": NaN}', b"\xff\xfe", b"[" * 100_000])
async def test_broken_json_is_a_bad_request(served: Served, data: bytes) -> None:
    async with served.session.post(served.url + "/api/generate", data=data) as response:
        assert response.status == 400
        assert (await response.json())["error"]


async def test_an_empty_body_is_missing(served: Served) -> None:
    async with served.session.post(served.url + "/api/chat") as response:
        assert response.status == 400
        assert await response.json() == {"error": "missing request body"}


async def test_a_failed_load_has_a_status_and_the_next_request_tries_again(served: Served) -> None:
    served.script().load_failure = LoadFailed("The runner of 'tiny' ended: bad weights.")
    status, answer = await served.post("/api/generate", HELLO)
    assert status == 502
    assert answer == {"error": "The runner of 'tiny' ended: bad weights."}

    served.script().load_failure = None
    status, _ = await served.post("/api/generate", HELLO | {"stream": False})
    assert status == 200


async def test_a_runner_that_dies_before_the_first_piece_has_a_status(served: Served) -> None:
    served.script().answer = (RunnerDied("The runner ended."),)

    status, answer = await served.post("/api/chat", CHAT)

    assert status == 502
    assert answer == {"error": "The runner ended."}


async def test_a_runner_that_dies_later_ends_the_stream_with_an_error_line(served: Served) -> None:
    served.script().answer = (Text(content="Once"), RunnerDied("The runner ended."))

    lines = await served.lines("/api/chat", CHAT)

    assert lines[0]["message"]["content"] == "Once"
    assert lines[1:] == [{"error": "The runner ended."}]


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_client_that_leaves_in_mid_answer_cancels_the_work(served: Served, is_streamed: bool) -> None:
    served.script().answer = (Text(content="Once"), asyncio.Event(), done())
    request = served.session.post(served.url + "/api/chat", json=CHAT | {"stream": is_streamed})
    asking = asyncio.create_task(request.__aenter__())
    await until(lambda: bool(served.servers.made) and served.servers.made[0].active == 1)

    if is_streamed:
        (await asking).close()
    else:
        asking.cancel()

    await until(lambda: served.servers.made[0].active == 0)
    assert "cancelled" in served.servers.made[0].calls
    assert served.scheduler.residents()[0].active_requests == 0


async def test_a_client_that_leaves_during_a_load_leaves_no_trace(served: Served) -> None:
    served.script().load_gate = asyncio.Event()
    with pytest.raises(asyncio.TimeoutError):
        await served.session.post(served.url + "/api/chat", json=CHAT, timeout=aiohttp.ClientTimeout(total=0.3))
    await until(lambda: served.is_at_rest)
    served.script().load_gate.set()

    lines = await served.lines("/api/chat", CHAT)

    assert lines[-1]["done"] is True
    assert served.servers.made[0].calls.count("chat") == 1
