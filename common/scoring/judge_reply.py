"""The score in a judge's reply. Nothing is guessed: a reply that could be read in two ways has no score.

>>> parse_verdict("Right, but terse. Score: 7.5/10", 0, 10)
7.5
>>> parse_verdict("Score: 7-8", 0, 10) is None
True
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, Iterator, Match

from .patterns import any_of, any_word
from .thinking import without_thoughts

# --- a value: a number, its scale, and what spoils it -----------------------------------------------------------------

_NUMBER = r"(?P<number>(?<![A-Za-z0-9_.,/])[-+\u2212]?[0-9]+(?:\.[0-9]+)?)"
_SCALE = (  # 8/10; 8 points (out of 10)
    r"(?:(?:\s*(?:points?|stars?|marks?))?\s*\(?(?:/|out\s+of\b)\s*(?P<scale>[0-9]+(?:\.[0-9]+)?))"
)
_SPOILERS = any_of(  # after a number: it is not a score
    r"[.:][0-9]",  # 7.5.1; 3:1
    r":\s*[a-z]",  # 8: because, as in a list
    r",\s*[0-9]",  # 7,5
    r"\s*[-~\uff5e\u2013\u2014\u2212]\s*[0-9]",  # 7-8, 7 ~ 8
    r"\s+(?:to|or|and)\s+[0-9]",  # 7 or 8
    r"[ \t]+[0-9]",  # 8 9
    r"\s*(?:\.\.|->|[%/+=^\u00b1\u2026\u2192\u00d7\u00f7\u00bc-\u00be])",  # 8...; 8 -> 7; 80 %; 8 + 1; 8/10/10
    r"[A-Za-z\d_\u00b2\u00b3\u00b9\u4e07\u6210]",  # 8th; 8 squared; Chinese: ten thousand, tenths
    r"\s*\u5206?\s*[\u5230\u6216\u81f3\u3001]\s*[0-9]",  # Chinese: 8 to 9, 8 or 9
    r"\u5206[\uff0c,]\s*\u5f97",  # Chinese: of 10 points, got ...
    rf"[ \t]+{any_word('plus minus times divided')}\b",  # 8 plus 1
    r"[ \t]+(?:per\s?cent|out\s+of|of)\b",  # 8 per cent; 4 stars out of five
    rf"[ \t]+{any_word('errors? mistakes? steps? issues? problems?')}\b",  # 3 errors
    rf"[ \t]+{any_word('means would requires? indicates represents')}\b",  # a score of 10 means perfect
    r"[ \t]+-[^\n\d]*[0-9]+\)?\s*=",  # 10 - missing units (2) = 8
)
_VALUE = rf"{_NUMBER}{_SCALE}?(?P<spoilt>{_SPOILERS})?"

# --- kinds of verdicts ------------------------------------------------------------------------------------------------

_SCORE_WORD = (
    r"(?<!\u6700\u9ad8)(?<!max )(?<!maximum )(?<!minimum )(?<!highest )(?<!lowest )(?<!possible )"  # the scale's ends
    + any_of(r"\bscore", r"\brating", r"\u8bc4\u5206", r"\u5f97\u5206", r"\u5206\u6570", r"\u603b\u5206")  # Chinese too
    + r"(?:\s*\([^()\n]{0,40}\)|\s+out\s+of\s+[0-9]+)?"  # Score (0-10)
)
_COLON = r"\s*(?::|\uff1a|=|->|\u4e3a|\u662f)[\s:]*"
# Score: 8; Grade: an 8
_STATED = re.compile(rf"(?:{_SCORE_WORD}|\b(?:grade|mark|verdict|overall)){_COLON}(?:an?\s+)?{_VALUE}", re.I)
# The score would be 8
_IN_A_SENTENCE = re.compile(rf"{_SCORE_WORD}(?:\s+(?:is|of|would\s+be))*\s*(?:an?\s+)?{_VALUE}", re.I)
# I'd give this an 8; it deserves 8
_GIVEN = re.compile(
    r"\b"
    + any_of(
        r"I(?:['\u2019](?:d|ll|ve))?(?:\s+(?:would|will|have|must|only))*\s+"
        + any_word("give gave given rate rated score scored grade graded assign award"),
        any_word("deserves merits earns rated graded"),
    )
    + rf"\s+(?:{any_word('it this that the answer response reply candidate an? overall as at with only')}\s+)*"
    + _VALUE
    + r"(?!\s+(?!points|marks|stars)[a-z]{3,}s\b)",  # I can give 2 reasons
    re.I,
)
# a line that is only: 8; > 8 points
_ALONE = re.compile(rf"^[ \t>]*{_VALUE}[ \t]*(?:points?|pts|\u5206)?[ \t]*$", re.M | re.I)
# 8/10
_FRACTION = re.compile(rf"{_NUMBER}{_SCALE}(?P<spoilt>{_SPOILERS})?", re.I)
# A reply in the form that was asked for, with nothing that the other rules would have to weigh: the same, sooner.
_AS_ASKED = re.compile(
    r"(?:[^<>{}\[\]\"\u201c\u201d'`*_|\\#$\u6ee1]*[!-~\n]\n)?Score: ([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*"
)
_SCORE_KEY = re.compile(r"^(?!max|min|confidence|passing|expected)(?:.*_)?(?:score|rating)$", re.I)  # final_score
_OVERALL_KEY = re.compile(r"(?:(?:overall|final|total)_)?(?:score|rating)", re.I)

# --- verdicts that do not count ---------------------------------------------------------------------------------------

_ANOTHER_LABEL = re.compile(r"[^\W\d][\w /-]{1,40}(?:[:=(]|\s[-\u2013])[ \t]*$")  # Style: 9/10
_HYPOTHETICAL = re.compile(  # if it showed the steps, I would give it 10
    any_of(
        rf"\b{any_word('if had were unless until claims says wrote')}\b",
        r"\bwould\s+have\b",
        r"\b(?:not|n['\u2019]t)\s+(?:think|believe)\b",
        r"n['\u2019]t\s+(?:think|believe)\b",
    ),
    re.I,
)
_NOT_AN_ASPECT = any_word("overall final total my the this an? your its and so with of is now")
_ASPECT = re.compile(  # a word before "score" that makes it the score of one aspect: Style score
    any_of(
        rf"\b(?!{_NOT_AN_ASPECT}\s)[A-Za-z'\u2019]+[ \t]+",
        r"[\u4e00-\u9fff]{2}(?<!\u6700\u7ec8|\u7efc\u5408|\u6211\u7684)",  # Chinese: not "final", "overall", "my"
    )
    + "$",
    re.I,
)
_OTHER_SCALE = re.compile(  # on a scale of 1 to 5; Chinese: full marks 5
    r"(?:scale\s+(?:of|from)\s+[0-9.]+\s*(?:to|-|\u2013)|\u6ee1\u5206[\u4e3a\u662f:\uff1a]?)\s*([0-9]+)", re.I
)
_QUOTED = re.compile(r"[\"\u201c][^\"\u201c\u201d\n]{1,300}[\"\u201d]|`[^`\n]{1,300}`|(?<!\w)'[^'\n]{1,300}'(?!\w)")
_WORD_AND_NUMBER = re.compile(r"[^\W\d_].*[0-9]")  # "Score: 10" in quotation marks, but not "8"
_MARKUP = [  # (pattern, its plain form), applied in this order
    (re.compile(r"\\boxed\{([^{}]*)\}"), r"\1"),
    (re.compile(r"<(\w*(?:score|rating))>", re.I), r"\1: "),  # <score>9</score>
    (re.compile(r"</?[A-Za-z]\w* ?/?>"), " "),  # <br>
    (re.compile("_"), " "),
    (re.compile(r"\|"), ":"),  # a table's bars
    (re.compile(r"[*`\"#${}\[\]]|(?<![A-Za-z])'|'(?![A-Za-z])|<(?=[-+0-9])|(?<=[0-9])>"), ""),  # **9**, [[9]], <9>
    (re.compile(r"(?<=:)[ \t]*\((?=[0-9]+\))"), " "),  # Score: (9)
]
_SENTENCE_END = re.compile(r"[.!?]\s|\n")


def parse_verdict(reply: str, low: float, high: float) -> float | None:
    """The verdict of a judge's reply, if it is a number from ``low`` to ``high``; else None.

    The first kind of verdict that is there decides: a JSON object's "score"; a stated one ("Score: 7"); one in prose
    ("I give it 7", "7/10", a line that is only the number). Of several verdicts of this kind, the last one counts
    (inspect_ai's rule). A scale other than ``high``, a range, a sum, a decimal comma or a quotation is not a score.

    >>> parse_verdict('{"reasoning": "9 would be too much", "score": 8}', 0, 10)
    8.0
    """
    as_asked = _AS_ASKED.fullmatch(reply)
    if as_asked is None or "scale" in reply.lower():
        return weighed_verdict(reply, low, high)
    value = float(as_asked[1])
    return value if low <= value <= high else None


def weighed_verdict(reply: str, low: float, high: float) -> float | None:
    """``parse_verdict`` by all its rules, without its short way for a reply in the form that was asked for."""
    text = without_thoughts(reply)
    if text is None:
        return None
    objects = list(_json_objects(text))
    scored = [item for item in objects if any(_SCORE_KEY.search(key) for key in item)]
    if scored:
        return _score(_ALONE.fullmatch(_score_in(scored[-1])), low, high)
    if any(_has_several_scores(item) for item in objects):
        return None
    plain = _plain(text)
    if any(float(scale) != high for scale in _OTHER_SCALE.findall(plain)):
        return None
    stated = list(_STATED.finditer(plain))
    return _score(_last_stated(plain, stated) if stated else _last_in_prose(plain), low, high)


def _score(verdict: Match[str] | None, low: float, high: float) -> float | None:
    """The number of a match of ``_VALUE``, if it is a score of this range."""
    if verdict is None or verdict["spoilt"] or (verdict["scale"] is not None and float(verdict["scale"]) != high):
        return None
    label = verdict.group()[: verdict.start("number") - verdict.start()]
    scales = re.findall(r"(?:-|\u2013|to|/|of)\s*([0-9]+)", label)  # Score (0-5):
    following = verdict.string[verdict.end() : verdict.end() + 9]
    is_list_number = "\n" in label and re.match(r"[.)][ \t]+\S", following)  # "Score:", and on the next line "1. Right"
    if is_list_number or any(float(scale) != high for scale in scales):
        return None
    value = float(verdict["number"].replace("\u2212", "-"))
    return value if low <= value <= high else None


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, in their order; given up after 50 places that begin like one and are not one."""
    decoder, begins, broken = json.JSONDecoder(), re.compile(r'\{\s*"'), 0
    opening = begins.search(text)
    while opening is not None and broken < 50:
        try:
            item, end = decoder.raw_decode(text, opening.start())
            yield item
        except (ValueError, RecursionError):
            end = opening.start() + 1
            broken += 1
        opening = begins.search(text, end)


def _has_several_scores(item: dict[str, Any]) -> bool:
    """Whether an object holds the scores of several aspects, deeper down."""
    return len(re.findall(r'(?:score|rating)": ', json.dumps(item))) > 1


def _score_in(item: dict[str, Any]) -> str:
    """The value of an object's "score" or "rating", of an overall one, or of the only key that ends so; else ""."""
    keys = [key for key in item if _SCORE_KEY.search(key)]
    keys = [key for key in keys if _OVERALL_KEY.fullmatch(key)] or keys
    return str(item[keys[0]]) if len(keys) == 1 else ""


def _plain(text: str) -> str:
    """The text without markup and without verdicts in quotation marks."""
    text = _QUOTED.sub(lambda quoted: " " if _WORD_AND_NUMBER.search(quoted.group()) else quoted.group(), text)
    for pattern, plain in _MARKUP:
        text = pattern.sub(plain, text)
    text = text.strip()
    return text if "\n" in text else text.rstrip(".!")


def _last_stated(plain: str, stated: list[Match[str]]) -> Match[str] | None:
    """The last stated verdict; None if it is hypothetical, or if only aspects have verdicts, and different ones."""
    overall = [match for match in stated if not _ASPECT.search(plain[max(0, match.start() - 30) : match.start()])]
    if not overall and len({match["number"] for match in stated}) > 1:
        return None
    last = (overall or stated)[-1]
    return None if _HYPOTHETICAL.search(_sentence_before(plain, last)) else last


def _last_in_prose(plain: str) -> Match[str] | None:
    """The last verdict that no label states; None if several aspects each have one."""
    found = [match for pattern in (_IN_A_SENTENCE, _GIVEN, _ALONE, _FRACTION) for match in pattern.finditer(plain)]
    before = {match: _sentence_before(plain, match) for match in found}
    sure = [match for match in found if not _HYPOTHETICAL.search(before[match])]
    aspects = {match["number"] for match in sure if _ANOTHER_LABEL.search(before[match])}
    last = _last(sure)
    return None if last is not None and len(aspects) > 1 and last["number"] in aspects else last


def _last(matches: Iterable[Match[str]]) -> Match[str] | None:
    """The match whose number stands last."""
    in_order = sorted(matches, key=lambda match: match.start("number"))
    return in_order[-1] if in_order else None


def _sentence_before(text: str, verdict: Match[str]) -> str:
    """The text before a verdict's number in its sentence, 200 characters at most."""
    place = verdict.start("number")
    return _SENTENCE_END.split(text[max(0, place - 200) : place])[-1]
