"""One entry in progress: what the ledger has of it, what is being drawn and scored, and the record it becomes.

Example: ``candidates.recall(lines); candidates.start(messages); record, scores = await candidates.record()``
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Coroutine, Dict, List, Optional, Protocol, Sequence, Set, Tuple

from ..records import (
    NOT_NEEDED,
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
from ..results.selection import normalised, selectable
from ..scoring.scorers import Scorer
from .early_stopping import Drawn, StopRule
from .sampler import Sampler

JUDGE_DEPTH = 8  # answers that may wait for the judge, in multiples of its concurrency
NOT_SCORED = Score(None, unscored=NOT_NEEDED)


class Notes(Protocol):
    """What keeps each answer and score as it arrives: the ledger."""

    def append(self, line: Record) -> None: ...


async def room_for_more(sampler: Optional[Sampler], scorer: Optional[Scorer]) -> None:
    """Returns once the servers have room for another entry."""
    if sampler is not None:
        await sampler.client.room()
    if scorer is not None:
        await scorer.room(1 if sampler is None else JUDGE_DEPTH)


def idle(sampler: Optional[Sampler], scorer: Optional[Scorer]) -> bool:
    """Whether both roles are there, and neither has anything that waits."""
    return sampler is not None and sampler.client.idle() and scorer is not None and scorer.idle()


class Candidates:
    """One entry's answers and scores on their way to a record.

    ``watch`` is called with each task that ends: what stops the run must not wait for the entry's other tasks.
    ``rule`` says when enough is drawn (None: all are drawn), ``servers_idle`` whether the servers are idle.
    """

    def __init__(
        self,
        entry: Entry,
        sampler: Optional[Sampler],
        scorer: Optional[Scorer],
        ledger: Notes,
        watch: Callable[[asyncio.Future[Any]], None],
        rule: Optional[StopRule] = None,
        servers_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self.entry = entry
        self.images: List[str] = []
        self.answers: Dict[int, Answer] = {}
        self.drawn = 0
        self._sampler = sampler
        self._scorer = scorer
        self._ledger = ledger
        self._watch = watch
        self._rule = rule
        self._servers_idle = servers_idle
        self._messages = b""
        self._waiting: List[int] = []  # indices not asked for yet
        self._held: List[int] = []  # of answers at hand whose scores are not asked for yet
        self._scores: Dict[str, Score] = {}  # by the answer's digest
        self._unjudged: Dict[str, List[Answer]] = {}  # by digest: a text is scored once
        self._judged = 0
        self._accepted: Set[str] = set()  # distinct texts
        self._tasks: Set[asyncio.Future[Any]] = set()
        self._ended = asyncio.Event()
        self._failure: Optional[BaseException] = None

    def recall(self, lines: Sequence[Record]) -> None:
        """Takes from the ledger's lines the answers and scores that these settings would make again."""
        sampler, scorer = self._sampler, self._scorer
        for line in lines:
            if isinstance(line.get("answer"), str) and sampler is not None and line["made_by"] == sampler.settings_id:
                answer = answer_from_line(line)
                if line["index"] < sampler.count and sampler.usable(answer, line.get("max_tokens")):
                    self.answers[line["index"]] = answer
            elif "score" in line and "digest" in line and scorer is not None and line["made_by"] == scorer.settings_id:
                self._scores[line["digest"]] = score_from_line(line)

    def take_over(self, answers: Dict[int, Answer], scores: Dict[str, Score]) -> None:
        """Takes what another process has of the entry: its answers, and scores by their digests."""
        self.answers.update(answers)
        self._scores.update(scores)

    def missing(self) -> List[int]:
        """The indices still to be drawn, if all are."""
        sampler = self._sampler
        return [] if sampler is None else [index for index in range(sampler.count) if index not in self.answers]

    def needs_images(self) -> bool:
        """Whether a request may be made that shows the entry's images."""
        scorer = self._scorer
        judged = scorer is not None and scorer.wants_images
        unscored = any(answer.digest not in self._scores for answer in self.answers.values())
        return bool(self.entry.images) and bool(self.missing() or (judged and unscored))

    def start(self, messages: bytes) -> None:
        """Queues every request that is wanted now: the scores of the answers at hand, and draws."""
        self._messages = messages
        self._waiting = self.missing()
        for index, answer in sorted(self.answers.items()):
            if answer.digest in self._scores:
                self._score(index, answer)
            else:
                self._held.append(index)
        self._go_on()
        if not self._tasks:
            self._ended.set()

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[None]) -> None:
        self._watch(task)
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
        elif not task.cancelled() and (self._waiting or self._held or self._rule is not None):
            self._go_on()
        if not self._tasks:
            self._ended.set()

    def _go_on(self) -> None:
        """Asks for what is wanted now, scores of answers at hand first; drops what is under way once it is enough."""
        wanted = self._wanted()
        while self._held and wanted:
            indices, self._held = self._held[:wanted], self._held[wanted:]
            for index in indices:
                self._score(index, self.answers[index])
            wanted = self._wanted()
        if self._stopped() == "stop_after":
            self.cancel()
        elif self._sampler is not None and self._waiting and self._failure is None:
            indices, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
            for draw in self._sampler.draws(self.entry, self._messages, indices, self._keep):
                self._task(draw)
            if not self._waiting:
                self._messages = b""  # megabytes, where there are images

    def _wanted(self) -> int:
        everything = len(self._held) + len(self._waiting)
        return everything if self._rule is None else self._rule.more(self._standing(), self._servers_idle())

    def _standing(self) -> Drawn:
        count = self._sampler.count if self._sampler is not None else 0
        started = count - len(self._waiting) - len(self._held)
        return Drawn(count, started, self._judged, len(self._accepted))

    def _stopped(self) -> Optional[str]:
        return self._rule.stopped(self._standing()) if self._rule is not None else None

    def _keep(self, index: int, answer: Answer) -> None:
        sampler = self._sampler
        assert sampler is not None
        line = answer_line(self.entry.entry_id, index, sampler.settings_id, answer, sampler.max_tokens)
        self._ledger.append(line)
        self.drawn += 1
        self.answers[index] = answer
        self._score(index, answer)

    def _score(self, index: int, answer: Answer) -> None:
        """Has an answer scored, unless the ledger or an identical answer has its score, or there are enough."""
        if self._scorer is None:
            return
        digest = answer.digest
        if digest in self._unjudged:
            self._unjudged[digest].append(answer)
        elif digest in self._scores:
            self._judge([answer], self._scores[digest])
        elif self._stopped() != "stop_after":
            self._unjudged[digest] = [answer]
            self._task(self._scored(self._scorer, index, answer))

    async def _scored(self, scorer: Scorer, index: int, answer: Answer) -> None:
        images = self.images if scorer.wants_images else []
        score = await scorer.score(self.entry, images, answer.text)
        self._ledger.append(score_line(self.entry.entry_id, index, scorer.settings_id, answer, score))
        self._scores[answer.digest] = score
        self._judge(self._unjudged.pop(answer.digest), score)

    def _judge(self, answers: Sequence[Answer], score: Score) -> None:
        self._judged += len(answers)
        for answer in answers:
            good = score.value is not None and self._rule is not None and score.value >= self._rule.accept_score
            if good and selectable(answer.text, answer.finish_reason, score.value):
                self._accepted.add(normalised(answer.text))

    async def record(self, stopped_by: Optional[str] = None) -> Tuple[Record, List[Score]]:
        """Waits for all that was started, also when some of it fails: it is paid for. Raises the first failure.

        ``stopped_by`` is why the entry came with fewer answers than were asked for.
        """
        await self._ended.wait()
        stopped = self._stopped()
        if self._failure is not None and stopped != "stop_after":
            raise self._failure
        answers = [self.answers[index] for index in sorted(self.answers)]
        if self.missing():
            stopped_by = stopped
        if self._scorer is None:
            return make_record(self.entry, answers, None, stopped_by), []
        scores = [self._scores.get(answer.digest, NOT_SCORED) for answer in answers]
        return make_record(self.entry, answers, scores, stopped_by), scores

    def cancel(self) -> None:
        """Drops what is still under way."""
        for task in self._tasks:
            task.cancel()
