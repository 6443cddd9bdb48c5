"""A stored model told as text: its Modelfile, and its parameters as `show` prints them. Layouts are Ollama's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from paddock.store.capabilities import own_template
from paddock.store.library import StoredModel
from paddock.vetting.model_config import CONFIG_FILE, read_config, text_part

_PARAMETER_WIDTH = 30


def show_modelfile(model: StoredModel) -> str:
    """A Modelfile that would make this model again from itself."""
    return "\n".join(_modelfile_lines(model)) + "\n"


def parameters_text(model: StoredModel) -> str:
    """One line per parameter, by name: the name padded to 30 characters, and the value; strings in quotes."""
    return "\n".join(
        f"{name:<{_PARAMETER_WIDTH}} {_literal(value)}" for name, value in _flat_parameters(model.parameters)
    )


def tokenizer_info(files: Mapping[str, Path]) -> dict[str, object]:
    """What the files say of the tokenizer, under the names that GGUF files have for it. The tokens themselves are left
    out: only a runner reads so large a file."""
    config = read_config(files[CONFIG_FILE]) if CONFIG_FILE in files else {}
    ids = {**config, **text_part(config)}
    named = {"bos": ids.get("bos_token_id"), "eos": ids.get("eos_token_id"), "padding": ids.get("pad_token_id")}
    found: dict[str, object] = {}
    for name, value in named.items():
        first = value[0] if isinstance(value, list) and value else value
        if type(first) is int:
            found[f"tokenizer.ggml.{name}_token_id"] = first
        if isinstance(value, list):
            found[f"tokenizer.ggml.{name}_token_ids"] = [one for one in value if type(one) is int]
    template = own_template(files)
    return found | ({"tokenizer.chat_template": template} if template else {})


def _modelfile_lines(model: StoredModel) -> Iterator[str]:
    yield '# Modelfile written by "paddock show"'
    yield "# To build a model on top of this one, change what follows and keep this line:"
    if model.origin:
        yield f"# Pulled from {model.origin.repository} at {model.origin.commit}"
    yield f"FROM {model.name.display}"
    if model.draft_model:
        yield f"# Its draft model, which comes with it: {model.draft_model}"
    if model.template:
        yield _said("TEMPLATE", model.template)
    if model.system:
        yield _said("SYSTEM", model.system)
    for name, value in _flat_parameters(model.parameters):
        yield f"PARAMETER {name} {_quoted_if_needed(value) if isinstance(value, str) else _literal(value)}"
    for text in model.licenses:
        yield _said("LICENSE", text)
    if not all(_can_be_quoted(message.get("content", "")) for message in model.messages):
        yield _not_said("MESSAGE")
        return
    for message in model.messages:
        yield f"MESSAGE {message.get('role', '')} {_quoted_if_needed(message.get('content', ''))}"


def _flat_parameters(parameters: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Name and value, a list once for each of its values."""
    for name, value in sorted(parameters.items()):
        if isinstance(value, list | tuple):
            yield from ((name, one) for one in value)
        else:
            yield name, value


def _literal(value: object) -> str:
    """A number, a boolean or a quoted string; whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def _said(command: str, text: str) -> str:
    return f"{command} {_block(text)}" if _can_be_quoted(text) else _not_said(command)


def _not_said(command: str) -> str:
    """What a model is FROM it has from there, whether or not it is written here."""
    return f"# Its {command} has quotes or line ends that no Modelfile can hold, and comes with it."


def _can_be_quoted(text: str) -> bool:
    """Whether it can be read again as it is: quotes are closed by the first line that ends in them, and every line end
    is one of Unix."""
    return "\r\n" not in text and not any(line.rstrip().endswith('"""') for line in text.split("\n")[:-1])


def _block(text: str) -> str:
    return f'"""{text}"""'


def _quoted_if_needed(text: str) -> str:
    if "\n" in text or '"' in text:
        return _block(text)
    return f'"{text}"' if text != text.strip() or " " in text or not text else text
