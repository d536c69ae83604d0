"""One line of the ledger: its checksum, and the check of its values, which come from outside.

The checksum is the CRC-32 of the line without it. It stands before ``entry_id``, which stays last. Lines without one
(of older versions, or written by hand) are read too, and all that they hold is checked.

>>> line = to_checked_line({"made_by": "f", "index": 0, "answer": "4", "entry_id": "e"})
>>> line
b'{"made_by":"f","index":0,"answer":"4","crc":1141922610,"entry_id":"e"}\\n'
>>> from_line(line)["answer"]
'4'
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, Callable, Tuple

from ..fast_json import loads
from ..records import Record
from .append_file import to_line

Range = Tuple[float, float]  # the lowest and the highest score
ANY: Range = (-math.inf, math.inf)
CRC, ID = b',"crc":', b',"entry_id":'
DEEPEST = 100  # levels of nesting in a value


def to_checked_line(line: Record) -> bytes:
    """A ledger line with its checksum; ``entry_id`` is the last of its keys."""
    plain = to_line(line)
    place = plain.rindex(ID)
    return b"%s%s%d%s" % (plain[:place], CRC, zlib.crc32(plain), plain[place:])


def from_line(line: bytes) -> Record:
    """The values of a ledger line. ValueError if it is damaged, or holds a value that no run writes."""
    try:
        checked = _is_checked(line)
        value = loads(line) if checked else json.loads(line, object_pairs_hook=_without_doubles)
        value.pop("crc", None)
        checks = CHECKS if checked else {**CHECKS, **MORE_CHECKS}
        wrong = [key for key in ("made_by", "index") if key not in value]
        wrong += [key for key, is_good in checks.items() if key in value and not is_good(value[key])]
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a ledger line") from error
    if wrong:
        raise ValueError(f"{wrong[0]} has a wrong value")
    record: Record = value
    return record


def _is_checked(line: bytes) -> bool:
    """Whether a line has a checksum. ValueError if it does not fit the line."""
    plain = line.rstrip(b"\r\n")
    end = plain.rfind(ID)
    begin = plain.rfind(CRC, 0, max(end, 0))
    if begin < 0 or not plain[begin + len(CRC) : end].isdigit():
        return False
    if zlib.crc32(plain[:begin] + plain[end:] + b"\n") != int(plain[begin + len(CRC) : end]):
        raise ValueError("the checksum does not fit")
    return True


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value


# Whether a value is one that a run writes


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300  # type: ignore[operator]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_shallow(value: object, levels: int = DEEPEST) -> bool:
    """Whether a value is not nested too deep, and its numbers are finite."""
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)
    return not isinstance(value, (int, float)) or isinstance(value, bool) or _is_number(value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and _is_shallow(value)


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _or_null(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def is_vote(value: object) -> bool:
    """Whether a value is a ``vote``: null, or an object whose class and weight can be used.

    >>> is_vote({"answer": "4", "share": 0.5, "votes": 1, "of": 2}), is_vote({"answer": "4"}), is_vote({"score": "x"})
    (True, False, False)
    """
    if not isinstance(value, dict):
        return value is None
    has_class = (
        isinstance(value.get("answer"), str) and _is_number(value.get("share")) and _is_count(value.get("votes"))
    )
    is_outside = not {"answer", "share", "votes"} & value.keys()
    return (
        (has_class or is_outside) and (value.get("score") is None or _is_number(value["score"])) and _is_object(value)
    )


CHECKS: dict[str, Callable[[object], bool]] = {
    "made_by": _is_text,
    "index": _is_count,
    "entry_id": _is_text,
    "answer": _is_text,
    "digest": _is_text,
    "score": _or_null(_is_number),
    "verdict": _is_text,
    "row": _is_text,
}
MORE_CHECKS: dict[str, Callable[[object], bool]] = {
    "finish_reason": _or_null(_is_text),
    "reasoning": _or_null(_is_text),
    "usage": _or_null(_is_object),
    "max_tokens": _or_null(_is_count),
    "judge_reply": _or_null(_is_text),
    "unscored": _or_null(_is_text),
    "scorer": _or_null(_is_text),
    "spread": _or_null(_is_number),
    "judge_samples": _or_null(_is_objects),
    "probabilities": _or_null(_is_object),
    "judge_usage": _or_null(_is_object),
    "verdicts": _or_null(_is_object),
    "vote": is_vote,
    "panel": _or_null(_is_objects),
    "compared": _or_null(_is_object),
    "winner": _or_null(_is_text),
    "unread": _or_null(_is_text),
}
