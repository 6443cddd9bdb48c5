"""JSON that is none, or that would break whoever takes it for granted: always 400 with a sentence, never more."""

from __future__ import annotations

import contextlib
import itertools
import json
import time

import pytest

from paddock.api.body import MOST_DEPTH, MOST_PARTS, check_shape, in_words
from paddock.errors import BadRequest
from tests.api.conftest import Served

GENERATE = '{"model": "tiny", "stream": false, "prompt": %s}'
OPTION = '{"model": "tiny", "stream": false, "prompt": "x", "options": {"temperature": %s}}'
NEST = 100_000

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t ",
    "not json": b"hello",
    "cut off": b'{"model": "tiny", "prompt": "x',
    "NaN": (OPTION % "NaN").encode(),
    "Infinity": (OPTION % "Infinity").encode(),
    "-Infinity": (OPTION % "-Infinity").encode(),
    "beyond floats": (OPTION % "1e999").encode(),
    "beyond floats, below zero": (OPTION % "-1e999").encode(),
    "5,000 digits": (OPTION % ("1" + "0" * 5000)).encode(),
    "5,000 digits in a list": b'{"model": "tiny", "prompt": "x", "context": [1' + b"0" * 5000 + b"]}",
    "5,000 digits of an exponent": (OPTION % ("1e" + "9" * 5000)).encode(),
    "30 digits": (OPTION % ("1" + "0" * 30)).encode(),
    "65 bits": (OPTION % str(2**64)).encode(),
    "65 bits below zero": (OPTION % str(-(2**63) - 1)).encode(),
    "65 bits in a list": (b'{"model": "tiny", "prompt": "x", "context": [1, %d]}' % 2**64),
    "65 bits in a schema": (b'{"model": "tiny", "prompt": "x", "format": {"minimum": %d}}' % 2**64),
    "deep lists": (GENERATE % ("[" * NEST + "]" * NEST)).encode(),
    "deep objects": (GENERATE % ('{"a":' * NEST + "1" + "}" * NEST)).encode(),
    "deep lists in an unknown field": b'{"model": "tiny", "zz": ' + b"[" * NEST + b"]" * NEST + b"}",
    "deep and never closed": b"[" * NEST,
    "deep schema": b'{"model": "tiny", "prompt": "x", "format": ' + b'{"items":' * 70 + b"{}" + b"}" * 71,
    "deep options": b'{"model": "tiny", "prompt": "x", "options": {"stop": ' + b"[" * 70 + b"]" * 70 + b"}}",
    "byte order mark": b"\xef\xbb\xbf" + (GENERATE % '"x"').encode(),
    "UTF-16": (GENERATE % '"x"').encode("utf-16"),
    "UTF-32": (GENERATE % '"x"').encode("utf-32"),
    "no UTF-8": b'{"model": "tiny", "prompt": "\xff\xfe"}',
    "overlong UTF-8": b'{"model": "tiny", "prompt": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"model": "tiny", "prompt": "\xed\xa0\x80"}',
    "no UTF-8 in the model": b'{"model": "ti\xffny", "prompt": "x"}',
    "a lone high surrogate": (GENERATE % r'"\ud800"').encode(),
    "a lone low surrogate": (GENERATE % r'"\udc00x"').encode(),
    "two high surrogates": (GENERATE % r'"\ud83d\ud83d"').encode(),
    "a surrogate in the model": rb'{"model": "\ud800", "prompt": "x"}',
    "a surrogate in a stop": rb'{"model": "tiny", "prompt": "x", "options": {"stop": ["\udfff"]}}',
    "a surrogate as a key": rb'{"model": "tiny", "prompt": "x", "options": {"\ud800": 1}}',
    "a raw NUL": b'{"model": "tiny", "prompt": "a\x00b"}',
    "a raw line break": b'{"model": "tiny", "prompt": "a\nb"}',
    "NUL in the model": rb'{"model": "tiny\u0000", "prompt": "x"}',
    "a number in a string": b'{"model": "tiny", "prompt": "x", "options": {"temperature": "0.5"}}',
    "a number in a string of a field": b'{"model": "tiny", "prompt": "x", "top_logprobs": "3"}',
    "true for a number": b'{"model": "tiny", "prompt": "x", "top_logprobs": true}',
    "1 for true": b'{"model": "tiny", "prompt": "x", "stream": 1}',
    "a list for the object": b"[]",
    "a list of the object": b'[{"model": "tiny", "prompt": "x"}]',
    "a string for the object": b'"x"',
    "null for the object": b"null",
    "a list for an object inside": b'{"model": "tiny", "prompt": "x", "options": []}',
    "an object for a list inside": b'{"model": "tiny", "prompt": "x", "context": {}}',
    "an object for a string": (GENERATE % '{"a": 1}').encode(),
    "two documents": b'{"model": "tiny"}{"model": "tiny"}',
    "a word behind": b'{"model": "tiny"} x',
    "single quotes": b"{'model': 'tiny'}",
    "a comment": b'{"model": "tiny" /* it is */}',
    "a comma too many": b'{"model": "tiny",}',
    "a key without quotes": b'{model: "tiny"}',
    "an octal number": b'{"model": "tiny", "prompt": "x", "top_logprobs": 007}',
    "a hexadecimal number": b'{"model": "tiny", "prompt": "x", "top_logprobs": 0x1}',
    "a plus": b'{"model": "tiny", "prompt": "x", "top_logprobs": +1}',
}


