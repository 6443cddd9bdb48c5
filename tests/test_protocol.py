"""Messages between server and runner survive the wire, and nothing else does."""

from __future__ import annotations

import msgspec
import pytest

from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    Done,
    Failed,
    Health,
    PromptProgress,
    RunnerState,
    Sampling,
    Text,
    decode,
    decode_frame,
    encode,
    encode_line,
)


@pytest.mark.parametrize(
    "frame",
    [
        Text(content="naïve 🦊\n"),
        PromptProgress(done=1, total=2),
        Done(
            reason="length",
            prompt_eval_count=1,
            prompt_eval_duration_ns=2,
            eval_count=3,
            eval_duration_ns=4,
            context=(5, 6),
        ),
        Failed(code="out_of_memory", message="No."),
    ],
)
def test_a_frame_is_one_line_and_comes_back_as_itself(frame: Text | PromptProgress | Done | Failed) -> None:
    line = encode_line(frame)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_frame(line) == frame


def test_a_request_comes_back_as_itself() -> None:
    request = ChatRequest(messages=(ChatMessage(role="user", content="Hi"),), sampling=Sampling(stop=("a",), seed=3))

    assert decode(encode(request), ChatRequest) == request


def test_health_comes_back_as_itself() -> None:
    health = Health(state=RunnerState.LOADING, pid=1, progress=0.5, failure=Failed(code="runner", message="No."))

    assert decode(encode(health), Health) == health


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"null", b'{"type":"text"}', b'{"type":"novel"}', b'{"type":"text","content":"a","more":1}']
)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_frame(line)


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Text(content="a").content = "b"  # type: ignore[misc]
