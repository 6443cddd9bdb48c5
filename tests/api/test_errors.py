"""Which status an error has."""

from __future__ import annotations

import pytest

from paddock import errors
from paddock.api.errors import body_of, headers_of, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequest("x"), 400),
        (errors.ContextTooLong("x"), 400),
        (errors.UnsupportedModel("x"), 400),
        (errors.NotFound("x"), 404),
        (errors.Cancelled("x"), 499),
        (errors.DamagedModel("x"), 500),
        (errors.PaddockError("x"), 500),
        (errors.RunnerDied("x"), 502),
        (errors.LoadFailed("x"), 502),
        (errors.Busy("x"), 503),
        (errors.ServerClosing("x"), 503),
        (errors.NeverFits("x"), 507),
        (errors.OutOfMemory("x"), 507),
    ],
)
def test_every_kind_of_error_has_its_status(error: errors.PaddockError, status: int) -> None:
    assert status_of(error) == status
    assert body_of(error) == b'{"error":"x"}'


def test_who_is_sent_away_is_told_when_to_come_back() -> None:
    assert headers_of(errors.Busy("x", retry_after_seconds=2.1)) == {"Retry-After": "3"}
    assert headers_of(errors.NotFound("x")) == {}
