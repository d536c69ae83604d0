"""Entries that wait breadth first, in a list in place of a file.

Example: ``Breadth(MemorySpool(), 1, lambda pending: None)``
"""

from __future__ import annotations

from typing import List

from common.records import PendingEntry
from common.running.breadth import Spool


class MemorySpool(Spool):
    """Entries in a list."""

    def __init__(self) -> None:
        self._entries: List[PendingEntry] = []

    def add(self, pending: PendingEntry) -> int:
        self._entries.append(pending)
        return len(self._entries) - 1

    def read(self, place: int) -> PendingEntry:
        return self._entries[place]
