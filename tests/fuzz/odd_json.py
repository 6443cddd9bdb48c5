"""JSON that nobody should send: sound bodies with one thing wrong, and bytes that are no JSON at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Raw:
    """Bytes that stand in a body as they are."""

    data: bytes


@dataclass(frozen=True)
class Pairs:
    """An object whose keys may repeat."""

    pairs: tuple[tuple[str, Any], ...]


DEEP = 100_000
_ODD = (
    *(Raw(word) for word in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e-999", b"-0", b"00", b"0x10")),
    *(Raw(word) for word in (b"9" * 5000, b"-" + b"9" * 5000, b"0." + b"3" * 5000, b"1" + b"0" * 400 + b".5")),
    *(
        Raw(word)
        for word in (b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"a\\u0000b"', b'"\xff\xfe"', b'"\x01"')
    ),
    *(Raw(word) for word in (b"'x'", b"undefined", b"True", b"", b"{", b'"', b"[1,]", b'{"a":1,}', b"/* */ 1")),
    *(Raw(b"[" * depth + b"]" * depth) for depth in (65, 1000, DEEP)),
    *(Raw(b'{"a":' * depth + b"1" + b"}" * depth) for depth in (65, 1000, DEEP)),
    *(2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -1, -2, -(2**63), -(2**63) - 1, 0, 1, 129, 1e308),
    *(
        0.5,
        -0.5,
        1.5,
        1e-320,
        True,
        False,
        None,
        "",
        " ",
        "0",
        "-1",
        "1e9",
        "true",
        "null",
        "NaN",
        "5m",
        "-5m",
        "9e99h",
    ),
    *(
        "../../etc/passwd",
        "..\\..\\x",
        "%00",
        "%2e%2e%2f",
        "a" * 300,
        "a" * 70_000,
        "\u202e\u2066",
        "😀" * 40,
        "\r\nX: y",
    ),
    *(
        "sha256:" + "0" * 64,
        "data:image/png;base64,AAAA",
        "data:,",
        "http://127.0.0.1:1/",
        "file:///etc/passwd",
        "{{7*7}}",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        [None],
        {"": ""},
        {"__proto__": 1},
        {"$ref": "#"},
        {"type": "object"},
        [0] * 3000,
        ["x"] * 2100,
    ),
    {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}},
    {"type": "string", "pattern": "(a+)+$"},
)
_NAMES = ("", "model", "stream", "options", "__class__", "constructor", "\u0000", "a" * 1000, "num_predict", "x")

_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
odd_values = st.one_of(st.sampled_from(_ODD), st.sampled_from(_ODD), _anything)

Path = tuple[Any, ...]


def written(value: Any) -> bytes:
    """A body as bytes, faults and all."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, Pairs | Mapping):
        pairs = value.pairs if isinstance(value, Pairs) else value.items()
        return b"{" + b",".join(_word(key) + b":" + written(inner) for key, inner in pairs) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(written, value)) + b"]"
    return _word(value)


def _word(value: Any) -> bytes:
    # Lone surrogates that Hypothesis finds go out as they are: not even UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _paths(value: Any, before: Path = ()) -> list[Path]:
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for key, each in inner for path in _paths(each, (*before, key)))]


def _changed(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    if isinstance(value, Pairs):
        return value
    value[path[0]] = _changed(value[path[0]], path[1:], change)
    return value


@st.composite
def odd_bodies(draw: st.DrawFn, sound: Mapping[str, Any]) -> bytes:
    """A sound body with one to three faults, or with damaged bytes."""
    body: Any = copy.deepcopy(dict(sound))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        paths = _paths(body)
        # The whole body is one place of many: what is within it goes wrong more often.
        path = draw(st.sampled_from(paths[1:] or paths)) if draw(st.integers(0, 9)) else ()
        body = _changed(body, path, _fault(draw, is_whole=not path))
    data = written(body)
    return _damaged(draw, data) if draw(st.integers(0, 9)) == 0 else data


def _fault(draw: st.DrawFn, *, is_whole: bool) -> Callable[[Any], Any]:
    odd = copy.deepcopy(draw(odd_values))  # a later fault may be put into it
    name = draw(st.sampled_from(_NAMES))

    def add(value: Any) -> Any:
        return {**value, name: odd} if isinstance(value, Mapping) else odd

    def repeat(value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            return odd
        return Pairs((*value.items(), (next(iter(value)), odd)))

    def wrap(value: Any) -> Any:
        return [value]

    def replace(_value: Any) -> Any:
        return odd

    return draw(st.sampled_from((add, repeat) if is_whole else (replace, replace, replace, replace, add, repeat, wrap)))


def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, max(0, len(data) - 1)))
    kinds: Sequence[bytes] = (
        data[:place],
        data + draw(st.sampled_from((b"x", b"\0", b"{}", b"\n\n[]", b"\xff"))),
        data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :],
        b"\xef\xbb\xbf" + data,
        data.decode("utf-8", "replace").encode("utf-16"),
        draw(st.binary(max_size=60)),
        b"",
    )
    return draw(st.sampled_from(kinds))
