"""The score in a judge's reply.

Pure text work, no requests. What could be read in two ways is not read at all: nothing is guessed.

Example: ``parse_verdict("Right, but terse. Score: 7.5/10", 0, 10) == 7.5``
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Match, Optional

from .thinking import without_thoughts

# A number, the scale it names ("/10", "out of 10"), and what spoils it after it: more digits, a decimal comma, a sum,
# a range, an alternative, a per cent sign, a second slash, a word glued on.
_NUMBER = r"(?P<number>(?<![A-Za-z0-9_.,/])[-+\u2212]?[0-9]+(?:\.[0-9]+)?)"
_SCALE = r"(?:(?:\s*(?:points?|stars?|marks?))?\s*\(?(?:/|out\s+of\b)\s*(?P<scale>[0-9]+(?:\.[0-9]+)?))"
_SPOILT = (
    r"(?P<spoilt>[.:][0-9]|:\s*[a-z]|,\s*[0-9]|\s*[-~\uff5e\u2013\u2014\u2212]\s*[0-9]|\s+(?:to|or|and)\s+[0-9]"
    r"|[ \t]+[0-9]|\s*(?:\.\.|->|[%/+=^\u00b1\u2026\u2192\u00d7\u00f7\u00bc-\u00be])"
    r"|[A-Za-z\d_\u00b2\u00b3\u00b9\u4e07\u6210]|\s*\u5206?\s*[\u5230\u6216\u81f3\u3001]\s*[0-9]|\u5206[\uff0c,]\s*\u5f97"
    r"|[ \t]+(?:plus|minus|times|divided|per\s?cent|out\s+of|of|errors?|mistakes?|steps?|issues?|problems?|means|would"
    r"|requires?|indicates|represents)\b|[ \t]+-[^\n\d]*[0-9]+\)?\s*=)?"
)
_VALUE = f"{_NUMBER}{_SCALE}?{_SPOILT}"
_NAMED = (
    r"(?<!\u6700\u9ad8)(?<!max )(?<!maximum )(?<!minimum )(?<!highest )(?<!lowest )(?<!possible )"
    r"(?:\bscore|\brating|\u8bc4\u5206|\u5f97\u5206|\u5206\u6570|\u603b\u5206)"
    r"(?:\s*\([^()\n]{0,40}\)|\s+out\s+of\s+[0-9]+)?"
)
_COLON = r"\s*(?::|\uff1a|=|->|\u4e3a|\u662f)[\s:]*"
_STATED = re.compile(rf"(?:{_NAMED}|\b(?:grade|mark|verdict|overall)){_COLON}(?:an?\s+)?{_VALUE}", re.I)
_SAID = re.compile(rf"{_NAMED}(?:\s+(?:is|of|would\s+be))*\s*(?:an?\s+)?{_VALUE}", re.I)
_GIVEN = re.compile(
    r"\b(?:I(?:['\u2019](?:d|ll|ve))?(?:\s+(?:would|will|have|must|only))*\s+"
    r"(?:give|gave|given|rate|rated|score|scored|grade|graded|assign|award)|deserves|merits|earns|rated|graded)\s+"
    r"(?:(?:it|this|that|the|answer|response|reply|candidate|an?|overall|as|at|with|only)\s+)*"
    rf"{_VALUE}(?!\s+(?!points|marks|stars)[a-z]{{3,}}s\b)",
    re.I,
)
_ALONE = re.compile(rf"^[ \t>]*{_VALUE}[ \t]*(?:points?|pts|\u5206)?[ \t]*$", re.M | re.I)
_FRACTION = re.compile(_NUMBER + _SCALE + _SPOILT, re.I)
# A reply in the form that was asked for, without anything that the rules below would have to weigh: the same, sooner.
_AS_ASKED = re.compile(
    r"(?:[^<>{}\[\]\"\u201c\u201d'`*_|\\#$\u6ee1]*[!-~\n]\n)?Score: ([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*"
)
_ANOTHER_LABEL = re.compile(r"[^\W\d][\w /-]{1,40}(?:[:=(]|\s[-\u2013])[ \t]*$")  # "Style: 9/10" is one aspect's score
_HYPOTHETICAL = re.compile(
    r"\b(?:if|had|were|unless|until|would\s+have|claims|says|wrote|(?:not|n['\u2019]t)\s+(?:think|believe))\b"
    r"|n['\u2019]t\s+(?:think|believe)\b",
    re.I,
)
_ITS_OWN = r"overall|final|total|my|the|this|an?|your|its|and|so|with|of|is|now"
_ASPECT = re.compile(
    rf"(?:\b(?!(?:{_ITS_OWN})\s)[A-Za-z'\u2019]+[ \t]+"
    r"|[\u4e00-\u9fff]{2}(?<!\u6700\u7ec8|\u7efc\u5408|\u6211\u7684))$",
    re.I,
)
_OTHER_SCALE = re.compile(
    r"(?:scale\s+(?:of|from)\s+[0-9.]+\s*(?:to|-|\u2013)|\u6ee1\u5206[\u4e3a\u662f:\uff1a]?)\s*([0-9]+)", re.I
)
_QUOTED = re.compile(r"[\"\u201c][^\"\u201c\u201d\n]{1,300}[\"\u201d]|`[^`\n]{1,300}`|(?<!\w)'[^'\n]{1,300}'(?!\w)")
_SCORE_KEY = re.compile(r"^(?!max|min|confidence|passing|expected)(?:.*_)?(?:score|rating)$", re.I)


def parse_verdict(reply: str, low: float, high: float) -> Optional[float]:
    """The verdict of a judge's reply, if it is a number from ``low`` to ``high``; else None.

    Of several verdicts of a kind the last one counts (inspect_ai's rule). The kinds, the first found decides: a JSON
    object's "score"; a stated one ("Score: 7"); one in prose ("I give it 7", "7/10", a line that is only the number).
    A scale other than ``high``, a range, a sum, a decimal comma or a quotation make it no score.
    """
    plainly = _AS_ASKED.fullmatch(reply)
    if plainly is None or "scale" in reply.lower():
        return weighed_verdict(reply, low, high)
    value = float(plainly[1])
    return value if low <= value <= high else None


def weighed_verdict(reply: str, low: float, high: float) -> Optional[float]:
    """``parse_verdict`` by all its rules, without its short way for a reply that is just what was asked for."""
    spoken = without_thoughts(reply)
    if spoken is None:
        return None
    every = list(_objects(spoken))
    objects = [found for found in every if any(_SCORE_KEY.search(key) for key in found)]
    if not objects and any(len(re.findall(r'(?:score|rating)": ', json.dumps(found))) > 1 for found in every):
        return None  # the scores of several aspects, deeper down
    if objects:
        return _score(_ALONE.fullmatch(_score_in(objects[-1])), low, high)
    plain = _plain(spoken)
    if any(float(scale) != high for scale in _OTHER_SCALE.findall(plain)):
        return None
    stated = list(_STATED.finditer(plain))
    return _score(_last_stated(plain, stated) if stated else _last_in_prose(plain), low, high)


def _score(verdict: Optional[Match[str]], low: float, high: float) -> Optional[float]:
    """The number of a match of ``_VALUE``, if it is a score of this range."""
    if verdict is None or verdict["spoilt"] or (verdict["scale"] is not None and float(verdict["scale"]) != high):
        return None
    before = verdict.group()[: verdict.start("number") - verdict.start()]
    scales = re.findall(r"(?:-|\u2013|to|/|of)\s*([0-9]+)", before)  # "Score (0-5):"
    in_a_list = "\n" in before and re.match(r"[.)][ \t]+\S", verdict.string[verdict.end() : verdict.end() + 9])
    if in_a_list or any(float(scale) != high for scale in scales):
        return None
    value = float(verdict["number"].replace("\u2212", "-"))
    return value if low <= value <= high else None


def _objects(text: str) -> Iterator[Dict[str, Any]]:
    """The JSON objects of a text, in their order; given up after 50 places where one begins and is none."""
    decoder, begins, broken = json.JSONDecoder(), re.compile(r'\{\s*"'), 0
    opening = begins.search(text)
    while opening is not None and broken < 50:
        try:
            found, end = decoder.raw_decode(text, opening.start())
            yield found
        except (ValueError, RecursionError):
            end = opening.start() + 1
            broken += 1
        opening = begins.search(text, end)


def _score_in(found: Dict[str, Any]) -> str:
    """What an object holds as "score" or "rating", as an overall one, or under the only key that ends so."""
    keys = [key for key in found if _SCORE_KEY.search(key)]
    chosen = [key for key in keys if re.fullmatch(r"(?i)(?:(?:overall|final|total)_)?(?:score|rating)", key)] or keys
    return str(found[chosen[0]]) if len(chosen) == 1 else ""


def _plain(text: str) -> str:
    """Without markup (``**9**``, ``[[9]]``, ``<score>9</score>``, a table's bars) and without quoted verdicts."""
    text = _QUOTED.sub(lambda quoted: " " if re.search(r"[^\W\d_].*[0-9]", quoted.group()) else quoted.group(), text)
    text = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"<(\w*(?:score|rating))>", r"\1: ", text, flags=re.I)
    text = re.sub(r"</?[A-Za-z]\w* ?/?>", " ", text).replace("_", " ").replace("|", ":")
    text = re.sub(r"[*`\"#${}\[\]]|(?<![A-Za-z])'|'(?![A-Za-z])|<(?=[-+0-9])|(?<=[0-9])>", "", text)
    text = re.sub(r"(?<=:)[ \t]*\((?=[0-9]+\))", " ", text).strip()
    return text if "\n" in text else text.rstrip(".!")


def _last(matches: Iterator[Match[str]]) -> Optional[Match[str]]:
    found = sorted(matches, key=lambda match: match.start("number"))
    return found[-1] if found else None


def _last_stated(plain: str, stated: List[Match[str]]) -> Optional[Match[str]]:
    """The last stated verdict, an aspect's ("Style score: 9") only if it is the only one; None if hypothetical."""
    own = [match for match in stated if not _ASPECT.search(plain[max(0, match.start() - 30) : match.start()])]
    last = (own or stated)[-1]
    several = not own and len({match["number"] for match in stated}) > 1
    return None if several or _HYPOTHETICAL.search(_sentence_before(plain, last.start("number"))) else last


def _last_in_prose(plain: str) -> Optional[Match[str]]:
    """The last verdict that no label states; None also where several labels of other names each have one."""
    found = [match for pattern in (_SAID, _GIVEN, _ALONE, _FRACTION) for match in pattern.finditer(plain)]
    sure = [match for match in found if not _HYPOTHETICAL.search(_sentence_before(plain, match.start("number")))]
    last = _last(iter(sure))
    before = {match: _sentence_before(plain, match.start("number")) for match in sure}
    aspects = {match["number"] for match in sure if _ANOTHER_LABEL.search(before[match])}
    return None if last is not None and len(aspects) > 1 and last["number"] in aspects else last


def _sentence_before(text: str, place: int) -> str:
    """What stands before ``place`` in its sentence, 200 characters at most."""
    return re.split(r"[.!?]\s|\n", text[max(0, place - 200) : place])[-1]
