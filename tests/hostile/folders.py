"""Model folders that attack whoever reads them, each made from a good tiny model by one change."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.store.making import entry, safetensors_bytes

Change = Callable[[Path, Path], None]
"""Takes the folder, and the canary: a file that exists only once code of the folder has run."""


@dataclass(frozen=True)
class Hostile:
    """One attack, where it must be refused, and by which words."""

    name: str
    change: Change
    reason: str
    stage: str = "create"
    """create | load | request: the first moment at which it can be known."""
    is_code: bool = False
    """Whether it wants to have code run."""
    question: str = "a" * 40 + "b"
    """What the model is asked, if it gets so far."""


class _Touch:
    """A pickle that touches the canary when it is read."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._canary,))


def make(good: Path, folder: Path, hostile: Hostile, canary: Path) -> Path:
    """The folder of an attack."""
    shutil.copytree(good, folder)
    hostile.change(folder, canary)
    return folder


# ---- ways to change a folder ----


def settings(file: str, **changes: Any) -> Change:
    """Settings changed or added, the file made if need be; a Python file that they may mean lies beside it unseen."""

    def change(folder: Path, _canary: Path) -> None:
        path = folder / file
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | changes))

    return change


def written(file: str, content: bytes | str) -> Change:
    def change(folder: Path, _canary: Path) -> None:
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def code(file: str) -> Change:
    """A Python module that touches the canary, and a config that wants it."""

    def change(folder: Path, canary: Path) -> None:
        (folder / file).write_text(f"open({str(canary)!r}, 'w').close()\nclass Model: ...\nclass ModelArgs: ...\n")

    return change


def pickled(file: str) -> Change:
    def change(folder: Path, canary: Path) -> None:
        (folder / file).write_bytes(pickle.dumps(_Touch(canary)))

    return change


def weights(header: Any, body: bytes = b"") -> Change:
    return written("model.safetensors", safetensors_bytes(header, body))


def truncated(folder: Path, _canary: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def tokenizer(edit: Callable[[dict[str, Any]], None]) -> Change:
    def change(folder: Path, _canary: Path) -> None:
        path = folder / "tokenizer.json"
        found = json.loads(path.read_text())
        edit(found)
        path.write_text(json.dumps(found))

    return change


def template(text: str) -> Change:
    return settings("tokenizer_config.json", chat_template=text)


def calls_the_system(folder: Path, canary: Path) -> None:
    """The template that ran commands in servers without a sandbox."""
    attack = f"{{{{ cycler.__init__.__globals__.os.popen('touch {canary}').read() }}}}"
    settings("tokenizer_config.json", chat_template=attack)(folder, canary)


def walks_to_a_class(folder: Path, canary: Path) -> None:
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    settings("tokenizer_config.json", chat_template=attack)(folder, canary)


# ---- what tokenizers are changed to ----


def _regex(found: dict[str, Any]) -> None:
    found["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }


def _replacements(found: dict[str, Any]) -> None:
    one = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}
    found["normalizer"] = {"type": "Sequence", "normalizers": [one] * 16}


def _repetition(found: dict[str, Any]) -> None:
    found["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 200_000,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {},
    }


def _giant_id(found: dict[str, Any]) -> None:
    found["model"]["vocab"]["a"] = 4_294_967_295


def _twice(found: dict[str, Any]) -> None:
    found["model"]["vocab"]["a"] = found["model"]["vocab"]["b"]


def _giant_added_id(found: dict[str, Any]) -> None:
    found["added_tokens"][-1]["id"] = 4_000_000_000


def _padding(found: dict[str, Any]) -> None:
    found["padding"] = {
        "strategy": {"Fixed": 2_000_000_000},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "a",
    }


def _endless_word(found: dict[str, Any]) -> None:
    found["model"] = {
        "type": "WordPiece",
        "vocab": found["model"]["vocab"],
        "unk_token": "a",
        "continuing_subword_prefix": "",
        "max_input_chars_per_word": 1_000_000_000,
    }


def _beyond_the_embedding(found: dict[str, Any]) -> None:
    found["model"]["vocab"]["a"] = 1_999_999


GOOD_TENSOR = entry("F32", [2], 0, 8)
LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set n = namespace(s='xxxx') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}"
FLOOD = "{% for i in range(99999) %}" + "x" * 20_000 + "{% endfor %}"
MULTIPLIED = "{{ 'a' * 10**10 }}"

