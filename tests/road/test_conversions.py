"""Models that are quantised and that take an adapter, through a real server, the real command and Ollama's client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from paddock.store.conversion import FOLDER
from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.store.packaged import install_demo
from tests.road.conftest import Road, road_from, start_road
from tests.runner.tiny import TinyShape, make_tiny_model

GREEDY = {"temperature": 0, "num_predict": 24, "num_ctx": 512}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder as somebody might have it, with a licence."""
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), TinyShape(hidden=64))
    (folder / "LICENSE").write_text("Do what you like.\n")
    return folder


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Road]:
    home = tmp_path_factory.mktemp("road")
    library = Library(home / "models")
    install_demo(library, lambda _: None)
    import_folder(library, ModelName.parse("tiny"), tiny)
    with road_from(home) as road:
        yield road


def command(road: Road, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`paddock …`, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "paddock", *arguments],
        env={**os.environ, "PADDOCK_HOST": road.url, "PADDOCK_HOME": str(road.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_adapter(folder: Path, scale: float = 2.0) -> Path:
    folder.mkdir()
    layer = "model.layers.1.self_attn.q_proj"
    mx.random.seed(3)
    tensors = {f"{layer}.lora_a": mx.random.normal((64, 4)), f"{layer}.lora_b": mx.random.normal((4, 64))}
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    parameters = {"rank": 4, "scale": scale, "dropout": 0.0}
    config = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_the_published_client_makes_a_quantised_model_that_answers(road: Road) -> None:
    parts = list(road.client.create("small", from_="demo", quantize="int8", stream=True))

    bar = [part for part in parts if part.total]
    assert (bar[-1].status, bar[-1].completed) == ("quantizing to int8", bar[-1].total)
    assert parts[-1].status == "success"
    assert road.client.show("small").details.quantization_level == "int8"
    asked = {"prompt": "What is Paddock?", "think": False, "options": {"temperature": 0, "num_predict": 8}}
    assert road.client.generate("small", **asked).response == road.client.generate("demo", **asked).response
    assert list((road.home / "models" / FOLDER).iterdir()) == []


def test_a_folder_is_quantised_by_the_command_and_keeps_its_licence(road: Road, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {tiny}\nSYSTEM Be brief.\n")

    made = command(road, "create", "packed", "-f", str(tmp_path / "Modelfile"), "--quantize", "mxfp4")

    assert made.returncode == 0, made.stderr
    assert made.stderr.endswith("writing manifest\nsuccess\n")
    shown = road.client.show("packed")
    assert (shown.details.quantization_level, shown.license) == ("mxfp4", "Do what you like.")


def test_an_adapter_changes_what_a_model_says(road: Road, tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora")
    (tmp_path / "Modelfile").write_text("FROM tiny\nADAPTER ./lora\n")

    made = command(road, "create", "tuned", "-f", str(tmp_path / "Modelfile"))

    assert made.returncode == 0, made.stderr
    said = [road.client.generate(name, "hello", raw=True, options=GREEDY).response for name in ("tiny", "tuned")]
    assert said[0] != said[1]


def test_an_adapter_for_another_model_is_told_so(road: Road, tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora")
    (tmp_path / "Modelfile").write_text("FROM demo\nADAPTER ./lora\n")

    made = command(road, "create", "wrong", "-f", str(tmp_path / "Modelfile"))

    assert made.returncode == 1
    assert (
        "Error: The adapter is for another model: for model.layers.1.self_attn.q_proj it has the shape" in made.stderr
    )


def test_the_modelfile_that_is_shown_makes_the_same_model_again(road: Road, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(
        'FROM tiny\nPARAMETER temperature 0.5\nPARAMETER stop "### User:"\nPARAMETER stop </s>\n'
        'SYSTEM """Say "no",\nor "yes"."""\nTEMPLATE """{% for m in messages %}\n{{ m.content }}{% endfor %}"""\n'
        'LICENSE MIT\nMESSAGE user "  Hello?"\nMESSAGE assistant """Hi\nthere!"""\n'
    )
    assert command(road, "create", "first", "-f", str(tmp_path / "Modelfile")).returncode == 0
    first = Library(road.home / "models").get(ModelName.parse("first"))

    (tmp_path / "Again").write_text(command(road, "show", "first", "--modelfile").stdout)
    made = command(road, "create", "first", "-f", str(tmp_path / "Again"))

    assert made.returncode == 0, made.stderr
    again = Library(road.home / "models").get(ModelName.parse("first"))
    for said in ("parameters", "system", "template", "licenses", "messages"):
        assert getattr(again, said) == getattr(first, said), said
    assert again.manifest.files == first.manifest.files


def test_a_server_that_is_killed_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM demo\n")
    road = start_road(tmp_path / "home")
    conversions = tmp_path / "home" / "models" / FOLDER
    creating = subprocess.Popen(
        [sys.executable, "-m", "paddock", "create", "small", "-f", "Modelfile", "-q", "nvfp4"],
        env={**os.environ, "PADDOCK_HOST": road.url},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not list(conversions.glob("*/output/*.safetensors")):
        assert creating.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    runners = road.runners()
    road.process.kill()
    road.process.wait()
    assert creating.wait(10) == 1

    with road_from(tmp_path / "home") as road:
        assert list(conversions.iterdir()) == []
        assert not any(runner.is_running() and runner.status() != "zombie" for runner in runners)
        assert "small:latest" not in [model.model for model in road.client.list().models]
