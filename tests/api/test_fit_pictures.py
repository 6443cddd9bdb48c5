"""POST /api/fit of image models."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Served


async def fit(served: Served, model: str, **body: Any) -> dict[str, Any]:
    status, answer = await served.post("/api/fit", {"model": model, **body})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


async def test_an_image_model_is_foreseen_for_pictures_of_its_own_size(painting: Served) -> None:
    found = await fit(painting, "zimage")

    assert (found["verdict"], found["parallel"]) == ("fits", 1)
    assert found["pictures"] == {"pixels": 64 * 48, "references": 0, "tile": 1024, "is_staged": False}
    terms = found["terms"]
    assert terms["total"] == terms["weights"] + terms["runtime"] + max(
        terms["loading"], terms["context"] + terms["workspace"]
    )
    assert (await fit(painting, "tiny"))["pictures"] is None


async def test_a_larger_picture_needs_more(painting: Served) -> None:
    small = await fit(painting, "klein", width=64, height=64)
    large = await fit(painting, "klein", width=2048)

    assert small["pictures"]["pixels"] == 1024 * 1024, "its own size is larger"
    assert large["pictures"]["pixels"] == 2048 * 1024
    assert large["terms"]["workspace"] > small["terms"]["workspace"]
    assert large["pictures"]["references"] == 4


async def test_a_runner_for_smaller_pictures_is_not_taken_for_one_for_larger_ones(painting: Served) -> None:
    body = {"model": "zimage", "prompt": "a circle", "width": 64, "height": 64, "stream": False}
    status, answer = await painting.post("/api/generate", body)
    assert status == 200, answer

    same = await fit(painting, "zimage", width=64, height=64)
    larger = await fit(painting, "zimage", width=128, height=64)

    assert same["is_loaded"]
    assert same["pictures"]["pixels"] == 64 * 64
    assert not larger["is_loaded"]
    assert larger["pictures"]["pixels"] == 128 * 64


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"width": 33}, "width must be a multiple of 8, such as 32 or 40, and is 33."),
        ({"height": 1024}, "height must be at most 512, and is 1024."),
        ({"width": -8}, "width must be at least 8, and is -8."),
    ],
)
async def test_sizes_that_no_picture_has_are_refused(painting: Served, body: dict[str, int], said: str) -> None:
    status, answer = await painting.post("/api/fit", {"model": "zimage", **body})

    assert (status, answer["error"]) == (400, said)
