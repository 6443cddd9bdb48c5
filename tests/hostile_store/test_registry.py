"""A registry that means harm: its manifests, where it points, where it wants passwords sent. Pulls and pushes are those
of a real server."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from paddock.store.manifest import CONFIG_TYPE, JSON_TYPE, LICENSE_TYPE, MANIFEST_TYPE, TENSOR_TYPE, WEIGHTS_TYPE
from tests.hostile_store import corpus
from tests.hostile_store.conftest import BASE, Ground, looking, start_ground, stop_ground, title_of, upload_base
from tests.hostile_store.strangers import (
    CDN,
    ELSEWHERE,
    FLIPPING,
    HUB,
    INTERNET,
    OTHER_SCHEMES,
    PRIVATE,
    REDIRECTS,
    TOKEN,
    Answer,
    Strangers,
    packed,
    plain,
    redirect,
)
from tests.hostile_store.watching import Tally

REALMS = (
    "http://elsewhere.test:{cdn}/token", "http://hub.test:{cdn}/token", "https://hub.test:{own}/token",
    "//elsewhere.test:{cdn}/token", "http://hub.test@elsewhere.test:{cdn}/token", "http://hub.test:{own}@elsewhere.test:{cdn}/",
    "http://user:pw@hub.test:{own}/token", "http://hub.test.elsewhere.test:{cdn}/token", "http://hub.test:{own}.elsewhere.test/",
    "http://hub.test:{own}\\@elsewhere.test:{cdn}/", "http://elsewhere.test:{cdn}#@hub.test:{own}/",
    "http://elsewhere.test:{cdn}?@hub.test:{own}/", "http://hub.test\u3002elsewhere.test:{cdn}/", "http://hub.t\u00e9st:{own}/",
    "http://h\u216cb.test:{own}/", "http://hub.test:1/", "http://hub.test/token", "", "token", "/token",
)  # fmt: skip
"""Where a registry wants a name and a password shown, besides all the places where nobody must go: none is its own."""


@pytest.fixture(scope="module")
def strangers() -> Iterator[Strangers]:
    with Strangers.running() as running:
        yield running


@pytest.fixture(scope="module")
def ground(strangers: Strangers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = start_ground(tmp_path_factory.mktemp("registry"), INTERNET)
    upload_base(ground)
    ask(ground, "pull", strangers)  # what is only imported when it is first needed is so now
    ground.ask("POST", "/api/copy", {"source": BASE, "destination": name(strangers)}).raise_for_status()
    ask(ground, "push", strangers)
    yield ground
    stop_ground(ground)


@pytest.fixture
def tally(
    request: pytest.FixtureRequest, ground: Ground, strangers: Strangers, tallies: list[Tally]
) -> Iterator[Tally]:
    """Counts a corpus, and looks afterwards at what the server did meanwhile."""
    tally = Tally(title_of(request, "a registry"))
    tallies.append(tally)
    allowed = (HUB,) if "realms" in request.node.name else (HUB, CDN, ELSEWHERE, FLIPPING)
    with looking(ground, tally, strangers, allowed):
        yield tally


def name(strangers: Strangers, model: str = "there") -> str:
    return f"hub.test:{strangers.own.port}/org/{model}"


def ask(ground: Ground, verb: str, strangers: Strangers, model: str = "there") -> Any:
    body = {"model": name(strangers, model), "insecure": True, "stream": False, "username": "me", "password": TOKEN}
    return ground.ask("POST", f"/api/{verb}", body)


def refused(ground: Ground, tally: Tally, strangers: Strangers, verb: str = "pull") -> str:
    """The sentence of a pull or push that must fail, which repeats nothing of what strangers said."""
    answer = ask(ground, verb, strangers, "there" if verb == "push" else "absent")
    tally.add(answer.status_code)
    assert answer.status_code in (400, 403, 404, 502), answer.text
    assert "own words" not in answer.text
    assert TOKEN not in answer.text
    assert str(ground.place) not in answer.text
    return str(answer.text)


# ---- what a registry answers ----------------------------------------------------------------------------------------


def layer(media_type: str, digest: object, size: object = 9, file: str | None = None) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **({"name": file} if file is not None else {})}


GOOD = "sha256:" + "a" * 64


def manifest(*layers: dict[str, Any], config: object = GOOD) -> Answer:
    weights = layer(WEIGHTS_TYPE, "sha256:" + "b" * 64, 9, "model.safetensors")
    told = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": layer(CONFIG_TYPE, config),
        "layers": [weights, *layers],
    }
    return plain(json.dumps(told))


def registry(manifests: Answer, blobs: Answer) -> Answer:
    return lambda request: (manifests if "/manifests/" in request.path else blobs)(request)


def challenge(realm: str) -> Answer:
    value = f'Bearer realm="{realm}",service="s",scope="repository:org/there:pull"'
    return lambda request: web.Response(status=401, headers={"WWW-Authenticate": value}, text="own words of a stranger")


def asked_for_blobs(strangers: Strangers) -> list[str]:
    return [seen.path for seen in strangers.own.seen if "/blobs/" in seen.path]


# ---- manifests ------------------------------------------------------------------------------------------------------


KINDS = ("config", "weights", "tensor", "json", "license")


@pytest.mark.parametrize("kind", KINDS)
def test_digests_in_manifests(ground: Ground, tally: Tally, strangers: Strangers, kind: str) -> None:
    types = {"weights": WEIGHTS_TYPE, "tensor": TENSOR_TYPE, "json": JSON_TYPE, "license": LICENSE_TYPE}
    for digest in corpus.share((*corpus.DIGESTS, *corpus.NO_DIGESTS), KINDS.index(kind)):
        told = manifest(config=digest) if kind == "config" else manifest(layer(types[kind], digest, 9, "a.json"))
        strangers.own.answer = registry(told, plain())
        refused(ground, tally, strangers)
    assert asked_for_blobs(strangers) == []


def test_names_of_files_in_manifests(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    for file in corpus.FILES:
        for media_type, shown in ((JSON_TYPE, file), (WEIGHTS_TYPE, file), (JSON_TYPE, f"draft/{file}")):
            strangers.own.answer = registry(manifest(layer(media_type, GOOD, 9, shown)), plain())
            refused(ground, tally, strangers)


def test_names_of_tensors_in_manifests(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    for file in corpus.FILES:
        strangers.own.answer = registry(manifest(layer(TENSOR_TYPE, GOOD, 9, file)), plain())
        refused(ground, tally, strangers)


def test_sizes_in_manifests(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    for size in (-1, 2**63, 2**64, 1e300, "9", None, True, [], 2**50):
        strangers.own.answer = registry(manifest(layer(WEIGHTS_TYPE, GOOD, size, "b.safetensors")), plain())
        refused(ground, tally, strangers)
    assert asked_for_blobs(strangers) == []


def test_manifests_that_are_none(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    for text in ("", "{}", "[]", "null", "[" * 100_000, '{"a":' * 10_000, "\x00", '{"schemaVersion":2}', "own words"):
        strangers.own.answer = plain(text)
        refused(ground, tally, strangers)


# ---- redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["blobs", "manifests"])
def test_redirects_to_where_nobody_must_go(ground: Ground, tally: Tally, strangers: Strangers, of: str) -> None:
    for number, template in enumerate(corpus.share((*PRIVATE, *OTHER_SCHEMES), (2 if of == "blobs" else 3))):
        target, status = strangers.place(template), REDIRECTS[number % len(REDIRECTS)]
        strangers.cdn.answer = direct = redirect(target, status)
        hop = redirect(strangers.place("http://cdn.test:{cdn}/hop"), status)
        for answer in (direct, hop) if of == "blobs" else (direct,):
            strangers.own.answer = registry(manifest(), answer) if of == "blobs" else answer
            refused(ground, tally, strangers)


def test_uploads_to_where_nobody_must_go(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    for template in corpus.share((*PRIVATE, *OTHER_SCHEMES), 1):
        target = strangers.place(template)

        def begun(request: web.BaseRequest, target: str = target) -> web.StreamResponse:
            return web.Response(
                status={"HEAD": 404, "POST": 202}.get(request.method, 400), headers={"Location": target}
            )

        strangers.own.answer = begun
        refused(ground, tally, strangers, "push")


def test_a_public_place_for_blobs_is_gone_to_without_credentials(
    ground: Ground, tally: Tally, strangers: Strangers
) -> None:
    models = ground.place / "server" / "models"
    [told] = [path.read_bytes() for path in (models / "manifests").rglob("base/latest")]
    blobs = {path.name.replace("-", ":"): path.read_bytes() for path in (models / "blobs").glob("sha256-*")}
    for stored in (BASE, name(strangers)):
        ground.ask("DELETE", "/api/delete", {"model": stored}).raise_for_status()
    strangers.cdn.answer = lambda request: web.Response(body=blobs[request.path.strip("/")])
    to_cdn: Answer = lambda request: redirect(  # noqa: E731 - one of many such answers
        f"http://cdn.test:{strangers.cdn.port}/{request.path.rpartition('/')[2]}"
    )(request)
    strangers.own.answer = registry(lambda request: web.Response(body=told), to_cdn)
    answer = ask(ground, "pull", strangers)
    tally.add(answer.status_code)
    assert answer.json() == {"status": "success"}
    assert strangers.cdn.seen
    ground.ask("POST", "/api/copy", {"source": name(strangers), "destination": BASE}).raise_for_status()


# ---- passwords ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_realms_elsewhere(ground: Ground, tally: Tally, strangers: Strangers, verb: str) -> None:
    for template in corpus.share((*REALMS, *PRIVATE, *OTHER_SCHEMES), 4) if verb == "pull" else REALMS:
        strangers.own.answer = challenge(strangers.place(template).replace('"', ""))
        refused(ground, tally, strangers, verb)
    assert not [seen for seen in strangers.own.seen if seen.secrets], "not even its own origin sees the password"


def test_a_token_that_is_redirected_elsewhere(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    asks = challenge(f"http://hub.test:{strangers.own.port}/token")
    for template in (*REALMS, *PRIVATE[::4]):
        moved = redirect(strangers.place(template), 307)
        strangers.own.answer = lambda request, moved=moved: (moved if request.path == "/token" else asks)(request)
        refused(ground, tally, strangers)
    assert any(seen.secrets for seen in strangers.own.seen), "the registry itself is shown the password"


def test_bodies_that_unfold_without_end(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    asks = challenge(f"http://hub.test:{strangers.own.port}/token")
    as_token: Answer = lambda request: (packed(bomb) if request.path == "/token" else asks)(request)  # noqa: E731
    for answer in (packed(bomb), packed(bomb, 404), packed(bomb, 401), registry(manifest(), packed(bomb)), as_token):
        strangers.own.answer = answer
        refused(ground, tally, strangers)


def test_wrong_bytes_of_the_right_size_never_become_a_model(ground: Ground, tally: Tally, strangers: Strangers) -> None:
    strangers.own.answer = registry(manifest(), plain("own words"))
    refused(ground, tally, strangers)
    blobs = Path(ground.place / "server" / "models" / "blobs")
    assert all(path.name[7:] == hashlib.sha256(path.read_bytes()).hexdigest() for path in blobs.glob("sha256-*"))
    assert "absent" not in ground.ask("GET", "/api/tags").text
