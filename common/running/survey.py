"""What an input holds, counted before a run: one look at each entry, nothing is sent. Memory does not grow.

Example: ``survey = Survey(); [survey.look(job, item) for item in items]; survey.entries()``
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadEntry
from ..input.files import Item
from ..records import ROLES, Entry, PendingEntry, id_key
from ..servers.messages import check_marks
from .job import Job

EXACT = 1 << 16  # different entries that are counted one by one; more are counted to within 0.4 %
MOST_KEYS = 100  # that are counted


class DistinctCount:
    """How many different 128-bit numbers were added: exact up to ``size``, then estimated, with flat memory.

    The k smallest of evenly spread numbers tell how dense they are (Bar-Yossef et al. 2002, algorithm I).

    >>> count = DistinctCount()
    >>> for number in (5, 7, 5): count.add(number)
    >>> count.number()
    2
    """

    def __init__(self, size: int = EXACT) -> None:
        self._size = size
        self._smallest: list[int] = []  # negated: a heap whose first is the largest of them
        self._kept: set[int] = set()

    def add(self, number: int) -> None:
        """Adds one number from 0 to 2**128 - 1."""
        if number in self._kept:
            return
        if len(self._smallest) < self._size:
            heapq.heappush(self._smallest, -number)
            self._kept.add(number)
        elif number < -self._smallest[0]:
            self._kept.remove(-heapq.heapreplace(self._smallest, -number))
            self._kept.add(number)

    def number(self) -> int:
        """The number of different ones."""
        if len(self._smallest) < self._size:
            return len(self._smallest)
        return round((self._size - 1) * (1 << 128) / -self._smallest[0])


@dataclass
class Survey:
    """The counts of an input: its items, its entries by what they have, and the first item that cannot be read."""

    items: int = 0
    unreadable: int = 0
    first_error: str | None = None
    has: Counter[str] = field(default_factory=Counter)  # entries by what they have
    characters: int = 0  # of all entries, as ``size_of`` counts them
    answers: int = 0  # that come with the input
    read: Counter[str] = field(default_factory=Counter)  # items by the keys that were read of them
    kept: Counter[str] = field(default_factory=Counter)  # items by the keys that are only kept
    distinct: DistinctCount = field(default_factory=DistinctCount)

    def look(self, job: Job, item: Item) -> PendingEntry | None:
        """Counts one item; returns its entry, or None if it cannot be read."""
        self.items += 1
        try:
            pending = entry_of(job, item)
        except BadEntry as error:
            self.unreadable += 1
            where = "" if isinstance(item.value, BadEntry) else f"line {item.line}: "  # else it names its place itself
            self.first_error = self.first_error or f"{where}{error}"
            return None
        self.has.update(parts_of(pending.entry))
        self._count_keys(item.value, pending.entry.extra or {})
        self.characters += size_of(pending.entry)
        self.answers += len(pending.answers or ())
        self.distinct.add(id_key(pending.entry.entry_id))
        return pending

    def mean_size(self) -> float | None:
        """The mean of ``size_of`` over the entries; None without any."""
        readable = self.items - self.unreadable
        return self.characters / readable if readable else None

    def _count_keys(self, value: object, extra: dict[str, Any]) -> None:
        if not isinstance(value, dict) or len(self.read) + len(self.kept) > MOST_KEYS:
            return
        self.read.update(key for key in value if key not in extra)
        self.kept.update(extra.keys())

    def entries(self) -> int:
        """The number of different entries."""
        return self.distinct.number()


def entry_of(job: Job, item: Item) -> PendingEntry:
    """The entry of an input item; BadEntry if there is none."""
    if isinstance(item.value, BadEntry):
        raise item.value
    pending = job.read(item.value, item.line)
    check_marks(pending.entry)
    return pending


def size_of(entry: Entry) -> int:
    """The characters of an entry that a prompt holds."""
    return sum(len(turn["value"]) for turn in entry.turns)


def parts_of(entry: Entry) -> list[str]:
    """What an entry has beside its question.

    >>> parts_of(Entry("id", [{"from": "human", "value": "2+2?"}], {"from": "gpt", "value": "4"}, []))
    ['references']
    """
    is_system = [ROLES[turn["from"]] == "system" for turn in entry.turns]
    found = {
        "references": entry.reference_turn is not None,
        "system texts": any(is_system),
        "earlier turns": is_system.count(False) > 1,
        "images": bool(entry.images),
    }
    return [name for name, is_there in found.items() if is_there]
