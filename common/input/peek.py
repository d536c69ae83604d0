"""The key of the entry that a line of input holds, found without making the entry.

A resumed run passes over the lines of entries that are in the output. To make such an entry takes five times as long as
its key. Only a line of the plainest form has a key here. Any other line is read as usual.

>>> hex(conversation_key(b'{"conversations": [{"from": "human", "value": "2+2?"}]}'))
'0x8b8131f3e7423547e183ba349d706c9e'
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import orjson

from ..patterns import regex
from ..records import entry_key_of
from .columns import BY_NAME
from .conversations import ItemReader, work_from_record

Peek = Callable[[bytes], Optional[int]]  # a line -> the key of its entry, or None if only a reader can tell

PLAIN = frozenset(["conversations", "images"])  # the keys of an entry that is a conversation and nothing else
NO_IMAGES: tuple[Any, ...] = (None, [])
RECORD_END = regex(rb'[^\\]"entry_id": ?"([0-9a-f]{32})"\}\s*')
LONGEST_END = 60  # bytes that a record's id and its name take at the end of a line
OTHER_KEYS = b'"extra":'


def peek_of(read: Callable[..., Any]) -> Peek | None:
    """What tells the key of the entry that ``read`` would make of a line; None if only ``read`` itself can."""
    if read is work_from_record:
        return record_key
    return conversation_key if isinstance(read, ItemReader) and read.columns == BY_NAME else None


def conversation_key(line: bytes) -> int | None:
    """The key of a conversation in the dataset's words that has neither images nor other keys.

    What no reader would take has none, or one that no entry has.
    """
    try:
        row = orjson.loads(line)
        turns = row["conversations"]
        is_plain = PLAIN.issuperset(row) and row.get("images") in NO_IMAGES and set(map(len, turns)) == {2}
        return entry_key_of(turns, []) if is_plain else None
    except (ValueError, KeyError, TypeError):
        return None


def record_key(line: bytes) -> int | None:
    """The key of a record of an entry without other keys, by the id at its end."""
    end = RECORD_END.search(line, max(0, len(line) - LONGEST_END))
    return int(end[1], 16) if end is not None and end.end() == len(line) and OTHER_KEYS not in line else None
