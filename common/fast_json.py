"""JSON as bytes: fast by orjson, and by the standard library where orjson gives up. Both give the same values.

orjson refuses integers beyond 64 bits, lone surrogates and NaN.

>>> dumps({"score": 7.5})
b'{"score":7.5}'
>>> loads(b'{"score": 7.5}')
{'score': 7.5}
"""

from __future__ import annotations

import json
from typing import Any, Callable

import orjson


def dumps(value: object) -> bytes:
    """A value as one line of JSON without spaces and newline, in UTF-8. It is ASCII if it holds a lone surrogate."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def loads(data: bytes, whole: Callable[[str], Any] = int) -> Any:
    """The value of a JSON text, with None for NaN and Infinity. ValueError or RecursionError if it is not JSON.

    ``whole`` reads the integers of a text that orjson refuses.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data, parse_constant=lambda _: None, parse_int=whole)


def small_int(text: str) -> int | None:
    """A ``whole`` for texts of strangers: None for an integer of more than 20 digits.

    Python takes seconds for a million digits, and later refuses to write or read more than 4,300 of them.

    >>> small_int("12"), small_int("9" * 5000)
    (12, None)
    """
    return int(text) if len(text) <= 20 else None
