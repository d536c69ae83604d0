"""One entry in progress: what the ledger has of it, what is being drawn and scored, and the record it becomes.

Example: ``candidates.recall(lines); candidates.start(messages); record, scores = await candidates.record()``
"""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Dict, List, Optional, Sequence, Tuple

from common.ledger import Ledger
from common.records import (
    Answer,
    Entry,
    Record,
    Score,
    answer_from_line,
    answer_line,
    make_record,
    score_from_line,
    score_line,
)
from common.sampler import Sampler
from common.scorers import Scorer


class Candidates:
    """One entry's answers and scores on their way to a record.

    ``watch`` is called with each task that ends: what stops the run must not wait for the entry's other tasks.
    """

    def __init__(
        self,
        entry: Entry,
        sampler: Optional[Sampler],
        scorer: Optional[Scorer],
        ledger: Ledger,
        watch: Callable[[asyncio.Future[Any]], None],
    ) -> None:
        self.entry = entry
        self.images: List[str] = []
        self.answers: Dict[int, Answer] = {}
        self.drawn = 0
        self._sampler = sampler
        self._scorer = scorer
        self._ledger = ledger
        self._watch = watch
        self._draws: List[asyncio.Future[None]] = []
        self._scores: Dict[str, Score] = {}  # by the answer's digest
        self._scoring: Dict[str, asyncio.Future[Score]] = {}

    def recall(self, lines: Sequence[Record]) -> None:
        """Takes from the ledger's lines the answers and scores that these settings would make again."""
        sampler, scorer = self._sampler, self._scorer
        for line in lines:
            if isinstance(line.get("answer"), str) and sampler is not None and line["made_by"] == sampler.made_by:
                answer = answer_from_line(line)
                if line["index"] < sampler.count and sampler.usable(answer, line.get("max_tokens")):
                    self.answers[line["index"]] = answer
            elif "score" in line and "digest" in line and scorer is not None and line["made_by"] == scorer.made_by:
                self._scores[line["digest"]] = score_from_line(line)

    def missing(self) -> List[int]:
        """The indices still to be drawn."""
        sampler = self._sampler
        return [] if sampler is None else [index for index in range(sampler.count) if index not in self.answers]

    def needs_images(self) -> bool:
        """Whether a request will be made that shows the entry's images."""
        scorer = self._scorer
        judged = scorer is not None and scorer.wants_images
        unscored = any(answer.digest not in self._scores for answer in self.answers.values())
        return bool(self.entry.images) and bool(self.missing() or (judged and unscored))

    def start(self, messages: bytes) -> None:
        """Queues every request that can be made now: the missing draws, and the scores of the answers at hand."""
        if self._sampler is not None:
            for draw in self._sampler.draws(self.entry, messages, self.missing(), self._keep):
                self._draws.append(self._task(draw))
        for index, answer in self.answers.items():
            self._score(index, answer)

    def _task(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._watch)
        return task

    def _keep(self, index: int, answer: Answer) -> None:
        sampler = self._sampler
        assert sampler is not None
        line = answer_line(self.entry.entry_id, index, sampler.made_by, answer, sampler.max_tokens)
        self._ledger.append(line)
        self.drawn += 1
        self.answers[index] = answer
        self._score(index, answer)

    def _score(self, index: int, answer: Answer) -> None:
        """Starts scoring an answer, unless the ledger or an identical answer has its score."""
        known = answer.digest in self._scores or answer.digest in self._scoring
        if self._scorer is not None and not known:
            self._scoring[answer.digest] = self._task(self._scored(self._scorer, index, answer))

    async def _scored(self, scorer: Scorer, index: int, answer: Answer) -> Score:
        images = self.images if scorer.wants_images else []
        score = await scorer.score(self.entry, images, answer.text)
        self._ledger.append(score_line(self.entry.entry_id, index, scorer.made_by, answer, score))
        return score

    async def record(self) -> Tuple[Record, List[Score]]:
        """Waits for all that was started, also when some of it fails: it is paid for. Raises the first failure."""
        drawn = await asyncio.gather(*self._draws, return_exceptions=True)
        scored = await asyncio.gather(*self._scoring.values(), return_exceptions=True)
        for failure in (*drawn, *scored):
            if isinstance(failure, BaseException):
                raise failure
        self._scores.update((digest, task.result()) for digest, task in self._scoring.items())
        answers = [self.answers[index] for index in sorted(self.answers)]
        scores = [self._scores[answer.digest] for answer in answers] if self._scorer is not None else []
        return make_record(self.entry, answers, scores if self._scorer is not None else None), scores

    def cancel(self) -> None:
        """Drops what is still under way, where the run stops."""
        started: List[asyncio.Future[Any]] = [*self._draws, *self._scoring.values()]
        for task in started:
            task.cancel()
