"""``--target_accepted N``: counts the rows that a run's answers give, until there are enough.

A row is what the selection takes: with ``best`` one answer of an entry, with ``top_k`` up to K, with ``dpo`` a pair.

>>> target = Target(1, Selection(accept_score=8), "sharegpt")
>>> target.count({"generated_answers": ["4", "5"], "generated_scores": [9, 1], "entry_id": "a" * 32})
>>> target.rows, target.is_reached
(1, True)
"""

from __future__ import annotations

from ..records import Record, id_key
from ..results.export import row_count
from ..results.selection import Selection

ROUGHLY = 1.05  # the number of entries is an estimate for some inputs


def beyond_reach(wanted: int, selection: Selection, entries: int, answers: int) -> str | None:
    """What to say if about this many entries, with this many answers each, cannot give the rows that are wanted.

    >>> beyond_reach(200, Selection(), 100, 8)
    '--target_accepted 200 cannot be reached: about 100 entries give at most 100 rows'
    >>> beyond_reach(200, Selection("top_k", top_k=2), 100, 8)
    """
    each = None if selection.per_entry is not None else selection.rows_per_entry
    most = entries * (answers if each is None else min(answers, each))
    if most * ROUGHLY >= wanted:
        return None
    return f"--target_accepted {wanted:,} cannot be reached: about {entries:,} entries give at most {most:,} rows"


class Target:
    """How many rows there are. Memory holds a number for each entry that has any."""

    def __init__(self, wanted: int, selection: Selection, selected_format: str) -> None:
        self.wanted = wanted
        self.rows = 0
        self._selection = selection
        self._format = selected_format
        self._of: dict[int, int] = {}  # by entry

    def count(self, record: Record) -> None:
        """Counts the rows of an entry's record, in place of those of its record before."""
        key, rows = id_key(record["entry_id"]), row_count(record, self._selection, self._format)
        self.rows += rows - self._of.pop(key, 0)
        if rows:
            self._of[key] = rows

    @property
    def is_reached(self) -> bool:
        """Whether there are enough."""
        return self.rows >= self.wanted

    def text(self) -> str:
        """How many rows there are, of how many."""
        return f"{self.rows:,} of {self.wanted:,} accepted rows"

    def warning(self, written: int | None) -> str | None:
        """Why there are fewer rows than wanted, if there are; ``written`` is how many the selected file has."""
        rows = self.rows if written is None else written
        if rows >= self.wanted:
            return None
        if self.is_reached:
            return f"--target_accepted {self.wanted:,}: the selected file has {rows:,}, since others cannot be in it"
        return f"--target_accepted {self.wanted:,}: the entries gave {rows:,} accepted rows"
