"""Input items and records as entries.

Example: ``entry_from_conversation({"messages": [{"role": "user", "content": "2+2?"}]}).question == "2+2?"``
"""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Optional, Set

from ..errors import BadEntry
from ..records import ANSWER_DETAILS, MAKER, ROLES, Answer, Entry, PendingEntry, Turn, entry_id_of, origin_of
from .columns import BY_NAME, EMPTY, Columns, Conversation, conversation_of, lookup
from .turns import are_plain, check_turns

log = logging.getLogger(__name__)

CONVERSATION_ALONE = frozenset({"images", "conversations", "messages"})  # keys that need no explanation


def _entry(
    turns: List[Turn],
    images: List[str],
    line: Optional[int],
    entry_id: Optional[str] = None,
    extra: Optional[Dict[str, Any]] = None,
) -> Entry:
    check_turns(turns)
    answered = ROLES[turns[-1]["from"]] == "assistant"
    asked = turns[:-1] if answered else turns
    if not asked or ROLES[asked[-1]["from"]] != "user":
        raise BadEntry("no question: the last turn (or the one before the final gpt turn) must be a human turn")
    reference_turn = turns[-1] if answered else None
    return Entry(entry_id or entry_id_of(turns, images), asked, reference_turn, images, line, extra or None)


def entry_from_conversation(item: object, line: Optional[int] = None, columns: Columns = BY_NAME) -> Entry:
    """The entry of one input item: a conversation, OpenAI's ``messages``, or a row of columns; BadEntry if it is none.

    Two spellings of a conversation are the same entry, with the same id. A list is its messages.
    """
    return _entry_of(_read(as_row(item), columns), line)


def _read(row: object, columns: Columns) -> Conversation:
    if not isinstance(row, dict):
        raise BadEntry(f'an entry must be an object with "conversations" or "messages", not {type(row).__name__}')
    return conversation_of(row, columns)


def _entry_of(found: Conversation, line: Optional[int]) -> Entry:
    return _entry(found.turns, found.images, line, extra=found.extra)


def as_row(item: object) -> object:
    """An item as a row: a list of turns is its messages."""
    first = item[0] if isinstance(item, list) and item else None
    return {"messages": item} if isinstance(first, dict) and {"role", "from"} & first.keys() else item


class ItemReader:
    """Makes entries of input items whose keys ``columns`` names; logs which keys it reads, each once."""

    def __init__(self, columns: Columns = BY_NAME) -> None:
        self.columns = columns
        self._told: Optional[Set[str]] = None  # the keys that were said to be read

    def __call__(self, item: object, line: Optional[int] = None) -> PendingEntry:
        """An entry whose answers are still to be sampled; BadEntry if the item is not an entry."""
        row = as_row(item)
        found = _read(row, self.columns)
        entry = _entry_of(found, line)
        self._tell(row, found)
        return PendingEntry(entry, None)

    def _tell(self, row: object, found: Conversation) -> None:
        """Logs what was read, unless it is a conversation alone: of the first entry, and what only later ones have."""
        told = CONVERSATION_ALONE if self._told is None else self._told
        read = [key for key in found.keys if key not in told and lookup(row, key) not in EMPTY]
        if self._told is None:
            first = [key for key in found.keys if lookup(row, key) is not None]
            self._told = {*CONVERSATION_ALONE, *first}
            if found.extra or read:
                rest = f"; kept as extra: {', '.join(found.extra)}" if found.extra else ""
                log.info("input: read from the first entry that can be read: %s%s", ", ".join(first), rest)
        elif read:
            self._told.update(read)
            log.info("input: read from a later entry, which has more: %s", ", ".join(read))


def work_from_record(item: object, line: Optional[int] = None) -> PendingEntry:
    """The entry and answers of one record of sampling.py; BadEntry if it is none.

    ``original_answers`` may also be plain strings (the references), as other tools write it.
    """
    if not isinstance(item, dict):
        raise BadEntry(f"a record must be an object, not {type(item).__name__}")
    texts = item.get("generated_answers")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadEntry('"generated_answers" must be a list of strings; is this an output of sampling.py?')
    details = item.get("generated_details", [{}] * len(texts))
    if not isinstance(details, list) or len(details) != len(texts) or not all(isinstance(d, dict) for d in details):
        raise BadEntry('"generated_details" must hold one object per answer')
    turns = item.get("original_answers")
    if isinstance(turns, list) and all(isinstance(turn, str) for turn in turns):
        asked = [{"from": "human", "value": item.get("original_question")}]
        turns = asked + [{"from": "gpt", "value": turn} for turn in turns[-1:]]
    given = item.get("entry_id")
    if given is not None and not (isinstance(given, str) and given):
        raise BadEntry('"entry_id" must be a string')
    entry = _entry(
        _record_turns(turns), _record_images(item.get("images")), line, given, _record_extra(item.get("extra"))
    )
    entry.origin = origin_of(item)
    keep = (*ANSWER_DETAILS, *MAKER)
    answers = [Answer(t, **{k: d[k] for k in keep if k in d}) for t, d in zip(texts, details)]
    return PendingEntry(entry, answers, item.get("stopped_by"))


def _record_turns(value: object) -> List[Turn]:
    if not isinstance(value, list) or not value:
        raise BadEntry('"original_answers" must be a list of turns with at least one question')
    if not are_plain(value):
        number = next(n for n, turn in enumerate(value, 1) if not are_plain([turn]))
        raise BadEntry(f'turn {number} must be an object with the strings "from" and "value"')
    return value


def _record_images(value: object) -> List[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(path, str) and path for path in value):
        raise BadEntry('"images" must be a list of paths or URLs')
    return value


def _record_extra(value: object) -> Optional[Dict[str, Any]]:
    if value is not None and not isinstance(value, dict):
        raise BadEntry('"extra" must be an object')
    return value
