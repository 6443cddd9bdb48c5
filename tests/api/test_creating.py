"""POST /api/create beyond plain models: quantised, with an adapter, and of models that are still to be pulled."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from paddock.errors import InvalidModelFiles
from paddock.protocol import Health, RunnerState, encode
from paddock.protocol.conversion import ENGINE, OUTPUT_FOLDER, REPLY_FILE, SOURCE_FOLDER, ConversionReply
from paddock.store.conversion import FOLDER
from paddock.store.names import ModelName
from paddock.supervisor.model_server import RunnerSpec
from tests.api.conftest import Served
from tests.fakes.fake_hub import FakeHub
from tests.fakes.fake_server import FakeModelServer, Script
from tests.fakes.waiting import until
from tests.store.hub.pulling import REPOSITORY, model_bytes

SMALL = "small:latest"


class Converting(FakeModelServer):
    """Does what a runner would, without any numbers: the weights stay what they were."""

    async def wait_until_running(self) -> None:
        await super().wait_until_running()
        folder = self.spec.model_path
        source, output = folder / SOURCE_FOLDER, folder / OUTPUT_FOLDER
        output.mkdir()
        config = json.loads((source / "config.json").read_text())
        config["quantization"] = {"group_size": 64, "bits": 4, "mode": "affine"}
        (output / "config.json").write_text(json.dumps(config))
        shutil.copy(source / "model.safetensors", output)
        (folder / REPLY_FILE).write_bytes(encode(ConversionReply()))


@pytest.fixture
def converting(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The server, with conversions that work."""
    servers = served.servers

    def make(spec: RunnerSpec) -> FakeModelServer:
        kind = Converting if spec.engine == ENGINE else FakeModelServer
        servers.made.append(kind(spec, servers.scripts.get(spec.name)))
        return servers.made[-1]

    monkeypatch.setattr(served.scheduler._runners, "_make_server", make)
    return served


def left_over(served: Served) -> list[Path]:
    folder = served.library.root / FOLDER
    return list(folder.iterdir()) if folder.exists() else []


def write_adapter(folder: Path, width: int = 8) -> list[Path]:
    folder.mkdir()
    config = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 2, "scale": 1.0, "dropout": 0.0}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    layer = "model.embed_tokens"
    tensors = {f"{layer}.lora_a": numpy.zeros((32, 2)), f"{layer}.lora_b": numpy.zeros((2, width))}
    save_file({name: array.astype(numpy.float32) for name, array in tensors.items()}, folder / "adapters.safetensors")
    return sorted(folder.iterdir())


async def upload(served: Served, paths: list[Path]) -> dict[str, str]:
    return {path.name: await served.client.create_blob(path) for path in paths}


async def test_the_published_client_quantises(converting: Served) -> None:
    parts = [part async for part in await converting.client.create("small", from_="tiny", quantize="Q4", stream=True)]

    bars = [part for part in parts if part.total]
    assert {part.status for part in bars} == {"quantizing to int4"}
    assert bars[-1].completed == bars[-1].total == 32 * 8 * 4
    assert bars[-1].digest.startswith("sha256:")
    assert parts[-1].status == "success"
    shown = await converting.client.show("small")
    assert (shown.details.quantization_level, shown.details.parent_model) == ("int4", "tiny:latest")
    recipe = converting.library.get(ModelName.parse("small")).recipe
    assert (recipe.kind, recipe.group_size) == ("int4", 64)
    assert left_over(converting) == []
    await until(lambda: not converting.scheduler.residents(), what="no runner")


async def test_unstreamed_only_success_is_answered(converting: Served) -> None:
    status, answer = await converting.post(
        "/api/create", {"model": "small", "from": "tiny", "quantization": "int8", "stream": False}
    )

    assert (status, answer) == (200, {"status": "success"})


async def test_how_far_it_is_is_told(converting: Served) -> None:
    gate = asyncio.Event()
    script = converting.servers.scripts[SMALL] = Script(
        load_gate=gate, health=Health(state=RunnerState.LOADING, pid=1, progress=0.25)
    )
    seen = []
    async for part in await converting.client.create("small", from_="tiny", quantize="int4", stream=True):
        if part.total:
            seen.append(part.completed / part.total)
            script.health = Health(state=RunnerState.LOADING, pid=1, progress=0.75)
            if len(seen) == 2:
                gate.set()

    assert seen == [0.25, 0.75, 1.0]


async def test_a_client_that_goes_away_leaves_nothing(converting: Served) -> None:
    converting.servers.scripts[SMALL] = Script(load_gate=asyncio.Event())
    body = {"model": "small", "from": "tiny", "quantize": "int4"}
    async with aiohttp.ClientSession() as session:
        response = await session.post(converting.url + "/api/create", json=body)
        assert b"quantizing" in await response.content.readline()
        response.close()

    await until(lambda: converting.is_at_rest, what="the request has ended")
    assert left_over(converting) == []
    assert converting.servers.made[-1].has_exited
    assert [model.name.display for model in converting.library.list()] == ["tiny:latest"]


