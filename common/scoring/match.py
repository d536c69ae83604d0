r"""``--scorer match``: whether an answer's final answer is the reference's, compared as text. It sends no requests.

If a text could be read in two ways, it is a miss, since a false match would be trained on.

>>> matches("4", "2 and 2 make **4**.")
True
>>> matches("4", r"Perhaps \boxed{4}. No: \boxed{\frac{\sqrt{2}}{3}}")
False
"""

from __future__ import annotations

import argparse
import re
from typing import Sequence

from ..records import Entry, Score
from ..servers.client import ChatClient
from .final_answer import FinalAnswer, find_final_answer
from .final_number import final_number, number_of, with_digits
from .patterns import any_of, any_word
from .shapes import AnswerScorer
from .thinking import without_thoughts

_SECOND_THOUGHTS = re.compile(
    any_of(
        rf"\b{any_word('wait actually correction instead sorry mistake hmm no,')}",
        r"\blet\s+me(?!\s+know)",  # let me check; but not: let me know if you have questions
        r"\u4e0d\u5bf9|\u4e0d\u662f|\u7b49\u7b49|\u8ba9\u6211",  # Chinese: wrong, is not, wait, let me
    ),
    re.I,
)
_NEGATIONS = set("not or nor neither never cannot isnt arent wasnt doesnt cant wrong incorrect than except".split())
_OPPOSITES = ({"yes", "no"}, {"true", "false"})
_REASON = re.compile(r"\b(?:since|because|as|for)\b")  # 4, since 2 + 2 = 4


class Match(AnswerScorer):
    """``high`` for a match, ``low`` for a miss, unscored without a reference.

    The rule is strict, so a miss is not final in a cascade.
    """

    name = "match"
    usage = "match"
    help = "the final answer is the reference's, as text"
    low_is_final = False

    def __init__(self, low: float, high: float) -> None:
        super().__init__({"score_min": low, "score_max": high})
        self._low = low
        self._high = high

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Match:
        """The rule with the flags' range."""
        return cls(args.score_min, args.score_max)

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer; see ``matches``."""
        is_match = None if entry.reference is None else matches(entry.reference, text)
        if is_match is None:
            return Score(None, unscored="no reference to match")
        return Score(self._high if is_match else self._low)


def matches(reference: str, answer: str) -> bool | None:
    """Whether an answer's final answer is the reference's (see final_answer.py); None if the reference has none.

    A number must be the only one of a marked answer, or the last one of a sentence; it must not be tied to anything
    else, and have the same value. Any other reference must begin or end the final answer, as whole words. Negations,
    alternatives and second thoughts are misses.
    """
    wanted = _final_answer(reference)
    wanted_words = _words(wanted.text)
    if not wanted_words:
        return None
    reply = without_thoughts(answer)
    final = _final_answer(reply or "")
    if _is_doubtful(final, wanted_words):
        return False
    number = number_of(wanted_words[0]) if len(wanted_words) == 1 else None
    if number is not None:
        return final_number(final.text, only=final.found_by != "last sentence") == number
    return _begins_or_ends_in(wanted_words, _words(final.text)) and _stands_alone(wanted.text, final.text)


def _final_answer(text: str) -> FinalAnswer:
    """The final answer without its reason; an empty one if the text has none."""
    final = find_final_answer(text.replace("\u2212", "-"), keep_options=True) or FinalAnswer("", "", "last sentence")
    return final._replace(text=_REASON.split(final.text)[0]) if final.found_by == "statement" else final


def _is_doubtful(final: FinalAnswer, wanted: list[str]) -> bool:
    """Whether the answer takes its final answer back, negates it (and the reference does not), or asks."""
    negations = _NEGATIONS.intersection(_words(final.text)).difference(wanted)
    second_thoughts = _SECOND_THOUGHTS.search(f"{final.text} {final.after}")
    return bool(negations or second_thoughts or final.text.endswith("?"))


def _begins_or_ends_in(wanted: list[str], words: list[str]) -> bool:
    """Whether these words begin or end in the wanted ones; not if both "yes" and "no" are among them."""
    if len(wanted) == 1 and any(not pair.isdisjoint(wanted) and pair <= set(words) for pair in _OPPOSITES):
        return False
    return wanted in (words[: len(wanted)], words[-len(wanted) :])


def _stands_alone(wanted: str, text: str) -> bool:
    """Whether nothing beside ``wanted``, in a final answer that begins or ends in it, makes it another answer."""
    wanted = wanted.strip(" .*$")
    option = wanted.strip("()")
    if len(option) == 1 and set(re.findall(r"\b[A-H]\b", text)) - {option.upper()}:
        return False
    beside = text.lower().replace(wanted.lower(), " ", 1).rpartition("=")[2]
    if re.search(r"[0-9^+*/]", wanted):  # in a formula, brackets and signs count
        return wanted.replace(" ", "") in text.replace(" ", "") and not re.search(r"[0-9^+*/-]|\b[a-z]\b", beside)
    return not re.search(r"\b(?:and|to|both)\b|&", beside)


def _words(text: str) -> list[str]:
    """Lower-case words without markup and punctuation, and without articles unless there are only articles."""
    text = re.sub(r"n['\u2019]t\b", " not", with_digits(text.lower()))
    text = re.sub(r"\\(?:text|mathrm)\b|[\"'\\{}()\[\]<>!?;]|:(?!\d)", " ", text)
    words = [word for word in (part.strip(".,\u3002\uff0c") for part in text.split()) if word]
    return [word for word in words if word not in ("a", "an", "the")] or words
