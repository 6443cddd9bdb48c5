"""How fast models come in: pulls from a registry and from a Hub on this machine, beside a plain download by aiohttp.

The plain download hashes what comes and writes it to a file, as pulls do, which besides check, resume and make durable.
All are repeated in turn, again where the machine's host takes processors away meanwhile, and the best of each is
compared, as other work on the machine only ever slows them down.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial as with_given
from pathlib import Path

import aiohttp
from aiohttp import web
from quiet import quietest

from paddock.store.hub import pull as hub
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.store.registry import pull as registry
from paddock.store.registry.settings import RegistrySettings
from paddock.store.registry.source import RegistrySource
from paddock.store.transfer.progress import Board

CONFIG = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
WEIGHTS = "model.safetensors"
COMMIT = "a" * 40
TRIES = 4
BAR = 0.8
"""What of the plain download's speed a pull has to reach."""


def write_files(folder: Path, size_bytes: int) -> dict[str, Path]:
    """A model whose weights are as large as that; it is never loaded."""
    side = max(size_bytes // 4 // 8, 16)
    entries = {"embed.weight": {"dtype": "F32", "shape": [16, 8], "data_offsets": [0, 512]}}
    entries["more"] = {"dtype": "F32", "shape": [side, 8], "data_offsets": [512, 512 + side * 32]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes(512))
        block = hashlib.shake_256(b"weights").digest(1 << 20)
        left = side * 32
        while left:
            left -= file.write(block[:left])
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "meta.json").write_text('{"model_format":"safetensors","engine":"text"}')
    return {name: folder / name for name in (WEIGHTS, "config.json", "tokenizer.json", "meta.json")}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def serve(folder: Path) -> None:
    """A Hub and a registry of these files, which sends them as fast as the system does; prints its port."""
    names = [WEIGHTS, "config.json", "tokenizer.json", "meta.json"]
    hashes = {name: sha256_of(folder / name) for name in names}
    layers = {name: _layer(folder / name, hashes[name]) for name in names}
    manifest = {"schemaVersion": 2, "config": layers.pop("meta.json"), "layers": list(layers.values())}
    siblings = [
        {"rfilename": name, "size": layer["size"], "lfs": {"sha256": hashes[name], "size": layer["size"]}}
        for name, layer in layers.items()
    ]
    app = web.Application()
    app.router.add_get("/v2/me/model/manifests/latest", lambda _: _json(manifest))
    app.router.add_get("/api/models/org/repo/revision/main", lambda _: _json({"sha": COMMIT, "siblings": siblings}))
    for name, digest in hashes.items():
        for path in (f"/v2/me/model/blobs/sha256:{digest}", f"/org/repo/resolve/{COMMIT}/{name}"):
            app.router.add_get(path, _sender(folder / name))
    asyncio.run(_serve(app))


async def _json(value: object) -> web.Response:
    return web.json_response(value)


def _sender(path: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    async def send(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    return send


def _layer(path: Path, digest: str) -> dict[str, object]:
    kind = "paddock.image.weights" if path.name == WEIGHTS else "ollama.image.json"
    size = path.stat().st_size
    return {"mediaType": f"application/vnd.{kind}", "digest": f"sha256:{digest}", "size": size, "name": path.name}


async def _serve(app: web.Application) -> None:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def plain(url: str, folder: Path) -> None:
    """What anybody would write: one request, each chunk hashed and written."""
    found = hashlib.sha256()
    async with aiohttp.ClientSession(read_bufsize=2 << 20) as session, session.get(url) as response:
        with (folder / "plain").open("wb") as file:
            async for chunk in response.content.iter_chunked(1 << 20):
                found.update(chunk)
                file.write(chunk)
    (folder / "plain").unlink()


async def from_registry(url: str, folder: Path) -> None:
    source = RegistrySource(url, "me/model", "latest")
    order = registry.Order(ModelName.parse("pulled"), source)
    await registry.pull(Library(folder / "registry"), order, RegistrySettings(), Board())


async def from_hub(url: str, folder: Path) -> None:
    order = hub.Order(ModelName.parse("pulled"), HubSource("org/repo"))
    await hub.pull(Library(folder / "hub"), order, HubSettings(endpoint=url), Board())


@dataclass
class Cost:
    """The least that a way took, in seconds."""

    wall: float = math.inf
    processor: float = math.inf


def measure(url: str, weights: str, rounds: int) -> Mapping[str, Cost]:
    """What each way costs."""
    ways = {
        "aiohttp and sha256": lambda folder: plain(f"{url}/v2/me/model/blobs/sha256:{weights}", folder),
        "pull from a registry": lambda folder: from_registry(url, folder),
        "pull from a Hub": lambda folder: from_hub(url, folder),
    }
    best = {name: Cost() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found, _ = quietest(with_given(cost_of, way), TRIES)
            best[name].wall = min(best[name].wall, found.wall)
            best[name].processor = min(best[name].processor, found.processor)
    return best


def cost_of(way: Callable[[Path], Coroutine[None, None, None]]) -> Cost:
    """Of one go."""
    with tempfile.TemporaryDirectory() as folder:
        begin, spent = time.perf_counter(), time.process_time()
        asyncio.run(way(Path(folder)))
        return Cost(time.perf_counter() - begin, time.process_time() - spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the weights")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.serve:
        serve(Path(wish.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), wish.mib << 20)
        command = [sys.executable, __file__, "--serve", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            best = measure(url, sha256_of(files[WEIGHTS]), wish.rounds)
            server.terminate()
    reference = best["aiohttp and sha256"].wall
    for name, cost in best.items():
        speed, ratio = wish.mib / cost.wall, reference / cost.wall
        print(f"{name:22} {speed:6.0f} MiB/s, {ratio:4.2f} of the plain download, {cost.processor:.2f} s of processors")
    is_met = all(reference / cost.wall >= BAR for cost in best.values())
    print(f"the bar of {BAR} is {'met' if is_met else 'missed'}")
    sys.exit(not is_met)


if __name__ == "__main__":
    main()
