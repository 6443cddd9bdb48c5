"""Anthropic's words for what went wrong."""

from __future__ import annotations

import json

import pytest

from paddock import errors
from paddock.api.body import BodyTooLarge
from paddock.api.errors import WrongMethod, anthropic_body_of, error_response


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.BadRequest("x"), 400, "invalid_request_error"),
        (errors.InvalidField("x", "top_p"), 400, "invalid_request_error"),
        (errors.Unauthorised("x"), 401, "authentication_error"),
        (errors.Forbidden("x"), 403, "permission_error"),
        (errors.ModelNotFound("x"), 404, "not_found_error"),
        (WrongMethod("x"), 405, "invalid_request_error"),
        (BodyTooLarge("x"), 413, "request_too_large"),
        (errors.TooManyRequests("x"), 429, "rate_limit_error"),
        (errors.Busy("x"), 503, "overloaded_error"),
        (errors.ServerClosing("x"), 503, "overloaded_error"),
        (errors.OutOfMemory("x"), 507, "api_error"),
        (errors.RunnerDied("x"), 502, "api_error"),
        (errors.PaddockError("x"), 500, "api_error"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_every_kind_of_error_has_anthropics_word(error: errors.PaddockError, status: int, kind: str, path: str) -> None:
    response = error_response(error, path)

    assert response.status_code == status
    assert json.loads(response.body) == {"type": "error", "error": {"type": kind, "message": "x"}}


def test_agents_find_the_words_for_a_prompt_that_is_too_long() -> None:
    body = json.loads(anthropic_body_of(errors.ContextTooLong("The input has 9 tokens.")))

    assert body["error"]["message"] == "Prompt is too long: The input has 9 tokens."