@pytest.mark.parametrize("dialect", ["ollama", "openai"])
async def test_every_trap_is_a_400_with_a_sentence(served: Served, dialect: str) -> None:
    """In OpenAI's dialect, each of the traps that do not depend on the fields."""
    path = {"ollama": "/api/generate", "openai": "/v1/chat/completions"}[dialect]
    for name, body in MALFORMED.items():
        async with served.session.post(served.url + path, data=body) as response:
            text = await response.text()
            assert response.status == 400, (name, response.status, text[:200])
            error = json.loads(text)["error"]
        sentence = error if dialect == "ollama" else error["message"]
        assert 10 < len(sentence) < 400, name
        assert not any(word in sentence for word in ("Traceback", ".py", "msgspec", "0x7", "/home")), sentence
    assert not served.servers.made, "nothing of it reached a runner"


ROUTES = (
    ("POST", "/api/chat"), ("POST", "/api/embed"), ("POST", "/api/embeddings"), ("POST", "/api/show"),
    ("POST", "/api/copy"), ("DELETE", "/api/delete"), ("POST", "/api/create"), ("POST", "/api/pull"),
    ("POST", "/api/fit"), ("POST", "/v1/embeddings"), ("POST", "/v1/rerank"), ("POST", "/v1/completions"),
    ("POST", "/v1/responses"), ("POST", "/v1/messages"), ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
)  # fmt: skip
EVERYWHERE = (
    "empty", "not json", "NaN", "deep lists", "deep and never closed", "byte order mark", "no UTF-8 in the model",
    "a surrogate in the model", "a list for the object", "null for the object", "two documents",
)  # fmt: skip


async def test_every_route_refuses_what_is_no_json(served: Served) -> None:
    for (method, path), name in itertools.product(ROUTES, EVERYWHERE):
        async with served.session.request(method, served.url + path, data=MALFORMED[name]) as response:
            text = await response.text()
            assert response.status == 400, (path, name, response.status, text[:200])
            assert "error" in json.loads(text), path


@pytest.mark.parametrize(
    "body",
    [
        rb'{"model": "tiny", "stream": false, "prompt": "a\u0000b"}',
        rb'{"model": "tiny", "stream": false, "prompt": "\ud83d\ude00"}',
        b'{"model": "nobody", "model": "tiny", "stream": false, "prompt": "x"}',
        b'{"model": "tiny", "stream": false, "prompt": "x", "options": {"seed": -9223372036854775808}}',
        b'{"model": "tiny", "stream": false, "prompt": "x", "options": {"temperature": 1e-400}}',
        b'{"model": "tiny", "stream": false, "prompt": "x", "unknown": {"": [null]}}',
        b' \n{"model": "tiny", "stream": false, "prompt": "x"}\r\n ',
    ],
    ids=[
        "an escaped NUL",
        "a pair of surrogates",
        "a key twice",
        "64 bits",
        "nearly zero",
        "an unknown field",
        "blanks",
    ],
)
async def test_what_only_looks_like_a_trap_is_served(served: Served, body: bytes) -> None:
    async with served.session.post(served.url + "/api/generate", data=body) as response:
        assert response.status == 200, await response.text()


async def test_any_content_type_is_taken_as_json(served: Served) -> None:
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "x/y; charset=nonsense"):
        async with served.session.post(
            served.url + "/api/show", data=b'{"model": "tiny"}', headers={"Content-Type": kind}
        ) as response:
            assert response.status == 200, kind


# ---- the shape alone ------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_depth_counts_what_is_open_and_not_what_stands_in_texts() -> None:
    check_shape(nested(MOST_DEPTH))
    check_shape(b"[" + b"[]," * 10_000 + b"[]]")
    check_shape(b'["' + b"[{" * 10_000 + b'"]')
    check_shape(rb'["\"' + b"[{" * 10_000 + rb'\\"]')
    for deep in (nested(MOST_DEPTH + 1), b'["]]]]"' + b",[" * MOST_DEPTH, rb'["\\"' + b',{"a":[' * MOST_DEPTH):
        with pytest.raises(BadRequest, match="nested too deeply"):
            check_shape(deep)


def test_parts_are_counted() -> None:
    for many in (b"[]," * (MOST_PARTS + 1), b'"",' * (MOST_PARTS + 1)):
        with pytest.raises(BadRequest, match="too many parts"):
            check_shape(many)
    check_shape(b"1," * (MOST_PARTS + 1))


@pytest.mark.parametrize(
    "data",
    [
        nested(100)[:64] + rb"\"" * 300_000,
        b"[" * 64 + b'"' + rb"\"" * 300_000,
        b"[" * 64 + b'"' + rb"\"" * 300_000 + b"\\",
        b"[" * 64 + b'"' + b"x" * 2_000_000,
        b"]" * 500_000 + b"[" * 65,
        (b'"' + b"[" * 30 + b'"') * 20_000,
    ],
    ids=[
        "escapes",
        "a text without end",
        "an escape without end",
        "a long text",
        "closed too often",
        "brackets in texts",
    ],
)
def test_looking_takes_a_time_in_proportion(data: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(BadRequest):
        check_shape(data)
    assert time.process_time() - began < 2


def test_what_the_parser_says_becomes_a_sentence_about_the_field() -> None:
    assert in_words("Expected `str | null`, got `int` - at `$.prompt`") == '"prompt" must be of type str, not int.'
    assert in_words("Expected `object`, got `array`") == "The request body must be of type object, not array."
    assert in_words("Number out of range - at `$.options`") == (
        '"options" is not what this route expects: number out of range.'
    )
    assert len(in_words("Invalid enum value '" + "x" * 10_000 + "' - at `$.a`")) < 300
