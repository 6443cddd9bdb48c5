"""The id of a request, wherever it shows; and the one line that the log has of it."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from paddock.protocol import Done, Text
from tests.api.conftest import Served
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

HELLO = {"model": "tiny", "prompt": "a very private prompt"}
MADE = re.compile(r"req_[0-9a-f]{24}")


async def headers_of(served: Served, path: str, **sent: str) -> dict[str, str]:
    async with served.session.get(served.url + path, headers={k.replace("_", "-"): v for k, v in sent.items()}) as got:
        return {name.lower(): value for name, value in got.headers.items()}


@pytest.mark.parametrize("path", ["/", "/api/tags", "/nowhere", "/v1/models"])
async def test_every_answer_has_an_id(served: Served, path: str) -> None:
    first, second = await headers_of(served, path), await headers_of(served, path)

    assert MADE.fullmatch(first["x-request-id"])
    assert first["x-request-id"] != second["x-request-id"]
    assert "request-id" not in first


@pytest.mark.parametrize("given", ["abc-123", "req_011CSHoEeqs5C35K2UUqR7Fy", "a" * 128, "1.2:3/4+5="])
async def test_a_sane_id_of_the_client_is_kept(served: Served, given: str) -> None:
    assert (await headers_of(served, "/api/tags", X_Request_Id=given))["x-request-id"] == given


@pytest.mark.parametrize("given", ["", " ", "a" * 129, "a b", "a\tb", 'a"b', "a;b", "\xe4", "%0d%0aevil:1", "-a"])
async def test_any_other_is_replaced(served: Served, given: str) -> None:
    assert MADE.fullmatch((await headers_of(served, "/api/tags", X_Request_Id=given))["x-request-id"])


async def test_streams_and_early_refusals_have_one_too(served: Served) -> None:
    headers = {"X-Request-Id": "mine"}
    async with served.session.post(served.url + "/api/generate", json=HELLO, headers=headers) as response:
        assert response.headers["x-request-id"] == "mine"
    async with served.session.get(served.url + "/api/tags", headers={**headers, "Host": "evil.example"}) as response:
        assert response.status == 403
        assert response.headers["x-request-id"] == "mine"


async def test_anthropics_clients_find_theirs_in_header_and_body(served: Served) -> None:
    async with served.session.post(
        served.url + "/v1/messages", json={"model": "nobody"}, headers={"X-Request-Id": "mine"}
    ) as response:
        assert response.headers["request-id"] == response.headers["x-request-id"] == "mine"
        assert (await response.json())["request_id"] == "mine"


async def test_what_is_logged_for_a_request_knows_which(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    from paddock.api.account import current_request_id

    seen: list[tuple[str, str]] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.name, current_request_id()))

    caplog.set_level(logging.INFO)
    logging.getLogger().addHandler(noting := Noting())
    try:
        await asyncio.gather(*(headers_of(served, "/api/tags", X_Request_Id=f"id-{number}") for number in range(3)))
    finally:
        logging.getLogger().removeHandler(noting)

    ids = [request_id for name, request_id in seen if name == "paddock.api.access_log"]
    assert sorted(ids) == ["id-0", "id-1", "id-2"]


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "paddock.api.access_log"]


def own_lines(caplog: pytest.LogCaptureFixture) -> str:
    """All that Paddock itself has said; what libraries say below a warning is not in its log."""
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("paddock"))


async def test_one_line_tells_what_a_request_came_to(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    figures = Done(
        reason="stop",
        prompt_eval_count=7,
        prompt_eval_duration_ns=1,
        eval_count=2,
        eval_duration_ns=1,
        cached_tokens=5,
    )
    served.script().answer = (Text(content="a private answer"), figures)
    await served.lines("/api/generate", HELLO)
    await until(lambda: access_lines(caplog))

    (line,) = access_lines(caplog)

    assert re.fullmatch(
        r"event=request method=POST route=/api/generate status=200 seconds=\d+\.\d{4} queue_seconds=\d+\.\d{4} "
        r"first_seconds=\d+\.\d{4} model=tiny:latest prompt_tokens=7 cached_tokens=5 answer_tokens=2",
        line,
    )


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/api/generate?token=hunter2", HELLO | {"format": "hunter2"}, "route=/api/generate status=400"),
        ("/api/generate", HELLO | {"model": "hunter2"}, "route=/api/generate status=404"),
        ("/hunter2", {}, "route=unknown status=404"),
        ("/api/show", {"model": "hunter2"}, "route=/api/show status=404"),
    ],
)
async def test_no_line_quotes_what_a_client_said(
    served: Served, caplog: pytest.LogCaptureFixture, path: str, body: object, told: str
) -> None:
    caplog.set_level(logging.INFO)
    headers = {"Authorization": "Bearer hunter2", "User-Agent": "hunter2"}
    async with served.session.post(served.url + path, json=body, headers=headers):
        pass
    await until(lambda: access_lines(caplog))

    (line,) = access_lines(caplog)

    assert told in line
    assert "hunter2" not in own_lines(caplog)
    assert "private" not in own_lines(caplog)


async def test_a_client_that_leaves_is_told_from_one_that_was_answered(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served.script().answer = (Text(content="Once"), asyncio.Event(), done())
    async with served.session.post(served.url + "/api/generate", json=HELLO) as response:
        await response.content.readline()
        response.close()
    await until(lambda: access_lines(caplog))

    assert access_lines(caplog)[0].endswith("model=tiny:latest ended=early")
    assert "status=200" in access_lines(caplog)[0]
