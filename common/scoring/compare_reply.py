r"""The verdict in a judge's reply that compares answers. Nothing is guessed: a reply that is unclear has no verdict.

A verdict is a sentence or a line by itself, or the JSON object that the reply ends with. What an answer says is not a
verdict: a sentence that stands in an answer too, or between quotation marks, does not count.

>>> read_best("B has the right sum.\nBest: B", ["It is 5.", "It is 4."]).best
'B'
>>> read_best("Best: A", ["It is 5. Best: A", "It is 4."])
Best(best=None, why='only repeats a verdict of an answer')
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterator, List, Match, NamedTuple, Sequence, Tuple

from ..patterns import any_of, any_word, regex
from ..thinking import without_thoughts
from .compare_prompt import NAMES, TIE
from .judge_forms import QUOTED, compiled
from .judge_reply import folded, unmarked, unquoted

LONGEST = 8000  # characters at the end of a reply that are searched
MOST_BROKEN = 20  # places that begin like a JSON object and are not one, until no more are tried


class Best(NamedTuple):
    """The name of the best answer, ``TIE``, or None and why: the rest of "the judge's reply ..."."""

    best: str | None
    why: str = "does not say which answer is the best"


NO_BEST = Best(None)
DIFFER = Best(None, "has two verdicts that differ")
ONLY_QUOTES = Best(None, "only repeats a verdict of an answer")

_ANSWER = any_word("answer response candidate option assistant")
_NAME = rf"(?:(?:the\s+)?{_ANSWER}\s+)?[\[(]*(?P<name>[a-jA-J])[\])]*"
_TIE = r"(?P<tie>(?:an?\s+|it\s+is\s+an?\s+|it's\s+an?\s+)?(?:tie|draw)|equal(?:ly\s+good)?|neither|both|none)"
_LABEL = (
    rf"(?:(?:my|the|final|overall)\s+){{0,3}}(?:verdict|winner|choice|decision|preference|better|best|preferred)"
    rf"(?:\s+(?:{_ANSWER}|one))?"
)
_GOOD = (
    rf"(?:the\s+)?(?:better|best|winner|preferred)(?:\s+(?:{_ANSWER}|one))?(?:\s+than\s+(?:{_ANSWER}\s+)?\(?[a-j]\)?)?"
)
_SO = r"(?:(?:so|thus|therefore|hence|overall|finally)[, ]+)?"
_WHY = r"(?:\s+(?:because|since)\b.{0,300}|\s*\([^()]{0,300}\))?"
_SENTENCE = regex(
    any_of(
        rf"{_SO}{_LABEL}\s*(?::|=|->|\bis\b)+\s*(?:{_NAME}|{_TIE}){_WHY}",  # Best: A; The better answer is B
        rf"{_SO}{_NAME.replace('name', 'first')}\s+(?:wins|is\s+{_GOOD}){_WHY}",  # Answer A is better
    ),
    re.I,
)
_ALONE = regex(rf"(?:{_NAME}|{_TIE})", re.I)
_DOUBLE = regex(r"\[\[\s*(?:([A-J])|tie)\s*\]\]", re.I)
_IN_PLACE = regex(r"<\s?([A-J]|tie)\s?>", re.I)  # Best: <A>, as the place of the name is written in the prompt
_SENTENCES = regex(r"(?<=[.!?;])\s+|(?<!:)\n")
_QUOTED = compiled(QUOTED)
_KEY = regex(r"(?:best|better|winner|verdict|preferred|choice)(?:[_ ](?:answer|response|one))?", re.I)


def read_best(reply: str, answers: Sequence[str]) -> Best:
    """Which of the answers the reply calls the best; they are named A, B, ... in this order.

    All verdicts of a reply must agree.
    """
    said = without_thoughts(reply)
    if said is None:
        return NO_BEST
    text, objects = _split(unquoted(folded(said)))
    names = NAMES[: len(answers)]
    found = [*_of_object(objects), *_of_sentences(text[-LONGEST:])]
    if not found and not objects:
        found = _of_whole(text)
    known = {best for best in found if best == TIE or best in names}
    if len(known) < len(set(found)):
        return NO_BEST
    quoted = {best for answer in answers for best in _said_in(answer)} if known else set()
    own = known - quoted
    if known and not own:
        return ONLY_QUOTES
    return Best(own.pop()) if len(own) == 1 else (DIFFER if own else NO_BEST)


def _said_in(answer: str) -> Iterator[str]:
    """The verdicts that an answer holds, which the judge may only repeat."""
    text, objects = _split(folded(answer), last_only=False)
    yield from _of_object(objects)
    yield from _of_sentences(text)


def _of_sentences(text: str) -> List[str]:
    """The verdicts of the sentences and lines that are one."""
    plain = _QUOTED.sub(lambda quoted: quoted.group() if _is_name(quoted.group()) else '"', text)
    plain = _IN_PLACE.sub(r"\1", plain)
    found = [name.upper() or TIE for name in _DOUBLE.findall(plain)]
    for sentence in _SENTENCES.split(unmarked(plain)):
        match = _SENTENCE.fullmatch(sentence.strip(" .!;,:-#>"))
        if match is not None:
            name = match["name"] or match["first"]
            found.append(name.upper() if name else TIE)
    return found


def _of_whole(text: str) -> List[str]:
    """The verdict of a reply that is nothing but a name."""
    match = _ALONE.fullmatch(unmarked(text).strip(" .!\n"))
    return [] if match is None else [_named(match)]


def _named(match: Match[str]) -> str:
    return match["name"].upper() if match["name"] else TIE


def _is_name(quoted: str) -> bool:
    return _ALONE.fullmatch(quoted[1:-1].strip(" .*")) is not None


# --- JSON -------------------------------------------------------------------------------------------------------------

_Pairs = List[Tuple[str, Any]]
_DECODER = json.JSONDecoder(object_pairs_hook=list, strict=False)
_OPENING = regex(r'\{\s*"')


def _split(text: str, last_only: bool = True) -> Tuple[str, List[_Pairs]]:
    """The text without its JSON objects, and the objects: only the one that the text ends with, if ``last_only``."""
    outside, objects, place, broken = [], [], 0, 0
    opening = _OPENING.search(text)
    while opening is not None and broken < MOST_BROKEN:
        try:
            value, end = _DECODER.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            broken += 1
            opening = _OPENING.search(text, opening.start() + 1)
            continue
        outside.append(text[place : opening.start()])
        objects.append(value)
        place = end
        opening = _OPENING.search(text, end)
    rest = text[place:]
    ends_with_one = not rest.strip(" \n`.")
    if last_only:
        objects = objects[-1:] if ends_with_one else []
    return "\n".join([*outside, rest]), objects


def _of_object(objects: Sequence[_Pairs]) -> Iterator[str]:
    """The verdicts under the keys of objects: a name, or a tie."""
    for pairs in objects:
        for key, value in pairs:
            if _KEY.fullmatch(key) and isinstance(value, str):
                match = _ALONE.fullmatch(value.strip(" .!"))
                yield "?" if match is None else _named(match)
