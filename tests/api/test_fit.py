"""POST /api/fit, and the terms in /api/ps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Served


async def fit(served: Served, **body: Any) -> dict[str, Any]:
    status, answer = await served.post("/api/fit", {"model": "tiny", **body})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


async def test_a_model_that_is_not_loaded_is_foreseen_in_terms(served: Served) -> None:
    found = await fit(served)

    terms = found["terms"]
    assert (found["model"], found["verdict"], found["is_loaded"], found["evicts"]) == ("tiny:latest", "fits", False, [])
    assert found["context_length"] == 2048
    working = terms["context"] + terms["workspace"] + terms["prefix_cache"]
    assert terms["total"] == terms["weights"] + terms["runtime"] + max(terms["loading"], working)
    assert found["memory"]["free"] > found["memory"]["reserve"] > 0
    assert terms["prefix_cache"] * found["parallel"] == terms["context"]
    assert found["parallel"] == 4
    assert (found["kv_bits"], found["is_packed"], found["is_lowered"]) == (0, False, False)
    assert served.servers.made == []


async def test_context_and_parallel_make_their_term_larger(served: Served) -> None:
    small = await fit(served, options={"num_ctx": 512, "parallel": 1})
    large = await fit(served, options={"num_ctx": 2048, "parallel": 1})
    wide = await fit(served, options={"num_ctx": 512, "parallel": 4})

    assert small["terms"]["context"] * 4 == large["terms"]["context"] == wide["terms"]["context"]
    assert (small["context_length"], wide["parallel"]) == (512, 4)


async def test_a_loaded_model_says_so_with_what_it_was_promised(served: Served) -> None:
    await served.post("/api/generate", {"model": "tiny", "prompt": "hi", "stream": False})

    found = await fit(served)
    async with served.session.get(served.url + "/api/ps") as response:
        (row,) = (await response.json())["models"]

    assert found["is_loaded"]
    assert row["terms"] == found["terms"]
    assert row["promised"] == row["terms"]["total"]
    assert row["memory"] == found["memory"]["id"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"width": 512}, "Only image models have a width"),
        ({"options": {"parallel": 0}}, "parallel must be a whole number"),
        ({"options": {"parallel": True}}, "parallel must be a whole number"),
        ({"options": {"num_ctx": "many"}}, "num_ctx"),
    ],
)
async def test_what_makes_no_sense_is_refused(served: Served, body: dict[str, Any], said: str) -> None:
    status, answer = await served.post("/api/fit", {"model": "tiny", **body})

    assert status == 400
    assert said in answer["error"]


async def test_a_model_that_does_not_exist_is_not_found(served: Served) -> None:
    status, _ = await served.post("/api/fit", {"model": "nobody"})

    assert status == 404
