"""Requests made from the server's own OpenAPI document: such as it allows, and such as it forbids.

What makes them is installed by `make fuzz`; it is too large for the quick tests.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis.errors import Unsatisfiable

from tests.fuzz.subject import SECONDS, Subject, campaign, share
from tests.fuzz.verdicts import fault_of

OPENAPI = 0.3
"""Their share of all cases, in both modes together."""
FEW = 5
"""For what reads no body."""
MODELS = {
    "/api/generate": "short",
    "/api/chat": "caller",
    "/api/embed": "vectors",
    "/api/embeddings": "vectors",
    "/api/show": "short",
    "/v1/embeddings": "vectors",
    "/v1/rerank": "scores",
    "/v1/chat/completions": "short",
    "/v1/completions": "short",
    "/v1/responses": "caller",
    "/v1/messages": "caller",
    "/v1/messages/count_tokens": "short",
}
"""Names that every other request gets, where one of letters by chance would only be answered with 404."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_what_the_document_allows_and_forbids_does_no_harm(subject: Subject, mode: str) -> None:
    import schemathesis
    from schemathesis.generation.modes import GenerationMode

    document = schemathesis.openapi.from_url(f"{subject.road.url}/openapi.json")
    document.config.generation.allow_x00 = True
    operations = [found.ok() for found in document.get_all_operations()]
    with_body = [operation for operation in operations if operation.body]
    most = share(OPENAPI / 2 / len(with_body))

    # Of what reads no body, nothing is forbidden.
    for operation in operations if mode == "positive" else with_body:
        requests = operation.as_strategy(generation_mode=GenerationMode(mode))
        cases = most if operation.body else min(FEW, most)
        try:
            statuses = asked(subject, requests, cases, model=MODELS.get(operation.path, ""))
        except Unsatisfiable:
            statuses = Counter()  # any bytes will do there
        print(f"{mode} {operation.method.upper()} {operation.path}: {dict(statuses)}")

    assert len(operations) > 20


def asked(subject: Subject, requests: Any, cases: int, model: str) -> Counter[int]:
    """Send so many of these requests; the statuses of the answers, none of which is a defect."""
    statuses: Counter[int] = Counter()

    @campaign(cases)
    @given(case=requests)
    def ask(case: Any) -> None:
        if model and isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and statuses.total() % 2:
            case.body["model"] = model
        response = case.call(timeout=SECONDS)
        statuses[response.status_code] += 1
        sent = f"{case.formatted_path} {case.body} {case.query} {case.headers}"
        headers = {name.lower(): " ".join(values) for name, values in response.headers.items()}
        fault = fault_of(case.formatted_path, sent, response.status_code, headers, response.content) or subject.damage()
        assert not fault, f"{fault}\n{response.content[:500]!r}\nagain: {case.as_curl_command()}"

    ask()
    return statuses
