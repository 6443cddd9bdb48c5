"""What POST /api/show tells beyond Ollama's fields: sizes, memory, origin; and to whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paddock.keys import Terms
from paddock.store.create import CreateSpec, import_folder
from paddock.store.names import ModelName
from paddock.store.stored_config import Origin
from tests.api.conftest import CONFIG, Served, serving, write_model_folder
from tests.api.door.keys import issue

OLLAMAS_FIELDS = {"modelfile", "details", "model_info", "capabilities", "modified_at"}


async def shown(served: Served, model: str = "tiny", **body: Any) -> dict[str, Any]:
    status, answer = await served.post("/api/show", {"model": model, **body})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


async def test_size_is_told_by_component(served: Served) -> None:
    found = await shown(served)

    assert found.keys() > OLLAMAS_FIELDS
    assert found["size"] == served.library.list()[0].size_bytes
    assert found["components"] == [
        {"name": "embeddings", "parameters": 256, "size": 1024, "loaded": 1024, "quantization_level": "F32"}
    ]
    assert "origin" not in found


async def test_memory_is_what_the_scheduler_would_say(served: Served) -> None:
    found = await shown(served)
    _, fit = await served.post("/api/fit", {"model": "tiny"})

    (need,) = found["memory"]["needs"]
    assert (need["context_length"], need["is_default"], need["verdict"]) == (2048, True, "fits")
    assert need["terms"] == fit["terms"]
    assert (need["parallel"], found["memory"]["pool"]["id"]) == (fit["parallel"], fit["memory"]["id"])


async def test_memory_is_told_at_4k_32k_and_the_longest_context(served: Served, tmp_path: Path) -> None:
    import_long(served, tmp_path)

    needs = (await shown(served, "long"))["memory"]["needs"]

    assert [need["context_length"] for need in needs] == [4096, 32_768, 131_072]
    assert [need.get("is_default", False) for need in needs] == [True, False, False]
    totals = [need["terms"]["context"] for need in needs]
    assert totals == sorted(totals)
    given = (await shown(served, "long", options={"num_ctx": 8192}))["memory"]["needs"]
    assert [need["context_length"] for need in given if need.get("is_default")] == [8192]
    assert served.servers.made == []


async def test_a_loaded_model_says_so(served: Served) -> None:
    await served.post("/api/generate", {"model": "tiny", "prompt": "hi", "stream": False})

    (need,) = (await shown(served))["memory"]["needs"]

    assert need["verdict"] == "loaded"
    assert "evicts" not in need


async def test_who_would_go_is_told_as_far_as_the_caller_sees_it(tmp_path: Path) -> None:
    home, names = tmp_path / "home", ((), ("tiny",))
    keys = [issue(home, f"key{number}", Terms(scope="manage", models=few)) for number, few in enumerate(names)]
    async with serving(tmp_path, require_key=True, max_loaded_models=1) as served:
        served.session.headers.update(keys[0].headers)
        import_long(served, tmp_path)
        await served.post("/api/generate", {"model": "long", "prompt": "hi", "stream": False})
        for key, evicted in zip(keys, (["long:latest"], None), strict=True):
            served.session.headers.update(key.headers)
            (need,) = (await shown(served))["memory"]["needs"]
            assert (need["verdict"], need.get("evicts")) == ("evicts", evicted)


async def test_what_this_machine_cannot_hold_never_fits(tmp_path: Path) -> None:
    async with serving(tmp_path, memory_limit_bytes=100_000_000) as served:
        (need,) = (await shown(served))["memory"]["needs"]

    assert (need["verdict"], need.get("is_lowered", False)) == ("never", False)
    assert need["terms"]["total"] > 100_000_000


async def test_memory_of_an_image_model_is_told_by_the_size_of_pictures(painting: Served) -> None:
    needs = (await shown(painting, "zimage"))["memory"]["needs"]

    assert [(need["width"], need["height"]) for need in needs][:2] == [(64, 48), (512, 512)]
    assert needs[0]["is_default"]
    assert needs[1]["terms"]["total"] > needs[0]["terms"]["total"]
    assert {part["name"] for part in (await shown(painting, "zimage"))["components"]} == {
        "text encoder",
        "transformer",
        "VAE",
    }


async def test_where_a_model_was_pulled_from_is_told(served: Served, tmp_path: Path) -> None:
    name = ModelName.parse("pulled")
    spec = CreateSpec(name, origin=Origin("org/repo", "0123456789" * 4))
    import_folder(served.library, name, write_model_folder(tmp_path / "pulled"), spec)

    found = await shown(served, "pulled")

    assert found["origin"] == {"repository": "org/repo", "commit": "0123456789" * 4}
    assert "# Pulled from org/repo at 0123456789" in found["modelfile"]


async def test_a_key_that_may_only_use_models_is_not_told_of_the_machine(tmp_path: Path) -> None:
    infers = issue(tmp_path / "home", "infers", terms=Terms(scope="infer"))
    manages = issue(tmp_path / "home", "manages", terms=Terms(scope="manage"))
    async with serving(tmp_path, require_key=True) as served:
        served.session.headers.update(infers.headers)
        assert "memory" not in await shown(served)
        served.session.headers.update(manages.headers)
        assert "memory" in await shown(served)


def import_long(served: Served, folder: Path) -> None:
    """A model made for long contexts."""
    made = write_model_folder(folder / "long")
    (made / "config.json").write_text(json.dumps(CONFIG | {"max_position_embeddings": 131_072}))
    import_folder(served.library, ModelName.parse("long"), made)
