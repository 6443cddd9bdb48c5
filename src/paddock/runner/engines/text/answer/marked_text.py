"""Tells thinking, calls of tools and the answer apart by the marks between them, as the text is streamed."""

from __future__ import annotations

import enum

from paddock.protocol import Frame, Text, Thinking
from paddock.runner.engines.text.answer.stops import possible_start
from paddock.runner.engines.text.answer.style import AnswerStyle
from paddock.runner.engines.text.answer.tool_calls import MAX_CALL_CHARACTERS, is_whole, read_calls


class Place(enum.Enum):
    """What the text is a part of."""

    CONTENT = enum.auto()
    THINKING = enum.auto()
    CALL = enum.auto()


class MarkedText:
    """Reads one answer.

    Thinking opens only where nothing has been said yet: later on, its mark is a word like any other. A call may come
    anywhere, and ends the thinking that it comes in. White space next to a mark belongs to the mark. Only what may be
    the beginning of a mark is held back, and the white space before it; a call is held back until it is whole.
    """

    def __init__(self, style: AnswerStyle) -> None:
        self._style = style
        self._place = Place.THINKING if style.begins_thinking else Place.CONTENT
        self._held = ""
        self._space = ""
        self._skips_space = style.begins_thinking
        self._has_spoken = False
        self._call: list[str] = []
        self._call_length = 0
        self._place_before_call = self._place
        self._marks: tuple[str, ...] = ()
        self._first_letters: tuple[str, ...] = ()
        self._watch()

    @property
    def is_answering(self) -> bool:
        """Whether what comes next is the answer, or a call in its place."""
        return self._place is not Place.THINKING

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is thought."""
        return self._place is Place.THINKING

    def feed(self, text: str) -> list[Frame]:
        """What a piece of text adds."""
        self._held += text
        if not any(letter in self._held for letter in self._first_letters):
            text, self._held = self._held, ""
            return self._say(text) + self._give_up_on_what_is_too_long()
        frames: list[Frame] = []
        while (found := self._first_mark()) is not None:
            start, mark = found
            before, self._held = self._held[:start], self._held[start + len(mark) :]
            frames += self._say(before)
            frames += self._pass(mark)
        keep = len(self._held) - possible_start(self._held, self._marks)
        safe, self._held = self._held[:keep], self._held[keep:]
        frames += self._say(safe)
        return frames + self._give_up_on_what_is_too_long()

    def finish(self) -> list[Frame]:
        """What is left when no more text comes."""
        frames = self._say(self._held)
        self._held = ""
        if self._place is Place.CALL:
            frames += self._end_call(end="")
        if self._place is Place.CONTENT and self._space:
            frames.append(Text(content=self._space))
        self._space = ""
        return frames

    def _give_up_on_what_is_too_long(self) -> list[Frame]:
        return self._end_call(end="") if self._call_length > MAX_CALL_CHARACTERS else []

    def _watch(self) -> None:
        """Look for the marks that mean something here."""
        self._marks = self._marks_here()
        self._first_letters = tuple({mark[0] for mark in self._marks})

    def _marks_here(self) -> tuple[str, ...]:
        style = self._style
        syntax = style.tool_syntax
        if self._place is Place.CALL:
            return (syntax.end,) if syntax and syntax.end else ()
        opens = style.think_start if self._place is Place.THINKING or not self._has_spoken else ""
        marks = (opens, style.think_end, syntax.start if syntax else "", *style.left_out)
        return tuple(mark for mark in marks if mark)

    def _first_mark(self) -> tuple[int, str] | None:
        """Where the first mark stands, and which it is: of those at one place the longest."""
        found = [(start, -len(mark), mark) for mark in self._marks if (start := self._find(mark)) >= 0]
        start, _, mark = min(found, default=(-1, 0, ""))
        return (start, mark) if mark else None

    def _find(self, mark: str) -> int:
        start = self._held.find(mark)
        opens = self._place is Place.CONTENT and mark == self._style.think_start
        return -1 if opens and self._held[: max(start, 0)].strip() else start

    def _pass(self, mark: str) -> list[Frame]:
        """Go where a mark leads."""
        style = self._style
        if self._place is Place.CALL:
            return self._end_call(mark)
        if style.tool_syntax and mark == style.tool_syntax.start:
            self._place_before_call, self._place = self._place, Place.CALL
            self._watch()
        elif mark in (style.think_start, style.think_end):
            self._place = Place.THINKING if mark == style.think_start else Place.CONTENT
            self._space, self._skips_space = "", True
            self._watch()
        return []

    def _say(self, text: str) -> list[Frame]:
        if self._place is Place.CALL:
            self._call.append(text)
            self._call_length += len(text)
            return []
        if self._skips_space:
            text = text.lstrip()
        text = self._space + text
        said = text.rstrip()
        self._space = text[len(said) :]
        if not said:
            return []
        self._skips_space = False
        if self._place is Place.THINKING:
            return [Thinking(content=said)]
        if not self._has_spoken:
            self._has_spoken = True
            self._watch()
        return [Text(content=said)]

    def _end_call(self, end: str) -> list[Frame]:
        """The calls that were gathered; or the text, as a part of what it stands in, where they are none."""
        syntax = self._style.tool_syntax
        assert syntax is not None
        text = "".join(self._call)
        self._call, self._call_length = [], 0
        is_ended = end or not syntax.end or is_whole(text)
        if is_ended and (calls := read_calls(text, syntax)):
            self._place, self._has_spoken = Place.CONTENT, False
            self._space, self._skips_space = "", True
            self._watch()
            return list(calls)
        self._place = self._place_before_call
        self._watch()
        return self._say(syntax.start + text + end)
