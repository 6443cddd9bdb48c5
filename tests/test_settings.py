"""The table of settings: complete, true, and the same wherever it is shown."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paddock.cli.main import app
from paddock.config import SETTINGS, Config, Setting, read_config
from paddock.errors import InvalidOption

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("write_settings", ROOT / "scripts" / "write_settings.py")
assert _spec is not None
assert _spec.loader is not None
writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writer)


def test_every_setting_is_in_the_table_once() -> None:
    assert sorted(setting.field for setting in SETTINGS) == sorted(field.name for field in dataclasses.fields(Config))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_default_that_is_written_is_the_default(setting: Setting) -> None:
    assert read_config({setting.variable: setting.default}) == Config()


@pytest.mark.parametrize("path", writer.FILES, ids=lambda path: path.name)
def test_pages_show_the_table_as_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert writer.with_table(text) == text, "run `make settings`"


def test_the_help_of_serve_names_every_variable() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"]).stdout

    assert [setting.variable for setting in SETTINGS if setting.variable not in shown] == []


def test_ollamas_name_is_read_only_where_ollama_has_it() -> None:
    assert read_config({"OLLAMA_GPU_OVERHEAD": "7"}).gpu_overhead_bytes == 7
    assert read_config({"OLLAMA_MEMORY_LIMIT": "7"}).memory_limit_bytes == 0


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0", 0), ("8GB", 8 * 10**9), ("1.5 GiB", 3 * 2**29), ("512mib", 2**29), ("77", 77)]
)
def test_a_size_is_bytes_or_has_a_unit(text: str, size_bytes: int) -> None:
    assert read_config({"PADDOCK_MEMORY_LIMIT": text}).memory_limit_bytes == size_bytes


@pytest.mark.parametrize("text", ["-1", "8G", "lots", "8 gigabytes"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="MEMORY_LIMIT: must be a number of bytes"):
        read_config({"PADDOCK_MEMORY_LIMIT": text})


@pytest.mark.parametrize(("text", "size_bytes"), [("auto", None), ("Auto", None), ("0", 0), ("2GB", 2 * 10**9)])
def test_the_prefix_cache_is_a_size_or_left_to_paddock(text: str, size_bytes: int | None) -> None:
    assert read_config({"PADDOCK_PREFIX_CACHE": text}).prefix_cache_bytes == size_bytes


def test_the_format_of_the_context_is_one_of_ollamas() -> None:
    assert read_config({"OLLAMA_KV_CACHE_TYPE": "Q8_0"}).kv_cache_type == "q8_0"
    with pytest.raises(InvalidOption, match="KV_CACHE_TYPE: must be one of f16, q8_0, q4_0"):
        read_config({"PADDOCK_KV_CACHE_TYPE": "q5_1"})
