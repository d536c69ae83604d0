"""Strict JSON: neither NaN nor Infinity, and only numbers that Python can hold, with their own digits.

>>> loads('{"score": 7.5}')
{'score': 7.5}
>>> loads('{"score": NaN}')
Traceback (most recent call last):
ValueError: NaN is not JSON
"""

from __future__ import annotations

import json
import math
from typing import Any

from ..fast_json import exact_float

LONGEST_ITEM = 128 << 20  # bytes of an item: more than any server takes, and memory holds it several times
TOO_LONG = f"an entry of more than {LONGEST_ITEM >> 20} MB"


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = exact_float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
# The same, but it takes every number. It finds the end of a value that has a number that is too large.
ANY_NUMBER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=str, parse_int=str)


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. ValueError if it is not strict JSON, RecursionError if it is nested too deep."""
    return STRICT.decode(text if isinstance(text, str) else text.decode())


def reason(error: BaseException | None) -> str:
    """What is wrong with a text that a decoder refused, and where if the error knows its column."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    if isinstance(error, UnicodeDecodeError):
        return f"the byte 0x{error.object[error.start]:02x} is not UTF-8 ({error.reason})"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).split(";")[0]  # Python's advice on how to read longer integers comes after the semicolon
