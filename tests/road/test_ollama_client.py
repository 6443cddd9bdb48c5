"""The published `ollama` client, unmodified, against a real server with a real model."""

from __future__ import annotations

import httpx
import pytest

from paddock import demo
from tests.fakes.waiting import until_blocking
from tests.road.conftest import Road

GREEDY = {"temperature": 0, "num_predict": 40}
QUESTION = [{"role": "user", "content": "Tell me a story about a red fox"}]


def test_chat_streams_the_same_text_that_it_answers_whole(road: Road) -> None:
    whole = road.client.chat("demo", QUESTION, think=False, options=GREEDY)
    chunks = list(road.client.chat("demo", QUESTION, think=False, options=GREEDY, stream=True))

    assert "fox" in whole.message.content
    assert whole.message.role == "assistant"
    assert "".join(chunk.message.content for chunk in chunks) == whole.message.content
    assert len(chunks) > 1
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    last = chunks[-1]
    assert last.done_reason == "length"
    assert last.eval_count == 40
    assert last.prompt_eval_count > 5
    assert last.eval_duration > 0
    assert last.total_duration >= last.eval_duration + last.prompt_eval_duration


def test_generate_streams_the_same_text_that_it_answers_whole(road: Road) -> None:
    whole = road.client.generate("demo", QUESTION[0]["content"], think=False, options=GREEDY)
    chunks = list(road.client.generate("demo", QUESTION[0]["content"], think=False, options=GREEDY, stream=True))

    assert "".join(chunk.response for chunk in chunks) == whole.response
    assert whole.response == road.client.chat("demo", QUESTION, think=False, options=GREEDY).message.content
    assert chunks[-1].context == whole.context
    assert len(whole.context) == whole.prompt_eval_count + whole.eval_count


def test_the_context_of_one_answer_continues_in_the_next(road: Road) -> None:
    first = road.client.generate("demo", "Hello", options=GREEDY)
    second = road.client.generate("demo", "Who are you?", options=GREEDY, context=first.context)

    assert second.context[: len(first.context)] == first.context
    assert second.prompt_eval_count > len(first.context)


def test_a_seed_makes_an_answer_repeatable(road: Road) -> None:
    def answer(seed: int) -> str:
        options = {"seed": seed, "temperature": 1.5, "num_predict": 30}
        return road.client.generate("demo", "Tell me a story", think=False, options=options).response

    assert answer(7) == answer(7)
    assert len({answer(seed) for seed in range(4)}) > 1


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(road: Road) -> None:
    whole = road.client.chat("demo", QUESTION, think=False, options={"temperature": 0}).message.content
    stop = whole.split(".")[1][-5:] + "."

    stopped = road.client.chat("demo", QUESTION, think=False, options={"temperature": 0, "stop": [stop]})

    assert stopped.message.content == whole[: whole.index(stop)]
    assert stopped.done_reason == "stop"


def test_list_show_and_ps_tell_about_the_demo(road: Road) -> None:
    road.client.generate("demo", keep_alive="10m", options={"num_ctx": 1024})

    (listed,) = [model for model in road.client.list().models if model.model == "demo:latest"]
    shown = road.client.show("demo")
    (running,) = [model for model in road.client.ps().models if model.model == "demo:latest"]

    assert listed.digest == running.digest
    assert 0 < listed.size <= 5_000_000
    assert shown.modelinfo["general.parameter_count"] > 500_000
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert running.context_length == 1024
    assert running.size > 0
    assert running.size_vram == 0


def test_copy_and_delete(road: Road) -> None:
    road.client.copy("demo", "other/copy:v2")
    assert "other/copy:v2" in [model.model for model in road.client.list().models]

    road.client.delete("other/copy:v2")
    assert "other/copy:v2" not in [model.model for model in road.client.list().models]


def test_a_model_created_from_uploaded_blobs_answers(road: Road) -> None:
    parts = [path for path in demo.model_folder().iterdir() if path.suffix in (".json", ".safetensors", ".jinja")]
    files = {path.name: road.client.create_blob(path) for path in parts}

    statuses = [
        progress.status
        for progress in road.client.create(
            "mine", files=files, system="You are brief.", parameters={"temperature": 0, "num_predict": 5}, stream=True
        )
    ]
    answer = road.client.chat("mine", [{"role": "user", "content": "Hello"}], think=False)

    assert statuses[-1] == "success"
    assert answer.eval_count <= 5
    assert answer.message.content


def test_a_model_created_from_another_shares_its_blobs(road: Road) -> None:
    before = len(list((road.home / "models" / "blobs").iterdir()))

    road.client.create("brief", from_="demo", parameters={"num_predict": 3})

    assert len(list((road.home / "models" / "blobs").iterdir())) <= before + 2
    assert road.client.generate("brief", "Hello").eval_count <= 3
    assert road.client.show("brief").parameters.split() == ["num_predict", "3", "temperature", "0.3"]


def test_keep_alive_zero_unloads(road: Road) -> None:
    road.client.generate("demo", "Hello", options=GREEDY, keep_alive=0)

    until_blocking(lambda: "demo:latest" not in [model.model for model in road.client.ps().models])


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ({"model": "nobody", "prompt": "x"}, 404, "model 'nobody' not found"),
        ({"model": "a//b", "prompt": "x"}, 400, "not a model name"),
        ({"model": "demo", "prompt": "x", "context": [10_000_000]}, 400, "10000000"),
        ({"model": "demo", "prompt": "x", "context": [-1]}, 400, "-1"),
        ({"model": "demo", "prompt": "word " * 5000}, 400, "context"),
        (
            {"model": "demo", "prompt": "word " * 5000, "raw": True, "options": {"num_ctx": 64}, "truncate": False},
            400,
            "64",
        ),
    ],
)
def test_bad_input_is_answered_in_one_sentence_and_the_server_goes_on(
    road: Road, arguments: dict[str, object], status: int, sentence: str
) -> None:
    runners = {runner.pid for runner in road.runners()}

    response = httpx.post(f"{road.url}/api/generate", json=arguments, timeout=60)

    assert response.status_code == status, response.text
    assert sentence in response.json()["error"]
    assert runners <= {runner.pid for runner in road.runners()} or arguments.get("options")
    assert road.client.generate("demo", "Hello", think=False, options=GREEDY).response
