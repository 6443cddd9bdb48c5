"""Chat templates, rendered in a worker process that is replaced when a template has used up its time or memory."""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

import paddock
from paddock.errors import BadRequest
from paddock.runner.engines.text.prompt.template_worker import REFUSED, TOO_LONG
from paddock.vetting.templates import MAX_TEMPLATE_BYTES

logger = logging.getLogger(__name__)

SECONDS = 2.0
"""Processor time of one template; those of real models take milliseconds."""
_PATIENCE_SECONDS = 15.0
"""Time that may pass while a busy machine gives the worker its processor time."""
_CHARACTERS_PER_TOKEN = 4 * 16
_PIPE_BYTES = 65_536


class Renderer:
    """Renders for one model. Used by one thread at a time; its worker ends with it."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to start the worker, which is ready a moment later. Rendering does it as well where needed."""
        if self._worker is None:
            self._worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "paddock.runner.engines.text.prompt.template_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": str(Path(paddock.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            self._end_worker = weakref.finalize(self, _end, self._worker)

    def close(self) -> None:
        """End the worker. Idempotent."""
        if self._worker is not None:
            self._end_worker()
            self._worker = None

    def render(self, template: str, variables: Mapping[str, object], context_tokens: int) -> str:
        """The text of a template for a context of so many tokens. BadRequest, in one sentence, if there is none."""
        if len(template.encode(errors="replace")) > MAX_TEMPLATE_BYTES:
            raise BadRequest(f"The chat template is larger than {MAX_TEMPLATE_BYTES} bytes.")
        written = sum(len(value) for value in _texts(variables))
        request = {
            "template": template,
            "variables": variables,
            "seconds": self._seconds,
            # What the client wrote itself may be too long for the context, which is told with other words later.
            "characters": _CHARACTERS_PER_TOKEN * context_tokens + 4 * written,
        }
        answer = self._ask(json.dumps(request).encode() + b"\n")
        if (text := answer.get("text")) is not None:
            return text
        if answer["problem"] == REFUSED:
            raise BadRequest(f"The chat template refused this conversation: {answer['message'].rstrip('.')}.")
        if answer["problem"] == TOO_LONG:
            raise BadRequest("The chat template writes far more than the context holds: use another template.")
        logger.debug("the chat template failed: %s", answer["message"])
        raise BadRequest("The chat template failed on this conversation: check its roles and contents.")

    def _ask(self, line: bytes) -> dict[str, str]:
        self.start()
        assert self._worker is not None
        try:
            reply = _exchange(self._worker, line, time.monotonic() + _PATIENCE_SECONDS)
        except (OSError, TimeoutError) as error:
            logger.warning("a chat template used up its time or memory: its process is replaced (%r)", error)
            self.close()
            raise BadRequest("The chat template takes far too long or too much memory: use another template.") from None
        answer: dict[str, str] = json.loads(reply)
        return answer


def _texts(value: object) -> list[str]:
    """All texts in what a template is given."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for each in inner for text in _texts(each)]


def _exchange(worker: subprocess.Popen[bytes], line: bytes, deadline: float) -> bytes:
    """Send a line and return the one that answers it; OSError if the worker ends, TimeoutError if it does neither."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    # The worker reads its whole line before it writes, so writing can only be stopped by its end.
    worker.stdin.write(line)
    worker.stdin.flush()
    received = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("no answer")
            data = worker.stdout.read1(_PIPE_BYTES)  # type: ignore[attr-defined]
            if not data:
                raise BrokenPipeError("the worker has ended")
            received += data
    return bytes(received)


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        assert pipe is not None
        # What was not written when the worker ended is of no use to anyone.
        with contextlib.suppress(OSError):
            pipe.close()
