from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import InvalidName
from paddock.store.hub.source import HubSource, hub_source
from paddock.store.names import ModelName

SHORT = {ModelName.parse("qwen3").key: HubSource("mlx-community/Qwen3-8B-4bit")}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf.co/org/repo", HubSource("org/repo")),
        ("huggingface.co/org/repo", HubSource("org/repo")),
        ("https://huggingface.co/org/repo", HubSource("org/repo")),
        ("HF.co/Org.AI/Repo.v1:Main", HubSource("Org.AI/Repo.v1", "Main")),
        ("hf.co/org/repo:v2", HubSource("org/repo", "v2")),
        ("hf.co/org/repo:4bit", HubSource("org/repo", "4bit")),
        ("org/repo", HubSource("org/repo")),
        ("org/repo:latest", HubSource("org/repo")),
        ("org/repo:" + "a" * 40, HubSource("org/repo", "a" * 40)),
        ("qwen3", HubSource("mlx-community/Qwen3-8B-4bit")),
        ("QWEN3:Latest", HubSource("mlx-community/Qwen3-8B-4bit")),
        ("qwen3:0.6b", None),
        ("nobody-knows", None),
        ("registry.example.com/org/repo", None),
        ("localhost:5000/org/repo:x", None),
    ],
)
def test_a_name_means_a_repository(text, source):
    assert hub_source(ModelName.parse(text), SHORT) == source


@pytest.mark.parametrize(
    ("revision", "repository"),
    [
        ("4bit", "org/repo-4bit"), ("8-bit", "org/repo-8-bit"), ("mxfp4", "org/repo-mxfp4"), ("bf16", "org/repo-bf16"),
        ("main", None), ("v2", None), ("Q4_K_M", None), ("a" * 40, None),
    ],
)  # fmt: skip
def test_a_way_of_packing_may_be_the_repository_beside_it(revision, repository):
    packed = HubSource("org/repo", revision).packed
    assert packed == (HubSource(repository) if repository else None)


@given(st.text(alphabet="aB0_-.:/\\@% é／\0", max_size=60))
def test_no_name_leads_to_a_repository_that_a_url_would_not_keep_as_it_is(text):
    try:
        source = hub_source(ModelName.parse(text), SHORT)
    except InvalidName:
        return
    if source is not None:
        organisation, repository = source.repository.split("/")
        assert all(part and part.isascii() and not part.startswith(".") for part in (organisation, repository))
        assert not set(f"{source.repository}{source.revision}") & set("\\@% :\0")


def test_a_source_is_told_as_it_is_written():
    assert str(HubSource("org/repo")) == "org/repo"
    assert str(HubSource("org/repo", "v2")) == "org/repo:v2"
