"""Loops at the end of a growing text: found soon after they begin, in time linear in the length of the text.

A text loops if its last 4,000 characters, or its last 8,000, 16,000, 32,000 or 64,000, hold at least four copies of one
period, exactly. So a short period needs many copies (a row of dashes 4,000, a sentence of 80 characters 50), and one of
16,000 characters needs four. Rules and empty cells of tables, lists of zeros, refrains and laughter are shorter.

>>> growing = GrowingText()
>>> any(growing.add("No, wait. ") for _ in range(399)), growing.add("No, wait. ")
(False, True)
"""

from __future__ import annotations

LEAST = 4000  # characters of the shortest loop: about 1,000 tokens
COPIES = 4  # of its period, at least
LONGEST = 16 * LEAST  # characters of the longest window that is looked at
STEP = LEAST // 8  # characters that come between two looks at the shortest window
PROBE = 64  # characters that occur again one period later: without them there is no need to compare the rest


def period_of(text: str) -> int:
    """The least period that the whole text has at least four times; 0 if there is none.

    If there is one, the first three quarters of the text occur again at most a quarter further on, and the first time
    that they do is one least period later: two periods of a text as long as both are multiples of a shorter one (Fine
    and Wilf, Uniqueness theorems for periodic functions, 1965).

    >>> period_of("abc" * 100 + "a"), period_of("abc" * 100 + "d"), period_of("ab" * 3)
    (3, 0, 0)
    """
    longest = len(text) // COPIES
    begin = text[: len(text) - longest]
    if text.find(begin[:PROBE], 1, longest + PROBE) < 0:
        return 0
    period = text.find(begin, 1)
    return period if period > 0 and text[period:] == text[:-period] else 0


class GrowingText:
    """A text that comes in pieces. Its windows are looked at once per eighth of their length that was added."""

    def __init__(self) -> None:
        self.size = 0  # characters
        self._whole: list[str] = []  # all but the last pieces
        self._pieces: list[str] = []
        self._tail = ""  # the end of ``_whole``
        self._looked = 0  # the size at the last look

    def add(self, piece: str) -> bool:
        """Adds a piece; whether the text loops now."""
        self._pieces.append(piece)
        self.size += len(piece)
        if self.size // STEP == self._looked // STEP:
            return False
        before, self._looked = self._looked, self.size
        joined = "".join(self._pieces)
        self._whole.append(joined)
        self._pieces = []
        self._tail = (self._tail + joined)[-LONGEST:]
        return self._loops(before)

    def _loops(self, before: int) -> bool:
        window, step = LEAST, STEP
        while window <= len(self._tail):
            if self.size // step != before // step and period_of(self._tail[-window:]):
                return True
            window, step = 2 * window, 2 * step
        return False

    def text(self) -> str:
        """All of it."""
        return "".join(self._whole) + "".join(self._pieces)
