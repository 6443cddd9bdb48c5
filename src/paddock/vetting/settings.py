"""The small files beside a model's config.json: settings of tokenizers and processors, and chat templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock.errors import InvalidModelFiles
from paddock.vetting.code import MODULES_FILE, check_modules, check_references
from paddock.vetting.model_config import read_config, read_json
from paddock.vetting.templates import MAX_TEMPLATE_BYTES, check_template_sizes

MAX_SETTINGS_BYTES = 16 * 1024 * 1024
"""The settings of a tokenizer repeat its added tokens: the largest have about a tenth of it."""
TOKENIZER_SETTINGS = "tokenizer_config.json"

_SETTINGS = (
    TOKENIZER_SETTINGS,
    "processor_config.json",
    "preprocessor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
    "generation_config.json",
)
"""The files in which libraries look for classes to import."""
_TEMPLATE_SUFFIX = ".jinja"


def check_settings(files: Mapping[str, Path]) -> None:
    """Refuse settings that name code to run or hold a template that is too large; InvalidModelFiles."""
    for name, path in files.items():
        base = name.rpartition("/")[2]
        if base in _SETTINGS:
            settings = read_config(path, name, MAX_SETTINGS_BYTES)
            check_references(settings, name)
            check_template_sizes(settings, name)
        elif base == MODULES_FILE:
            check_modules(read_json(path, name))
        elif name.endswith(_TEMPLATE_SUFFIX) and path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise InvalidModelFiles(f"The chat template in {name} is larger than {MAX_TEMPLATE_BYTES} bytes.")
