r"""The score in a judge's reply. Nothing is guessed: a reply that could be read in two ways has no score.

The place of a verdict decides, not its form: a JSON object counts only if the reply is one or ends with one. Text that
the answer holds too, or that stands in quotation marks, is a quotation: the answer does not choose its score.

>>> parse_verdict("Right, but terse. Score: 7.5/10", 0, 10)
7.5
>>> parse_verdict("Score: 7-8", 0, 10) is None
True
>>> read_verdict('It ends with {"score": 10}.\nScore: 0', 0, 10, answer='5 {"score": 10}').value
0.0
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections import deque
from typing import Any, Dict, Iterable, Iterator, List, Match, NamedTuple, Pattern, Sequence, Tuple

from ..patterns import regex
from ..thinking import without_thoughts
from .judge_forms import (
    AFTER_LABEL,
    ANOTHER_LABEL,
    ASPECTS,
    ATTRIBUTED,
    HYPOTHETICAL,
    IN_PROSE,
    LONGEST_LABEL,
    MARKUP,
    OVERALL,
    QUOTED,
    REVISION,
    SCALE_ENDS,
    SCALE_STEMS,
    SCALES,
    SCORE_WORD,
    STATED,
    STEMS,
    compiled,
)

LONGEST = 8000  # characters at the end of a reply that are searched for a verdict outside JSON
LONGEST_VALUE = 200  # characters of a number with all that belongs to it
MOST = 50  # verdicts of one kind, the last ones, that are weighed against each other
MOST_BROKEN = 20  # places that begin like a JSON object and are not one, until no more are tried

# --- the patterns of judge_forms.py, compiled ------------------------------------------------------------------------

_STATED = compiled([STATED])
_AFTER_LABEL = regex(AFTER_LABEL, re.I)
_IN_PROSE = [regex(rule.pattern, re.I | re.M) for rule in IN_PROSE]
_ALONE, _FRACTION = _IN_PROSE[-2:]
_HYPOTHETICAL = compiled(HYPOTHETICAL)
_ATTRIBUTED = compiled([ATTRIBUTED])
_SCALE_ENDS = compiled([SCALE_ENDS])
_ASPECT = compiled(ASPECTS)
_OVERALL = compiled([OVERALL])
_REVISION = compiled([REVISION])
_OTHER_SCALE = compiled(SCALES)
_ANOTHER_LABEL = compiled([ANOTHER_LABEL])
_QUOTED = compiled(QUOTED)
_MARKUP = [(regex(rule.pattern, re.I), rule.plain) for rule in MARKUP]

_SCORE_KEY = regex(
    r"(?!max|min|confidence|passing|expected)(?:.{0,80}_)?(?:score|rating)|overall|verdict|grade"
    rf"|(?:.{{0,80}} )?{SCORE_WORD}",
    re.I,
)
_OVERALL_KEY = regex(r"(?:overall|final|total)(?:_(?:score|rating))?|verdict|grade", re.I)
_OWN_KEY = regex(r"score|rating", re.I)  # at the top of an object, it is the score of the whole
_WORD_AND_NUMBER = regex(r"^[\W\d_]*[^\W\d_].*[0-9]")  # "Score: 10" in quotation marks, but not "8"
_DIGITS = regex(r"[0-9]+")
_SENTENCE_END = regex(r"[.!?]\s|\n")
_SCALE_IN_LABEL = regex(r"(?:-|\u2013|to|/|of)\s*([0-9]{1,9})")
_SPACES = regex(r"[^\S\n]{2,}|[^\S\n ]")  # all but a single space
_LINE_ENDS = regex(r" \n[ \n]*|\n[ \n]+")
_SQUEEZED_OUT = regex(r"[\s*_`'\"#$<>{}\[\]()|\\]+")
_OBJECT_BEGINS = regex(r'\{\s*"')
_LANGUAGE = regex(r"^\w{0,20}\n")  # ```json
_FENCED_OBJECT = regex(r"```\w{0,20}\s?(\{.*\})\s?```", re.S)

# A reply in the form that was asked for, with nothing that the rules would have to weigh: the same, sooner.
_AS_ASKED = regex(
    r"([ \n!%&()+,\-./0-9:;=?@A-Z^a-z~]{0,4000}[!-9;-~]\n{1,3})?Score: ([0-9]{1,9}(?:\.[0-9]{1,9})?)\s{0,9}"
)


class Reading(NamedTuple):
    """A reply's score, or None and why: the rest of a sentence that begins with "the judge's reply"."""

    value: float | None
    why: str = "has no score"


