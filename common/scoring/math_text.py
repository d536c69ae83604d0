r"""A final answer as plain LaTeX, its unit apart: the form in which the ``math`` rule compares.

>>> plain_latex(r"$1{,}000 \text{ dollars}$")
'1000 dollars'
>>> with_unit("25 cm^2").unit
'cm^2'
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from .patterns import any_of, any_word

_EXPONENTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_SIGNS = str.maketrans(
    {
        **{exponent: f"^{{{digit}}}" for digit, exponent in enumerate(_EXPONENTS)},
        **dict.fromkeys("\u2212\u2013\ufe63", "-"),
        "\u00d7": r"\times ",
        "\u00f7": r"\div ",
        "\u00b7": r"\cdot ",
        "\u22c5": r"\cdot ",
        "\u03c0": r"\pi ",
        "\u221e": r"\infty ",
        "\u2264": r"\leq ",
        "\u2265": r"\geq ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2208": r"\in ",
        "\u2205": r"\emptyset ",
        "\u00b1": r"\pm ",
        "\u00b0": r"^\circ ",
        "\u20ac": " euro ",
        "\u00a3": " pound ",
    }
)
_VULGAR_FRACTION = re.compile(r"(?<=[0-9])\s*([\u00bc-\u00be\u2150-\u215e])")  # 3 and the sign for one half
_TEXT_COMMANDS = any_of(
    r"text(?:bf|it|rm)?", r"math(?:rm|bf)", any_word("mbox operatorname boldsymbol")
)  # \text{ cm}, \mathrm{cm}
_SPELLINGS = [  # (pattern, its plain form), applied in this order
    (re.compile(rf"\\{any_word('left right displaystyle limits ! [bB]igg?[lr]?')}(?![A-Za-z])"), ""),  # \left(
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(rf"\\{_TEXT_COMMANDS}\s*\{{([^{{}}]*)\}}"), r" \1 "),
    (re.compile(r"(?<!\\)\\(?:quad|qquad|[,;: ])|~"), " "),  # 1\,000
    (re.compile(r"\\\$"), " dollar "),
    (re.compile(r"\\[()\[\]]|\$|[`]|\*\*|__"), ""),  # \(4\), $4$, **4**
    (re.compile(r"\s*(?:\\%|%|\uff05|\bper\s?cent\b)", re.I), r"\\%"),
    (re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\bdegrees?\b)", re.I), " degree"),
    (re.compile(r"\s(?:and|or)\s", re.I), ", "),  # x=1 or x=2
    (re.compile(r"\u221a\s*(\d+|[a-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\bsqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\w\\])(pi|infinity)\b"), r"\\\1"),
    (re.compile(r"\\infinity"), r"\\infty"),
    (re.compile(r"(?<=\d)[eE]([-+]?\d+)(?![\w.])"), r"\\times 10^{\1}"),  # 2.5e-3
    (re.compile(r"(?<![\d.,^_/])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])"), r"\1\\frac{\2}{\3}"),  # 3 1/2
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),  # 12{,}345
    (re.compile(r"\s+"), " "),
    (re.compile(r"^(?:[\s,;:]|\.(?!\d))+|[\s.,;:\u3002]+$"), ""),  # punctuation at both ends
]
_THOUSANDS = re.compile(r"(?<![\d.,^_{])[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+)(?![\d,])")  # 1,000 and 1 000 000

_UNIT_END = r"(?:\^\{?-?\d\}?)?"  # cm^2
_WITH_UNIT = re.compile(
    r"(?P<value>.*?[\d})!])(?:(?<=[\d})])\s*(?=[A-Za-z]{2})|\s+)"  # 25, before cm or before a space
    rf"(?P<unit>[A-Za-z\u00b5]+\.?(?:{_UNIT_END}(?:\s*/\s*|\s+)[A-Za-z]+){{0,3}}{_UNIT_END})"  # km/h, square feet
)
_PRICE = re.compile(r"(?P<unit>dollar|euro|pound)\s*(?P<value>-?[\d.,]+)")  # $5, as _SPELLINGS writes it
_NOT_A_UNIT = re.compile(rf"\b{any_word('to if when for in is as by with each pi sqrt sin cos tan log ln')}\b", re.I)
_CHANGES_NUMBER = re.compile(  # words that make a number another number: 5 million, 4 squared
    r"\b"
    + any_of(
        any_word("hundreds? thousands? [mbt]r?illions? dozens? k bn half halves thirds? quarters? fifths? tenths?"),
        any_word("squared cubed factorial modulo mod base more less fewer over under minus plus times"),
    )
    + r"\b",
    re.I,
)
_COMMANDS_AND_FUNCTIONS = re.compile(
    any_of(
        r"\\(?:begin|end)\{\w+\}",
        r"\\[A-Za-z]+",
        rf"(?<![A-Za-z])(?:(?:arc)?{any_word('sin cos tan cot sec csc log ln exp max min det gcd lcm')})(?![A-Za-z])",
    )
)


class MathText(NamedTuple):
    """A final answer as plain LaTeX: all of it, its value without a unit, and the unit ("" if it has none)."""

    text: str
    value: str
    unit: str


def plain_latex(text: str) -> str:
    r"""A final answer without markup, spaces of LaTeX, thousands separators and the like.

    >>> plain_latex(r"\(x = \dfrac12\) or 50 per cent.")
    'x = \\frac12, 50\\%'
    """
    text = _VULGAR_FRACTION.sub(r" \1", text)
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).replace("\u2044", "/")
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    if not re.search(r"[(\[]|\\\{", text):  # (1,000) may be a pair
        text = _THOUSANDS.sub(lambda match: re.sub("[ ,]", "", match.group()), text)
    return text


def with_unit(plain: str) -> MathText:
    """Plain LaTeX with its unit apart. A word that changes the number is not a unit, and stays in the value.

    >>> with_unit("25 cm^2")
    MathText(text='25 cm^2', value='25', unit='cm^2')
    >>> with_unit("5 million").unit
    ''
    """
    match = _PRICE.fullmatch(plain) or _WITH_UNIT.fullmatch(plain)
    if match is None or _NOT_A_UNIT.search(match["unit"]) or changes_number(match["unit"]) or variables(match["value"]):
        return MathText(plain, plain, "")
    unit = re.sub(r"[{}\s.]", "", match["unit"])
    unit = re.sub(r"(?<=[A-Za-z]{2})s(?![A-Za-z])", "", unit)  # apples, but not s
    return MathText(plain, match["value"].strip(), unit if len(unit) <= 3 else unit.lower())


def changes_number(text: str) -> bool:
    """Whether a text has a word that makes a number another number."""
    return _CHANGES_NUMBER.search(text) is not None


def variables(latex: str) -> set[str]:
    r"""The letters of a formula that are not part of a command or a function.

    >>> sorted(variables(r"\frac{x}{2} + \sin y"))
    ['x', 'y']
    """
    return set(re.findall("[A-Za-z]", _COMMANDS_AND_FUNCTIONS.sub("", latex)))


def is_words(value: str) -> bool:
    """Whether a value is text and not a formula: only letters, or with a word among its signs.

    >>> is_words("Paris"), is_words("x + y")
    (True, False)
    """
    rest = _COMMANDS_AND_FUNCTIONS.sub(" + ", value)
    if not re.search(r"\d", value) and re.search(r"[^\W\d_]{2}", rest):
        return True
    return re.search(r"[^\W\d_]{4}|[^\W\d_]{2}\s+\w|\w\s+[^\W\d_]{2}", rest) is not None
