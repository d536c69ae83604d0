"""JSON as bytes: fast by orjson, and by the standard library where orjson gives up. Both give the same values.

orjson refuses integers beyond 64 bits, lone surrogates and NaN. An ``Exact`` number is written with its own digits.

>>> dumps({"score": 7.5})
b'{"score":7.5}'
>>> loads(b'{"score": 7.5}')
{'score': 7.5}
"""

from __future__ import annotations

import json
from typing import Any, Callable

import orjson


class Exact(float):
    """A number that knows its text, where Python would write another: 1e5, 1.10, 0.12345678901234567891."""

    text: str

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exact_float, (self.text,)


def exact_float(text: str) -> float:
    """A ``parse_float``: the number of a JSON text, which ``dumps`` writes with the same digits.

    >>> dumps([exact_float("1e5"), exact_float("1.0")])
    b'[1e5,1.0]'
    """
    value = float(text)
    if repr(value) == text and "e" not in text:  # Python writes 1e+16, and orjson 1e16
        return value
    exact = Exact(value)
    exact.text = text
    return exact


def dumps(value: object) -> bytes:
    """A value as one line of JSON without spaces and newline, in UTF-8. It is ASCII if it holds a lone surrogate."""
    try:
        return orjson.dumps(value, _exact_text)
    except TypeError:
        return _slow_encode(value)


def _exact_text(value: object) -> orjson.Fragment:
    if isinstance(value, Exact):
        return orjson.Fragment(value.text)
    raise TypeError


def _slow_encode(value: object) -> bytes:
    """As ``dumps``, by the standard library."""
    text = _with_exact(value) if _has_exact(value) else json.dumps(value, separators=(",", ":"))
    return text.encode()


def _has_exact(value: object) -> bool:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Exact):
            return True
        left += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
    return False


def _with_exact(value: object) -> str:
    """The JSON of a value that may hold exact numbers."""
    if isinstance(value, Exact):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{_with_exact(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_with_exact, value)) + "]"
    return json.dumps(value)


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
