"""Hugging Face's settings are read by its own library; a process of its own, as that reads them when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

READ = """
import json
from paddock.store.hub.settings import read_hub_settings
found = read_hub_settings()
folders = [str(folder) for folder in found.model_folders]
print(json.dumps([found.endpoint, found.token, found.is_offline, str(found.cache), folders]))
assert found.token not in repr(found) or not found.token
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".lmstudio" / "models").mkdir(parents=True)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_from_file\n")
    return tmp_path


def read(home, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HOME": str(home), "HF_HOME": str(home / "hf"), **variables}
    result = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def test_the_usual_places_are_looked_at(home):
    assert read(home) == [
        "https://huggingface.co", "hf_from_file", False, str(home / "hf" / "hub"), [str(home / ".lmstudio" / "models")],
    ]  # fmt: skip


def test_the_environment_goes_above_them(home):
    found = read(
        home, HF_ENDPOINT="http://hub.lan/", HF_TOKEN="hf_own", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(home / "cache")
    )
    assert found[:4] == ["http://hub.lan", "hf_own", True, str(home / "cache")]


def test_a_token_may_be_forbidden(home):
    assert read(home, HF_HUB_DISABLE_IMPLICIT_TOKEN="1")[1] == ""
