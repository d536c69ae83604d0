"""The number that a sentence puts forward as its answer.

>>> sentence_number("15 minus 3 is 12.", Question("")).value
Fraction(12, 1)
>>> sentence_number("It is less than 12.", Question("")) is None
True
"""

from __future__ import annotations

import re

from ..patterns import Rule, any_of, any_word, either, regex
from .final_number import LONGEST, NUMBER_BEGINS, Found, Number, number_at, with_magnitude
from .question import WORD, Question
from .units import stem, unit_of

_REACH = 40  # characters before a number in which a tie is looked for
_MARKUP = regex(r"[*_`\u201c\u201d\"]+")
_RELATION = regex(r"\\approx|\u2248|(?<![<>!])=")
_LABEL = regex(  # before "=": x = 4 and y; 3x; x + y; x + 2
    r"(?:[0-9]\W*(?:\band\s+)?|[-+*/^]\s*)(?<![A-Za-z])[A-Za-z]\s*$|(?<![A-Za-z])[A-Za-z]\s*[-+*/^]\s*[0-9.]+\s*$"
)
_THEREFORE = regex(
    any_of(
        rf"\b{any_word('so thus hence therefore altogether leaving making giving totaling totalling meaning')}\b",
        r"\btotal\s+of\b",
        r"\bin\s+total\b,?",
        r"\bwhich\s+(?:is|makes|gives|leaves)\b",
        r"\u6240\u4ee5|\u56e0\u6b64|\u4e00\u5171",  # Chinese: so, therefore, altogether
    ),
    re.I,
)
_VERB = any_word("is are was were equals? makes? gives? gets? leaves? has have becomes?")
_CLAIMS = regex(  # is 4; is equal to just 4; totals to 4
    rf"(?:\b{_VERB}|\b(?:equal|equivalent)\s+to|\btotals?(?:\s+of|\s+to)?)"
    rf"(?:\s+{any_word('simply just exactly now then about approximately')})?[\s$]*$",
    re.I,
)
_OTHER_CLAIM = regex(rf"\b{_VERB}\s+\$?-?[0-9]", re.I)
_CONDITION = regex(r"\b(?:where|if|when|such\s+that)\b", re.I)
_EARLIER = regex(rf"\b{any_word('before until originally initially previously if unless would')}\b", re.I)
_ASIDE = regex(  # beside other numbers: for 5 days
    rf"\b{any_word('for every each in with at within after before during')}\s+"
    rf"(?:{any_word('the all its his her')}\s+)?$",
    re.I,
)
_SUMS = any_word(
    "total profit length cost price distance area volume speed age weight height width amount value answer score "
    "average mean rate probability population balance perimeter circumference payment bill salary income "
    "revenue temperature"
)
_NOT_EQUAL = "".join(
    f"(?<!{verb} )"
    for verb in "equal equivalent amounts comes totals evaluates simplifies reduces rounds equals".split()
)

