"""One sound request for each route that reads a body, with every field that it documents: what faults are put into."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}
WEATHER = {
    "name": "get_weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": WEATHER}
OPTIONS = {
    "num_predict": 2,
    "num_ctx": 128,
    "num_keep": 4,
    "seed": 1,
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 8,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stop": ["."],
}


def _picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


PICTURE = _picture()


@dataclass(frozen=True)
class Sound:
    """A request, and how it is answered."""

    name: str
    path: str
    body: dict[str, Any]
    method: str = "POST"
    weight: int = 2
    """How many faults it gets, beside the others: as many as it has fields to be wrong in."""
    status: int = 200


_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}

SOUND = (
    Sound(
        "generate",
        "/api/generate",
        {
            "model": "short",
            "prompt": "Hello",
            "system": "You are brief.",
            "stream": False,
            "format": SCHEMA,
            "keep_alive": "5m",
            "logprobs": True,
            "top_logprobs": 1,
            "truncate": True,
            "options": OPTIONS,
        },
        weight=4,
    ),
    Sound("generate again", "/api/generate", {"model": "short", "prompt": "Hi", "context": [5, 6, 7], "raw": False}),
    Sound(
        "generate raw", "/api/generate", {"model": "short", "prompt": "Hi", "raw": True, "template": None, "suffix": ""}
    ),
    Sound(
        "paint",
        "/api/generate",
        {"model": "demo-image", "prompt": "a red circle", "width": 32, "height": 32, "steps": 1, "stream": False},
    ),
    Sound(
        "chat",
        "/api/chat",
        {
            "model": "caller",
            "messages": [
                {"role": "system", "content": "Be brief."},
                *HELLO,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
                },
                {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
            ],
            "tools": [TOOL],
            "stream": True,
            "keep_alive": 300,
            "options": {"num_predict": 2, "num_ctx": 1024, "stop": ["x"]},
        },
        weight=4,
    ),
    Sound(
        "think", "/api/chat", {"model": "thinker", "messages": HELLO, "think": True, "stream": False, "format": "json"}
    ),
    Sound("embed", "/api/embed", {"model": "vectors", "input": ["one", "two"], "truncate": True, "dimensions": 8}),
    Sound("embed once", "/api/embeddings", {"model": "vectors", "prompt": "one", "keep_alive": "5m", "options": {}}),
    Sound("show", "/api/show", {"model": "short", "verbose": True}, weight=1),
    Sound("fit", "/api/fit", {"model": "short", "options": {"num_ctx": 512}}, weight=1),
    Sound("copy", "/api/copy", {"source": "short", "destination": "copied"}, weight=1),
    Sound("delete", "/api/delete", {"model": "absent"}, "DELETE", weight=1, status=404),
    Sound(
        "create",
        "/api/create",
        {
            "model": "made",
            "from": "short",
            "template": "{{ messages[0].content }}",
            "system": "You are brief.",
            "license": ["free"],
            "parameters": {"num_predict": 2, "num_ctx": 128, "stop": ["x"]},
            "messages": HELLO,
            "stream": False,
        },
    ),
    Sound(
        "create of files",
        "/api/create",
        {"model": "made", "files": {"config.json": "sha256:" + "0" * 64, "model.safetensors": "sha256:" + "1" * 64}},
        status=404,
    ),
    Sound("pull", "/api/pull", {"model": "demo", "stream": False, "insecure": False}, weight=1),
    Sound("OpenAI embed", "/v1/embeddings", {"model": "vectors", "input": ["a", "b"], "encoding_format": "float"}),
    Sound(
        "rerank",
        "/v1/rerank",
        {"model": "scores", "query": "which?", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    ),
    Sound(
        "OpenAI paint",
        "/v1/images/generations",
        {
            "model": "demo-image",
            "prompt": "a red circle",
            "size": "32x32",
            "n": 1,
            "steps": 1,
            "seed": 1,
            "response_format": "b64_json",
            "output_format": "png",
            "user": "me",
        },
    ),
    Sound(
        "OpenAI edit",
        "/v1/images/edits",
        {
            "model": "demo-image",
            "prompt": "a red circle",
            "images": [{"image_url": f"data:image/png;base64,{PICTURE}"}],
            "size": "32x32",
            "steps": 1,
        },
        weight=1,
    ),
    Sound(
        "OpenAI chat",
        "/v1/chat/completions",
        {
            "model": "caller",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
                {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            ],
            "tools": [TOOL],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "max_completion_tokens": 2,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 1,
            "n": 1,
            "stop": ["x"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "frequency_penalty": 0,
            "presence_penalty": 0,
            "logit_bias": {"5": 1},
            "user": "me",
            "store": False,
            "metadata": {"a": "b"},
        },
        weight=6,
    ),
    Sound(
        "OpenAI chat with a schema",
        "/v1/chat/completions",
        {
            "model": "short",
            "messages": HELLO,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
            "logprobs": True,
            "top_logprobs": 2,
            "reasoning_effort": "none",
            "max_tokens": 2,
        },
    ),
    Sound(
        "OpenAI completion",
        "/v1/completions",
        {
            "model": "short",
            "prompt": "Hello",
            "max_tokens": 2,
            "temperature": 0,
            "echo": False,
            "n": 1,
            "best_of": 1,
            "logprobs": 1,
            "stop": "x",
            "suffix": None,
            "stream": False,
        },
    ),
    Sound(
        "OpenAI response",
        "/v1/responses",
        {
            "model": "caller",
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
                {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
            ],
            "tools": [{"type": "function", "strict": False, **WEATHER}],
            "tool_choice": "auto",
            "max_output_tokens": 16,
            "temperature": 0.5,
            "top_p": 0.9,
            "store": False,
            "stream": True,
            "text": {"format": {"type": "text"}},
            "reasoning": {"effort": None},
            "truncation": "auto",
            "metadata": {},
        },
        weight=6,
    ),
    Sound(
        "Anthropic message",
        "/v1/messages",
        {
            "model": "caller",
            "max_tokens": 2,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]},
            ],
            "tools": [{"name": "get_weather", "input_schema": WEATHER["parameters"]}],
            "tool_choice": {"type": "auto"},
            "stop_sequences": ["x"],
            "temperature": 0.5,
            "top_k": 5,
            "top_p": 0.9,
            "stream": True,
            "metadata": {"user_id": "me"},
        },
        weight=6,
    ),
    Sound("Anthropic count", "/v1/messages/count_tokens", {"model": "short", "messages": HELLO, "system": "Be brief."}),
)
WEIGHTS = sum(sound.weight for sound in SOUND)
