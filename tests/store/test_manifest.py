from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import StoreError
from paddock.store.manifest import CONFIG_TYPE, JSON_TYPE, SYSTEM_TYPE, Layer, Manifest, manifest_digest

DIGEST = "sha256:" + "ab" * 32


def document(**changes) -> dict:
    layer = {"mediaType": JSON_TYPE, "digest": DIGEST, "size": 3, "name": "config.json"} | changes
    return {"schemaVersion": 2, "config": {"mediaType": CONFIG_TYPE, "digest": DIGEST, "size": 2}, "layers": [layer]}


def test_a_manifest_survives_its_own_encoding():
    manifest = Manifest(
        Layer(CONFIG_TYPE, DIGEST, 2), (Layer(JSON_TYPE, DIGEST, 3, "config.json"), Layer(SYSTEM_TYPE, DIGEST, 4))
    )
    assert Manifest.parse(manifest.encode()) == manifest
    assert manifest.size_bytes == 9
    assert [layer.name for layer in manifest.files] == ["config.json"]


def test_a_manifest_is_what_registries_expect():
    written = json.loads(Manifest(Layer(CONFIG_TYPE, DIGEST, 2), (Layer(SYSTEM_TYPE, DIGEST, 4),)).encode())
    assert written == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": CONFIG_TYPE, "digest": DIGEST, "size": 2},
        "layers": [{"mediaType": SYSTEM_TYPE, "digest": DIGEST, "size": 4}],
    }


def test_unknown_fields_are_no_reason_to_refuse():
    data = json.dumps(document(**{"from": "elsewhere"}) | {"annotations": {}}).encode()
    assert Manifest.parse(data).layers[0].name == "config.json"


def test_the_digest_is_that_of_the_bytes():
    assert manifest_digest(b"{}") == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b'{"config":', b"\xff\xfe", b"\0" * 100, b"[" * 100_000, b'{"a":' * 100_000,
        json.dumps(document(digest="sha256:../../../tmp/pwn")).encode(),
        json.dumps(document(digest="sha256-" + "a" * 63)).encode(),
        json.dumps(document(size=-1)).encode(),
        json.dumps(document(size=True)).encode(),
        json.dumps(document(size=1.5)).encode(),
        json.dumps(document(size="3")).encode(),
        json.dumps(document(size=10**30)).encode(),
        json.dumps(document(name=7)).encode(),
        json.dumps(document() | {"layers": None}).encode(),
        json.dumps(document() | {"config": []}).encode(),
        b" " * (4 * 1024 * 1024 + 1),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_in_a_sentence(data):
    with pytest.raises(StoreError, match=r"^The manifest is .*\.$"):
        Manifest.parse(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_never_a_surprise(data):
    with pytest.raises(StoreError):
        Manifest.parse(data)
