"""The options of a request or a model: one table of names, types and bounds, and how they become `Sampling`.

Names, meanings and the texts for a wrong type are Ollama's. What cannot be honoured is refused, never dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from paddock.errors import InvalidOption
from paddock.protocol import Sampling

MAX_STOP_STRINGS = 16
MAX_STOP_BYTES = 256
LEAST_NUM_CTX = 4
"""Smaller contexts are raised to this, as Ollama does."""

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1

Source = Literal["option", "parameter"]
"""What the text calls it: an `option` of a request, or a `parameter` of a model that is being created."""


@dataclass(frozen=True)
class Number:
    """A numeric option: its type in Ollama's words, and the values that make sense, both ends included."""

    type_name: Literal["integer", "float32"]
    least: float
    most: float


def _integer(least: int, most: int) -> Number:
    return Number("integer", least, most)


def _float(least: float, most: float) -> Number:
    return Number("float32", least, most)


SAMPLING_OPTIONS: Mapping[str, Number] = {
    "temperature": _float(0, 100),
    "top_k": _integer(-1, _INT32),
    "top_p": _float(0, 1),
    "min_p": _float(0, 1),
    "typical_p": _float(0, 1),
    "repeat_last_n": _integer(-1, _INT32),
    "repeat_penalty": _float(0.01, 100),
    "presence_penalty": _float(-100, 100),
    "frequency_penalty": _float(-100, 100),
    "seed": _integer(-_INT64 - 1, _INT64),
    "num_predict": _integer(-2, _INT32),
    "num_keep": _integer(0, _INT32),
}
"""Numbers of `protocol.Sampling`; `stop`, which is no number, is known beside them."""

RUNNER_OPTIONS: Mapping[str, Number] = {
    "num_ctx": _integer(1, 16_777_216),
    "num_batch": _integer(1, 65_536),
    "num_gpu": _integer(-1, _INT32),
    "num_thread": _integer(0, 1_024),
}
"""Options that are fixed for the life of a runner; their defaults are the scheduler's business."""

PICTURE_OPTIONS = frozenset({"seed", "num_gpu", "num_thread"})
"""Of these two tables, what a model that makes pictures takes."""

NEUTRAL: Mapping[str, tuple[bool | int | float, ...]] = {
    "draft_num_predict": (0, 4),
    "embedding_only": (False,),
    "f16_kv": (True,),
    "logits_all": (False,),
    "low_vram": (False,),
    "main_gpu": (0,),
    "mirostat": (0,),
    "mirostat_eta": (0.1,),
    "mirostat_tau": (5.0,),
    "numa": (False,),
    "penalize_newline": (True,),
    "tfs_z": (1.0,),
    "use_mlock": (False,),
    "use_mmap": (True,),
    "vocab_only": (False,),
}
"""Options of other engines, with the values that ask for nothing special: those are accepted and have no effect."""


@dataclass(frozen=True)
class ParsedOptions:
    """Checked options, split by whom they concern. Only what was given is in them."""

    sampling_overrides: dict[str, int | float | tuple[str, ...]] = field(default_factory=dict)
    """Fields of `protocol.Sampling`."""
    runner_overrides: dict[str, int] = field(default_factory=dict)
    """Fields of `RunnerOptions`."""


def parse_options(mapping: Mapping[str, object], *, source: Source = "option") -> ParsedOptions:
    """Check options as clients write them; null leaves an option out.

    InvalidOption names the first that is unknown, of the wrong type (booleans are no numbers; a float for an integer
    is cut to it), out of its range, or meant for another engine.
    """
    parsed = ParsedOptions()
    for name, value in mapping.items():
        if value is None:
            _check_known(name, source)
        elif name == "stop":
            parsed.sampling_overrides[name] = _stop(value, source)
        elif name in SAMPLING_OPTIONS:
            parsed.sampling_overrides[name] = _number(name, value, SAMPLING_OPTIONS[name], source)
        elif name in RUNNER_OPTIONS:
            parsed.runner_overrides[name] = _runner_number(name, value, source)
        else:
            _check_known(name, source)
            _check_neutral(name, value, source)
    return parsed


def merge(
    model_parameters: Mapping[str, object], request_options: Mapping[str, object]
) -> tuple[Sampling, dict[str, int]]:
    """What a request gets: defaults, under the model's parameters, under its own options; and the runner's options."""
    parameters = parse_options(model_parameters, source="parameter")
    options = parse_options(request_options)
    sampling: dict[str, object] = {**parameters.sampling_overrides, **options.sampling_overrides}
    return Sampling(**sampling), {**parameters.runner_overrides, **options.runner_overrides}  # type: ignore[arg-type]


def _check_known(name: str, source: Source) -> None:
    if name not in SAMPLING_OPTIONS and name not in RUNNER_OPTIONS and name not in NEUTRAL and name != "stop":
        raise InvalidOption(f'unknown {source} "{_printable(name)}"')


def _printable(name: str) -> str:
    """A client's word, fit to be repeated in a message: short, and with no control or broken characters."""
    return "".join(char if char.isprintable() else "�" for char in name[:80])


def _number(name: str, value: object, number: Number, source: Source) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, number.type_name, source)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidOption(f'{source} "{name}" must be a finite number.')
    if number.type_name == "integer":
        value = int(value)
    if not number.least <= value <= number.most:
        raise InvalidOption(f'{source} "{name}" must be between {number.least} and {number.most}.')
    return value if number.type_name == "integer" else float(value)


def _runner_number(name: str, value: object, source: Source) -> int:
    checked = int(_number(name, value, RUNNER_OPTIONS[name], source))
    return max(checked, LEAST_NUM_CTX) if name == "num_ctx" else checked


def _stop(value: object, source: Source) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or not all(isinstance(string, str) for string in strings):
        raise _wrong_type("stop", "array", source)
    if len(strings) > MAX_STOP_STRINGS:
        raise InvalidOption(f'{source} "stop" must hold at most {MAX_STOP_STRINGS} strings.')
    if any(not 1 <= _utf8_length(string) <= MAX_STOP_BYTES for string in strings):
        raise InvalidOption(f'Each string of {source} "stop" must be valid text of 1 to {MAX_STOP_BYTES} bytes.')
    return tuple(strings)


def _utf8_length(text: str) -> int:
    """Bytes of a string; 0 for one with lone surrogates, which cannot be encoded."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def _check_neutral(name: str, value: object, source: Source) -> None:
    neutral = NEUTRAL[name]
    wanted = _type_name(neutral[0])
    if _type_name(value) != wanted and not (wanted == "float32" and _type_name(value) == "integer"):
        raise _wrong_type(name, wanted, source)
    if value not in neutral:
        raise InvalidOption(f'{source} "{name}" is not supported here: remove it.')


def _type_name(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "float32"}
    return names.get(type(value), "string")


def _wrong_type(name: str, type_name: str, source: Source) -> InvalidOption:
    return InvalidOption(f'{source} "{name}" must be of type {type_name}')
