"""What the first entries of an input show before anything is sent: that a flag names a key that no entry has.

Example: ``check_opening(job, first_items)`` raises UsageError for ``--reference_key antwort`` where no entry has one
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Sequence

from ..errors import BadEntry, UsageError, did_you_mean
from ..input.cells import Cell, opened
from ..input.columns import as_text, lookup
from ..input.conversations import ItemReader, as_row
from ..input.files import Item
from ..records import Entry
from ..scoring.rows import own_keys
from ..scoring.shapes import Scorer
from .job import Job

MOST_NAMED = 20  # keys that a message names


def check_opening(job: Job, items: Sequence[Item]) -> None:
    """UsageError if no entry of these items has a key that a flag names, or a reference that every scorer needs."""
    rows = [row for row in (as_row(item.value) for item in items) if isinstance(row, dict)]
    if not rows:
        return
    if isinstance(job.read, ItemReader):
        columns = job.read.columns
        named = {"reference": columns.reference, "system": columns.system, "images": columns.images}
        for name, key in named.items():
            if key is not None and not any(_has(row, key) for row in rows):
                raise UsageError(f"--{name}_key: {_lacks(len(rows), key, rows)}")
    scorer = job.pipeline.scorer
    if scorer is not None:
        _check_scorer(job, scorer, items, rows)


def _check_scorer(job: Job, scorer: Scorer, items: Sequence[Item], rows: Sequence[dict[str, Any]]) -> None:
    """UsageError if no entry has a key that the scorer reads, or if the scorer needs references and there are none."""
    for flag, key in scorer.needed_keys:
        if not any(_holds(one, key) for one in _entries(job, items)):
            extras = [entry.extra or {} for entry in _entries(job, items)]
            raise UsageError(f"{flag}: {_lacks(len(rows), key, extras)}")
    if scorer.needs_reference and not any(entry.reference is not None for entry in _entries(job, items)):
        raise UsageError(_no_reference(job, scorer, len(rows), rows))


def _entries(job: Job, items: Iterable[Item]) -> Iterator[Entry]:
    """The entries of the items that can be read."""
    for item in items:
        if not isinstance(item.value, BadEntry):
            try:
                yield job.read(item.value, item.line).entry
            except BadEntry:
                continue


def _has(row: dict[str, Any], key: str) -> bool:
    """Whether a row has a key, also one without a value."""
    return key in row or lookup(row, key) is not None


def _holds(entry: Entry, key: str) -> bool:
    """Whether an entry's own keys hold a value that is not empty there."""
    row = own_keys(entry.extra or {})
    value = lookup(row, key)
    if value is None:  # the tests of a row may lie in a text of JSON
        value = lookup({name: opened(Cell(one)) if isinstance(one, str) else one for name, one in row.items()}, key)
    return value is not None and bool(as_text(value).strip())


def _lacks(count: int, key: str, rows: Sequence[dict[str, Any]]) -> str:
    return f'none of the first {count} entries has "{key}"; {_keys(rows)}{did_you_mean(key, keys_of(rows))}'


def _no_reference(job: Job, scorer: Scorer, count: int, rows: Sequence[dict[str, Any]]) -> str:
    begin = f"none of the first {count} entries has a reference, which --scorer {scorer.name} needs"
    if not isinstance(job.read, ItemReader):
        return f"{begin}: score with a judge (--scorer judge), or with a function of your own that reads the row"
    return f"{begin}; {_keys(rows)}; name the key with --reference_key, or score with a judge (--scorer judge)"


def _keys(rows: Sequence[dict[str, Any]]) -> str:
    return f"their keys are: {', '.join(keys_of(rows)[:MOST_NAMED]) or 'none'}"


def keys_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The keys of some rows, each once, in their order.

    >>> keys_of([{"id": 1, "question": "2+2?"}, {"id": 2, "level": 1}])
    ['id', 'question', 'level']
    """
    return list(dict.fromkeys(str(key)[:40] for row in rows for key in row))
