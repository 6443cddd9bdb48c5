"""Hostile names, digests and file names through every route of a real server: none becomes a path outside its store."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import InvalidName
from paddock.store.manifest import TENSOR_TYPE, WEIGHTS_TYPE
from paddock.store.names import ModelName
from tests.hostile_store import corpus
from tests.hostile_store.conftest import BASE, Ground, looking, start_ground, stop_ground, title_of, upload_base
from tests.hostile_store.watching import Tally

RANDOM_NAMES = int(os.environ.get("HOSTILE_NAMES", "300"))

Body = Callable[[str], dict[str, object]]
ROUTES: Mapping[str, tuple[str, str, Body]] = {
    "pull": ("POST", "/api/pull", lambda name: {"model": name, "stream": False}),
    "push": ("POST", "/api/push", lambda name: {"model": name, "stream": False}),
    "create": ("POST", "/api/create", lambda name: {"model": name, "from": BASE, "stream": False}),
    "create from": ("POST", "/api/create", lambda name: {"model": "new", "from": name, "stream": False}),
    "create with a draft": (
        "POST", "/api/create", lambda name: {"model": "new", "from": BASE, "draft": name, "stream": False}
    ),
    "copy from": ("POST", "/api/copy", lambda name: {"source": name, "destination": "new"}),
    "copy to": ("POST", "/api/copy", lambda name: {"source": BASE, "destination": name}),
    "delete": ("DELETE", "/api/delete", lambda name: {"model": name}),
    "show": ("POST", "/api/show", lambda name: {"model": name}),
    "fit": ("POST", "/api/fit", lambda name: {"model": name}),
    "generate": ("POST", "/api/generate", lambda name: {"model": name, "stream": False}),
    "chat": ("POST", "/api/chat", lambda name: {"model": name, "messages": [], "stream": False}),
    "embed": ("POST", "/api/embed", lambda name: {"model": name, "input": "x"}),
    "OpenAI's chat": ("POST", "/v1/chat/completions", lambda name: {"model": name, "messages": []}),
}  # fmt: skip


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = start_ground(tmp_path_factory.mktemp("names"), HF_HUB_OFFLINE="1")
    upload_base(ground)
    for method, path, body in ROUTES.values():  # what is only imported when it is first needed is so now
        ground.ask(method, path, body("nobody-has-this"))
    yield ground
    stop_ground(ground)


@pytest.fixture
def tally(request: pytest.FixtureRequest, ground: Ground, tallies: list[Tally]) -> Iterator[Tally]:
    """Counts a corpus, and looks afterwards at what the server did meanwhile."""
    tally = Tally(title_of(request, "requests"))
    tallies.append(tally)
    with looking(ground, tally):
        yield tally


def refused(ground: Ground, tally: Tally, method: str, path: str, body: object, content: bytes | None = None) -> str:
    """The sentence of a refusal, which tells nothing of where anything lies."""
    answer = ground.ask(method, path, body, content)
    tally.add(answer.status_code)
    assert answer.status_code in (400, 404), (method, path, body, answer.text)
    told = json.dumps(body)
    assert str(ground.place) not in answer.text or str(ground.place) in told, "only what was asked is repeated"
    assert "Traceback" not in answer.text
    return answer.text


def test_hostile_names_on_every_route(ground: Ground, tally: Tally) -> None:
    for number, (method, path, body) in enumerate(ROUTES.values()):
        for name in filter(
            None, corpus.share(corpus.NAMES, number)
        ):  # where a name may be left out, an empty one is none
            refused(ground, tally, method, path, body(name))


def test_hostile_names_in_an_address(ground: Ground, tally: Tally) -> None:
    for name in corpus.NAMES:
        raw = "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
        refused(ground, tally, "GET", f"/v1/models/{raw or '%20'}", None)


def test_random_names(ground: Ground, tally: Tally) -> None:
    routes = list(ROUTES.values())
    for number, name in enumerate(corpus.random_names(RANDOM_NAMES)):
        method, path, body = routes[number % len(routes)]
        answer = ground.ask(method, path, body(name))
        tally.add(answer.status_code)
        assert answer.status_code < 500 or (answer.status_code == 502 and _is_name(name)), (path, name, answer.text)
        assert answer.status_code in (400, 404) or _is_name(name), (path, name, answer.text)
        if answer.status_code == 200:  # or a later one that is called the same would be loaded
            ground.ask("DELETE", "/api/delete", {"model": name})


def _is_name(text: str) -> bool:
    try:
        ModelName.parse(text)
    except InvalidName:
        return False
    return True


def test_hostile_digests_of_blobs(ground: Ground, tally: Tally) -> None:
    for digest in corpus.DIGESTS:
        raw = "".join(f"%{byte:02x}" for byte in digest.encode()) or "%20"
        for method in ("HEAD", "POST"):
            refused(ground, tally, method, f"/api/blobs/{raw}", None, b"x")


def test_hostile_digests_of_files(ground: Ground, tally: Tally) -> None:
    for digest in (*corpus.DIGESTS, *corpus.NO_DIGESTS, "/dev/random", "/dev/zero"):
        files = {"config.json": digest, "model.safetensors": digest}
        refused(ground, tally, "POST", "/api/create", {"model": "new", "files": files, "stream": False})


def test_hostile_manifests_that_lie_in_the_store_already(ground: Ground, tally: Tally) -> None:
    digests = upload_base(ground)
    library = ground.place / "server" / "models" / "manifests" / "registry.ollama.ai" / "library"
    [base] = library.glob("base/*")
    planted = [*_with_digests(json.loads(base.read_bytes())), *_with_files(json.loads(base.read_bytes()))]
    ground.watched.forget()
    for number, manifest in enumerate(corpus.share(planted)):
        (library / f"planted{number}").mkdir()
        (library / f"planted{number}" / "latest").write_bytes(json.dumps(manifest).encode())
        for route in ("show", "fit", "copy from", "create from", "delete"):
            method, path, body = ROUTES[route]
            answer = ground.ask(method, path, body(f"planted{number}"))
            tally.add(answer.status_code)
            # The name of a tensor is no file's: what it says is looked at when the tensor is.
            names_no_file = any(layer["mediaType"] == TENSOR_TYPE for layer in manifest["layers"])
            is_refused = answer.status_code in (400, 404, 500)
            assert is_refused or route in ("fit", "delete") or names_no_file, (route, manifest, answer.text)
            assert answer.status_code != 500 or "is damaged" in answer.text, (route, manifest, answer.text)
            assert str(ground.place) not in answer.text
    listed = ground.ask("GET", "/api/tags").json()["models"]
    assert [model["name"] for model in listed if "planted" in model["name"]] == []
    assert all(ground.ask("HEAD", f"/api/blobs/{digest}").status_code == 200 for digest in digests.values())


def _with_digests(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The manifest with another digest in its config, and in its first layer."""
    for digest in (*corpus.DIGESTS, *corpus.NO_DIGESTS):
        yield {**manifest, "config": {**manifest["config"], "digest": digest}}
        first, *others = manifest["layers"]
        yield {**manifest, "layers": [{**first, "digest": digest}, *others]}


