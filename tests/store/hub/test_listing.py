from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import RemoteFailed
from paddock.store.hub.listing import Listing, RemoteFile, check_name, choose, parse_listing

COMMIT = "c" * 40
GIT = "a" * 40
SHA = "b" * 64


def listing(*names):
    return Listing("org/repo", COMMIT, tuple(RemoteFile(name, 10, "", GIT) for name in names))


def chosen(*names):
    return [file.name for file in choose(listing(*names)).files]


def told(**changes):
    sibling = {"rfilename": "a.json", "size": 3, "blobId": GIT}
    return json.dumps({"sha": COMMIT, "siblings": [sibling], **changes}).encode()


def test_of_an_image_model_its_parts_are_taken_and_no_single_file_beside_them():
    parts = ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
             "text_encoder/model-00001-of-00002.safetensors", "text_encoder/model.safetensors.index.json",
             "tokenizer/tokenizer.json", "transformer/config.json",
             "transformer/diffusion_pytorch_model.safetensors", "vae/config.json",
             "vae/diffusion_pytorch_model.safetensors"]  # fmt: skip
    others = ["flux-2-klein-4b.safetensors", "assets/teaser.png", "README.md", "config.json",
              "vae/diffusion_pytorch_model.fp16.safetensors", "safety_checker/model.safetensors"]  # fmt: skip
    assert sorted(chosen(*parts, *others)) == sorted(parts)


def test_of_an_encoder_the_folders_of_its_parts_are_taken():
    names = ["config.json", "model.safetensors", "modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"]
    assert sorted(chosen(*names, "onnx/model.onnx", "openvino/config.json")) == sorted(names)


def test_one_whole_file_beside_its_own_shards_is_a_second_copy():
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert "model.safetensors" not in chosen("config.json", *shards, "model.safetensors")
    assert "model.safetensors" in chosen("config.json", "model.safetensors", "model.safetensors.index.json")


def test_small_files_come_before_weights():
    assert chosen("model.safetensors", "tokenizer.json", "config.json")[-1] == "model.safetensors"


def test_the_licence_is_fetched_as_one_and_is_no_file_of_the_model():
    found = choose(listing("config.json", "model.safetensors", "LICENSE.txt", "LICENSE"))
    assert found.license_file.name == "LICENSE"
    assert "LICENSE.txt" not in [file.name for file in found.files]


def test_a_file_is_known_by_its_content():
    parsed = parse_listing("org/repo", told(siblings=[
        {"rfilename": "a.json", "size": 3, "blobId": GIT},
        {"rfilename": "w.safetensors", "size": 9, "blobId": GIT, "lfs": {"sha256": SHA, "size": 9, "pointerSize": 1}},
    ]))  # fmt: skip
    assert [file.identity for file in parsed.files] == [f"git-{GIT}", f"sha256-{SHA}"]


@pytest.mark.parametrize(
    "sibling",
    [
        {"size": 3}, {"size": 3, "blobId": "x"}, {"blobId": GIT}, {"size": -1, "blobId": GIT},
        {"size": 2**60, "blobId": GIT}, {"size": 3, "lfs": {"sha256": "../../x", "size": 3}},
        {"size": 3, "lfs": {"sha256": SHA.upper(), "size": 3}},
    ],
)  # fmt: skip
def test_a_file_that_could_not_be_checked_is_none(sibling):
    assert parse_listing("org/repo", told(siblings=[{"rfilename": "a.json", **sibling}])).files == ()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, told(sha="main"), told(sha="../" * 13 + "x"), told(siblings=3),
     told(siblings=[{"rfilename": 3}])],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(data):
    with pytest.raises(RemoteFailed, match="What the Hub tells about org/repo"):
        parse_listing("org/repo", data)


@pytest.mark.parametrize(
    ("card", "license_name"),
    [({"license": "mit"}, "mit"), ({"license": "other", "license_name": "own"}, "own"), ({"license": ["a"]}, ""),
     (None, ""), ("x", ""), ({"license": "a\0b"}, "")],
)  # fmt: skip
def test_a_card_names_a_licence_or_does_not(card, license_name):
    assert parse_listing("org/repo", told(cardData=card)).license == license_name


@given(st.text(alphabet="aB.-/\\:\0\n é", max_size=30))
def test_a_name_that_passes_stays_inside_its_folder(name):
    try:
        check_name("org/repo", name)
    except RemoteFailed:
        return
    parts = name.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert "\\" not in name
    assert not name.startswith("/")
