"""What fields mean that several of OpenAI's routes have: sampling, reasoning effort, response formats. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from paddock.api.refusals import ANY_OBJECT, Think
from paddock.errors import InvalidField, InvalidOption, Unsupported
from paddock.options import merge, parse_options
from paddock.protocol import Done, Sampling
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel

MAX_BIASES = 1024
MAX_BIAS = 100.0
MAX_TOP_LOGPROBS = 20

_MAX_TOKENS = 2**31 - 1
_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "seed": (-(2**63), 2**63 - 1),
    "top_k": (-1, _MAX_TOKENS),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "repeat_penalty": (0.01, 100),
    "repetition_penalty": (0.01, 100),
}
"""The first five are OpenAI's own bounds. The others are no fields of OpenAI's: clients of local servers send them."""
_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_OPTIONS: Mapping[str, str] = {
    "repetition_penalty": "repeat_penalty",
    **dict.fromkeys(_TOKEN_LIMITS, "num_predict"),
}
"""Fields that are options under another name."""
_EFFORTS: Mapping[str, Think] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def sampling_options(fields: Mapping[str, object]) -> dict[str, object]:
    """Options in the sense of `options.merge`, from fields by their names in OpenAI's bodies; None leaves one out.

    It knows those of `_RANGES`, the limits of tokens (-1 for as many as the context holds), and `stop`. InvalidField
    for a value out of its range.
    """
    options: dict[str, object] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name in _TOKEN_LIMITS:
            _check_limit(name, value)
        elif name == "stop":
            _check_stop(value)
        else:
            check_range(name, value, *_RANGES[name])
        options[_OPTIONS.get(name, name)] = value
    return options


def check_range(name: str, value: object, least: float, most: float) -> None:
    """InvalidField unless the number lies between the two, or is one of them."""
    assert isinstance(value, int | float)
    if not least <= value <= most:
        raise InvalidField(f'"{name}" must be between {least} and {most}.', name)


def _check_limit(name: str, value: object) -> None:
    if value != -1 and not (isinstance(value, int) and 1 <= value <= _MAX_TOKENS):
        raise InvalidField(f'"{name}" must be at least 1, or -1 for as many tokens as the context holds.', name)


def _check_stop(value: object) -> None:
    try:
        parse_options({"stop": value})
    except InvalidOption as error:
        raise InvalidField(error.message.replace('option "stop"', '"stop"'), "stop") from None


def sampling_of(
    model: StoredModel,
    options: Mapping[str, object],
    *,
    logit_bias: Mapping[str, float] | None = None,
    top_logprobs: int | None = None,
) -> tuple[Sampling, LoadWish]:
    """What a request gets over the parameters of its model, which are the defaults. Likelihoods are told where
    `top_logprobs` is a number, if only 0. InvalidField, InvalidOption."""
    sampling, runner = merge(model.parameters, options)
    if logit_bias:
        sampling = msgspec.structs.replace(sampling, logit_bias=_biases(logit_bias))
    if top_logprobs is not None:
        sampling = msgspec.structs.replace(sampling, logprobs=True, top_logprobs=top_logprobs)
    return sampling, LoadWish(**runner)


def _biases(given: Mapping[str, float]) -> dict[int, float]:
    if len(given) > MAX_BIASES:
        raise InvalidField(f'"logit_bias" must name at most {MAX_BIASES} tokens.', "logit_bias")
    found: dict[int, float] = {}
    for token, bias in given.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise InvalidField('"logit_bias" must have ids of tokens for its keys, such as "50256".', "logit_bias")
        if not abs(bias) <= MAX_BIAS:
            raise InvalidField(f'"logit_bias" must hold numbers from -{MAX_BIAS:g} to {MAX_BIAS:g}.', "logit_bias")
        found[int(token)] = float(bias)
    return found


def with_seed_after(sampling: Sampling, place: int) -> Sampling:
    """The sampling of answer number `place` to one request: it has a seed of its own, the next ones in turn."""
    if sampling.seed < 0 or not place:
        return sampling
    return msgspec.structs.replace(sampling, seed=(sampling.seed + place) % 2**63)


def think_of_effort(effort: str | None, model: StoredModel, field: str = "reasoning_effort") -> Think:
    """How much the model thinks; None leaves it to the model. InvalidField; Unsupported if it cannot think at all."""
    if effort is None:
        return None
    if effort not in _EFFORTS:
        raise InvalidField(f'"{field}" must be one of {", ".join(_EFFORTS)}.', field)
    if effort != "none" and "thinking" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support thinking')
    return _EFFORTS[effort]


def schema_of_format(kind: str, schema: object, field: str = "response_format") -> str:
    """The JSON schema, as JSON, that the answer has to obey; empty for plain text. `kind` is the format's type,
    `schema` what a format of the type json_schema comes with. InvalidField."""
    if kind == "text":
        return ""
    if kind == "json_object" or (kind == "json_schema" and schema is None):
        return ANY_OBJECT
    if kind != "json_schema":
        raise InvalidField(f'The type of "{field}" must be text, json_object or json_schema.', field)
    if not isinstance(schema, dict):
        raise InvalidField(f'The schema of "{field}" must be an object.', field)
    return msgspec.json.encode(schema).decode()


@dataclass(frozen=True)
class Counts:
    """Tokens of a request, all its answers together."""

    prompt: int
    completion: int
    cached: int
    """Of the prompt's, those that had been read before."""
    thinking: int
    """Of the completion's, those of thinking."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.completion


def counts_of(endings: Sequence[Done], answers_per_prompt: int = 1) -> Counts:
    """What the answers took, in the order of their indices. A prompt counts once, however many answers it has."""
    firsts = endings[::answers_per_prompt]
    return Counts(
        prompt=sum(done.prompt_eval_count for done in firsts),
        completion=sum(done.eval_count for done in endings),
        cached=sum(done.cached_tokens for done in firsts),
        thinking=sum(done.thinking_tokens for done in endings),
    )


def new_id(prefix: str) -> str:
    """A name for an answer that no other has."""
    return prefix + secrets.token_hex(12)


def fingerprint_of(model: StoredModel) -> str:
    """What `system_fingerprint` says: the same as long as the stored model is the same."""
    return f"fp_{model.digest.removeprefix('sha256:')[:10]}"


def given(**fields: Any) -> dict[str, object]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
