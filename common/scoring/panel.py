"""``--scorer judge`` with several models: each of them scores the answer, and the score is the mean.

Each model's score is kept by itself as it arrives, as the score of a judge with this model alone. So a panel with one
model more asks only the new one. A mean over fewer models would be another scale: an answer that one model cannot score
is unscored, and the scores of the others are kept.

Example: ``score = await Panel([Judge(one, 0, 10), Judge(other, 0, 10)]).score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any, Sequence

from ..records import Answer, Entry, Record, Score
from ..servers.client import ChatClient
from .gathered import gather_paid
from .judge import Judge, judged_before, judged_in, replies_of, usage_of
from .shapes import NO_VERDICTS, AnswerScorer, Scorer, Verdicts


class Panel(AnswerScorer):
    """Asks several judges, which differ only in their models, and takes the mean of their scores."""

    name = Judge.name
    usage = Judge.usage
    help = Judge.help
    needs_client = True

    def __init__(self, judges: Sequence[Judge]) -> None:
        self._judges = {str(judge.settings["model"]): judge for judge in judges}
        first = judges[0]
        super().__init__({**first.settings, "model": sorted(self._judges)})
        self.wants_images = first.wants_images
        self.needed_keys = first.needed_keys
        self._makers = {maker for judge in judges for maker in (judge.settings_id, *judge.part_ids)}

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """Those of a judge."""
        Judge.add_flags(group)

    @classmethod
    def from_clients(cls, spec: str, args: argparse.Namespace, clients: Sequence[ChatClient]) -> Scorer:
        """A judge per client: one judge, or a panel of several."""
        judges = [Judge.from_flags(spec, args, client) for client in clients]
        return judges[0] if len(judges) == 1 else cls(judges)

    def recalls(self, line: Record) -> bool:
        """Whether one of the judges gave a score in the line, alone or in another panel."""
        return any(maker in self._makers for maker, _, _ in judged_in(line))

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The mean of the judges' scores of one answer's text."""
        return await self.score_answer(entry, images, Answer(text))

    async def score_answer(self, entry: Entry, images: Sequence[str], answer: Answer) -> Score:
        """As ``score``, of the whole answer."""
        return await self.score_with(entry, images, answer, NO_VERDICTS)

    async def score_with(self, entry: Entry, images: Sequence[str], answer: Answer, verdicts: Verdicts) -> Score:
        """As ``score_answer``; only judges whose score of the answer is not known are asked."""
        asked = [self._score_by(model, entry, images, answer, verdicts) for model in self._judges]
        scores = dict(zip(self._judges, await gather_paid(asked)))
        makers = {model: judge.settings_id for model, judge in self._judges.items()}
        return panel_score(scores, makers)

    async def _score_by(
        self, model: str, entry: Entry, images: Sequence[str], answer: Answer, verdicts: Verdicts
    ) -> Score:
        """One judge's score: the known one, or what it says now, also of the replies that a known one lacks."""
        judge = self._judges[model]
        known = judged_before(verdicts.lines, [judge.settings_id], answer.digest, self.retry_unscored)
        if known:
            return known[-1]
        parts = judged_before(verdicts.lines, judge.part_ids, answer.digest, self.retry_unscored)
        if parts:
            part = max(parts, key=lambda score: len(replies_of(score)))
            score = judge.joined(part, await judge.rest(part).score_answer(entry, images, answer))
        else:
            score = await judge.score_answer(entry, images, answer)
        verdicts.keep(judge.settings_id, answer.digest, {"score": score.value, **score.details()})
        return score

    @property
    def requests_per_answer(self) -> int:
        """Those of all judges."""
        return sum(judge.requests_per_answer for judge in self._judges.values())

    async def room(self, depth: int) -> None:
        """Returns when each of the judges has room."""
        for judge in self._judges.values():
            await judge.room(depth)

    def idle(self) -> bool:
        """Whether all the judges are idle."""
        return all(judge.idle() for judge in self._judges.values())


def panel_score(scores: dict[str, Score], makers: dict[str, str]) -> Score:
    """The mean and the standard deviation of the models' scores; unscored if one of them has none.

    >>> score = panel_score({"a": Score(8), "b": Score(6)}, {"a": "id of a", "b": "id of b"})
    >>> score.value, score.spread, score.panel[0]
    (7.0, 1.0, {'model': 'a', 'made_by': 'id of a', 'score': 8})
    """
    panel: list[dict[str, Any]] = [
        {"model": model, "made_by": makers[model], "score": score.value, **score.details()}
        for model, score in scores.items()
    ]
    usage = usage_of(list(scores.values())) or None
    values = [score.value for score in scores.values() if score.value is not None]
    missing = [f"{score.unscored} ({model})" for model, score in scores.items() if score.value is None]
    if missing:
        return Score(None, unscored="; ".join(missing), panel=panel, judge_usage=usage)
    return Score(statistics.fmean(values), spread=statistics.pstdev(values), panel=panel, judge_usage=usage)
