"""How many answers an entry draws next, and why it draws no more: arithmetic, no requests.

An easy question needs few draws, a hopeless one is not worth many: DART-Math (arXiv 2407.13690) draws until so many
are correct, RFT (arXiv 2308.01825) keeps the distinct correct ones of a fixed number.

Example: ``StopRule(accept_score=8, stop_after=2).more(Drawn(most=16, started=2, judged=2, accepted=1)) == 1``
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Optional


class Drawn(NamedTuple):
    """Where an entry stands: of ``most`` answers at most, so many are asked for, are judged, are accepted."""

    most: int
    started: int
    judged: int
    accepted: int


@dataclass(frozen=True)
class StopRule:
    """``stop_after`` accepted answers are enough; none among the first ``give_up_after`` is enough too.

    Accepted is a distinct answer that may be selected and scores at least ``accept_score``.
    """

    accept_score: float
    stop_after: Optional[int] = None
    give_up_after: Optional[int] = None

    def more(self, drawn: Drawn, servers_idle: bool = False) -> int:
        """How many answers to ask for now, beside those not judged yet: 0 or more.

        Just as many as are still needed, so that little is wasted while other entries keep the servers busy; in a
        ``servers_idle``, with idle servers, as many as bring that number at the rate of acceptance seen so far.
        """
        if self.stopped(drawn):
            return 0
        wanted = drawn.most - drawn.started
        if self.stop_after is not None:
            need = self.stop_after - drawn.accepted
            if servers_idle:
                need = math.ceil(need * (drawn.judged + 1) / (drawn.accepted + 1))
            wanted = min(wanted, need - (drawn.started - drawn.judged))
        if self.give_up_after is not None and not drawn.accepted:
            wanted = min(wanted, self.give_up_after - drawn.started)
        return max(0, wanted)

    def stopped(self, drawn: Drawn) -> Optional[str]:
        """The flag that ends the drawing here, if one does."""
        if self.stop_after is not None and drawn.accepted >= self.stop_after:
            return "stop_after"
        if self.give_up_after is not None and not drawn.accepted and drawn.judged >= self.give_up_after:
            return "give_up_after"
        return None