TIE_RULES = [  # what stands before a number makes it a part of something else; the verdict: the number that is read
    Rule("glued", r"[A-Za-z0-9_.,^\\{}(\[|+*/%:#\u2026-]", "It is x4", None),
    Rule("sign", r"[-+*/^\u00b1\u221a\u00d7\u00f7\u00b7<>\u2260\u2264\u2265~\u2013\u2014]\s*", "It is > 4", None),
    Rule("command", r"\\[a-z]+\s*", r"It is \log 4", None),
    Rule(
        "negated",
        r"(?:\b(?:not|never|cannot|no\s+longer|nicht|keine?|n[\u00e3a]o|non\s+\u00e8|no\s+es|ne|pas|niet|\u043d\u0435)\b"
        r"|n['\u2019](?:t|est)\b|\u4e0d\u662f|\u4e0d\u7b49\u4e8e)[^,.;]{0,30}",
        "It isn't 4",
        None,
    ),
    Rule("factor", rf"\b{any_word('x plus base sqrt root twice double triple times')}\s+", "twice 4", None),
    Rule(
        "bound", rf"\b{any_word('than by below above over under between from through until')}\s+", "less than 4", None
    ),
    Rule("to", rf"{_NOT_EQUAL}\bto\s+", "up to 4", None),
    Rule("limit", rf"\b{any_word('least most nearly almost within without per exceeds?')}\s+", "at least 4", None),
    Rule(
        "step", rf"\b{any_word('step question problem chapter figure page line part case equation')}\s+", "step 4", None
    ),
    Rule("place", rf"\b{any_word('section exercise grade level room example table option stage')}\s+", "Room 4", None),
    Rule(
        "share", rf"\b(?!{_SUMS}\s)[A-Za-z0-9]+\s+of\s+(?:{any_word('the these all his her')}\s+)?", "half of 4", None
    ),
    Rule(
        "chinese",
        r"[\u8d1f\u7b2c\u5341\u767e\u5343\u4e07\u4e4b\u6bd4\u6bcf\u5c11\u591a\u6216\u548c\u5230\u81f3\u4e0e\u3001]\s*",
        "\u7b2c4",
        None,
    ),
]
TIED = regex(either(TIE_RULES) + "$", re.I)
TAILS = [  # what stands after a number makes it a part of something else; the verdict: the number that is read
    Rule("glued", r"[0-9_^\\{}(*/\u00b1-\u00b9\u00bc-\u00be\u2070-\u209f\u221a\u03c0]", "It is 4^2", None),
    Rule("parts", r"[.,:-][0-9]", "It is 4:30", None),
    Rule("dots", r"\s*\.\.", "It is 4...", None),
    Rule("operation", r"\s*[-+*/^=\u00b1\u00d7\u00f7\u00b7<>!]\s*[\w(\\$]", "It is 4 + x", None),
    Rule("factor", r"\s*[\u00bc-\u00be\u03c0\u221a\u6210\u591a\u51e0\u534a]", "It is 4 \u03c0", None),
    Rule("alternative", r"\s+(?:and|or|to)\s+(?:an?\s+)?(?:half|quarter|third|more|so|less|\$?[0-9])", "4 or so", None),
    Rule("time", r"\s*[ap]\.?m\b", "It is 4 am", None),
]
_TAIL = regex(either(TAILS), re.I)
NEXT_PHRASE = frozenset(
    "in on at per for is are was were from with by to every each that which who because since as when where if so and "
    "but of left remaining total altogether the a an this has have had will would can could makes make".split()
)
_MEASURES = frozenset(  # Chinese: words between a number and the thing that is counted
    "\u4e2a\u9875\u5143\u53ea\u672c\u4eba\u5c81\u5929\u7c73\u5f20\u6761\u652f\u5757\u68f5\u8f86\u540d\u5428\u514b\u6b21"
    "\u79cd\u5ea7\u76d2\u7bb1\u888b\u74f6\u676f\u6735\u9897\u7c92\u5934\u5339\u7ec4\u884c\u5217\u6392\u6b65\u516c\u5398"
    "\u5e74\u6708\u65e5\u70b9\u79d2\u5ea6\u4f4d\u53f0\u4ef6\u6839\u9053\u9898\u5c42\u95f4\u90e8\u7bc7\u5c0f\u5206"
)
_PHRASE = regex(r"[^,.;:!?\u3002\uff0c\uff1b]*(?:\.(?=[A-Za-z0-9])[^,.;:!?\u3002\uff0c\uff1b]*)*")
_SIGN_BEFORE = regex(
    r"(?:^|(?<=[\s:(\uff1a=$\u4e00-\u9fff]))((?<![A-Za-z]\s)-\s\$?|-\$?|\$-|(?:minus|negative)\s+\$?|\u8d1f)$", re.I
)
_MONEY_BEFORE = regex(r"(?:\$|\u20ac|\u00a3|\u00a5|\u20b9|\brs\.?)\s*-?$", re.I)


