"""HTTP's framing of an answer, on a shorter road than h11's: a token is a chunk of its own, and going through all
states of a connection for it costs more than making it."""

from __future__ import annotations

import h11

_IS_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"


class ShortConnection(h11.Connection):
    """h11's, with two differences: the head of an answer leaves with what follows it, in one packet; and in the middle
    of a chunked answer, where no state can change, none is looked at."""

    _head = b""
    _is_chunked = False

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override] # its overloads say the same
        """The bytes to be sent now; None for the end of the connection."""
        if type(event) is h11.Data and self._is_chunked and event.data and not self._head:
            return b"%x\r\n%b\r\n" % (len(event.data), event.data)
        written = super().send(event)
        if written is None:
            return None
        if type(event) is h11.Response:
            self._head, self._is_chunked = written, _IS_CHUNKED in written
            return b""
        if type(event) is h11.EndOfMessage:
            self._is_chunked = False
        written, self._head = self._head + written, b""
        return written
