"""/v1/completions: what becomes of its fields, and what it answers."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import openai
import pytest

from paddock.errors import RunnerDied
from paddock.protocol import ChatMessage, PromptProgress, Text, TokenLogprobs
from tests.api.conftest import Served
from tests.api.openai.asking import asked, chat_asked, events, likely, refused, text_asked
from tests.fakes.fake_server import done

PATH = "/v1/completions"
TEXT: dict[str, Any] = {"model": "smart", "prompt": "Once"}


async def ask(served: Served, **fields: Any) -> dict[str, Any]:
    """A whole answer."""
    status, answer = await served.post(PATH, TEXT | fields)
    assert status == 200, answer
    return dict(answer)


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


# ---- prompts ----


async def test_a_text_goes_through_the_template_as_a_users_message(smart: Served) -> None:
    await smart.post("/api/create", {"model": "polite", "from": "smart", "system": "Be polite."})

    await ask(smart, model="polite")

    request = chat_asked(smart)
    assert request.messages == (
        ChatMessage(role="system", content="Be polite."),
        ChatMessage(role="user", content="Once"),
    )
    assert request.think is False
    assert not request.truncate


async def test_raw_texts_and_token_ids_go_to_the_model_as_they_are(smart: Served) -> None:
    await ask(smart, raw=True, truncate=True)
    assert (text_asked(smart).prompt, text_asked(smart).context, text_asked(smart).truncate) == ("Once", (), True)

    await ask(smart, prompt=[1, 2])
    assert (text_asked(smart).prompt, text_asked(smart).context) == ("", (1, 2))


async def test_several_prompts_have_their_answers_in_order(smart: Served) -> None:
    answer = await ask(smart, prompt=["one", "two"], n=2, seed=7, echo=True)

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert texts(answer) == ["oneHello world"] * 2 + ["twoHello world"] * 2
    asked_for = {(request.messages[-1].content, request.sampling.seed) for request in smart.servers.made[-1].requests}
    assert asked_for == {("one", 7), ("one", 8), ("two", 7), ("two", 8)}
    assert answer["usage"]["prompt_tokens"] == 2
    assert answer["usage"]["completion_tokens"] == 8

    await ask(smart, prompt=[[1], [2, 3]])
    assert {request.context for request in smart.servers.made[-1].requests[-2:]} == {(1,), (2, 3)}


async def test_what_is_no_prompt_is_refused(smart: Served) -> None:
    for prompt in (None, "", [], [""], [[]], 5, ["a", 5], [[1, "a"]], [-1], [True], {"text": "a"}):
        assert (await refused(smart, PATH, TEXT | {"prompt": prompt}))["param"] == "prompt"


async def test_an_echo_comes_before_the_answer(smart: Served) -> None:
    script = smart.script("smart:latest")
    assert texts(await ask(smart, echo=True)) == ["OnceHello world"]
    assert texts(await ask(smart, prompt=[72, 105], echo=True)) == ["HiHello world"]

    script.answer = (PromptProgress(done=1, total=2), RunnerDied("It ended."))
    status, answer = await smart.post(PATH, TEXT | {"echo": True, "stream": True})
    assert (status, answer["error"]["message"]) == (502, "It ended.")


async def test_a_suffix_needs_a_model_that_fills_gaps(smart: Served) -> None:
    error = await refused(smart, PATH, TEXT | {"suffix": "end"})
    assert error["message"] == '"smart:latest" does not support insert'

    tokens = {str(index): {"content": f"<fim_{part}>"} for index, part in enumerate(("prefix", "suffix", "middle"))}
    settings = smart.library.blobs.add_bytes(msgspec.json.encode({"added_tokens_decoder": tokens}))
    files = {str(layer.name): layer.digest for layer in smart.library.list()[0].manifest.files}
    files["tokenizer_config.json"] = settings.digest
    await smart.post("/api/create", {"model": "filler", "files": files})
    await ask(smart, model="filler", suffix="end")
    assert (text_asked(smart).prompt, text_asked(smart).suffix) == ("Once", "end")

    for fields in ({"raw": True}, {"prompt": [1]}):
        error = await refused(smart, PATH, TEXT | {"model": "filler", "suffix": "end"} | fields)
        assert error["param"] == "suffix"


# ---- other fields ----


async def test_how_tokens_are_chosen_reaches_the_runner(smart: Served) -> None:
    await ask(smart)
    sampling = asked(smart).sampling
    assert (sampling.temperature, sampling.top_p, sampling.num_predict) == (0.3, 0.7, 99)

    for fields, option, value in (
        ({"max_tokens": 5}, "num_predict", 5),
        ({"temperature": 1.5}, "temperature", 1.5),
        ({"top_p": 0.1}, "top_p", 0.1),
        ({"frequency_penalty": 1}, "frequency_penalty", 1.0),
        ({"presence_penalty": -1}, "presence_penalty", -1.0),
        ({"seed": 3}, "seed", 3),
        ({"stop": "END"}, "stop", ("END",)),
        ({"logit_bias": {"5": 1}}, "logit_bias", {5: 1.0}),
        ({"logprobs": 5}, "top_logprobs", 5),
        ({"logprobs": 0}, "logprobs", True),
        ({"top_k": 2}, "top_k", 2),
        ({"options": {"repeat_last_n": 5}}, "repeat_last_n", 5),
        ({"user": "someone", "best_of": 1, "suffix": ""}, "seed", -1),
    ):
        await ask(smart, **fields)
        assert getattr(asked(smart).sampling, option) == value, fields


async def test_what_cannot_be_honoured_is_refused(smart: Served) -> None:
    for fields, param in (
        ({"best_of": 3}, "best_of"),
        ({"n": 9}, "n"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "echo"),
        ({"prompt": ["x"] * 65, "n": 2}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
    ):
        assert (await refused(smart, PATH, TEXT | fields))["param"] == param


# ---- answers ----


async def test_a_whole_answer(smart: Served) -> None:
    answer = await ask(smart)

    assert re.fullmatch(r"cmpl-[0-9a-f]{24}", answer.pop("id"))
    assert isinstance(answer.pop("created"), int)
    assert answer.pop("system_fingerprint").startswith("fp_")
    assert answer == {
        "object": "text_completion",
        "model": "smart",
        "choices": [{"text": "Hello world", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_a_stream(smart: Served) -> None:
    smart.script("smart:latest").answer = (Text(content="Hello"), Text(content=" world"), done(reason="length"))

    *chunks, usage, last = await events(smart, PATH, TEXT | {"stream_options": {"include_usage": True}})

    assert last == "[DONE]"
    assert [chunk["choices"] for chunk in chunks] == [
        [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": None}],
        [{"text": " world", "index": 0, "logprobs": None, "finish_reason": None}],
        [{"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}],
    ]
    assert [chunk["usage"] for chunk in chunks] == [None] * 3
    assert (usage["choices"], usage["usage"]["prompt_tokens"]) == ([], 1)
    assert len({chunk["id"] for chunk in [*chunks, usage]}) == 1


async def test_likelihoods_tell_where_each_token_begins(smart: Served) -> None:
    halves = [TokenLogprobs(token="\ufffd", logprob=-2.0, bytes=(byte,)) for byte in "é".encode()]
    smart.script("smart:latest").answer = (
        Text(content="a", logprobs=(likely("a", -0.5, b=-1.0),)),
        Text(content="éz", logprobs=(*halves, likely("z", -0.25))),
        done(),
    )

    answer = await ask(smart, logprobs=1)
    chunks = (await events(smart, PATH, TEXT | {"logprobs": 1}))[:-1]

    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["a", "\ufffd", "\ufffd", "z"],
        "token_logprobs": [-0.5, -2.0, -2.0, -0.25],
        "top_logprobs": [{"a": -0.5, "b": -1.0}, {"\ufffd": -2.0}, {"\ufffd": -2.0}, {"z": -0.25}],
        "text_offset": [0, 1, 1, 2],
    }
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [each["text_offset"] for each in told[:2]] == [[0], [1, 1, 2]]
    assert told[2] is None


async def test_the_published_client_completes(smart: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{smart.url}/v1", api_key="none", max_retries=0) as client:
        whole = await client.completions.create(model="smart", prompt="Once", logprobs=1)
        stream = await client.completions.create(model="smart", prompt="Once", stream=True)
        pieces = [chunk.choices[0].text async for chunk in stream]
        with pytest.raises(openai.BadRequestError, match="best_of"):
            await client.completions.create(model="smart", prompt="Once", best_of=2)

    assert whole.choices[0].text == "".join(pieces) == "Hello world"
