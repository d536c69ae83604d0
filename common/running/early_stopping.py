"""How many answers an entry samples next, and why it stops: arithmetic, no requests.

An easy question needs few answers, and a hopeless one is not worth many. DART-Math (arXiv 2407.13690) samples until a
number of answers is correct. RFT (arXiv 2308.01825) keeps the distinct correct answers of a fixed number.

>>> StopRule(accept_score=8, stop_after=2).more(Standing(most=16, started=2, scored=2, accepted=1))
1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Sequence

from ..records import Answer, Score
from ..results.selection import selectable
from ..scoring.votes import sureness, votes_missing

ENOUGH = ("stop_after", "stop_sure")  # with these, an entry has what it needs: what is in flight is dropped


class Standing(NamedTuple):
    """Where an entry stands: of at most ``most`` answers, how many were started, scored and accepted.

    ``votes`` are the sizes of its classes of equal answers, the largest first, where answers are counted so.
    """

    most: int
    started: int
    scored: int
    accepted: int
    votes: Sequence[int] = ()


@dataclass(frozen=True)
class StopRule:
    """An entry stops with ``stop_after`` accepted answers, or with none among its first ``give_up_after``.

    An accepted answer is a distinct text that may be selected and that scores at least ``accept_score``.
    """

    accept_score: float
    stop_after: int | None = None
    give_up_after: int | None = None

    def more(self, standing: Standing, servers_idle: bool = False) -> int:
        """How many answers (0 or more) to start now, besides those that are not scored yet.

        While other entries keep the servers busy, this is the number that is still needed, so that little is wasted.
        If the servers are idle, it is the number that brings those at the acceptance rate so far.
        """
        if self.stopped_by(standing):
            return 0
        wanted = standing.most - standing.started
        if self.stop_after is not None:
            missing = self.stop_after - standing.accepted
            if servers_idle:
                missing = math.ceil(missing * (standing.scored + 1) / (standing.accepted + 1))
            wanted = min(wanted, missing - (standing.started - standing.scored))
        if self.give_up_after is not None and not standing.accepted:
            wanted = min(wanted, self.give_up_after - standing.started)
        return max(0, wanted)

    def accepts(self, answer: Answer, score: Score) -> bool:
        """Whether a scored answer is accepted."""
        is_high = score.value is not None and score.value >= self.accept_score
        return is_high and selectable(answer.text, answer.finish_reason, score.value)

    def stopped_by(self, standing: Standing) -> str | None:
        """The flag that stops the entry here, if one does."""
        if self.stop_after is not None and standing.accepted >= self.stop_after:
            return "stop_after"
        if self.give_up_after is not None and not standing.accepted and standing.scored >= self.give_up_after:
            return "give_up_after"
        return None


@dataclass(frozen=True)
class StopSure:
    """An entry stops once its leading answer is with probability ``stop_sure`` the one that the model gives most often.

    It has two votes at least. See ``sureness`` of votes.py.

    >>> StopSure(0.95).more(Standing(most=8, started=2, scored=2, accepted=0, votes=(2,)))
    2
    """

    stop_sure: float

    def more(self, standing: Standing, servers_idle: bool = False) -> int:
        """How many answers to start now, as ``StopRule.more``: as many as are needed if all of them agree."""
        if self.stopped_by(standing):
            return 0
        first, second = leading(standing)
        missing = max(votes_missing(first, second, self.stop_sure), 2 - first - second)
        if servers_idle:
            missing = math.ceil(missing * (standing.scored + 1) / (first + 1))
        in_flight = standing.started - standing.scored
        return max(0, min(standing.most - standing.started, missing - in_flight))

    def accepts(self, answer: Answer, score: Score) -> bool:
        """No answer alone stops the entry."""
        return False

    def stopped_by(self, standing: Standing) -> str | None:
        """The flag, if it stops the entry here."""
        first, second = leading(standing)
        return "stop_sure" if first + second >= 2 and sureness(first, second) >= self.stop_sure else None


def leading(standing: Standing) -> tuple[int, int]:
    """The votes of the two largest classes."""
    first, second, *_ = [*standing.votes, 0, 0]
    return first, second
