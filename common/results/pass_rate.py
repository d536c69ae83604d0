"""The pass rate of an entry, the share of its scored answers that are accepted, and what it decides.

RL trains on questions that a model answers right sometimes. DART-Math (arXiv 2407.13690) takes more answers of hard
questions than of easy ones.

>>> pass_rate_of({"generated_answers": ["4", "5"], "generated_scores": [10, 0]}, 10)
PassRate(accepted=1, of=2)
>>> PassRate(1, 2).as_data()
{'accepted': 1, 'of': 2, 'interval': [0.0945, 0.9055]}
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from typing import Any, NamedTuple

from ..records import Record
from ..servers.known_servers import ended_by_itself
from ..thinking import split_thoughts

Z95 = 1.959963984540054  # standard normal quantile of 0.975
_RANGE = re.compile(r"(\d*\.?\d+)-(\d*\.?\d+)").fullmatch
_UNIFORM = re.compile(r"uniform:([1-9]\d{0,8})").fullmatch
PROP2DIFF = "prop2diff"


class PassRate(NamedTuple):
    """How many of an entry's scored answers are accepted. Cut and unscored answers are not among them."""

    accepted: int
    of: int

    @property
    def share(self) -> float | None:
        """From 0 to 1; None if no answer has a score."""
        return self.accepted / self.of if self.of else None

    def as_data(self) -> dict[str, Any]:
        """What a record holds, with the 95 % interval."""
        return {**self._asdict(), "interval": [round(end, 4) for end in wilson(self.accepted, self.of)]}


def wilson(accepted: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): never empty, and never outside 0 to 1.

    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    if not of:
        return 0.0, 1.0
    share, square = accepted / of, Z95 * Z95
    middle = (share + square / (2 * of)) / (1 + square / of)
    reach = Z95 / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return (0.0 if not accepted else middle - reach), (1.0 if accepted == of else middle + reach)


def pass_rate_of(record: Record, accept_score: float) -> PassRate:
    """The pass rate of a record, in which an answer is accepted from ``accept_score`` on. Never raises."""
    texts, scores, details = (record.get(f"generated_{key}") for key in ("answers", "scores", "details"))
    if not isinstance(texts, list) or not isinstance(scores, list) or len(texts) != len(scores):
        return PassRate(0, 0)
    known = details if isinstance(details, list) and len(details) == len(scores) else [{}] * len(scores)
    whole = [score for text, score, detail in zip(texts, scores, known) if _is_scored(text, score, detail)]
    return PassRate(sum(score >= accept_score for score in whole), len(whole))


def _is_scored(text: object, score: object, detail: object) -> bool:
    is_number = isinstance(score, (int, float)) and not isinstance(score, bool) and abs(score) <= sys.float_info.max
    if not is_number or not isinstance(text, str) or not isinstance(detail, dict):
        return False
    return ended_by_itself(detail.get("finish_reason")) and split_thoughts(text).answer is not None


def share_range(text: str) -> tuple[float, float]:
    """A flag's type: two shares from 0 to 1.

    >>> share_range("0.1-0.9")
    (0.1, 0.9)
    """
    found = _RANGE(text.replace(" ", ""))
    low, high = map(float, found.groups()) if found else (1.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise argparse.ArgumentTypeError(f"must be two shares from 0 to 1 such as 0.1-0.9, not {text!r}")
    return low, high


def per_entry(text: str) -> str:
    """A flag's type: how many answers of each entry."""
    if text != PROP2DIFF and not _UNIFORM(text):
        raise argparse.ArgumentTypeError(f"must be uniform:K (such as uniform:4) or {PROP2DIFF}, not {text!r}")
    return text


def answers_wanted(how: str, rate: PassRate) -> int:
    """How many answers of an entry ``--per_entry`` wants, of those that are accepted (there may be fewer).

    ``uniform:K`` is K. ``prop2diff`` is in proportion to the difficulty, the share that is not accepted, and one at
    least: as many as there are scored answers that are not accepted.

    >>> answers_wanted("uniform:4", PassRate(8, 8)), answers_wanted("prop2diff", PassRate(6, 8))
    (4, 2)
    """
    uniform = _UNIFORM(how)
    return int(uniform[1]) if uniform else max(1, rate.of - rate.accepted)
