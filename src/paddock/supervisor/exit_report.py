"""Why a runner ended, in words for users and as an error: pure functions of its exit status and its last output."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from paddock.errors import DamagedModel, LoadFailed, OutOfMemory, PaddockError, RunnerDied, UnsupportedModel

LAST_WORDS_CHARACTERS = 300
_SCANNED_BYTES = 16 * 1024
_CLASSIFIED_LINES = 10

_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^\s/'\":]+/)+")
_TELLING = re.compile(
    r"\w(?:Error|Exception)\b|\b(?:error|fatal|panic(?:ked)?|abort(?:ed)?|failed|terminat\w+)\b"
    r"|out of memory|insufficient memory|what\(\):",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(
    r"out of (?:device )?memory|OutOfMemory|(?:not enough|insufficient) memory|MemoryError|bad_alloc"
    r"|(?:failed|unable|cannot) to allocate|cannot allocate|allocation failed|(?:cuda|hip)Malloc\w* failed"
    r"|attempting to allocate",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"model type \S+ (?:is )?not supported|unsupported (?:model|architecture)|UnsupportedModel", re.IGNORECASE
)
_DAMAGED = re.compile(
    r"SafetensorError|load_safetensors|HeaderTooLarge|InvalidHeader|JSONDecodeError|DamagedModel"
    r"|missing \d+ parameters|received \d+ parameters not in model|expected shape",
    re.IGNORECASE,
)


def one_line(text: str) -> str:
    """Text that may be shown: no control characters, no folders of this machine, at most 300 characters."""
    text = " ".join(_FOLDERS.sub("", _UNPRINTABLE.sub(" ", _CONTROL_SEQUENCE.sub("", text))).split())
    return text if len(text) <= LAST_WORDS_CHARACTERS else text[: LAST_WORDS_CHARACTERS - 1] + "…"


def last_lines(tail: bytes) -> list[str]:
    """The last lines of what a process wrote, each fit to be shown, empty ones left out."""
    lines = tail[-_SCANNED_BYTES:].decode(errors="replace").splitlines()
    return [shown for line in lines if (shown := one_line(line))]


def last_words(tail: bytes) -> str:
    """The line that most likely says why a process ended: its last error, else its last line, else nothing."""
    lines = last_lines(tail)
    telling = [line for line in lines if _TELLING.search(line)]
    return (telling or lines or [""])[-1]


@dataclass(frozen=True)
class ExitReport:
    """How a runner ended. `return_code` is negative for a signal, as in `subprocess`."""

    name: str
    """The model's name."""
    return_code: int
    tail: bytes = b""
    """The end of its output."""
    is_requested: bool = False
    """Whether the server stopped it."""

    @property
    def reason(self) -> str:
        """Why, as a clause without a full stop, at most 300 characters."""
        if self.is_requested:
            return "it was stopped"
        words = last_words(self.tail).rstrip(". ")
        return one_line(f"{describe_exit(self.return_code)}: {words}" if words else describe_exit(self.return_code))

    @property
    def sentence(self) -> str:
        """Why, in one sentence."""
        return f"The runner of '{self.name}' ended: {self.reason}."


def describe_exit(return_code: int) -> str:
    """An exit status in words; a SIGKILL that is described was not ours, so the system sent it."""
    if return_code >= 0:
        return f"exit code {return_code}"
    try:
        name = signal.Signals(-return_code).name
    except ValueError:
        name = "unknown"
    cause = ", most likely by the system because memory ran out" if -return_code == signal.SIGKILL else ""
    return f"killed by signal {-return_code} ({name}){cause}"


def classify(report: ExitReport, is_loading: bool) -> PaddockError:
    """The error of a process that ended: out of memory, an unsupported or a damaged model where its output or the
    signal says so; else LoadFailed or, once it was serving, RunnerDied."""
    if report.is_requested:
        return LoadFailed(report.sentence) if is_loading else RunnerDied(report.sentence)
    said = "\n".join(last_lines(report.tail)[-_CLASSIFIED_LINES:])
    if report.return_code == -signal.SIGKILL or _OUT_OF_MEMORY.search(said):
        return OutOfMemory(f"The model '{report.name}' ran out of memory: {report.reason}.")
    if not is_loading:
        return RunnerDied(report.sentence)
    if _UNSUPPORTED.search(said):
        return UnsupportedModel(
            f"The model '{report.name}' has an architecture that is not supported: {report.reason}."
        )
    if _DAMAGED.search(said):
        return DamagedModel(f"The files of '{report.name}' are damaged, pull or create it again: {report.reason}.")
    return LoadFailed(f"The model '{report.name}' could not be loaded: {report.reason}.")
