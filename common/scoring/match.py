"""``--scorer match``: whether an answer's final answer is the reference's, by value or as text. It sends no requests.

>>> matches("4", "2 and 2 make **4**.")
True
>>> matches("4", r"Perhaps \\boxed{4}. No: \\boxed{5}")
False
>>> matches("4", "Perhaps 4, perhaps 5.") is None
True
"""

from __future__ import annotations

import argparse
import re
from typing import Any, Sequence

from ..flag_types import float_between
from ..records import Entry, Score
from ..servers.client import ChatClient
from .same_answer import Decision, decide
from .shapes import AnswerScorer


def add_reading_flags(group: argparse._ArgumentGroup) -> None:
    """--answer_pattern, --math_tolerance: how rules read and compare final answers."""
    group.add_argument(
        "--answer_pattern",
        type=pattern,
        nargs="+",
        metavar="REGEX",
        help="how else match and math find a final answer: the first group of the last match",
    )
    group.add_argument(
        "--math_tolerance",
        type=float_between(0, 1),
        metavar="T",
        help="match and math take numbers as equal if they differ by at most the share T (default: exact)",
    )


def pattern(text: str) -> str:
    """A flag's type: a regular expression.

    >>> pattern("Result: (.*)")
    'Result: (.*)'
    """
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"must be a regular expression: {error}, in {text!r}") from error
    return text


class Match(AnswerScorer):
    """``high`` for a match, ``low`` for a miss, unscored if that cannot be told.

    A miss that compares only words is unsure: it is not final in a cascade. ``own`` are further patterns of final
    answers, and ``tolerance`` is the relative difference of equal numbers.
    """

    name = "match"
    usage = "match"
    help = "the final answer is the reference's, by value or as text"
    right_or_wrong = True
    needs_reference = True

    def __init__(self, low: float, high: float, own: Sequence[str] = (), tolerance: float | None = None) -> None:
        super().__init__({"score_min": low, "score_max": high, **reading_settings(own, tolerance)})
        self._low = low
        self._high = high
        self._own = tuple(map(re.compile, own))
        self._tolerance = tolerance

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Match:
        """The rule with the flags' range, patterns and tolerance."""
        return cls(args.score_min, args.score_max, args.answer_pattern or (), args.math_tolerance)

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--answer_pattern, --math_tolerance"""
        add_reading_flags(group)

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer; see ``decide`` of same_answer.py."""
        decision = decide(entry.question, entry.reference, text, self._own, self._tolerance)
        return score_of_decision(decision, self._low, self._high)


def reading_settings(own: Sequence[str], tolerance: float | None) -> dict[str, Any]:
    """The settings of a rule that reads final answers, as far as they are set."""
    settings: dict[str, Any] = {"answer_pattern": list(own), "math_tolerance": tolerance}
    return {name: value for name, value in settings.items() if value not in (None, [])}


def score_of_decision(decision: Decision, low: float, high: float) -> Score:
    """The score of a decision: ``high`` for a match, ``low`` for a miss, unscored if it is undecided."""
    if decision.value is None:
        return Score(None, unscored=decision.why)
    return Score(high if decision.value else low, unsure=decision.why if decision.unsure else None)


def matches(reference: str, answer: str, question: str = "") -> bool | None:
    """Whether an answer's final answer is the reference's; None if that cannot be told."""
    return decide(question, reference, answer).value
