"""What an error looks like to clients of OpenAI's."""

from __future__ import annotations

import json

import pytest

from paddock import errors
from paddock.api.errors import openai_body_of, status_of


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"),
    [
        (errors.BadRequest("x"), 400, "invalid_request_error", None, None),
        (errors.InvalidField("x", "n"), 400, "invalid_request_error", "n", None),
        (errors.InvalidField("x"), 400, "invalid_request_error", None, None),
        (errors.ContextTooLong("x"), 400, "invalid_request_error", None, "context_length_exceeded"),
        (errors.Unauthorised("x"), 401, "authentication_error", None, None),
        (errors.Forbidden("x"), 403, "permission_error", None, None),
        (errors.NotFound("x"), 404, "not_found_error", None, None),
        (errors.ModelNotFound("x"), 404, "not_found_error", None, "model_not_found"),
        (errors.TooManyRequests("x"), 429, "rate_limit_error", None, None),
        (errors.RunnerDied("x"), 502, "api_error", None, None),
        (errors.Busy("x"), 503, "api_error", None, None),
    ],
)
def test_an_error_has_its_type_and_where_known_its_field_and_code(
    error: errors.PaddockError, status: int, kind: str, param: str | None, code: str | None
) -> None:
    assert status_of(error) == status
    assert json.loads(openai_body_of(error)) == {"error": {"message": "x", "type": kind, "param": param, "code": code}}
