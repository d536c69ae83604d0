"""Server-sent events out of the pieces of a body (WHATWG HTML, section 9.2).

Lines end with CR LF, LF or CR, also where a piece ends between these two. Comments keep the connection alive and are no
events. A character may lie in two pieces: only whole lines are looked at.

>>> events = Events()
>>> events.take(b": alive\\r\\ndata: {\\"a\\""), events.take(b": 1}\\r\\n\\r\\n")
([], [Event(name='', data=b'{"a": 1}')])
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

MARK = b"\xef\xbb\xbf"  # a byte order mark, which may stand before the first line
ERROR = b"error"  # older versions of llama.cpp have a field of this name in place of data


class Event(NamedTuple):
    """An event: its name, "" if it has none, and its data."""

    name: str
    data: bytes


class Events:
    """The events of one body. ``waiting`` is how many bytes of the next event have come."""

    def __init__(self) -> None:
        self._rest = b""  # of a line whose end has not come yet
        self._is_first = True
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0  # of the data

    def take(self, piece: bytes) -> list[Event]:
        """The events that are whole with the next piece of the body."""
        data = self._rest + piece if self._rest else piece
        end = 1 + max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1))
        self._rest = data[end:]
        return list(self._events(data[:end]))

    @property
    def waiting(self) -> int:
        return len(self._rest) + self._size

    def end(self) -> list[Event]:
        """The event that the end of the body ends."""
        return list(self._events(self._rest + b"\n\n"))

    def _events(self, lines: bytes) -> Iterator[Event]:
        for line in lines.splitlines():
            if self._is_first:
                line, self._is_first = line[len(MARK) :] if line.startswith(MARK) else line, False
            if line.startswith(b"data:"):
                self._data.append(line[5:])
                self._size += len(line)
            elif not line:
                event = self._event()
                if event is not None:
                    yield event
            else:
                self._field(*line.partition(b":")[::2])

    def _event(self) -> Event | None:
        if not self._data:
            self._name = ""
            return None
        name, data = self._name, b"\n".join(self._data).strip()
        self._name, self._data, self._size = "", [], 0
        return Event(name, data) if data else None

    def _field(self, field: bytes, value: bytes) -> None:
        if field == b"event":
            self._name = value.strip().decode("utf-8", "replace")
        elif field == ERROR:
            self._name, self._data = "error", [value]
