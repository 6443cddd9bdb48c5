"""What is counted as requests end. It knows requests by their accounts only."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from paddock.api.access_log import Ended

MOST_MODELS = 64
"""Models with figures of their own; whichever come later are counted together as `OTHER_MODELS`."""
OTHER_MODELS = "other"

_WAITS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FIRST_TOKENS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_REQUESTS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Counted:
    """The counters of one server, in a registry of its own. Labels are bounded: templates of routes, statuses, codes of
    errors, and so many names of stored models."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._models: set[str] = set()
        self._requests = Counter(
            "paddock_requests", "Requests that have ended.", ["route", "dialect", "status"], registry=registry
        )
        self._seconds = Histogram(
            "paddock_request_seconds",
            "From a request's first byte to the last of its answer.",
            ["route"],
            buckets=_REQUESTS,
            registry=registry,
        )
        self._early = Counter(
            "paddock_requests_ended_early",
            "Requests whose answer was not sent to its end: the client left, or the server failed.",
            ["dialect"],
            registry=registry,
        )
        self._errors = Counter(
            "paddock_errors",
            "Requests that ended in an error, also where that came after the status.",
            ["code"],
            registry=registry,
        )
        self._waits = Histogram(
            "paddock_queue_wait_seconds",
            "What requests waited for their model, its load included.",
            ["model"],
            buckets=_WAITS,
            registry=registry,
        )
        self._first_tokens = Histogram(
            "paddock_first_token_seconds",
            "From a request's begin to the first piece of its answer in words.",
            ["model"],
            buckets=_FIRST_TOKENS,
            registry=registry,
        )
        self._prompt_tokens = Counter(
            "paddock_prompt_tokens", "Tokens of prompts, and of texts to embed.", ["model"], registry=registry
        )
        self._cached_tokens = Counter(
            "paddock_cached_tokens",
            "Those of the prompts' tokens that had been read for an earlier request.",
            ["model"],
            registry=registry,
        )
        self._answer_tokens = Counter(
            "paddock_answer_tokens", "Tokens of answers that came to their end.", ["model"], registry=registry
        )

    def request_ended(self, ended: Ended) -> None:
        """Count one request, once."""
        account = ended.account
        self._requests.labels(ended.route, ended.dialect, str(ended.status)).inc()
        self._seconds.labels(ended.route).observe(ended.seconds)
        if not ended.is_whole:
            self._early.labels(ended.dialect).inc()
        if account.error:
            self._errors.labels(account.error).inc()
        if account.model:
            self._count_model(ended)

    def _count_model(self, ended: Ended) -> None:
        account, model = ended.account, self._label(ended.account.model)
        if account.queue_seconds is not None:
            self._waits.labels(model).observe(account.queue_seconds)
        if account.first_seconds is not None:
            self._first_tokens.labels(model).observe(account.first_seconds)
        self._prompt_tokens.labels(model).inc(account.prompt_tokens)
        self._cached_tokens.labels(model).inc(account.cached_tokens)
        self._answer_tokens.labels(model).inc(account.answer_tokens)

    def _label(self, model: str) -> str:
        if model not in self._models and len(self._models) >= MOST_MODELS:
            return OTHER_MODELS
        self._models.add(model)
        return model
