r"""A number as people write it, with its sign, magnitude, per cent sign and unit.

>>> read_number("1.45 million dollars")
Number(value=Fraction(1450000, 1), percent=False, unit='dollars', places=None)
>>> read_number("4x") is None
True
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from ..patterns import any_of, any_word, regex
from .units import MAGNITUDES, NUMERALS, unit_of

LONGEST = 400  # characters of a number with its unit
_DIGITS = any_of(
    r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])",  # 1,234,567
    r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9]|,[0-9])",  # 12,34,567
    r"[1-9][0-9]{0,2}(?:[ '\u2019_][0-9]{3})+(?![0-9]|[ '\u2019_,][0-9])",  # 1 234 567; 1'234'567; 1_234_567
    r"[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9]|[.,][0-9])",  # 1.234.567
    r"[0-9]+",
)
_DECIMAL = regex(  # 1.234,56; 1,234.56; .5
    any_of(r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}(?![0-9])", rf"{_DIGITS}(?:\.[0-9]+)?", r"\.[0-9]+")
)
_THOUSANDS_BY_POINTS = regex(r"\..*[.,]")
_FRACTION = regex(r"\\frac\{\s*(-?[0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}")
_CHINESE_FRACTION = regex(r"([0-9]+)\s*\u5206\u4e4b\s*([0-9]+)")
_OVER = regex(r"\s*/\s*([0-9]+)(?![0-9]|[.,][0-9])")
_MIXED = regex(  # 1 \frac{1}{2}; 1 1/2; 1 and 1/2
    r"(?:\s+and)?\s*\\frac\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}|(?:\s+and)?\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9])"
)
_POWER = regex(  # e-3; \times 10^{-3}; x 10^-3
    r"[eE]([-+]?[0-9]{1,3})(?![\w.])|\s*(?:\\times|\\cdot|\*|x)\s*10\s*(?:\^|\*\*)\s*\{?\s*(-?[0-9]{1,3})\s*\}?(?![0-9])"
)
_TEN_TO = regex(r"10\s*\^\s*\{?\s*(-?[0-9]{1,3})\s*\}?(?![0-9])")
_NUMERAL = any_word(" ".join([*NUMERALS, "hundred thousand million billion"]))
_NUMERALS = regex(
    rf"(?:a\s(?=hundred|thousand|million|billion))?{_NUMERAL}(?:(?:[\s-]|\sand\s){_NUMERAL})*(?![A-Za-z])", re.I
)
NUMBER_BEGINS = regex(rf"\\frac\{{|\.?[0-9]|(?<![A-Za-z-]){_NUMERAL}(?![A-Za-z])", re.I)

_SIGN = regex(r"\s*(?:[-+]\s?|(?:minus|negative)\s+|\u8d1f)?", re.I)
_CURRENCY = regex(
    r"(?:us\s?)?(?:dollars?|euros?|pounds?|rs\.?|usd|eur|gbp|inr|rupees?|yuan|[$\u20ac\u00a3\u00a5\u20b9])\s*(?=[-.0-9])",
    re.I,
)
_PERCENT = regex(r"\s*(?:\\%|%|(?:percent|per\s?cent|pct)\b)", re.I)
_MAGNITUDE = regex(
    any_of(
        rf"\s*({any_word(' '.join(word for word in MAGNITUDES if word.isascii()))})s?\b",
        rf"\s*({any_word(' '.join(word for word in MAGNITUDES if not word.isascii()))})(?!\u5206\u4e4b)",
        r"([kK])(?![A-Za-z])",  # 70K
    ),
    re.I,
)
_MONEY_MAGNITUDE = regex(r"\s*([mbtk])(?![A-Za-z])", re.I)  # $1.5M
_IS_SENTENCE = regex(  # "two and two is four" is not a number with a unit
    rf"^(?:and|or|is|are|was|to|than|minus|plus|divided|out|times\s+\S)\b|(?<![A-Za-z])(?!one\b){_NUMERAL}(?![A-Za-z])",
    re.I,
)
_GLUED = regex(r"(?<=[0-9}])[A-Za-z]+")
_LETTERS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_UNIT = regex(
    r"\s*[(~]?\s*((?:[A-Za-z\u00b0\u00b5\u4e00-\u9fff]|\\[ ,]|(?<=[a-z])\^\{?[23]\}?|[-/'\u2019. ()]){0,200})"
)


class Number(NamedTuple):
    """A number: its value, whether it is a percentage, the words after it, and its written digits after the point."""

    value: Fraction
    percent: bool = False
    unit: str = ""
    places: int | None = None  # None: it is not written as a decimal


class Found(NamedTuple):
    """A number in a text, without its sign and the words after it."""

    start: int
    end: int
    value: Fraction
    places: int | None


def read_number(plain: str) -> Number | None:
    """The number that a plain text is, with the words after it; None if it is anything else.

    >>> read_number("negative 2 1/2").value, read_number("1,5") is None, read_number("$70K").value
    (Fraction(-5, 2), True, Fraction(70000, 1))
    """
    if len(plain) > LONGEST:
        return None
    if plain.startswith("(") and plain.endswith(")") and "," not in plain and plain.count("(") == 1:
        plain = plain[1:-1]
    place, negative = _sign_at(plain, 0)
    money = _CURRENCY.match(plain, place)
    if money:
        place, still_negative = _sign_at(plain, money.end())
        negative = negative != still_negative
    found = number_at(plain, place)
    if found is None:
        return None
    number, end = with_magnitude(plain, found, bool(money))
    unit = _UNIT.fullmatch(plain, end)
    if unit is None or _is_variable(plain, end, unit[1].strip()) or _IS_SENTENCE.search(unit[1]):
        return None
    words = unit[1].strip(" ().,\\") or (money.group().strip(" .") if money else "")
    return number._replace(value=-number.value if negative else number.value, unit=words)


def _is_variable(text: str, end: int, words: str) -> bool:
    """Whether the letters after a number are a factor of it and not words: 4x, 4 y, 4ab."""
    glued = _GLUED.match(text, end)
    return (glued is not None and unit_of(glued.group()) == "") or (
        len(words) == 1 and words.isascii() and not unit_of(words)
    )


def _sign_at(text: str, place: int) -> tuple[int, bool]:
    """The place after a sign, and whether the sign is a minus."""
    sign = _SIGN.match(text, place)
    assert sign is not None
    return sign.end(), sign.group().strip() not in ("", "+")


def number_at(text: str, place: int) -> Found | None:
    """The number without a sign that begins at a place of a plain text."""
    for pattern, above, below in ((_FRACTION, 1, 2), (_CHINESE_FRACTION, 2, 1)):
        match = pattern.match(text, place)
        if match:
            return _fraction(place, match.end(), _int(match[above]), _int(match[below]))
    power = _TEN_TO.match(text, place)
    if power:
        return Found(place, power.end(), Fraction(10) ** int(power[1]), None)
    digits = _DECIMAL.match(text, place)
    if digits and len(digits.group()) < LONGEST:
        return _with_parts(text, digits)
    words = None if digits else _NUMERALS.match(text, place)
    value = numeral_value(words.group()) if words else None
    return Found(place, words.end(), Fraction(value), None) if words and value is not None else None


def _int(digits: str) -> int:
    return int(digits[:LONGEST])


def _fraction(start: int, end: int, above: int, below: int, whole: Fraction = Fraction(0)) -> Found | None:
    return Found(start, end, whole + Fraction(above, below), None) if below else None


def _with_parts(text: str, digits: re.Match[str]) -> Found | None:
    """A decimal with the fraction, or the power of ten, that follows it."""
    start, end = digits.span()
    value = _decimal_value(digits.group())
    power, over = _POWER.match(text, end), _OVER.match(text, end)
    if power:
        return Found(start, power.end(), value * Fraction(10) ** int(power[1] or power[2]), None)
    if over:
        return _fraction(start, over.end(), value.numerator, _int(over[1]) * value.denominator)
    mixed = _MIXED.match(text, end) if value.denominator == 1 else None
    if mixed:
        return _fraction(start, mixed.end(), _int(mixed[1] or mixed[3]), _int(mixed[2] or mixed[4]), value)
    return Found(
        start, end, value, None if _THOUSANDS_BY_POINTS.search(digits[0]) else len(digits[0].partition(".")[2])
    )


def _decimal_value(digits: str) -> Fraction:
    """The value of written digits, whatever separates the thousands."""
    if _THOUSANDS_BY_POINTS.search(digits):
        digits = digits.replace(".", "").replace(",", ".")
    return Fraction(digits if digits.isdigit() else re.sub(r"[, '\u2019_]", "", digits))


def with_magnitude(text: str, found: Found, is_money: bool = False) -> tuple[Number, int]:
    """A number with the magnitudes and the per cent sign that follow it, and the place after them."""
    place, value, places = found.end, found.value, found.places
    money = _MONEY_MAGNITUDE.match(text, place) if is_money else None
    if money:
        place, value, places = money.end(), value * _LETTERS[money[1].lower()], None
    magnitude = _MAGNITUDE.match(text, place)
    while magnitude:
        word = (magnitude[1] or magnitude[2] or magnitude[3]).lower()
        place, value, places = magnitude.end(), value * (MAGNITUDES.get(word) or _LETTERS[word]), None
        magnitude = _MAGNITUDE.match(text, place)
    percent = _PERCENT.match(text, place)
    return Number(value, percent is not None, "", places), percent.end() if percent else place


def numeral_value(words: str) -> int | None:
    """The value of a number in words; None if the words are several numbers.

    >>> numeral_value("two hundred and five"), numeral_value("twenty-two"), numeral_value("two three")
    (205, 22, None)
    """
    total, part, room = 0, 0, 10**12  # room: the next number must be smaller
    for word in re.findall("[a-z]+", words.lower()):
        size = MAGNITUDES.get(word)
        if size == 100:
            part, room = (part or 1) * 100, 100
        elif size is not None:
            total, part, room = total + (part or 1) * size, 0, 1000
        elif word in NUMERALS:
            if NUMERALS[word] >= room:
                return None
            part, room = part + NUMERALS[word], 10 if NUMERALS[word] >= 20 else 0
    return total + part