CODE = (
    Hostile("config names a file to run", settings("config.json", model_file="x.py"), "model_file", is_code=True),
    Hostile("… outside of its folder", settings("config.json", model_file="../x.py"), "model_file", is_code=True),
    Hostile("… by an absolute path", settings("config.json", model_file="/tmp/x.py"), "model_file", is_code=True),
    Hostile(
        "auto_map of an unknown architecture",
        settings("config.json", model_type="own", auto_map={"AutoModelForCausalLM": "x.Model"}),
        "auto_map",
        is_code=True,
    ),
    Hostile(
        "auto_map of the tokenizer",
        settings("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Model", None]}),
        "auto_map",
        is_code=True,
    ),
    Hostile(
        "auto_map of a processor",
        settings("processor_config.json", auto_map={"AutoProcessor": "x.Model"}),
        "auto_map",
        is_code=True,
    ),
    Hostile(
        "auto_map of an image processor",
        settings("preprocessor_config.json", auto_map={"AutoImageProcessor": "x.Model"}),
        "auto_map",
        is_code=True,
    ),
    Hostile(
        "pipelines of its own",
        settings("config.json", custom_pipelines={"text": {"impl": "x.Model"}}),
        "custom_pipelines",
        is_code=True,
    ),
    Hostile(
        "modules of its own",
        written("modules.json", json.dumps([{"idx": 0, "name": "0", "path": "", "type": "x.Model"}])),
        "modules.json names code",
        is_code=True,
    ),
    Hostile("a Python file", code("modeling_x.py"), "may hold code", is_code=True),
    Hostile("pickled weights", pickled("pytorch_model.bin"), "may hold code", is_code=True),
    Hostile("a pickled adapter", pickled("adapter.pt"), "may hold code", is_code=True),
    Hostile("a joblib file", pickled("head.joblib"), "may hold code", is_code=True),
    Hostile("numpy's archive of objects", pickled("weights.npz"), "may hold code", is_code=True),
)

SAFETENSORS = (
    Hostile(
        "overlapping tensors",
        weights({"a": GOOD_TENSOR, "b": entry("F32", [2], 4, 12)}, bytes(12)),
        "overlapping",
    ),
    Hostile("a hole between tensors", weights({"a": GOOD_TENSOR, "b": entry("F32", [2], 12, 20)}, bytes(20)), "hole"),
    Hostile("a shape that wraps around", weights({"a": entry("F32", [2**32, 2**32], 0, 0)}), "impossible shape"),
    Hostile("a fraction in a shape", weights({"a": entry("U8", [4.5], 0, 4)}, bytes(4)), "fraction"),
    Hostile("an end before the start", weights({"a": entry("F32", [2], 8, 0)}, bytes(8)), "impossible place"),
    Hostile("a header of 2^63 bytes", written("model.safetensors", (2**63).to_bytes(8, "little") + b"{}"), "truncated"),
    Hostile("two million brackets", weights(b"[" * 2_000_000), "no safetensors header"),
    Hostile(
        "half a million tensors",
        weights(b"{" + b",".join(b'"%d":{}' % number for number in range(500_000)) + b"}"),
        "more than",
    ),
    Hostile("weights cut short", truncated, "truncated"),
    Hostile("a GGUF file under another name", written("model.safetensors", b"GGUF" + bytes(60)), "GGUF"),
    Hostile(
        "an index that leads out of the folder",
        written("model.safetensors.index.json", json.dumps({"weight_map": {"a": "../../etc/model.safetensors"}})),
        "no file of weights",
    ),
)

CONFIGS = (
    Hostile("a million layers", settings("config.json", num_hidden_layers=1_000_000), "no model has"),
    Hostile("fewer layers than none", settings("config.json", num_hidden_layers=-1), "no model has"),
    Hostile("a width of ten million", settings("config.json", hidden_size=10_000_000), "no model has"),
    Hostile("a vocabulary of a billion", settings("config.json", vocab_size=1_000_000_000), "no model has"),
    Hostile("a million experts", settings("config.json", num_experts=1_000_000), "no model has"),
    Hostile("far larger than its weights", settings("config.json", hidden_size=16384), "far larger than its weights"),
    Hostile("an endless number", written("config.json", '{"model_type":"llama","rope_theta":1e999}'), "not finite"),
    Hostile("no number", written("config.json", '{"model_type":"llama","rms_norm_eps":NaN}'), "not finite"),
    Hostile("nested without end", written("config.json", '{"a":' * 100_000), "not valid JSON"),
)

TOKENIZERS = (
    Hostile("a tokenizer of 65 MiB", written("tokenizer.json", b" " * (65 * 1024 * 1024)), "larger than"),
    Hostile("replacements that explode", tokenizer(_replacements), "times longer", "load"),
    Hostile("every text 200,000 times", tokenizer(_repetition), "repeats every text", "load"),
    Hostile("a token id of four billion", tokenizer(_giant_id), "token id outside", "load"),
    Hostile("… of an added token", tokenizer(_giant_added_id), "token id outside", "load"),
    Hostile("two tokens with one id", tokenizer(_twice), "same id", "load"),
    Hostile("padding to two billion", tokenizer(_padding), "absurd length", "load"),
    Hostile("a pattern that never ends", tokenizer(_regex), "tokenizer broke down", "request"),
    Hostile(
        "a word looked up by all its parts",
        tokenizer(_endless_word),
        "takes far too long",
        "request",
        question="a" * 20_000,
    ),
    Hostile("an id beyond the embedding", tokenizer(_beyond_the_embedding), "weights do not know", "request"),
)

TEMPLATES = (
    Hostile("a template of 300 KiB", template("x" * 300 * 1024), "larger than"),
    Hostile("a template that calls the system", calls_the_system, "template", "request", is_code=True),
    Hostile("a template that walks to a class", walks_to_a_class, "template refused", "request", is_code=True),
    Hostile("ten billion loops", template(LOOPS), "too long or too much memory", "request"),
    Hostile("a text that doubles", template(DOUBLING), "template", "request"),
    Hostile("two gigabytes of text", template(FLOOD), "far more than the context", "request"),
    Hostile("a letter ten billion times", template(MULTIPLIED), "template failed", "request"),
)

ALL = CODE + SAFETENSORS + CONFIGS + TOKENIZERS + TEMPLATES
