"""A model with a draft model, from its Modelfile to its answers, through a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.road.conftest import Road, road_from
from tests.runner.engines.text.speculation.drafts import perturbed
from tests.runner.tiny import TinyShape, make_tiny_model

GREEDY = {"temperature": 0, "num_predict": 60, "num_ctx": 512}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A server that has a model and a smaller one that is nearly right."""
    home = tmp_path_factory.mktemp("road")
    library = Library(home / "models")
    large = make_tiny_model(tmp_path_factory.mktemp("large"), TinyShape())
    small = perturbed(large, tmp_path_factory.mktemp("small") / "small", 0.04)
    for name, folder in (("large", large), ("small", small)):
        import_folder(library, ModelName.parse(name), folder)
    with road_from(home) as road:
        yield road


def create(road: Road, name: str, modelfile: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`paddock create`, as a user would."""
    (folder / "Modelfile").write_text(modelfile)
    return subprocess.run(
        [sys.executable, "-m", "paddock", "create", name, "-f", str(folder / "Modelfile")],
        env={**os.environ, "PADDOCK_HOST": road.url, "PADDOCK_HOME": str(road.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_model_with_a_draft_answers_as_it_does_without(road: Road, tmp_path: Path) -> None:
    made = create(road, "quick", "FROM large\nDRAFT small\n", tmp_path)
    assert made.returncode == 0, made.stderr

    answer = road.client.generate("quick", "hello there", raw=True, options=GREEDY)
    [running] = httpx.get(f"{road.url}/api/ps").json()["models"]
    [runner] = road.runners()

    assert answer.response == road.client.generate("large", "hello there", raw=True, options=GREEDY).response
    assert answer.eval_count == 60
    assert httpx.post(f"{road.url}/api/show", json={"model": "quick"}).json()["draft"] == "small:latest"
    assert running["terms"]["draft"] > 0
    assert "--draft-path" in runner.cmdline()


def test_a_draft_that_is_not_there_makes_no_model(road: Road, tmp_path: Path) -> None:
    made = create(road, "odd", "FROM large\nDRAFT absent\n", tmp_path)

    assert made.returncode != 0
    assert "absent" in made.stderr
    with pytest.raises(ollama.ResponseError):
        road.client.show("odd")
