"""Where in a JSON text its last byte stands: in a string, in a number, or between. It trusts the text to be JSON."""

from __future__ import annotations

_QUOTE, _BACKSLASH = b'"\\'
NUMBER_BYTES = frozenset(b"0123456789+-.eE")
_NUMBER_STARTS = frozenset(b"-0123456789")


class JsonPlace:
    """Follows a text byte by byte; starts between values."""

    def __init__(self) -> None:
        self.in_string = False
        self.number_length = 0
        """Bytes so far of the number that the text ends in; 0 outside of numbers."""
        self.is_escaped = False
        """Whether the next byte in a string means itself, even a quote."""

    def feed(self, text: bytes) -> None:
        for byte in text:
            if self.in_string:
                self._in_string(byte)
            elif byte == _QUOTE:
                self.in_string, self.number_length = True, 0
            elif byte in (NUMBER_BYTES if self.number_length else _NUMBER_STARTS):
                self.number_length += 1
            else:
                self.number_length = 0

    def copy(self) -> JsonPlace:
        """The same place, to go on from independently."""
        other = JsonPlace()
        other.in_string, other.number_length, other.is_escaped = self.in_string, self.number_length, self.is_escaped
        return other

    def _in_string(self, byte: int) -> None:
        if self.is_escaped:
            self.is_escaped = False
        elif byte == _BACKSLASH:
            self.is_escaped = True
        elif byte == _QUOTE:
            self.in_string = False
