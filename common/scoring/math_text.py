r"""A final answer as plain LaTeX: the form in which values are compared.

>>> plain_latex(r"$1{,}000 \text{ dollars}$")
'1,000 dollars'
>>> canonical(r"x^{2} + \frac{\pi}{3}")
'x^2+\\pi/3'
"""

from __future__ import annotations

import re
import unicodedata

from ..patterns import any_of, any_word, regex

LONGEST = 4_000  # characters of a value that is compared
_EXPONENTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_SIGNS = str.maketrans(
    {
        **{exponent: f"^{{{digit}}}" for digit, exponent in enumerate(_EXPONENTS)},
        **dict.fromkeys("\u2212\u2012\u2013\ufe63\uff0d\u2010\u2011\u207b", "-"),
        "\u00d7": r"\times ",
        "\u00f7": r"\div ",
        "\u00b7": r"\cdot ",
        "\u22c5": r"\cdot ",
        "\u03c0": r"\pi ",
        "\u03b8": r"\theta ",
        "\u221e": r"\infty ",
        "\u2264": r"\leq ",
        "\u2265": r"\geq ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2208": r"\in ",
        "\u2205": r"\emptyset ",
        "\u00b1": r"\pm ",
        "\u00b0": r"^\circ ",
        "\u00ba": r"^\circ ",
        "\u20ac": " euro ",
        "\u00a3": " pound ",
        "\u2248": r"\approx ",
    }
)
_POWER_SIGNS = regex("([\u207b\u207a]?)([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)")  # minus three, as an exponent
_VULGAR_FRACTION = regex(r"(?<=[0-9])\s*([\u00bc-\u00be\u2150-\u215e])")  # 3 and the sign for one half
_TEXT_COMMANDS = any_of(  # \text{ cm}, \mathrm{cm}
    r"text(?:bf|it|rm|normal|sf|tt)?",
    r"math(?:rm|bf|it|sf|normal)",
    any_word("mbox hbox operatorname boldsymbol emph bf"),
)
_SPELLINGS = [  # (pattern, its plain form), applied in this order
    (regex(rf"\\{any_word('left right displaystyle limits ! [bB]igg?[lr]?')}(?![A-Za-z])"), ""),  # \left(
    (regex(r"\\[dtc]frac"), r"\\frac"),
    (regex(rf"\\{_TEXT_COMMANDS}\s*\{{([^{{}}]*)\}}"), r" \1 "),
    (regex(rf"\\{_TEXT_COMMANDS}\s*\{{([^{{}}]*)\}}"), r" \1 "),  # \textbf{\text{4}}
    (regex(r"(?<!\\)\\(?:quad|qquad|[,;: ])|~"), " "),  # 1\,000
    (regex(r"\\\$"), " dollar "),
    (regex(r"\\lbrace(?![a-z])"), r"\\{"),
    (regex(r"\\rbrace(?![a-z])"), r"\\}"),
    (regex(r"\\(?:mid|[lr]?vert)(?![a-z])"), "|"),
    (regex(r"\\(l|g|n)e(?![a-zA-Z])"), r"\\\1eq"),
    (regex(r"\{[bB]matrix\}"), "{pmatrix}"),
    (regex(r"(?<=[\w)])\*\*(?=-?[0-9(])"), "^"),  # x**2
    (regex(r"(?<![\\A-Za-z])(ln|log|sin|cos|tan|exp)(?=\s?\(|\s[a-z0-9]\b)"), r"\\\1 "),
    (regex(r"\\varnothing(?![a-z])|\\\{\s*\\\}"), r"\\emptyset"),
    (
        regex(r"\\left\[\s*\\begin\{matrix\}(.*)\\end\{matrix\}\s*\\right\]", re.S),
        r"\\begin{pmatrix}\1\\end{pmatrix}",
    ),
    (regex(r"\^\s*\((-?[0-9]{1,4})\)"), r"^{\1}"),
    (regex(r"(?<!\\)\\[()\[\]]|\$|[`]|\*\*|__"), ""),  # \(4\), $4$, **4**
    (regex(r"\s*(?:\\%|%|\uff05|\bper\s?cent\b)", re.I), r"\\%"),
    (regex(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\\deg(?![a-z])|\bdegrees?\b)", re.I), " degree "),
    (regex(r"\\frac\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])(?![0-9a-zA-Z]|\.[0-9])"), r"\\frac{\1}{\2}"),  # \frac12
    (regex(r"\\frac\s*([0-9a-zA-Z])\s*\{"), r"\\frac{\1}{"),
    (regex(r"(\\frac\{[^{}]*\})\s*([0-9a-zA-Z])"), r"\1{\2}"),
    (regex(r"\\sqrt\s*([0-9a-zA-Z])"), r"\\sqrt{\1}"),
    (regex(r"\u221a\s*([0-9]+|[a-z])"), r"\\sqrt{\1}"),
    (regex(r"(?:\u221a|(?<![\\A-Za-z])sqrt)\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (regex(r"(?<![\w\\])(pi|infinity)\b"), r"\\\1"),
    (regex(r"\\infinity"), r"\\infty"),
    (regex(r"(?<=\d)\{,\}(?=\d)"), ","),  # 12{,}345
    (regex(r"\s+(?=\^)"), ""),
    (regex(r"\s+"), " "),
    (regex(r"^(?:[\s,;:]|\.(?!\d))+|[\s.,;:\u3002]+$"), ""),  # punctuation at both ends
]
_COMMANDS_AND_FUNCTIONS = regex(
    any_of(
        r"\\(?:begin|end)\{\w+\}",
        r"\\[A-Za-z]+",
        rf"(?<![A-Za-z])(?:(?:arc)?{any_word('sin cos tan cot sec csc log ln exp max min det gcd lcm')})(?![A-Za-z])",
    )
)
_CANONICAL = [
    (regex(r"(?<!\d)\s+|\s+(?!\d)"), ""),
    (regex(r"\\(?:cdot|times)(?![a-z])|\*"), "*"),
    (regex(r"([\^_])\{(-?\d+|\w)\}(?!\d)"), r"\1\2"),
    (regex(r"\\frac\{((?:[^{}+-]|\\sqrt\{[^{}]*\})*)\}\{([0-9]+|[a-z]|\\[a-z]+)\}(?![0-9])"), r"\1/\2"),
]


def plain_latex(text: str) -> str:
    r"""A final answer without markup, spaces of LaTeX and the like.

    >>> plain_latex(r"\(x = \dfrac12\), 50 per cent.")
    'x = \\frac{1}{2}, 50\\%'
    """
    if not text.isascii():
        text = _POWER_SIGNS.sub(_exponent, _VULGAR_FRACTION.sub(r" \1", text))
        text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).replace("\u2044", "/")
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    return text


def _exponent(match: re.Match[str]) -> str:
    sign = "-" if match[1] == "\u207b" else ""
    return "^{" + sign + unicodedata.normalize("NFKC", match[2]) + "}"


def canonical(plain: str) -> str:
    """Plain LaTeX in the one spelling in which two formulas are compared as text."""
    for pattern, spelling in _CANONICAL:
        plain = pattern.sub(spelling, plain)
    return plain


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
