"""What one request came to: its id, its model, what it waited for, its tokens. Written while it is served, told once.

Whatever works for a request finds its account through the context of the task, so no dialect has to hand it on.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from paddock.errors import PaddockError
from paddock.protocol import Done


@dataclass
class Account:
    """One request. Times are seconds."""

    request_id: str = ""
    began: float = field(default_factory=time.monotonic)
    model: str = ""
    """The stored model that it was for; empty for none, never what a client made up."""
    queue_seconds: float | None = None
    """Waited for the model, its load included; None if it asked for none."""
    first_seconds: float | None = None
    """From its begin to the first piece of an answer in words."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt's, those that had been read for an earlier request."""
    answer_tokens: int = 0
    error: str = ""
    """The code of the error that it ended in, also where that came after the status."""

    def waited(self, seconds: float) -> None:
        """It waited so long for its model; of several answers, the longest counts."""
        self.queue_seconds = max(self.queue_seconds or 0.0, seconds)

    def began_to_answer(self) -> None:
        """The model said its first words."""
        if self.first_seconds is None:
            self.first_seconds = time.monotonic() - self.began

    def answered(self, done: Done) -> None:
        """The model is through with an answer in words."""
        self.prompt_tokens += done.prompt_eval_count
        self.cached_tokens += done.cached_tokens
        self.answer_tokens += done.eval_count

    def failed(self, error: PaddockError) -> None:
        """It ends in this error."""
        self.error = error.code


_current: ContextVar[Account] = ContextVar("account")


def open_account(request_id: str) -> Account:
    """The account of the request that this task works for from here on, and all tasks that it starts."""
    opened = Account(request_id)
    _current.set(opened)
    return opened


def current_account() -> Account:
    """Of the request that this task works for; outside of any, one that nobody reads."""
    return _current.get(None) or Account()


def current_request_id() -> str:
    """Empty outside of any request."""
    return current_account().request_id
