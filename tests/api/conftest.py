"""A real HTTP server in the test's own loop, over a real store, with runners that exist only in memory."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy
import ollama
import openai
import pytest
import uvicorn
from safetensors.numpy import save_file

from paddock.api.door.connections import server_config
from paddock.api.door.pace import Limits
from paddock.api.routes import build_api
from paddock.api.services import Services
from paddock.config import Config
from paddock.memory.supply import current_supply
from paddock.scheduler.service import Scheduler
from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.fakes.fake_server import FakeModelServers, Script

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 2048,
}


def write_model_folder(folder: Path, seed: int = 0) -> Path:
    """The smallest folder that the store takes for a model; nothing ever computes with it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}}}))
    (folder / "tokenizer_config.json").write_text("{}")
    weights = numpy.random.default_rng(seed).standard_normal((32, 8), dtype=numpy.float32)
    save_file({"model.embed_tokens.weight": weights}, folder / "model.safetensors")
    return folder


@dataclass
class Served:
    """A running server and what lies beneath it."""

    url: str
    library: Library
    servers: FakeModelServers
    scheduler: Scheduler
    session: aiohttp.ClientSession
    server: uvicorn.Server
    client: ollama.AsyncClient
    """The published client, unmodified."""

    @property
    def is_at_rest(self) -> bool:
        """Whether no request is being worked on."""
        return not self.server.server_state.tasks

    def script(self, name: str = "tiny:latest") -> Script:
        """How the fake runner of a model behaves; made on first use."""
        return self.servers.scripts.setdefault(name, Script())

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and parsed body of one request; of a stream, its last line."""
        async with self.session.post(self.url + path, json=body) as response:
            text = await response.text()
            return response.status, json.loads(text.splitlines()[-1]) if text else None

    async def lines(self, path: str, body: object) -> list[dict[str, Any]]:
        """The lines of a streamed answer."""
        async with self.session.post(self.url + path, json=body) as response:
            assert response.status == 200, await response.text()
            return [json.loads(line) async for line in response.content]


@asynccontextmanager
async def serving(folder: Path, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Served]:
    """A server with these settings whose store, below `folder`, holds `tiny`; it listens on loopback in any case."""
    library = Library(folder / "models")
    import_folder(library, ModelName.parse("tiny"), write_model_folder(folder / "tiny"))
    servers = FakeModelServers()
    config = Config(**{"home": folder / "home", "models": folder / "models", "registry": "off", **settings})
    scheduler = Scheduler(config=config, make_server=servers, prepare=library.view, supply=current_supply)
    await scheduler.start()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    api = build_api(Services(config, library, scheduler))
    server = uvicorn.Server(server_config(api, config.max_connections, limits))
    serving = asyncio.create_task(server._serve(sockets=[listener]))
    async with aiohttp.ClientSession() as session, ollama.AsyncClient(url) as client:
        yield Served(url, library, servers, scheduler, session, server, client)
    await scheduler.close()
    server.should_exit = True
    server.force_exit = True
    with suppress(asyncio.CancelledError):
        await serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def image_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two image models: `zimage` starts from a picture, `klein` looks at several. Runners are fakes."""
    # Imported here, since it takes MLX and most of these tests need none.
    from tests.runner.engines.image.tiny_folders import make_tiny_klein, make_tiny_z_image

    store = tmp_path_factory.mktemp("store")
    folders = {
        "zimage": make_tiny_z_image(tmp_path_factory.mktemp("zimage"), steps=3, width=64, height=48),
        "klein": make_tiny_klein(tmp_path_factory.mktemp("klein")),
    }
    for name, folder in folders.items():
        import_folder(Library(store), ModelName.parse(name), folder)
    return store


@pytest.fixture
def painting(served: Served, tmp_path: Path, image_store: Path) -> Served:
    """The server with `zimage` and `klein` beside `tiny`."""
    shutil.copytree(image_store, tmp_path / "models", dirs_exist_ok=True)
    return served


@pytest.fixture
async def openai_client(painting: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    """The published client, unmodified."""
    url = f"{painting.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client
