"""What stderr shows while something takes long: a spinner, statuses and bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from paddock.cli.render import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.status import Status
    from rich.text import Text

GETTING_READY = "Getting ready"
INTERRUPTED = 130
"""The exit status of what Ctrl+c has stopped."""


@contextlib.contextmanager
def spinner(text: str = "") -> Iterator[None]:
    """A spinner on stderr while the block runs; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


class StatusDisplay:
    """A context manager that shows the updates of a long operation: `{status, digest?, total?, completed?}`."""

    def __init__(self) -> None:
        self._progress: Progress | None = _bars() if sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}
        self._files: dict[str, tuple[int, int]] = {}
        self._last_status = ""

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def show(self, update: Mapping[str, Any]) -> None:
        """One update: a bar where it has a total, a line where its status is new."""
        status, total = str(update.get("status", "")), int(update.get("total", 0))
        if total and self._progress:
            key, label, completed = str(update.get("digest") or status), status, int(update.get("completed", 0))
            if update.get("file"):
                label = printable(str(update["file"]))
                self._add_up(key, completed, total)
            self._advance(key, label, completed, total)
        elif status != self._last_status:
            self._last_status = status
            self._write(status)

    def counted(self, label: str, chunks: Iterable[bytes], total_bytes: int) -> Iterator[bytes]:
        """The chunks themselves, counted on a bar as they pass."""
        done = 0
        self.show({"status": label, "total": total_bytes, "completed": 0})
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            self.show({"status": label, "total": total_bytes, "completed": done})

    def _advance(self, key: str, label: str, completed: int, total: int) -> None:
        assert self._progress is not None
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[key], description=label, completed=completed, total=total)

    def _add_up(self, key: str, completed: int, total: int) -> None:
        """Files that come one beside the other have a bar for all of them, above their own."""
        self._files[key] = (completed, total)
        self._advance("", "total", *(sum(sizes) for sizes in zip(*self._files.values(), strict=True)))

    def _write(self, status: str) -> None:
        if self._progress:
            self._progress.console.print(status, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(status, err=True)


class StepDisplay:
    """A context manager that shows how far a picture is: a spinner while it waits, then a bar of its steps.

    Its updates are `{status, queue_position?}` and `{completed?, total}`. Nothing is shown where stderr is no terminal,
    and nothing stays when it is over.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._spinner: Status | None = _spinner(GETTING_READY) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._spinner:
            self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shown in (self._spinner, self._bar):
            if shown:
                shown.stop()

    def show(self, update: Mapping[str, Any]) -> None:
        """One update."""
        if not self._spinner:
            return
        total = int(update.get("total") or 0)
        if total:
            self._advance(self._spinner, int(update.get("completed") or 0), total)
        elif update.get("status"):
            self._spinner.update(_status(update))

    def _advance(self, spinner: Status, completed: int, total: int) -> None:
        if self._bar is None or self._task is None:
            spinner.stop()
            self._bar = _step_bar()
            self._task = self._bar.add_task(self._label, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=completed, total=total)


def _status(update: Mapping[str, Any]) -> Text:
    from rich.text import Text

    status, place = printable(str(update["status"])).capitalize(), update.get("queue_position")
    return Text(f"{status} (place {int(place)} in the queue)" if place else status)


def follow(updates: Iterable[Mapping[str, Any]], again: str = "") -> None:
    """Show the updates of a create, a pull or a push until they end.

    `again` is the command that goes on with one that Ctrl+c has stopped; then the exit status is a shell's for that.
    """
    try:
        with StatusDisplay() as display:
            for update in updates:
                display.show(update)
    except KeyboardInterrupt:
        if not again:
            raise
        typer.echo(f"Stopped. What is there already is kept: `{again}` goes on with it.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _spinner(text: str) -> Status:
    from rich.console import Console
    from rich.status import Status

    return Status(text, console=Console(stderr=True))


def _step_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
