"""What a text says: the score in a judge's reply, the final answer in a candidate's.

Pure text work, no requests. A reply that names no score in the range has none: nothing is guessed.

Example: ``parse_verdict("Right, but terse. Score: 7.5/10", 0, 10) == 7.5``
"""

from __future__ import annotations

import re
from typing import List, Match, Optional

_THINKING = r"(?:think|thinking|thought|reasoning)"
_THOUGHTS = re.compile(rf"^.*</{_THINKING}>", re.S | re.I)  # the opening tag may stand in the chat template
_THOUGHTS_OPEN = re.compile(rf"<{_THINKING}>", re.I)

# a number, the scale it names ("/10", "out of 10"), and what may not follow it: more digits, a decimal comma,
# a range, a per cent sign, a second slash, a word glued on (but for the Chinese "points")
_NUMBER = r"(?P<number>(?<![\w.,/])[-+\u2212]?[0-9]+(?:\.[0-9]+)?)"
_SCALE = r"(?:\s*(?:/|out\s+of)\s*(?P<scale>[0-9]+(?:\.[0-9]+)?))"
_SPOILT = r"(?P<spoilt>[.,][0-9]|\s*[-~\u2013\u2014]\s*[0-9]|\s+(?:to|or)\s+[0-9]|\s*[%/]|(?!\u5206)\w)?"
_VALUE = f"{_NUMBER}{_SCALE}?{_SPOILT}"
_LABEL = (
    r"(?<!max )(?<!maximum )(?<!minimum )(?<!highest )(?<!lowest )(?<!possible )"
    r"(?:(?:\bscore|\brating|\u8bc4\u5206|\u5f97\u5206|\u5206\u6570)(?:\s*\([^()\n]{0,40}\)|\s+out\s+of\s+[0-9]+)?"
    r"(?:\s*(?::|\uff1a|=|->|is\b|of\b|would\s+be\b))*"
    r"|\b(?:grade|mark|verdict|overall)\s*[:=])\s*(?:an?\s+)?"
)
_GIVEN = (
    r"\b(?:I(?:['\u2019](?:d|ll|ve))?(?:\s+(?:would|will|have|can|must|only))*\s+"
    r"(?:give|gave|given|rate|rated|score|scored|grade|graded|assign|award)|deserves|merits|earns|rated|graded)\s+"
    r"(?:(?:it|this|that|the|answer|response|reply|candidate|an?|overall|as|at|with|only)\s+)*"
)
_VERDICTS = [
    re.compile(_LABEL + _VALUE, re.I),
    re.compile(_GIVEN + _VALUE, re.I),
    re.compile(rf"^[ \t>-]*?{_VALUE}[ \t]*$", re.M | re.I),  # a line of its own
    re.compile(_NUMBER + _SCALE + _SPOILT, re.I),
]


def without_thoughts(text: str) -> Optional[str]:
    """What follows the last ``</think>``; None if the thinking never ended."""
    spoken = _THOUGHTS.sub("", text)
    return None if _THOUGHTS_OPEN.search(spoken) else spoken


def _plain(text: str) -> str:
    """Without markup: ``**9**``, ``{"score": 4}``, ``<score>4</score>`` and ``\\boxed{4}`` lose their signs."""
    text = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"</\w+>", " ", text)
    text = re.sub(r"<(\w+)>", r"\1: ", text)
    return re.sub(r"[*_`\"#${}]", "", text).strip().rstrip(".!")


def parse_verdict(reply: str, low: float, high: float) -> Optional[float]:
    """The last verdict of a judge's reply, if it is a number from ``low`` to ``high``; else None.

    A verdict is a labelled number ("Score: 7"), a given one ("I give it 7"), one with its scale ("7/10"), or one
    that has a line to itself. That the last one counts is inspect_ai's rule. A scale other than ``high``, a range
    or a decimal comma make it no score: it could be read in two ways.
    """
    spoken = without_thoughts(reply)
    if spoken is None:
        return None
    plain = _plain(spoken)
    found: List[Match[str]] = [match for pattern in _VERDICTS for match in pattern.finditer(plain)]
    if not found:
        return None
    last = max(found, key=lambda match: match.start("number"))
    if last["spoilt"] or (last["scale"] is not None and float(last["scale"]) != high):
        return None
    value = float(last["number"].replace("\u2212", "-"))
    return value if low <= value <= high else None


_FINAL = (
    re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}"),
    re.compile(r"####[ \t]*(\S[^\n]*)"),  # how GSM8K marks its answers
    re.compile(r"\banswer\b(?:\s+is\b|\s*:)+[\s*_:]*(\S[^\n]*)", re.I),
)
_NUMBER_IN_TEXT = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")


def final_answer(text: str) -> str:
    """What a text puts forward as its answer: its last ``\\boxed{}``, ``#### ``, "the answer is", or last line."""
    for pattern in _FINAL:
        marked = pattern.findall(text)
        if marked:
            return str(marked[-1])
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _number(text: str) -> Optional[str]:
    """The canonical spelling of a text that is one number, perhaps with a sign of currency or a unit's dot."""
    bare = text.replace(",", "").replace("\u2212", "-").strip(" $\u20ac\u00a3*.")
    try:
        return f"{float(bare):.12g}" if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", bare) else None
    except OverflowError:
        return None


_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
# "one" is left alone: it is a pronoun more often than a number
_SPELT = re.compile(rf"\b(?:zero|{'|'.join(_NUMBER_WORDS[2:])})\b", re.I)


def _digits(text: str) -> str:
    """The text with its number words (zero, two to twenty) as digits."""
    return _SPELT.sub(lambda match: str(_NUMBER_WORDS.index(match.group().lower())), text)


def _words(text: str) -> List[str]:
    """Lower-case words without markup, punctuation and articles; numbers in their canonical spelling."""
    words = re.sub(r"\\(?:text|mathrm)\b|[*_`\"'$\\{}()\[\]<>!?;:]", " ", text.lower()).split()
    stripped = [_number(word) or word.strip(".,") for word in words]
    return [word for word in stripped if word and word not in ("a", "an", "the")]


def matches(reference: str, answer: str) -> bool:
    """Whether ``answer`` puts the reference forward as its final answer, after normalising both.

    A number must be the first of a marked final answer, or the last of the last line; other texts must begin or
    end it as whole words. Strict on purpose: what is no plain match is a miss.
    """
    spoken = without_thoughts(answer)
    wanted = _words(_digits(final_answer(reference)))
    if spoken is None or not wanted:
        return False
    said = final_answer(spoken)
    if len(wanted) == 1 and _number(wanted[0]):
        numbers = [_number(found) for found in _NUMBER_IN_TEXT.findall(_digits(said))]
        marked = any(pattern.search(spoken) for pattern in _FINAL)
        return bool(numbers) and numbers[0 if marked else -1] == wanted[0]
    heard = _words(_digits(said))
    return heard[: len(wanted)] == wanted or heard[-len(wanted) :] == wanted
