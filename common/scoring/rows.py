"""The row of an answer: the entry's own keys and what is known of the answer, for functions and judge prompts.

>>> row_texts("{answer} {row.rubric}", {"rubric": "be short"})
(('row.rubric', 'be short'),)
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import BadEntry
from ..input.columns import as_text, lookup
from ..records import Answer, Entry

ROW_KEY = re.compile(r"\{row\.([^{}]+)\}")


def row_of(entry: Entry, answer: Answer) -> dict[str, Any]:
    """The entry's own keys, and ``entry_id``, ``images``, ``reasoning`` and ``finish_reason``.

    An own key that has one of these names is in ``extra``, which holds all own keys.
    """
    row = own_keys(entry.extra or {})
    row.update(entry_id=entry.entry_id, images=entry.images)
    row.update(reasoning=answer.reasoning, finish_reason=answer.finish_reason)
    return row


def own_keys(extra: dict[str, Any]) -> dict[str, Any]:
    """A row of an entry's own keys."""
    return {**extra, "extra": extra}


def row_texts(template: str, row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The text of each ``{row.KEY}`` of a template. BadEntry names the first key that the row lacks or leaves empty."""
    texts = []
    for key in dict.fromkeys(ROW_KEY.findall(template)):
        value = lookup(row, key)
        text = "" if value is None else as_text(value)
        if not text.strip():
            raise BadEntry(f'the judge prompt needs "{key}", which this entry does not have')
        texts.append((f"row.{key}", text))
    return tuple(texts)
