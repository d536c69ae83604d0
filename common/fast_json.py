"""JSON as bytes by orjson, and by the standard library where orjson gives up: the same values, sooner.

orjson takes no integers beyond 64 bits, no lone surrogates and no NaN.

Example: ``loads(dumps({"score": 7.5})) == {"score": 7.5}``
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, Union

import orjson


def _fraction(value: object) -> Union[float, str]:
    """A Decimal, which ijson makes of fractions, as JSON can hold it."""
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return float(value) if math.isfinite(float(value)) else str(value)


def dumps(value: object) -> bytes:
    """One line of JSON without spaces or a newline, in UTF-8; in ASCII where it holds a lone surrogate."""
    try:
        return orjson.dumps(value, _fraction)
    except TypeError:
        return json.dumps(value, default=_fraction, separators=(",", ":")).encode()


def loads(data: bytes) -> Any:
    """The value of a JSON text, NaN and Infinity as None. ValueError or RecursionError if it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data, parse_constant=lambda _: None)
