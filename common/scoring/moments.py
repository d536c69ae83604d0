"""Times of day, dates, and quantities of several units, as people write them.

>>> read_moment("3:30 p.m.") == read_moment("15:30"), read_moment("March 5th, 2024") == read_moment("2024-03-05")
(True, True)
>>> read_moment("1 hour and 30 minutes")
Moment(kind='h min', parts=(1, 30))
>>> read_moment("3:30") is None
True
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..patterns import regex
from .units import dimension_of, unit_of

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = rf"({'|'.join(_MONTHS)}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?"
_DAY = r"([0-9]{1,2})(?:st|nd|rd|th)?"
_CLOCK = r"([0-9]{1,2})(?:[:.]([0-9]{2}))?(?::([0-9]{2}))?\s?([ap])\.?\s?m\b\.?"
_CLOCK_24 = r"(0[0-9]|1[3-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?"
_MONTH_DAY = rf"{_MONTH}\s+(?:the\s+)?{_DAY}\b(?:,?\s+([0-9]{{4}})\b)?"
_DAY_MONTH = rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+([0-9]{{4}})\b)?"
_MONTH_YEAR = rf"{_MONTH},?\s+([0-9]{{4}})\b"
_ISO = r"([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{4})\s?\u5e74\s?([0-9]{1,2})\s?\u6708\s?([0-9]{1,2})\s?\u65e5"
_IN_TEXT = regex(rf"(?<![\w:.])(?:{_CLOCK}|{_MONTH_DAY}|{_DAY_MONTH}|{_MONTH_YEAR}|{_ISO})(?![\w:])", re.I)
_FORMS = [regex(form, re.I) for form in (_CLOCK, _CLOCK_24, _MONTH_DAY, _DAY_MONTH, _MONTH_YEAR, _ISO)]
_QUANTITY = r"([0-9]{1,9})\s*([A-Za-z]{1,12})\.?"
_QUANTITIES = regex(rf"{_QUANTITY}(?:,?\s+(?:and\s+)?{_QUANTITY}){{1,3}}")
_SIGNS_OF_ONE = regex(  # a text without these has no moment
    r"[0-9]\s?[ap]\.?\s?m\b|[0-9]:[0-9]|[0-9]-[0-9]|\u5e74|[0-9]\s*[a-z]+\.?,?\s+(?:and\s+)?[0-9]"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    re.I,
)
LONGEST = 60  # characters of a moment


class Moment(NamedTuple):
    """A time, a date or a quantity of several units: its kind, and its numbers from large to small."""

    kind: str
    parts: tuple[int, ...]


def read_moment(text: str) -> Moment | None:
    """The moment that a plain text is; None if it is anything else."""
    if len(text) > 2 * LONGEST:
        return None
    text = text.replace("{:}", ":").strip(" .")
    text = text[3:] if text[:3].lower() in ("at ", "on ") else text
    if len(text) > LONGEST or not text[:1].isalnum() or not _SIGNS_OF_ONE.search(text):
        return None
    for form in _FORMS:
        match = form.fullmatch(text)
        if match:
            return _moment(form.pattern, match)
    return _quantity(text) if _QUANTITIES.fullmatch(text) else None


def only_moment(text: str) -> Moment | None:
    """The only moment of a sentence that has no other numbers; None if there is none.

    >>> only_moment("The train arrives at 3:30 PM.")
    Moment(kind='time', parts=(15, 30, 0))
    """
    found = list(_IN_TEXT.finditer(text[:400])) if _SIGNS_OF_ONE.search(text[:400]) else []
    if len(found) != 1 or re.search(r"[0-9]", text[: found[0].start()] + text[found[0].end() :]):
        return None
    return read_moment(found[0].group())


def _moment(form: str, match: re.Match[str]) -> Moment | None:
    parts = [part for part in match.groups() if part is not None]
    if form == _CLOCK:
        return _time(int(match[1]), int(match[2] or 0), int(match[3] or 0), match[4].lower())
    if form == _CLOCK_24:
        return Moment("time", (int(match[1]), int(match[2]), int(match[3] or 0)))
    if form == _ISO:
        return Moment("day month year", (int(parts[2]), int(parts[1]), int(parts[0])))
    names = [part for part in parts if part[0].isalpha()]
    month = next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(names[0].lower()[:3]))
    numbers = [int(part) for part in parts if part[0].isdigit()]
    if form == _MONTH_YEAR:
        return Moment("month year", (month, numbers[0]))
    return Moment("day month year" if len(numbers) > 1 else "day month", (numbers[0], month, *numbers[1:]))


def _time(hour: int, minute: int, second: int, half: str) -> Moment | None:
    """A time of day with "a" or "p" for its half."""
    if not 1 <= hour <= 12:
        return None
    return Moment("time", (hour % 12 + (12 if half == "p" else 0), minute, second))


def _quantity(text: str) -> Moment | None:
    """Several numbers, each with another unit of the same dimension."""
    pairs = re.findall(_QUANTITY, text)
    units = [unit_of(unit) for _, unit in pairs]
    if not all(units) or len(set(units)) < len(units) or len(set(map(dimension_of, units))) > 1:
        return None
    return Moment(" ".join(units), tuple(int(number) for number, _ in pairs))