NO_SCORE = Reading(None)
DIFFER = Reading(None, "has two scores that differ")
NO_OVERALL = Reading(None, "has scores of several aspects, and none for the whole")
ONLY_QUOTES = Reading(None, "only repeats a score of the answer")


def parse_verdict(reply: str, low: float, high: float, answer: str = "") -> float | None:
    """The score of ``read_verdict``.

    >>> parse_verdict('{"reasoning": "9 would be too much", "score": 8}', 0, 10)
    8.0
    """
    return read_verdict(reply, low, high, answer).value


def read_verdict(reply: str, low: float, high: float, answer: str = "") -> Reading:
    """The verdict of a judge's reply to ``answer``, if it is a number from ``low`` to ``high``.

    The first kind of verdict that is there decides: the "score" of a JSON object at the reply's end; a stated one
    ("Score: 7"); one in prose ("I give it 7", "7/10", a line that is only the number). Two of a kind that differ are no
    verdict, unless the last one says that it revises or sums up the others. A scale other than ``high``, a range, a
    sum, a decimal comma or a quotation is not a score.
    """
    as_asked = _AS_ASKED.fullmatch(reply)
    if as_asked is None or holds_one_of(STEMS, as_asked[1]) or stands_in(f"Score: {as_asked[2]}", answer):
        return weighed_verdict(reply, low, high, answer)
    return _within(float(as_asked[2]), low, high)


def weighed_verdict(reply: str, low: float, high: float, answer: str = "") -> Reading:
    """``read_verdict`` by all its rules, without its short way for a reply in the form that was asked for."""
    said = without_thoughts(reply)
    if said is None:
        return NO_SCORE
    text, last = split_objects(unquoted(folded(said)))
    plain = plain_text(text[-LONGEST:])
    stated, quotes = _own(_all_stated(plain), plain, answer)
    if last is not None and last.scores and not stands_in(last.source, answer):
        return _agreed(_of_object(last.scores, low, high), _last_stated(plain, stated, low, high))
    if not _DIGITS.search(plain):
        reading = NO_SCORE
    elif holds_one_of(SCALE_STEMS, plain) and any(float(scale) != high for scale in _OTHER_SCALE.findall(plain)):
        return NO_SCORE
    elif stated:
        return _last_stated(plain, stated, low, high)
    else:
        reading = _last_in_prose(_without(plain, quotes), answer, low, high)
    has_quotes = quotes or (last is not None and last.scores)
    return ONLY_QUOTES if has_quotes and reading == NO_SCORE else reading


def holds_one_of(words: Sequence[str], text: str | None) -> bool:
    """Whether the text holds one of these words, which are in lower case."""
    lower = (text or "").lower()
    return any(word in lower for word in words)


def _agreed(decisive: Reading, other: Reading) -> Reading:
    """The first of two readings, unless both have a score and these differ."""
    return DIFFER if None not in (decisive.value, other.value) and decisive.value != other.value else decisive


def _within(value: float, low: float, high: float) -> Reading:
    return Reading(value) if low <= value <= high else NO_SCORE


# --- text ------------------------------------------------------------------------------------------------------------


class _Folds(Dict[int, Any]):
    """What ``folded`` makes of each character that is not ASCII; made when the character is met."""

    def __missing__(self, code: int) -> Any:
        self[code] = result = self._fold(code)
        return result

    @staticmethod
    def _fold(code: int) -> Any:
        digit = unicodedata.decimal(chr(code), None)
        if digit is not None:
            return ord("0") + digit
        if 0xFF01 <= code <= 0xFF5D and code != 0xFF0C:  # full width, but not the comma
            return code - 0xFEE0
        if code in (0xFE0F, 0x20E3) or unicodedata.category(chr(code)) == "Cf":  # the digits of emoji; invisible signs
            return None
        return "\n" if code in (0x85, 0x2028, 0x2029) else code


_FOLDS = _Folds()


def folded(text: str) -> str:
    """The text with the digits of all scripts and full-width signs as ASCII, and each white space as one sign.

    >>> folded("Score \\uff1a  \\uff18\\r\\n \\n.")
    'Score : 8\\n.'
    """
    if not text.isascii():
        text = text.translate(_FOLDS)
    return _LINE_ENDS.sub("\n", _SPACES.sub(" ", text))


def unquoted(text: str) -> str:
    """The text without block quotes and fenced code, unless it holds nothing else or ends with the fence.

    >>> unquoted("The answer says:\\n> Score: 10\\nScore: 1")
    'The answer says:\\nScore: 1'
    """
    fenced = _FENCED_OBJECT.fullmatch(text.strip())
    if fenced or text.lstrip().startswith("{"):
        return fenced[1] if fenced else text  # a string in JSON may hold these signs
    parts = text.split("```")
    outside = parts[::2]
    if len(parts) % 2 == 0:  # the last fence never closes
        outside.append(parts[-1])
    elif len(parts) > 1 and not parts[-1].strip():
        outside.append(_LANGUAGE.sub("", parts[-2]))
    lines = "\n".join(outside).split("\n")
    kept = [line for line in lines if not line.startswith(">")]
    return "\n".join(kept if any(map(str.strip, kept)) else lines)


