"""What clients send to /v1/chat/completions. What becomes of each field stands in `FIELDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from paddock.api.openai import sampled_body
from paddock.api.openai.sampled_body import SampledBody
from paddock.api.schemas import Body


class ContentPart(Body, frozen=True):
    """A part of what a message says: of the type text, refusal, image_url, input_audio or file."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None
    """This and the two above: refused, whatever they hold."""


class CalledFunction(Body, frozen=True):
    """Which function an earlier turn called, with what: its arguments as JSON in a string."""

    arguments_of_calls: ClassVar = ("arguments",)

    name: str = ""
    arguments: str | dict[str, Any] | None = None
    """An object in place of the string is taken as well: some clients send back what they have parsed."""


class TurnCall(Body, frozen=True):
    """A call of an earlier turn."""

    id: str | None = None
    type: str = "function"
    function: CalledFunction | None = None


class ChatTurn(Body, frozen=True):
    """One turn of a conversation, of any role."""

    role: str = ""
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    """Of an assistant that said nothing else: what it said."""
    name: str | None = None
    """Of a tool's answer: which tool it was. Of others no effect: chat templates know no participants."""
    tool_calls: list[TurnCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    """Both not OpenAI's: what the model thought in an earlier turn, under either of the two names in use."""
    audio: Any = None
    """Refused: an earlier answer in sound."""


class JsonSchemaFormat(Body, frozen=True):
    """The schema that an answer has to obey."""

    name: str | None = None
    description: str | None = None
    """This and `name`: accepted, no effect, since the schema is enforced and not explained."""
    schema: Any = None
    strict: bool | None = None
    """Accepted, no effect: every schema is enforced."""


class ResponseFormat(Body, frozen=True):
    """What the answer has to be: of the type text, json_object or json_schema."""

    type: str = ""
    json_schema: JsonSchemaFormat | None = None
    schema: Any = None
    """Not OpenAI's: with json_object, the schema of the object."""


class ReasoningWish(Body, frozen=True):
    """How much the model should think, as the route for responses writes it."""

    effort: str | None = None


class ChatCompletionBody(SampledBody, frozen=True):
    """POST /v1/chat/completions"""

    messages: list[ChatTurn] | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    reasoning: ReasoningWish | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    """This and `reasoning`: not OpenAI's."""


FIELDS: Mapping[str, str] = {
    **sampled_body.FIELDS,
    "messages": "honoured, required: roles developer (as system), system, user, assistant, tool and function; the text "
    "parts of one message stay one message; images, audio and files are answered with 400",
    "max_completion_tokens": "honoured: as max_tokens, which may not say something else",
    "logprobs": "honoured: how likely each token of the answer was, not of the thinking before it",
    "top_logprobs": "honoured: 0 to 20; needs logprobs",
    "response_format": "honoured: text, json_object and json_schema, strict or not; beside tools, an answer calls them "
    "or obeys it, and it is a 400 where calls of the model cannot be enforced",
    "tools": "honoured: functions; the parameters of each are enforced in calls that tool_choice demands, and beside a "
    "response_format, strict or not; of strict ones in every call, where the model writes calls as JSON after a token "
    "that is a mark of calls (Hermes, Qwen, Mistral), and it has no effect on others; tools of the type custom are "
    "answered with 400",
    "tool_choice": "honoured: none, auto, required, a function, or allowed_tools; 400 where a call is demanded of a "
    "model that does not write calls as JSON",
    "parallel_tool_calls": "honoured: false ends the answer with its first call",
    "functions": "honoured: the former tools; the answer calls at most one, in function_call",
    "function_call": "honoured: none, auto or a function; needs functions",
    "reasoning_effort": "honoured: none, minimal (as low), low, medium, high, xhigh and max (as high); 400 where the "
    "model does not think, unless none",
    "verbosity": "400 unless medium",
    "modalities": 'honoured: ["text"]; 400 for sound',
    "audio": "400 unless absent",
    "prediction": "no effect: an answer is the same without it",
    "web_search_options": "400 unless absent",
    "moderation": "400 unless absent",
    "service_tier": "400 unless auto or default",
    "store": "400 if true: answers are not kept",
    "metadata": "no effect: it belongs to answers that are kept",
    "safety_identifier": "no effect: for the client's own bookkeeping",
    "prompt_cache_key": "no effect: prompts that begin alike are found without a key",
    "prompt_cache_retention": "no effect: what was read of a prompt is kept while there is memory",
    "prompt_cache_options": "400 unless its mode is implicit and it asks for nothing else",
    "reasoning": "honoured, not OpenAI's: effort, as reasoning_effort",
    "chat_template_kwargs": "honoured, not OpenAI's: enable_thinking or thinking, true or false; 400 for others",
    "ChatTurn.role": "honoured, required: developer (as system), system, user, assistant, tool or function",
    "ChatTurn.content": "honoured: a text, or parts",
    "ChatTurn.refusal": "honoured: of an assistant that said nothing else, what it said",
    "ChatTurn.name": "honoured: of a tool's answer, which tool it was; of others no effect",
    "ChatTurn.tool_calls": "honoured: calls of an earlier turn",
    "ChatTurn.tool_call_id": "honoured: which call a tool's answer belongs to",
    "ChatTurn.function_call": "honoured: the former tool_calls",
    "ChatTurn.reasoning": "honoured, not OpenAI's: what the model thought in an earlier turn",
    "ChatTurn.reasoning_content": "honoured, not OpenAI's: another name of reasoning",
    "ChatTurn.audio": "400 unless absent: an earlier answer in sound",
    "ContentPart.type": "honoured, required: text or refusal; 400 for others",
    "ContentPart.text": "honoured: of a text",
    "ContentPart.refusal": "honoured: of a refusal",
    "ContentPart.image_url": "400, being of a picture",
    "ContentPart.input_audio": "400, being of a sound",
    "ContentPart.file": "400, being of a file",
    "TurnCall.id": "honoured: which call it was",
    "TurnCall.type": "honoured: function; 400 for others",
    "TurnCall.function": "honoured: what was called",
    "CalledFunction.name": "honoured, required: which function",
    "CalledFunction.arguments": "honoured: a JSON object as text, or as it is",
    "ResponseFormat.type": "honoured, required: text, json_object or json_schema",
    "ResponseFormat.json_schema": "honoured: of json_schema, what the answer obeys",
    "ResponseFormat.schema": "honoured, not OpenAI's: of json_object, what the answer obeys",
    "JsonSchemaFormat.name": "no effect: the schema is enforced, not explained",
    "JsonSchemaFormat.description": "no effect: the schema is enforced, not explained",
    "JsonSchemaFormat.schema": "honoured: the answer obeys it",
    "JsonSchemaFormat.strict": "no effect: every schema is enforced",
    "ReasoningWish.effort": "honoured, not OpenAI's: as reasoning_effort",
}
"""What becomes of each field, in one clause."""