def sentence_number(sentence: str, question: Question, known: frozenset[str] = frozenset()) -> Number | None:
    """The number that a sentence puts forward as its answer; None if there is none, or if that cannot be told.

    It is the number after the last "=", the only number, the only number that the question does not state, the number
    after "so" or "in total", or the last number if the sentence says that something is that number. ``known`` are
    further words that leave a number as it is.

    >>> sentence_number("Tom has 3 apples and gets 4, so he now has 7 apples.", Question("How many apples?")).value
    Fraction(7, 1)
    >>> sentence_number("In 2014, the value was 51.", Question("In which year the value was 51?")).value
    Fraction(2014, 1)
    """
    text = _MARKUP.sub("", sentence).strip()
    if len(text) > LONGEST:
        return None
    *left, right = _RELATION.split(text)
    if left and (_LABEL.search(left[-1][-_REACH:]) or _CONDITION.search(left[0])):
        return None
    found = _numbers_in(right)
    if len(found) > 1 and not _EARLIER.search(right):
        found = [number for number in found if not _is_restated(right, number, question)] or found
    chosen = _chosen(right, found, bool(left))
    if chosen is None:
        return None
    sign = _SIGN_BEFORE.search(right[: chosen.start])
    money = _MONEY_BEFORE.search(right[: chosen.start])
    start = sign.start() if sign else money.start() if money else chosen.start
    if _is_tied(right[max(0, start - _REACH) : start], len(found) > 1):
        return None
    number = _with_tail(right, chosen, bool(money), question, known)
    return number._replace(value=-number.value) if number and sign else number


def _numbers_in(text: str) -> list[Found]:
    found: list[Found] = []
    for begin in NUMBER_BEGINS.finditer(text):
        if not found or begin.start() >= found[-1].end:
            number = number_at(text, begin.start())
            if number is not None and text[number.start : number.end].lower() != "one":  # a pronoun more often
                found.append(number)
    return found


def _chosen(text: str, found: list[Found], is_after_relation: bool) -> Found | None:
    """The number of a sentence that is its answer, among those that the question does not state."""
    if len(found) == 1:
        return found[0]
    conclusions = list(_THEREFORE.finditer(text))
    last = [number for number in found if conclusions and number.start >= conclusions[-1].end()]
    if len(last) == 1:
        return last[0]
    if not found or is_after_relation or _CONDITION.search(text):
        return None
    claims = _CLAIMS.search(text[: found[-1].start])
    return found[-1] if claims and len(_OTHER_CLAIM.findall(text)) <= 1 else None


def _is_restated(text: str, number: Found, question: Question) -> bool:
    """Whether the question states a number of a sentence, with the same word beside it."""
    before = WORD.findall(text[max(0, number.start - _REACH) : number.start])
    after = WORD.findall(text[number.end : number.end + _REACH])
    written = text[number.start : number.end].replace(",", "").lower()
    return question.restates(before[-1] if before else "", written, after[0] if after else "")


def _is_tied(before: str, has_others: bool) -> bool:
    """Whether a number is a part of something that begins before it."""
    return bool(TIED.search(before.replace("$", "")) or (has_others and _ASIDE.search(before)))


def _with_tail(text: str, found: Found, is_money: bool, question: Question, known: frozenset[str]) -> Number | None:
    """A number of a sentence with its magnitude and unit; None if what follows it makes it something else."""
    number, end = with_magnitude(text, found, is_money)
    rest = text[end:]
    phrase = _PHRASE.match(rest)
    assert phrase is not None
    words = list(WORD.finditer(phrase.group()))
    if _TAIL.match(rest) or (rest[:1].isalpha() and not _is_glued_unit(rest, question)):
        return None
    first = next((word for word in words if word.group().lower() in NEXT_PHRASE), None)
    unit = phrase.group()[: first.start() if first else None].strip(" ()*_$")
    later = [word.group() for word in words if first and word.start() >= first.start()]
    if not is_harmless(unit, question, known) or any(map(question.changes, later)):
        return None
    return number._replace(unit=unit)


def _is_glued_unit(rest: str, question: Question) -> bool:
    """Whether the letters that follow a number at once are a unit: 5cm; in Chinese, a measure word."""
    if rest[0] >= "\u4e00":
        return rest[0] in _MEASURES or rest[0] in question.text
    letters = WORD.match(rest)
    return letters is not None and unit_of(letters.group()) != ""


def is_harmless(phrase: str, question: Question, known: frozenset[str] = frozenset()) -> bool:
    """Whether a phrase that follows a number leaves the number as it is: a unit, or words that the question knows.

    >>> is_harmless("dozens", Question("How many eggs?")), is_harmless("eggs", Question("How many eggs?"))
    (False, True)
    """
    words = WORD.findall(phrase)
    if words and words[0] >= "\u4e00":
        return words[0][0] in _MEASURES or words[0][0] in question.text
    return unit_of(phrase) != "" or all(question.knows(word) or stem(word) in known for word in words)
