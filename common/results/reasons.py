"""Messages counted by kind: failures, and the reasons why answers are unscored.

Messages of one kind differ in addresses, numbers, quoted texts and names of files. They also differ in the part after
a colon, if that part differs from message to message.

>>> reasons = ReasonCounts(tails=1)
>>> for text in ("the units differ: kg, m", "the units differ: s, h", "no reference"): reasons.add("", text)
>>> reasons.top()
[Reason(messages=2, tag='', example='the units differ: ...'), Reason(messages=1, tag='', example='no reference')]
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import NamedTuple, Tuple

from ..errors import printable
from ..patterns import regex

MOST_REASONS = 1_000  # different reasons that are told apart
MOST_SHOWN = 12  # reasons in a list
LONGEST = 1_000  # characters of a message that are looked at
MORE = "..."  # stands for the part that differs
VARIABLE = (  # what differs between messages of one kind
    (regex(r"https?://\S+"), "URL"),
    (regex(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)(?!\w)"""), "TEXT"),
    (regex(r"\S*[/\\]\S*[^\s:,;.)]|\b[\w-]+\.[A-Za-z]\w{0,4}\b"), "FILE"),
    (regex(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b"), "ID"),
    (regex(r"\d+(?:[.,]\d+)*"), "N"),
)

Kind = Tuple[str, ...]  # a tag, and the parts of a message between its colons


class Reason(NamedTuple):
    """A kind of message: how many there were, its tag, and the first of them (or the beginning that they share)."""

    messages: int
    tag: str
    example: str


class ReasonCounts:
    """Messages counted by kind. Of more than ``tails`` different parts after the same beginning, only that counts.

    Past MOST_REASONS kinds, all others are one kind.

    >>> reasons = ReasonCounts()
    >>> for number in (7, 8): reasons.add("score 400", f"{number} tokens are too many")
    >>> reasons.top()
    [Reason(messages=2, tag='score 400', example='7 tokens are too many')]
    """

    def __init__(self, tails: int = 4) -> None:
        self._most_tails = tails
        self._counts: Counter[Kind] = Counter()
        self._examples: dict[Kind, str] = {}
        self._tails: dict[Kind, set[str]] = {}  # by beginning
        self._folded: set[Kind] = set()  # beginnings that stand for all their tails

    def add(self, tag: str, text: str) -> None:
        """Counts a message under a tag (its stage and status); equal messages with different tags are two kinds."""
        kind = self._kind((tag, *_parts(text[:LONGEST])))
        if kind not in self._counts and len(self._counts) >= MOST_REASONS:
            kind, text = ("", ""), "other reasons"
        self._counts[kind] += 1
        self._examples.setdefault(kind, printable(text[:300]) or "no reason given")

    def total(self) -> int:
        """How many messages were counted."""
        return sum(self._counts.values())

    def top(self, most: int = MOST_SHOWN) -> list[Reason]:
        """The ``most`` frequent; equally frequent ones by name, so that the page stays the same."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        return [Reason(messages, kind[0], self._examples[kind]) for kind, messages in ordered]

    def _kind(self, whole: Kind) -> Kind:
        """The kind as it is counted: only its beginning, if what follows differs."""
        for end in range(2, len(whole)):
            beginning = whole[:end]
            if beginning in self._folded:
                return (*beginning, MORE)
            if beginning not in self._tails and len(self._tails) >= MOST_REASONS:
                continue
            tails = self._tails.setdefault(beginning, set())
            tails.add(whole[end])
            if len(tails) > self._most_tails:
                self._fold(beginning)
                return (*beginning, MORE)
        return whole

    def _fold(self, beginning: Kind) -> None:
        """Makes one kind of all that begin like this."""
        kind = (*beginning, MORE)
        self._folded.add(beginning)
        for other in [one for one in self._counts if len(one) > len(beginning) and one[: len(beginning)] == beginning]:
            self._counts[kind] += self._counts.pop(other)
            shown = self._examples.pop(other).split(": ")[: len(beginning) - 1]
            self._examples.setdefault(kind, ": ".join([*shown, MORE]))


@functools.lru_cache(maxsize=1_000)
def _parts(text: str) -> Kind:
    """The parts of a message between its colons, without the addresses, texts, names, ids and numbers in it."""
    for pattern, word in VARIABLE:
        text = pattern.sub(word, text)
    return tuple(" ".join(text.split())[:160].split(": "))
