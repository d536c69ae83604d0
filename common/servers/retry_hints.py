"""The wait that a server asks for, wherever in its reply it says so: headers of several kinds, and the body.

>>> wished_wait({"Retry-After": "17"}, b"")
17.0
>>> wished_wait({}, b'{"error": {"message": "Rate limit reached. Please try again in 1m7.5s."}}')
67.5
"""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Iterator, Mapping

from ..patterns import regex

LONGEST_TEXT = 20_000  # bytes of a body that are searched
PROXY_PREFIX = "llm_provider-"  # LiteLLM puts it before the headers of the server behind it
EPOCH, EPOCH_MS = 1e9, 1e11  # a larger number is no duration but a time, in seconds or milliseconds

UNITS = {"ms": 0.001, "millis": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400}
UNITS.update({"millisecond": 0.001, "second": 1, "minute": 60, "hour": 3600, "day": 86400})
_PART = rf"(?:\d+(?:\.\d+)?)\s*(?:(?:{'|'.join(sorted(UNITS, key=len, reverse=True))})s?)(?![a-z])"
_DURATION = rf"{_PART}(?:[\s,]*(?:and\s+)?{_PART})*"
_WHOLE_DURATION = regex(_DURATION, re.I)
_NUMBER_AND_UNIT = regex(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.I)
_IN_WORDS = regex(rf"\b(?:again|retry|wait)(?:\s+\w+){{0,4}}?\s+({_DURATION})", re.I)  # "try again in 7.66s"
_IN_JSON = regex(  # "retryDelay": "34.07s", "retry_after": 7, "retry_after_ms": 120
    r"retry[_-]?(?:after|delay)(?:[_-]?(ms)|[_-]?seconds)?[\"'\\]*\s*[:=][\s\"'\\{]*(?:seconds[\"'\\:\s]*)?"
    r"(\d+(?:\.\d+)?)(ms)?",
    re.I,
)
_RESET_IN_JSON = regex(r"\"([\w-]*ratelimit[\w-]*reset[\w-]*)\"\s*:\s*\"?([^\",}]+)", re.I)


def wished_wait(headers: Mapping[str, str], body: bytes) -> float | None:
    """The seconds (0 or more) that a reply asks to wait; None if it says nothing.

    A wish for this request (``Retry-After``, the message) comes before the times at which a limit is renewed.
    """
    named = [(name.lower().replace(PROXY_PREFIX, ""), value) for name, value in headers.items()]
    text = body[:LONGEST_TEXT].decode("utf-8", "replace")
    now = _server_time(headers)
    wishes = [*_wishes_in_headers(named, now), *_wishes_in_text(text)]
    if not any(wishes):
        named += [(name.lower(), value) for name, value in _RESET_IN_JSON.findall(text)]
        wishes += _renewals(dict(named), now)
    return max(wishes, default=None)


def seconds_until(text: str, now: float) -> float | None:
    """The seconds (0 or more) from ``now`` that a number, a duration, or a time in any of the usual forms means.

    >>> [seconds_until(text, 2) for text in ("6m0s", "120ms", "1970-01-01T00:00:09Z", "soon")]
    [360.0, 0.12, 7.0, None]
    """
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        return _duration(text) if _WHOLE_DURATION.fullmatch(text) else _until_date(text, now)
    if not math.isfinite(seconds):
        return None
    if seconds > EPOCH:
        seconds = (seconds / 1000 if seconds > EPOCH_MS else seconds) - now
    return max(0.0, seconds)


def _server_time(headers: Mapping[str, str]) -> float:
    """The server's own time if it says it, since clocks differ."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return time.time()


def _duration(text: str) -> float:
    parts = _NUMBER_AND_UNIT.findall(text)
    return float(sum(float(number) * _unit(name.lower()) for number, name in parts))


def _unit(name: str) -> float:
    return UNITS[name] if name in UNITS else UNITS[name[:-1]]


def _until_date(text: str, now: float) -> float | None:
    """The seconds until a date of HTTP (RFC 9110) or of RFC 3339."""
    try:
        if re.match(r"\d{4}-\d\d-\d\d[T ]", text):
            plain = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")
            date = datetime.fromisoformat(plain)
            date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        else:
            date = parsedate_to_datetime(text)
        return max(0.0, date.timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _wishes_in_headers(named: list[tuple[str, str]], now: float) -> Iterator[float]:
    for name, value in named:
        seconds = seconds_until(value, now) if name in ("retry-after", "retry-after-ms") else None
        if seconds is not None:
            yield seconds / 1000 if name.endswith("ms") else seconds


def _wishes_in_text(text: str) -> Iterator[float]:
    for found in _IN_WORDS.findall(text):
        yield _duration(found)
    for before, number, behind in _IN_JSON.findall(text):
        yield float(number) * (0.001 if before or behind else 1)


def _renewals(named: Mapping[str, str], now: float) -> list[float]:
    """The seconds until the limits that are used up are renewed; if none is named as used up, until the first is."""
    every, used_up = [], []
    for name, value in named.items():
        seconds = seconds_until(value, now) if "ratelimit" in name and "reset" in name else None
        if seconds is not None:
            every.append(seconds)
            if named.get(name.replace("reset", "remaining"), "").strip() == "0":
                used_up.append(seconds)
    return [max(used_up)] if used_up else [min(every)] if every else []
