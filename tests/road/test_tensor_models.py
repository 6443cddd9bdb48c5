"""Models that are stored one tensor at a time, through a real server: shown, run, copied, built upon and deleted."""

from __future__ import annotations

from collections.abc import Iterator

import ollama
import pytest

from paddock.store.library import Library
from tests.fakes.tensor_models import EXPERTS, LLAMA, all_of, promoted, tensor_model
from tests.road.conftest import Road, road_from

GREEDY = {"temperature": 0, "num_predict": 12, "num_ctx": 128}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A server whose store has two of them."""
    home = tmp_path_factory.mktemp("road")
    library = Library(home / "models")
    tensor_model(LLAMA, all_of("nvfp4")).put_into(library, "dense")
    tensor_model(EXPERTS, promoted).put_into(library, "experts")
    with road_from(home) as road:
        yield road


@pytest.mark.parametrize(("name", "family", "level"), [("dense", "llama", "nvfp4"), ("experts", "qwen3_moe", "int4")])
def test_a_model_is_shown_and_runs(road: Road, name: str, family: str, level: str) -> None:
    shown = road.client.show(name)
    answer = road.client.generate(name, "hello", options=GREEDY)
    again = road.client.chat(name, [{"role": "user", "content": "hello"}], options=GREEDY)

    assert shown.details is not None
    assert (shown.details.family, shown.details.quantization_level) == (family, level)
    assert shown.capabilities == ["completion"]
    assert (answer.eval_count, again.eval_count) == (12, 12)
    assert f"{name}:latest" in {model.model for model in road.client.ps().models}


def test_a_model_is_built_upon_copied_and_deleted(road: Road) -> None:
    expected = road.client.generate("dense", "hello", options=GREEDY).response

    road.client.create("mine", from_="dense", system="")
    road.client.copy("mine", "second")
    road.client.delete("mine")

    assert road.client.generate("second", "hello", options=GREEDY).response == expected
    road.client.delete("second")
    assert road.client.generate("dense", "hello", options=GREEDY).response == expected
    with pytest.raises(ollama.ResponseError):
        road.client.show("second")