def _with_files(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The manifest with a file of another name."""
    first, *others = manifest["layers"]
    for file in (name for name in corpus.FILES if not re.fullmatch(r"(?:con|com1)\.json|", name)):
        yield {**manifest, "layers": [{**first, "name": file}, *others]}
        for media_type, name in ((WEIGHTS_TYPE, f"draft/{file}"), (TENSOR_TYPE, file), (TENSOR_TYPE, f"draft/{file}")):
            yield {**manifest, "layers": [*manifest["layers"], {**first, "name": name, "mediaType": media_type}]}


def test_hostile_names_of_files(ground: Ground, tally: Tally) -> None:
    digests = {"config.json": next(iter(upload_base(ground).values()))}
    ground.watched.forget()
    for file in corpus.FILES:
        files = {**digests, file: digests["config.json"]}
        refused(ground, tally, "POST", "/api/create", {"model": "new", "files": files, "stream": False})


@pytest.mark.parametrize("route", ["push", "create from", "show", "delete", "copy from"])
def test_what_is_there_and_what_is_not_look_the_same(ground: Ground, tally: Tally, route: str) -> None:
    method, path, body = ROUTES[route]
    for there in ("/etc/passwd", "../canary", "../../secrets/canary", str(ground.place / "canary")):
        absent = there.replace("canary", "carnay").replace("passwd", "dwssap")
        answers = [refused(ground, tally, method, path, body(name)) for name in (there, absent)]
        assert answers[0].replace(there, "") == answers[1].replace(absent, "")


def test_archives_are_never_unpacked(ground: Ground, tally: Tally, tmp_path: Path) -> None:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../evil.json", "{}")
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    for data in (zipped.getvalue(), tarred.getvalue()):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert ground.ask("POST", f"/api/blobs/{digest}", content=data).status_code == 201
        for file in ("model.zip", "model.tar", "model.safetensors", "config.json", "tokenizer.model"):
            files = {"config.json": digest, file: digest}
            refused(ground, tally, "POST", "/api/create", {"model": "new", "files": files, "stream": False})


def test_a_picture_is_never_named_by_its_sender(ground: Ground, tally: Tally) -> None:
    for file in (*corpus.FILES, "/tmp/p", "../../../tmp/p"):
        name = file.replace("\n", "").replace("\u0000", "").encode("utf-8", "surrogatepass")
        content = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + name + b'"\r\n'
            b"Content-Type: image/png\r\n\r\nnone\r\n--b\r\n"
            b'Content-Disposition: form-data; name="model"\r\n\r\nbase\r\n--b--\r\n'
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = ground.client.post("/v1/images/edits", content=content, headers=headers)
        tally.add(answer.status_code)
        assert answer.status_code == 400, answer.text