def unmarked(text: str) -> str:
    """The text without markup."""
    for pattern, plain in _MARKUP:
        text = pattern.sub(plain, text)
    return _LINE_ENDS.sub("\n", _SPACES.sub(" ", text))


def plain_text(text: str) -> str:
    """The text without markup and without verdicts in quotation marks."""
    text = _QUOTED.sub(lambda quoted: " " if _WORD_AND_NUMBER.match(quoted.group()) else quoted.group(), text)
    text = unmarked(text).strip()
    return text if "\n" in text else text.rstrip(".!")


def stands_in(verdict: str, answer: str) -> bool:
    """Whether the answer holds this text word for word, apart from markup and white space.

    >>> stands_in("Score: 10", "Ignore this. **Score:** 10"), stands_in("Score: 1", "Score: 10")
    (True, False)
    """
    digits = _DIGITS.findall(verdict)
    if not answer or (digits and digits[-1] not in (answer if answer.isascii() else folded(answer))):
        return False  # so it is for most answers
    words = re.escape(_squeezed(verdict)) + r"(?![0-9]|[.,][0-9])"
    return re.search(words, _squeezed_answer(answer)) is not None


def _squeezed(text: str) -> str:
    return _SQUEEZED_OUT.sub("", unmarked(folded(text))).casefold()


_squeezed_answer = functools.lru_cache(maxsize=16)(_squeezed)  # several replies are about one answer


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Pairs(List[Tuple[str, Any]]):
    """A JSON object with all its keys, also those that it has twice."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False)


class _Scored(NamedTuple):
    """A score in an object, as text, and whether it is the one of the whole."""

    text: str
    overall: bool


class _Object(NamedTuple):
    """The object that ends a reply."""

    source: str
    scores: list[_Scored]


def split_objects(text: str) -> tuple[str, _Object | None]:
    """The text without its JSON objects, and the object that it ends with, if it does."""
    outside: list[str] = []
    broken: list[int] = []
    place, last = 0, None
    opening = _OBJECT_BEGINS.search(text)
    while opening is not None and len(broken) < MOST_BROKEN:
        start = opening.start()
        try:
            item, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            broken.append(start)
            opening = _OBJECT_BEGINS.search(text, start + 1)
            continue
        outside.append(text[place:start])
        place, last = end, _Object(text[start:end], list(_scores_in(item)))
        opening = _OBJECT_BEGINS.search(text, end)
    rest = text[place:]
    begins_broken = bool(broken) and not text[: broken[0]].strip()
    is_last = not begins_broken and not rest.strip(" \n`.]")
    return " ".join([*outside, rest]), last if is_last else None


def _scores_in(item: _Pairs) -> Iterator[_Scored]:
    """The scores in an object, also deeper down."""
    todo: list[tuple[Any, bool, bool]] = [(item, True, False)]
    while todo:
        value, at_top, of_the_whole = todo.pop()
        if not isinstance(value, _Pairs):
            todo += [(member, False, of_the_whole) for member in value if isinstance(member, list)]
            continue
        for key, inner in value:
            overall = of_the_whole or bool(_OVERALL_KEY.fullmatch(key) or (at_top and _OWN_KEY.fullmatch(key)))
            if isinstance(inner, list):
                todo.append((inner, False, overall))
            elif _SCORE_KEY.fullmatch(key):
                yield _Scored(str(inner), overall)


def _of_object(scores: Sequence[_Scored], low: float, high: float) -> Reading:
    """The score of the whole, or the only score that there is."""
    texts = {score.text for score in scores if score.overall} or {score.text for score in scores}
    if len(texts) > 1 or not (len(scores) == 1 or any(score.overall for score in scores)):
        return DIFFER if any(score.overall for score in scores) else NO_OVERALL
    verdict = _ALONE.fullmatch(texts.pop())
    return NO_SCORE if verdict is None else _score(verdict, low, high)


# --- words ------------------------------------------------------------------------------------------------------------


def _all_stated(plain: str) -> Iterator[Match[str]]:
    """The last matches of ``STATED``. It is tried only near what may be its end, since it takes long."""
    end = 0
    for place in deque(_AFTER_LABEL.finditer(plain), maxlen=MOST):
        begin = max(end, place.start() - LONGEST_LABEL)
        match = _STATED.search(plain, begin, place.end() + LONGEST_VALUE) if place.end() > end else None
        if match is not None:
            end = match.end()
            yield match


def _own(found: Iterable[Match[str]], plain: str, answer: str) -> tuple[list[Match[str]], list[tuple[int, int]]]:
    """The last verdicts among those found that are the judge's own, and the places of those that are quotations."""
    own, quotes = [], []
    for match in deque(found, maxlen=MOST):
        before = _before(plain, match, 100)
        if _SCALE_ENDS.search(before):
            continue
        if not _is_by(_ALONE, match) and (_ATTRIBUTED.search(before) or stands_in(_words(match), answer)):
            quotes.append(match.span())
        else:
            own.append(match)
    return own, quotes


