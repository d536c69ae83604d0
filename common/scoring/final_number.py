r"""The number that a final answer ends in, if it stands alone and is not a part of something else.

>>> final_number("15 minus 3 is 12.", only=False)
Decimal('12')
>>> final_number("It is 12 per cent", only=False) is None
True
"""

from __future__ import annotations

import re
from decimal import Decimal

from .patterns import any_of, any_word

_SMALL_NUMERALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
_NUMERAL = any_of(
    *_SMALL_NUMERALS,
    any_word("thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion half dozen"),
)
_NUMERALS = re.compile(rf"\b{_NUMERAL}(?:[\s-]+(?:and\s+)?{_NUMERAL})*\b", re.I)  # two hundred and five
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?")  # 1,000; -2.50

_REACH = 40  # characters before a number in which a tie is looked for
# A number that follows one of these is tied to it: it is a part of something else.
_TIED_BEFORE = re.compile(
    any_of(
        r"[A-Za-z\d_.,^\\{}(\[|+*/%:#\u221a\u2026-]",  # x4, 3,4, (4, :4, #4, root sign
        r"[-+*/^\u00b1\u221a\u00d7\u00f7\u00b7<>\u2260\u2264\u2265~\u2013\u2014]\s*",  # - 4, times sign 4, > 4
        r"\\[a-z]+\s*",  # \sqrt 4
        rf"\b{any_word('than minus negative base sqrt twice double')}\s+",  # less than 4
        r"\b(?:divided|multiplied)\s+by\s+",
        r"\bat\s+(?:least|most)\s+",
        rf"\b{any_word('step question chapter figure page line part')}\s+",  # step 4
        rf"\b{any_word('half thirds? quarters? root power square cube factorial')}\s+of\s+",  # half of 4
        # another number before it, with at most a word and "and" or "to" between: 3 and 4; 5 feet 6; but not: 3 is 4
        r"[0-9][^\w=\u2192\u2248]*"
        rf"(?:(?!{any_word('is are was equals? makes? gives? leaves? yields?')}\b)[A-Za-z]+[^\w=]+)?(?:(?:and|to)\s+)?",
        r"[0-9]\s*[\u4e00-\u9fff]{0,2}[\u6216\u548c\u5230\u81f3\u4e0e\u3001]\s*",  # Chinese: 3 or 4, 3 and 4, 3 to 4
        r"[\u8d1f\u7b2c\u5341\u767e\u5343\u4e07\u4e4b]",  # Chinese: minus, number (ordinal), ten, hundred, fraction bar
    )
    + "$",
    re.I,
)
# A number that is followed by one of these is tied to it.
_TIED_AFTER = re.compile(
    any_of(
        r"[A-Za-z\d_^\\{}(*/%\u00b1-\u00b9\u00bc-\u00be\u2070-\u209f\u221a\u03c0]",  # 4x, 4^2, 4/, 4 with an exponent
        r"[.,:-][0-9]",  # 4:30
        r"\s*\.\.",  # 4...
        r"\s*[-+*/^=\u00b1\u00d7\u00f7\u00b7<>]\s*[\w(\\]",  # 4 + x
        r"\s*[%\u2030\u00bc-\u00be\u03c0\u221a]",  # 4 %, 4 pi
        r"\s*[\u4e07\u4ebf\u5343\u767e\u5341\u6210\u591a\u51e0]",  # Chinese: ten thousand, thousand, tenth, more
        r"\s*\u5206\u4e4b",  # Chinese: the denominator of a fraction
        r"\s+and\s+a\b",  # 4 and a half
        rf"\s+{any_word('hundred thousand million billion trillion dozen point bn [kmb]')}\b",  # 4 million
        r"\s+(?:percent|per\s+(?:cent|thousand))\b",
        rf"\s+{any_word('half halves thirds? quarters? fourths? fifths? sixths? eighths? tenths?')}\b",  # 4 thirds
        rf"\s+{any_word('hundredths? thousandths? squared cubed factorial')}\b",
        r"\s+[ap]\.?m\b",  # 4 pm
    ),
    re.I,
)
_ASIDE = re.compile(rf"\b{any_word('for per every each in over within after at with')}\s+(?:the\s+|all\s+)?$", re.I)


def final_number(text: str, only: bool) -> Decimal | None:
    """The number that a text ends in, after its last "="; None if there is none, or if it is tied to something else.

    ``only``: it must be the only number there. Without that, an aside ("9 in 2 days") must not hold it.
    """
    text = re.sub(r"\\(?:text|mathrm|mbox)\{([^{}]*)\}|\^\{?\\circ\}?|\\(?=\$)", r" \1 ", text)
    left, _, right = with_digits(text).rpartition("=")
    numbers = list(_NUMBER.finditer(right))
    is_labelled = re.search(r"[0-9]\W+(?:and\s+)?[A-Za-z]\s*$", left[-_REACH:])  # x = 4 and y = 5
    if not numbers or (only and len(numbers) > 1) or is_labelled:
        return None
    last = numbers[-1]
    if len(numbers) > 1 and _ASIDE.search(right[max(0, last.start() - _REACH) : last.start()]):
        return None
    is_tied = is_tied_before(right, last.start()) or _TIED_AFTER.match(right, last.end())
    return None if is_tied else number_of(last.group())


def is_tied_before(text: str, place: int) -> bool:
    """Whether a number at this place is a part of something that begins before it: "-4", "less than 4", "3 and 4".

    >>> is_tied_before("at least 4", 9), is_tied_before("there are 4", 10)
    (True, False)
    """
    return _TIED_BEFORE.search(text[max(0, place - _REACH) : place]) is not None


def number_of(text: str) -> Decimal | None:
    """The value of a text that is one number, perhaps a sum of money; else None.

    >>> number_of("$1,000.50"), number_of("4 apples")
    (Decimal('1000.50'), None)
    """
    bare = text.strip(" $\u20ac\u00a3*.\u3002")
    return Decimal(bare.replace(",", "")) if _NUMBER.fullmatch(bare) else None


def with_digits(text: str) -> str:
    """The text without markup, and with digits for the number words from zero to twenty.

    "one" stays, since it is a pronoun more often than a number. Longer number words become one word.

    >>> with_digits("**twelve**, one, twenty two")
    '12, one, twenty-two'
    """
    return _NUMERALS.sub(_digits, re.sub(r"[*_`$]|\\[,;! ]", "", text))


def _digits(numeral: re.Match[str]) -> str:
    word = numeral.group().lower()
    is_small = word in _SMALL_NUMERALS and word != "one"
    return str(_SMALL_NUMERALS.index(word)) if is_small else re.sub(r"\s+", "-", numeral.group())
