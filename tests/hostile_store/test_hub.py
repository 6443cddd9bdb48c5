"""A Hub that means harm: what it lists, where it points. The pulls are those of a real server."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.fakes.fake_hub import git_id, sha256
from tests.hostile_store import corpus
from tests.hostile_store.conftest import Ground, looking, start_ground, stop_ground, title_of
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
from tests.store.hub.pulling import model_bytes

COMMIT = "0123456789" * 4
REPOSITORY = "org/repo"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return model_bytes(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def strangers() -> Iterator[Strangers]:
    with Strangers.running() as running:
        yield running


@pytest.fixture(scope="module")
def ground(strangers: Strangers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    settings = {"HF_ENDPOINT": f"http://hub.test:{strangers.own.port}", "HF_TOKEN": TOKEN}
    ground = start_ground(tmp_path_factory.mktemp("hub"), INTERNET, **settings)
    pulled(ground)  # what is only imported when it is first needed is so now
    yield ground
    stop_ground(ground)


@pytest.fixture
def tally(
    request: pytest.FixtureRequest, ground: Ground, strangers: Strangers, tallies: list[Tally]
) -> Iterator[Tally]:
    """Counts a corpus, and looks afterwards at what the server did meanwhile."""
    tally = Tally(title_of(request, "the Hub"))
    tallies.append(tally)
    with looking(ground, tally, strangers, (HUB, CDN, ELSEWHERE, FLIPPING)):
        yield tally
    assert f"hf.co/{REPOSITORY}" not in ground.ask("GET", "/api/tags").text
    assert any(seen.secrets for seen in strangers.own.seen), "the Hub itself is shown the token"


def pulled(ground: Ground, name: str = REPOSITORY) -> httpx.Response:
    body = {"model": f"hf.co/{name}", "stream": False}
    return ground.ask("POST", "/api/pull", body)


def refused(ground: Ground, tally: Tally, strangers: Strangers) -> str:
    """The sentence of a pull that must fail, which repeats nothing of what strangers said."""
    answer = pulled(ground)
    tally.add(answer.status_code)
    assert answer.status_code in (400, 403, 404, 502), answer.text
    assert "own words" not in answer.text
    assert str(ground.place) not in answer.text
    return answer.text


# ---- what a Hub answers ---------------------------------------------------------------------------------------------


def listing(files: dict[str, bytes], *more: dict[str, Any], sha: object = COMMIT) -> Answer:
    """The answer about the repository, with further entries."""
    siblings = [
        {
            "rfilename": name,
            "size": len(data),
            "blobId": git_id(data),
            "lfs": {"sha256": sha256(data), "size": len(data)},
        }
        for name, data in files.items()
    ]
    told = json.dumps({"id": REPOSITORY, "sha": sha, "siblings": [*siblings, *more]})
    return lambda request: web.Response(text=told, content_type="application/json")


def hub(told: Answer, file: Answer) -> Answer:
    """A Hub that answers so about the repository, and so to requests for its files."""
    return lambda request: told(request) if request.path.startswith("/api/") else file(request)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_names_of_files(ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]) -> None:
    for name in corpus.FILES:
        entry = {"rfilename": name, "size": 1, "blobId": "0" * 40}
        strangers.own.answer = hub(listing(files, entry), plain())
        refused(ground, tally, strangers)
    asked = {
        seen.path.partition(COMMIT)[2].removeprefix("/") for seen in strangers.own.seen if "/resolve/" in seen.path
    }
    assert asked <= files.keys(), "only a name that is none of a path is passed over, and what is the model's asked for"


def test_digests_of_files(ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]) -> None:
    strangers.cdn.answer = plain()
    for digest in corpus.share((*corpus.DIGESTS, *corpus.NO_DIGESTS)):
        weights = {"rfilename": "model.safetensors", "size": 9, "lfs": {"sha256": digest, "size": 9}, "blobId": digest}
        small = {name: data for name, data in files.items() if name != "model.safetensors"}
        strangers.own.answer = hub(listing(small, weights), plain())
        refused(ground, tally, strangers)
        strangers.own.answer = listing(files, sha=digest)
        refused(ground, tally, strangers)


# ---- redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["files", "the listing"])
def test_redirects_to_where_nobody_must_go(
    ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes], of: str
) -> None:
    for number, template in enumerate(corpus.share((*PRIVATE, *OTHER_SCHEMES), (2 if of == "files" else 3))):
        target, status = strangers.place(template), REDIRECTS[number % len(REDIRECTS)]
        direct = redirect(target, status)
        strangers.cdn.answer = direct
        for answer in (direct, redirect(strangers.place("http://cdn.test:{cdn}/hop"), status)):
            strangers.own.answer = hub(listing(files), answer) if of == "files" else answer
            sentence = refused(ground, tally, strangers)
            assert "Hub" in sentence, sentence


def test_redirects_without_end(ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]) -> None:
    strangers.cdn.answer = redirect(strangers.place("http://hub.test:{own}/again"))
    strangers.own.answer = hub(listing(files), redirect(strangers.place("http://cdn.test:{cdn}/again")))
    assert "from one address to the next" in refused(ground, tally, strangers)


def test_a_name_whose_address_changes_after_it_was_looked_at(
    ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]
) -> None:
    strangers.own.answer = hub(listing(files), redirect(strangers.place("http://flip.test:{trap}/x")))
    refused(ground, tally, strangers)
    assert (FLIPPING, strangers.trap.port) in ground.watched.connections(), "it was connected to as it was looked at"


def test_a_public_place_for_files_is_gone_to_without_credentials(
    ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]
) -> None:
    by_digest = {sha256(data): data for data in files.values()}
    strangers.cdn.answer = lambda request: web.Response(body=by_digest[request.path.strip("/")])

    def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        host = "cdn.test" if name.endswith(".json") else "elsewhere.test"
        return redirect(f"http://{host}:{strangers.cdn.port}/{sha256(files[name])}")(request)

    strangers.own.answer = hub(listing(files), elsewhere)
    answer = pulled(ground)
    tally.add(answer.status_code)
    assert answer.json() == {"status": "success"}
    ground.ask("DELETE", "/api/delete", {"model": f"hf.co/{REPOSITORY}"}).raise_for_status()
    assert {seen.host.partition(":")[0] for seen in strangers.cdn.seen} == {"cdn.test", "elsewhere.test"}


def test_another_port_is_another_origin(
    ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]
) -> None:
    strangers.cdn.answer = lambda request: web.Response(status=404)
    strangers.own.answer = hub(listing(files), redirect(strangers.place("http://hub.test:{cdn}/x")))
    refused(ground, tally, strangers)
    assert strangers.cdn.seen
    assert not strangers.leaks


# ---- bodies ---------------------------------------------------------------------------------------------------------


def test_bodies_that_unfold_without_end(
    ground: Ground, tally: Tally, strangers: Strangers, files: dict[str, bytes]
) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))

    for answer in (*(packed(bomb, status) for status in (200, 404, 401)), hub(listing(files), packed(bomb))):
        strangers.own.answer = answer
        refused(ground, tally, strangers)
