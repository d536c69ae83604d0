r"""``--scorer majority``: the share of an entry's answers that have the same final answer. It needs no reference.

This is self-consistency (Wang et al. 2022, arXiv 2203.11171). The final answers that are equal by the rules of
``match`` form a class, and an answer's score is the share of its class, in the range of scores. An answer whose final
answer cannot be told is in no class and is unscored, but it counts among all. Another scorer may weight the votes.

Example: ``scores = await Majority(0, 10).score_together(entry, [], [r"\boxed{4}", "It is 4.", r"\boxed{5}"])``
"""

from __future__ import annotations

import argparse
import math
import re
from typing import Any, Sequence

from ..flag_types import float_between
from ..records import Entry, Score
from ..servers.client import ChatClient
from .match import add_reading_flags, reading_settings
from .same_answer import Said, read_answer
from .shapes import AnswerScorer, EntryScorer, Scorer
from .votes import Ballot, Party, Reading, parties

ALONE = "it is the only answer: there is no majority of one"
NO_WEIGHT = "no vote for this answer has a weight"
WEIGHT = "vote_weight"  # the setting that names the weigher; its fingerprint is under WEIGHT_ID
WEIGHT_ID = "vote_weight_id"


class Majority(EntryScorer):
    """The share of an answer's class, from ``low`` (none) to ``high`` (all).

    ``own`` are further patterns of final answers, and ``tolerance`` is the relative difference of equal numbers. With a
    ``weigher``, a vote weighs as much as its score: see ``weight_of``.
    """

    name = "majority"
    usage = "majority"
    help = "the share of the entry's answers that have the same final answer; no reference is needed"
    counts_copies = True

    def __init__(
        self,
        low: float,
        high: float,
        own: Sequence[str] = (),
        tolerance: float | None = None,
        weigher: AnswerScorer | None = None,
    ) -> None:
        settings: dict[str, Any] = {"score_min": low, "score_max": high, **reading_settings(own, tolerance)}
        if weigher is not None:
            settings = {**weigher.settings, **settings, WEIGHT: weigher.name, WEIGHT_ID: weigher.settings_id}
            del settings["scorer"]
        super().__init__(settings)
        self.part = weigher
        self.wants_images = weigher is not None and weigher.wants_images
        self.needed_keys = () if weigher is None else weigher.needed_keys
        self._low = low
        self._high = high
        self._reading = Reading(tuple(map(re.compile, own)), tolerance)

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--answer_pattern, --math_tolerance, --majority_min"""
        add_reading_flags(group)
        group.add_argument(
            "--majority_min",
            type=float_between(0, 1),
            metavar="SHARE",
            help="with majority, an answer is accepted if its class has at least this share of the answers: 0.75",
        )

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Majority:
        """The scorer with the flags' range, patterns and tolerance; scorers.py adds the weigher."""
        return cls(args.score_min, args.score_max, args.answer_pattern or (), args.math_tolerance)

    def weighted_by(self, weigher: AnswerScorer) -> Majority:
        """The same scorer, whose votes another one weights."""
        own = [pattern.pattern for pattern in self._reading.own]
        return Majority(self._low, self._high, own, self._reading.tolerance, weigher)

    async def score_together(self, entry: Entry, images: Sequence[str], texts: Sequence[str]) -> list[Score]:
        """The share of each answer's class; each vote weighs the same."""
        return self._scores(entry, texts, [Score(None)] * len(texts), [1.0] * len(texts))

    async def score_with_parts(
        self, entry: Entry, images: Sequence[str], texts: Sequence[str], parts: Sequence[Score]
    ) -> list[Score]:
        """The share of each answer's class; each vote weighs as ``parts`` say, which are the weigher's scores."""
        if self.part is None:
            return await self.score_together(entry, images, texts)
        return self._scores(entry, texts, parts, [self.weight_of(part) for part in parts])

    def weight_of(self, part: Score) -> float | None:
        """The weight of a vote, from 0 to 1: where the weigher's score lies in its range; None if it gave none.

        A score without a range (a reward model's) is a logit: its weight is its logistic function, which is the
        probability that a Bradley-Terry model gives to a win against an answer of reward 0. A score made of those of
        steps is a probability already.
        """
        if part.value is None:
            return None
        if self.part is None or self.part.has_range:
            return (part.value - self._low) / (self._high - self._low)
        if part.step_scores is not None:
            return part.value
        return (1 + math.tanh(part.value / 2)) / 2

    def _scores(
        self, entry: Entry, texts: Sequence[str], parts: Sequence[Score], weights: Sequence[float | None]
    ) -> list[Score]:
        said = [read_answer(entry.question, text, *self._reading) for text in texts]
        total = math.fsum(weight for weight in weights if weight is not None)
        scores = [self._without_class(*one) for one in zip(parts, weights, said)]
        if len(texts) < 2:
            return [
                score if isinstance(one, str) else score._replace(unscored=ALONE) for score, one in zip(scores, said)
            ]
        for party in parties(entry.question, said, self._reading):
            own = [weight for weight in (weights[place] for place in party.members) if weight is not None]
            if own and total:
                share = round(math.fsum(own) / total, 6)
                for place in party.members:
                    scores[place] = self._with_class(scores[place], party, share, len(texts))
        return scores

    def _without_class(self, part: Score, weight: float | None, said: Said | str) -> Score:
        """What is known of an answer whose class has no share: its weight, and why it is unscored."""
        vote: dict[str, Any] | None = None
        if self.part is not None:
            vote = {"weight": None if weight is None else round(weight, 6), "score": part.value}
            if part.unscored is not None:
                vote["unscored"] = part.unscored
        return part._replace(value=None, vote=vote, unscored=said if isinstance(said, str) else NO_WEIGHT)

    def _with_class(self, score: Score, party: Party, share: float, count: int) -> Score:
        vote = {"answer": party.name, "share": share, "votes": len(party.members), "of": count, **(score.vote or {})}
        return score._replace(value=score_of_share(share, self._low, self._high), vote=vote, unscored=None)

    def about_entry(self, scores: Sequence[Score]) -> dict[str, Any]:
        """``majority_answer`` and ``majority_share``; the answer is null if two classes lead, or if there is none."""
        shares = {score.vote["answer"]: score.vote["share"] for score in scores if score.vote and "share" in score.vote}
        most = max(shares.values(), default=None)
        leaders = [answer for answer, share in shares.items() if share == most]
        return {"majority_answer": leaders[0] if len(leaders) == 1 else None, "majority_share": most}

    def ballot(self, entry: Entry) -> Ballot:
        """An empty ballot for an entry's answers as they arrive."""
        return Ballot(entry.question, self._reading)

    @property
    def requests_per_answer(self) -> int:
        """Those of the weigher."""
        return self.part.requests_per_answer if self.part is not None else 0

    def askers(self) -> list[Scorer]:
        """Those of the weigher."""
        return self.part.askers() if self.part is not None else []

    async def room(self, depth: int) -> None:
        """Returns when the weigher has room."""
        if self.part is not None:
            await self.part.room(depth)

    def idle(self) -> bool:
        """Whether the weigher is idle."""
        return self.part is None or self.part.idle()

    def summary_rows(self) -> list[tuple[str, str]]:
        """What the weigher says."""
        return self.part.summary_rows() if self.part is not None else []

    def close(self) -> None:
        """Ends the processes of the weigher."""
        if self.part is not None:
            self.part.close()


def part_of(score: Score) -> Score | None:
    """What the weigher said of an answer, by the answer's score in a record; None if it was not asked."""
    if score.vote is None or "score" not in score.vote:
        return None
    return score._replace(value=score.vote["score"], unscored=score.vote.get("unscored"), vote=None)


def score_of_share(share: float, low: float, high: float) -> float:
    """The score of a class with this share.

    >>> score_of_share(0.75, 0, 10), score_of_share(0.07, 0, 100)
    (7.5, 7.0)
    """
    return round(low + (high - low) * share, 6)
