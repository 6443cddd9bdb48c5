"""The line editor of the interactive session: prompt_toolkit, a history file and a key for the user's own editor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PLACEHOLDER = "Send a message (/? for help)"
PICTURE_PLACEHOLDER = "Describe a picture (/? for help)"
FIRST, NEXT = ">>> ", "... "


class SwitchableHistory(FileHistory):
    """A history file, private to the user, that can be left alone for a while."""

    def __init__(self, path: Path, is_kept: bool) -> None:
        self.is_kept = is_kept
        self._path = path
        super().__init__(str(path))

    def load_history_strings(self) -> Iterable[str]:
        try:
            return super().load_history_strings() if self.is_kept else []
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        if not self.is_kept:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            super().store_string(string)
        except OSError:
            self.is_kept = False  # a history that cannot be written is no reason to stop the conversation


class LineEditor:
    """Reads one line at a time. KeyboardInterrupt is Ctrl+c, EOFError Ctrl+d."""

    def __init__(self, history_path: Path, keeps_history: bool, placeholder: str = PLACEHOLDER) -> None:
        self._history = SwitchableHistory(history_path, keeps_history)
        self._placeholder = placeholder
        self._session: PromptSession[str] = PromptSession(history=self._history, key_bindings=_keys())

    def read(self, is_continued: bool, keeps_history: bool) -> str:
        """The next line; a continued one belongs to a text in triple quotes."""
        self._history.is_kept = keeps_history
        if is_continued:
            return self._session.prompt(NEXT, placeholder="")
        return self._session.prompt(FIRST, placeholder=self._hint)

    def _hint(self) -> FormattedText:
        """What an empty line says; it does not stay behind in a line that was left empty."""
        return FormattedText([] if get_app().is_done else [("ansibrightblack", self._placeholder)])


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-g")
    def _edit(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    return keys
