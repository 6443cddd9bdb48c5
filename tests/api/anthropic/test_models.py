"""The list of models as Anthropic's clients page through it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from paddock.api.anthropic.models import page_of
from paddock.errors import InvalidField
from tests.api.anthropic.conftest import Asking


@dataclass(frozen=True)
class Name:
    display: str


@dataclass(frozen=True)
class Model:
    name: Name
    modified_at: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


MODELS: Any = [Model(Name(letter)) for letter in "abcde"]


@pytest.mark.parametrize(
    ("query", "letters", "has_more"),
    [
        ({}, "abcde", False),
        ({"limit": "2"}, "ab", True),
        ({"limit": "2", "after_id": "b"}, "cd", True),
        ({"limit": "2", "after_id": "d"}, "e", False),
        ({"limit": "2", "before_id": "e"}, "cd", True),
        ({"limit": "9", "before_id": "c"}, "ab", False),
        ({"after_id": "e"}, "", False),
    ],
)
def test_pages_go_on_in_both_directions(query: dict[str, str], letters: str, has_more: bool) -> None:
    page = page_of(MODELS, query)

    assert "".join(model.id for model in page.data) == letters
    assert page.has_more is has_more
    assert (page.first_id, page.last_id) == ((letters[0], letters[-1]) if letters else (None, None))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after_id": "x"}, "after_id"),
    ],
)
def test_a_page_that_is_none_is_refused(query: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidField, match=f'"{name}"'):
        page_of(MODELS, query)


async def test_only_anthropics_clients_get_anthropics_shape(asking: Asking) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    url = f"{asking.served.url}/v1/models"
    async with asking.served.session.get(url, headers=headers, params={"limit": "1"}) as response:
        page = await response.json()
    async with asking.served.session.get(f"{url}/tiny", headers=headers) as response:
        one = await response.json()
    async with asking.served.session.get(f"{url}/nobody", headers=headers) as response:
        assert response.status == 404
        missing = await response.json()
    async with asking.served.session.get(url) as response:
        openais = await response.json()

    assert page["has_more"] is True
    assert page["data"][0] | {"created_at": ""} == {
        "type": "model",
        "id": "smart:latest",
        "display_name": "smart:latest",
        "created_at": "",
        "lifecycle": "active",
    }
    assert page["data"][0]["created_at"].endswith("Z")
    assert (one["type"], one["id"]) == ("model", "tiny")
    assert missing["error"]["message"] == "model 'nobody' not found"
    assert openais["object"] == "list"
