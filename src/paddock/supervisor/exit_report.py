"""Why a runner ended, in words for users and as an error: pure functions of its exit status and its last output."""

from __future__ import annotations

import enum
import re
import signal
from dataclasses import dataclass

from paddock.errors import DamagedModel, LoadFailed, OutOfMemory, PaddockError, RunnerDied, UnsupportedModel

LAST_WORDS_CHARACTERS = 300
_SCANNED_BYTES = 16 * 1024
_CLASSIFIED_LINES = 10
_PLAIN_LOG = ("INFO ", "DEBUG ")
"""How a runner's own log begins the lines that are no reason to end."""

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


_TEMPLATE = re.compile(r"jinja2\.exceptions|Template(?:Syntax|Runtime|NotFound)?Error|UndefinedError", re.IGNORECASE)
_REFUSED = re.compile(r"refused by policy|not allowed by policy", re.IGNORECASE)


class Cause(enum.StrEnum):
    """What ended a runner, as a word for the log."""

    STOPPED = "stopped"
    """The server asked it to end."""
    HANG = "hang"
    """The server killed it, because it did not move."""
    UNFIT = "unfit"
    """The server killed it, because it took no connections, or it could not be killed."""
    OUT_OF_MEMORY = "out_of_memory"
    KILLED_BY_SYSTEM = "killed_by_system"
    """A SIGKILL that was not ours: most likely memory ran out."""
    UNSUPPORTED = "unsupported_architecture"
    DAMAGED = "damaged_weights"
    TEMPLATE = "template_error"
    REFUSED = "refused_by_policy"
    CRASHED = "crashed"
    """Anything else."""


_SAID: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (_OUT_OF_MEMORY, Cause.OUT_OF_MEMORY),
    (_REFUSED, Cause.REFUSED),
    (_UNSUPPORTED, Cause.UNSUPPORTED),
    (_DAMAGED, Cause.DAMAGED),
    (_TEMPLATE, Cause.TEMPLATE),
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
    lines = [line for line in last_lines(tail) if not line.startswith(_PLAIN_LOG)]
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
    verdict: str = ""
    """Why the server killed it, where it did so because of what it did: a clause."""

    @property
    def cause(self) -> Cause:
        """Why, as one word: what the server knows, else what the last lines say, else the signal."""
        if self.verdict:
            return Cause.HANG if self.verdict.startswith("hang") else Cause.UNFIT
        if self.is_requested:
            return Cause.STOPPED
        said = "\n".join(last_lines(self.tail)[-_CLASSIFIED_LINES:])
        found = next((cause for pattern, cause in _SAID if pattern.search(said)), None)
        return found or (Cause.KILLED_BY_SYSTEM if self.return_code == -signal.SIGKILL else Cause.CRASHED)

    @property
    def reason(self) -> str:
        """Why, as a clause without a full stop, at most 300 characters."""
        if self.verdict:
            return self.verdict
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
    cause = report.cause
    if cause is Cause.OUT_OF_MEMORY or (cause is Cause.KILLED_BY_SYSTEM and is_loading):
        return OutOfMemory(f"The model '{report.name}' ran out of memory: {report.reason}.")
    if not is_loading:
        return RunnerDied(f"The runner of '{report.name}' ended while it was answering: {report.reason}.")
    if cause is Cause.STOPPED:
        return LoadFailed(report.sentence)
    if cause in (Cause.UNSUPPORTED, Cause.REFUSED):
        return UnsupportedModel(
            f"The model '{report.name}' has an architecture that is not supported: {report.reason}."
            if cause is Cause.UNSUPPORTED
            else f"The model '{report.name}' was refused: {report.reason}."
        )
    if cause is Cause.DAMAGED:
        return DamagedModel(f"The files of '{report.name}' are damaged, pull or create it again: {report.reason}.")
    if cause is Cause.TEMPLATE:
        return LoadFailed(f"The chat template of '{report.name}' cannot be used: {report.reason}.")
    return LoadFailed(f"The model '{report.name}' could not be loaded: {report.reason}.")