async def test_an_adapter_is_added(converting: Served, tmp_path: Path) -> None:
    adapters = await upload(converting, write_adapter(tmp_path / "adapter"))

    parts = [p async for p in await converting.client.create("tuned", from_="tiny", adapters=adapters, stream=True)]

    assert {part.status for part in parts if part.total} == {"adding the adapter"}
    recipe = converting.library.get(ModelName.parse("tuned")).recipe
    assert recipe.adapter == adapters["adapters.safetensors"]


async def test_an_adapter_for_another_model_is_a_400(converting: Served, tmp_path: Path) -> None:
    adapters = await upload(converting, write_adapter(tmp_path / "adapter", width=12))

    status, body = await converting.post("/api/create", {"model": "tuned", "from": "tiny", "adapters": adapters})

    assert status == 400
    assert body["error"].startswith("The adapter is for another model: for model.embed_tokens it has the shape ")
    assert converting.servers.made == []


async def test_what_the_runner_finds_is_a_400_too(converting: Served) -> None:
    converting.servers.scripts[SMALL] = Script(load_failure=InvalidModelFiles("The adapter changes x."))

    body = {"model": "small", "from": "tiny", "quantize": "int4", "stream": False}

    assert await converting.post("/api/create", body) == (400, {"error": "The adapter changes x."})
    assert left_over(converting) == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"from": "tiny", "quantize": "q4_K_M"}, 400, "unsupported quantize type"),
        ({"from": "nobody", "quantize": "int4"}, 404, "model 'nobody:latest' not found"),
        ({"from": "tiny", "quantize": "int4", "parameters": {"warmth": 1}}, 400, "warmth"),
        ({"from": "tiny", "adapters": {"x.bin": "sha256:" + "0" * 64}}, 400, "no part of an adapter"),
        ({"from": "tiny", "adapters": {"adapter_config.json": "sha256:" + "0" * 64}}, 404, "blob"),
        ({"from": "tiny", "draft_quantize": "int4"}, 400, '"draft_quantize" is not supported'),
    ],
)
async def test_refusals_come_before_any_work(converting: Served, body: dict, status: int, words: str) -> None:
    found, answer = await converting.post("/api/create", {"model": "small", **body})

    assert found == status
    assert words in answer["error"]
    assert converting.servers.made == []


# ---- of a model that is still to be pulled ---------------------------------------------------------------------------


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHub]:
    async with FakeHub.running() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        running.repository(REPOSITORY, model_bytes(tmp_path))
        yield running


async def test_what_is_not_here_is_pulled_first(converting: Served, hub: FakeHub) -> None:
    body = {"model": "mine", "from": f"hf.co/{REPOSITORY}", "system": "Be brief.", "quantize": "int4"}

    lines = await converting.lines("/api/create", body)

    statuses = [line["status"] for line in lines]
    assert statuses[0] == "pulling manifest"
    assert statuses.count("success") == 1
    assert statuses[-1] == "success"
    assert statuses.index("quantizing to int4") > statuses.index("verifying sha256 digest")
    mine = converting.library.get(ModelName.parse("mine"))
    assert (mine.parent_model, mine.system) == (f"hf.co/{REPOSITORY}:latest", "Be brief.")


async def test_what_is_here_is_not_pulled_again(converting: Served, hub: FakeHub) -> None:
    await converting.post("/api/pull", {"model": REPOSITORY})

    lines = await converting.lines("/api/create", {"model": "mine", "from": REPOSITORY})

    assert "pulling manifest" not in [line["status"] for line in lines]


async def test_a_repository_that_is_not_there_is_a_404(converting: Served, hub: FakeHub) -> None:
    status, body = await converting.post("/api/create", {"model": "x", "from": "org/nothing", "stream": False})

    assert status == 404
    assert "The Hub has no repository org/nothing" in body["error"]


async def test_nothing_is_pulled_for_a_model_that_cannot_be(converting: Served, hub: FakeHub) -> None:
    body = {"model": "x", "from": REPOSITORY, "parameters": {"warmth": 1}}

    status, _ = await converting.post("/api/create", body)

    assert status == 400
    assert [model.name.display for model in converting.library.list()] == ["tiny:latest"]


async def test_show_tells_how_the_weights_were_made(converting: Served) -> None:
    await converting.post("/api/create", {"model": "small", "from": "tiny", "quantize": "int4"})

    _, shown = await converting.post("/api/show", {"model": "small"})
    _, plain = await converting.post("/api/show", {"model": "tiny"})

    tiny = converting.library.get(ModelName.parse("tiny"))
    assert shown["recipe"] == {
        "kind": "int4",
        "mode": "affine",
        "bits": 4,
        "group_size": 64,
        "layers": {},
        "source": f"sha256:{tiny.digest}",
    }
    assert "recipe" not in plain
