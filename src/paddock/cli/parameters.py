"""The parameters that PARAMETER in a Modelfile and /set parameter in a session know, and how values are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from paddock.errors import InvalidOption

INTEGERS = frozenset(
    {
        "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "num_predict", "seed", "top_k",
        "repeat_last_n", "draft_num_predict",
    }
)  # fmt: skip
NUMBERS = frozenset(
    {"temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"}
)
FLAGS = frozenset({"use_mmap"})
LISTS = frozenset({"stop"})
FORMER = frozenset(
    {
        "penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock",
        "mirostat", "mirostat_tau", "mirostat_eta",
    }
)  # fmt: skip
"""Parameters that Ollama once had: read over with a warning."""

Value = int | float | bool | list[str]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def parse_parameter(name: str, values: Sequence[str]) -> Value:
    """The JSON value of a parameter written as text; InvalidOption for an unknown name or a value of the wrong type."""
    if name in LISTS:
        return list(values)
    text = values[0] if len(values) == 1 else ""
    if name in INTEGERS:
        if not _INTEGER.fullmatch(text):
            raise InvalidOption(f'{name} must be a whole number, not "{" ".join(values)}".')
        return int(text)
    if name in NUMBERS:
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise InvalidOption(f'{name} must be a number, not "{" ".join(values)}".')
        return float(text)
    if name in FLAGS:
        if text.lower() not in _WORDS:
            raise InvalidOption(f'{name} must be true or false, not "{" ".join(values)}".')
        return _WORDS[text.lower()]
    raise InvalidOption(f'unknown parameter "{name}".')