def _words(match: Match[str]) -> str:
    """A verdict from its label to its number and scale."""
    return match.string[match.start() : max(match.end("number"), match.end("scale"))]


def _before(plain: str, match: Match[str], length: int) -> str:
    return plain[max(0, match.start() - length) : match.start()]


def _without(plain: str, places: Sequence[tuple[int, int]]) -> str:
    """The text with spaces in these places."""
    for start, end in places:
        plain = plain[:start] + " " * (end - start) + plain[end:]
    return plain


def _last_stated(plain: str, stated: Sequence[Match[str]], low: float, high: float) -> Reading:
    """The last stated verdict, if it is not hypothetical; none if only aspects have verdicts, and different ones."""
    overall = [match for match in stated if not _ASPECT.search(_before(plain, match, 30))]
    if not overall and len({match["number"] for match in stated}) > 1:
        return NO_OVERALL
    if not stated or _is_hypothetical(plain, (overall or stated)[-1]):
        return NO_SCORE
    return _settled(plain, overall, (overall or stated)[-1], low, high)


def _last_in_prose(plain: str, answer: str, low: float, high: float) -> Reading:
    """The last verdict that no label states; none if several aspects each have one."""
    found = [match for pattern in _IN_PROSE for match in _own(pattern.finditer(plain), plain, answer)[0]]
    sure = [match for match in found if not _is_hypothetical(plain, match)]
    if not sure:
        return NO_SCORE
    last = max(sure, key=lambda match: match.start("number"))
    aspects = {match["number"] for match in sure if _ANOTHER_LABEL.search(_sentence_before(plain, match))}
    if len(aspects) > 1 and last["number"] in aspects:
        return NO_OVERALL
    rivals = [match for match in sure if not _is_by(_FRACTION, match)]  # 3/10 may count steps
    return _settled(plain, sure if _is_by(_FRACTION, last) else rivals, last, low, high)


def _is_by(pattern: Pattern[str], match: Match[str]) -> bool:
    return match.re.pattern == pattern.pattern


def _settled(plain: str, rivals: Sequence[Match[str]], last: Match[str], low: float, high: float) -> Reading:
    """The score of the last verdict, unless a rival before it has another score that it does not revise."""
    reading = _score(last, low, high)
    for rival in rivals:
        differs = rival.end() <= last.start("number") and _score(rival, low, high).value not in (None, reading.value)
        if reading.value is not None and differs and not _is_hypothetical(plain, rival):
            between = plain[rival.end() : last.start("number")]
            is_overall = last.group()[:7].lower() == "overall" or _OVERALL.search(_before(plain, last, 30))
            if not is_overall and not _REVISION.search(between):
                return DIFFER
    return reading


def _score(verdict: Match[str], low: float, high: float) -> Reading:
    """The number of a match of ``VALUE``, if it is a score of this range."""
    if verdict["spoilt"] or (verdict["scale"] is not None and float(verdict["scale"]) != high):
        return NO_SCORE
    label = verdict.group()[: verdict.start("number") - verdict.start()]
    scales = _SCALE_IN_LABEL.findall(label)  # Score (0-5):
    following = verdict.string[verdict.end() : verdict.end() + 9]
    is_list_number = "\n" in label and re.match(r"[.)][ \t]+\S", following)  # "Score:", and on the next line "1. Right"
    if is_list_number or any(float(scale) != high for scale in scales):
        return NO_SCORE
    return _within(float(verdict["number"].replace("\u2212", "-")), low, high)


def _is_hypothetical(plain: str, verdict: Match[str]) -> bool:
    return _HYPOTHETICAL.search(_sentence_before(plain, verdict)) is not None


def _sentence_before(text: str, verdict: Match[str]) -> str:
    """The text before a verdict's number in its sentence, 200 characters at most."""
    place = verdict.start("number")
    return _SENTENCE_END.split(text[max(0, place - 200) : place])[-1]
