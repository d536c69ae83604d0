"""The row of an answer: the entry's own keys and what is known of the answer, for functions and judge prompts.

>>> row_texts("{answer} {row.rubric}", {"rubric": "be short"})
(('row.rubric', 'be short'),)
"""

from __future__ import annotations

from typing import Any, Mapping

from ..errors import BadEntry
from ..input.columns import as_text, lookup
from ..patterns import regex
from ..records import Answer, Entry, fingerprint

ROW_KEY = regex(r"\{row\.([^{}]+)\}")
ROW_KEYS = "row_keys"  # the setting of a scorer that names the keys of a row that its scores depend on
ALL_KEYS = "*"
NOT_OWN = ("entry_id", "images", "reasoning", "finish_reason")  # keys of a row that are not the entry's own


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


def own_keys_in(template: str | None) -> list[str]:
    """The entry's own keys that a template's ``{row.KEY}`` names.

    >>> own_keys_in("{row.rubric} {row.reasoning} {answer} {row.rubric}")
    ['rubric']
    """
    keys = sorted(set(ROW_KEY.findall(template or "")))
    return [key for key in keys if key.partition(".")[0] not in NOT_OWN]


def row_id(settings: Mapping[str, Any], extra: dict[str, Any] | None) -> str | None:
    """The fingerprint of what a scorer with these settings reads of an entry's own keys; None if it reads none.

    It is of whole values (of ``a`` for the key ``a.b``): a cell of a CSV file is a plain text in a record.

    >>> settings = {"row_keys": ["rubric"]}
    >>> row_id(settings, {"rubric": "short", "id": 1}) == row_id(settings, {"rubric": "short"})
    True
    """
    keys = settings.get(ROW_KEYS)
    if not isinstance(keys, list) or not keys:
        return None
    row = own_keys(extra or {})
    if ALL_KEYS in keys:
        return fingerprint(row["extra"])
    tops = {key if key in row else key.partition(".")[0] for key in map(str, keys)}
    return fingerprint({key: row.get(key) for key in tops})
