"""One entry's candidates: samples and scores what the entry lacks, as much of it as its stop rule wants.

Example: ``stopped_by = await Candidates(state, pipeline, ledger.append, stop).run()``
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Coroutine, Sequence

from ..errors import BudgetSpent, EntryFailed, Postponed
from ..records import Answer, Record, Score, answer_line, score_line, verdict_line
from ..results.selection import normalised
from ..scoring.majority import Majority
from ..scoring.rows import row_id
from ..scoring.shapes import AnswerScorer, EntryScorer, Scorer, Verdicts
from ..servers.known_servers import ended_by_itself
from .early_stopping import ENOUGH, Standing, StopSure
from .entry_state import EntryState, score_id
from .job import Pipeline


class Candidates:
    """An entry in progress, which runs itself.

    ``keep`` is given each ledger line as it arrives. ``stop`` is told at once of an error that ends the whole run,
    since the entry's other requests may take long. ``servers_idle`` says whether requests that may turn out to be
    unnecessary cost nothing.
    """

    def __init__(
        self,
        state: EntryState,
        pipeline: Pipeline,
        keep: Callable[[Record], None],
        stop: Callable[[BaseException], None],
        servers_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._state = state
        self._sampler = pipeline.sampler
        scorer = pipeline.scorer
        self._row = None if scorer is None else row_id(scorer.settings, state.entry.extra)
        self._entry_scorer = scorer if isinstance(scorer, EntryScorer) else None
        self._answer_scorer = scorer.part if isinstance(scorer, EntryScorer) else None
        self._alone = state.parts  # by digest: the scores of the answer scorer
        if isinstance(scorer, AnswerScorer):
            self._answer_scorer, self._alone = scorer, state.scores
        self._rule = pipeline.stop_rule
        counts = isinstance(self._rule, StopSure)
        self._ballot = scorer.ballot(state.entry) if counts and isinstance(scorer, Majority) else None
        self._keep = keep
        self._stop = stop
        self._servers_idle = servers_idle
        wanted = state.missing(self._sampler) if state.most is None else state.within_reach(self._sampler)
        self._to_sample: list[int] = list(wanted)  # indices without a request yet; never replaced
        self._all = len(state.answers) + len(self._to_sample)
        self._most = len(state.answers) + state.to_sample(self._sampler)  # in this visit
        self._to_score: list[int] = []  # indices of answers at hand that no scorer was given yet
        self._being_scored: dict[str, list[Answer]] = {}  # by digest: equal texts are scored once
        self._scored = 0
        self._accepted: set[str] = set()  # distinct texts
        self._tasks: set[asyncio.Future[Any]] = set()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self._dropped = False  # whether what is in flight was given up here

    async def run(self) -> str | None:
        """Fills the entry's state; returns the flag that stopped the sampling early, if one did.

        It waits for everything that was sent, also when a part fails: all of it is paid for. Then it raises the first
        failure (EntryFailed, BudgetSpent, RunStopped), or Postponed if only replies are missing.
        """
        try:
            self._start()
            await self._ended.wait()
            stopped_by = self._stopped_by()
            if self._failure is not None and stopped_by not in ENOUGH:
                raise self._failure
            is_missing = bool(self._state.missing(self._sampler))
            if self._entry_scorer is not None and not (is_missing and self._state.most is not None and not stopped_by):
                await self._score_together(self._entry_scorer)
            return stopped_by if is_missing else None
        finally:
            self._cancel()

    async def score_at_hand(self) -> None:
        """Has the answers at hand scored together, if that takes no request. Samples nothing."""
        scorer = self._entry_scorer
        if scorer is not None and (scorer.part is not None or not scorer.requests_for(len(self._state.answers))):
            await self._score_together(scorer)

    def _start(self) -> None:
        """Sends every request that is wanted now."""
        if self._entry_scorer is not None and not self._to_sample and self._all_scored():
            self._ended.set()
            return
        for index, answer in sorted(self._state.answers.items()):
            is_done = answer.digest in self._alone or not ended_by_itself(answer.finish_reason)
            if is_done or self._ballot is not None:
                self._score(index, answer)
            else:
                self._to_score.append(index)
        self._go_on()
        if not self._tasks:
            self._ended.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        error = self._error_of(task)
        if error is not None:
            if self._failure is None or isinstance(self._failure, Postponed):
                self._failure = error
            if not isinstance(error, (EntryFailed, BudgetSpent, Postponed)):
                self._stop(error)
        elif not task.cancelled() and (self._to_sample or self._to_score or self._rule is not None):
            self._go_on()
        if not self._tasks:
            self._ended.set()

    def _error_of(self, task: asyncio.Future[None]) -> BaseException | None:
        if not task.cancelled():
            return task.exception()
        if self._dropped:
            return None
        error = EntryFailed("a request or a check was cancelled by something else than this run")
        error.stage = "score"
        return error

    def _go_on(self) -> None:
        """Sends what is wanted now, scores of answers at hand first; drops what is in flight once it is enough."""
        wanted = self._wanted()
        while self._to_score and wanted:
            indices, self._to_score = self._to_score[:wanted], self._to_score[wanted:]
            for index in indices:
                self._score(index, self._state.answers[index])
            wanted = self._wanted()
        if self._stopped_by() in ENOUGH:
            self._cancel()
        elif self._sampler is not None and self._to_sample and self._failure is None:
            indices, later = self._to_sample[:wanted], self._to_sample
            del later[:wanted]
            for request in self._sampler.requests(self._state.entry, self._state.prompts, indices, self._take, later):
                self._begin(request)
            if not self._to_sample:
                self._state.prompts = {}  # megabytes, where there are images

    def _wanted(self) -> int:
        """How many more answers are to be sampled or scored now."""
        if self._rule is None:
            return max(0, self._most - self._started())
        return self._rule.more(self._standing(), self._servers_idle())

    def _standing(self) -> Standing:
        votes = self._ballot.sizes() if self._ballot is not None else ()
        return Standing(self._most, self._started(), self._scored, len(self._accepted), votes)

    def _started(self) -> int:
        return self._all - len(self._to_sample) - len(self._to_score)

    def _stopped_by(self) -> str | None:
        return self._rule.stopped_by(self._standing()) if self._rule is not None else None

    def _take(self, index: int, answer: Answer) -> None:
        """Keeps an answer that arrived, and has it scored."""
        assert self._sampler is not None
        entry_id = self._state.entry.entry_id
        sampler = self._sampler.of(entry_id, index)
        self._keep(answer_line(entry_id, index, sampler.settings_id, answer, sampler.max_tokens))
        answer.max_tokens = sampler.max_tokens
        self._state.answers[index] = self._sampler.signed(answer, sampler)
        if self._entry_scorer is not None and self._entry_scorer.counts_copies:
            self._state.scores.clear()  # they were those of fewer answers
        self._score(index, answer)

    def _score(self, index: int, answer: Answer) -> None:
        """Has an answer scored, unless it is cut, its text has a score or is being scored, or the entry has enough."""
        if self._ballot is not None:
            self._vote(answer)
        if self._answer_scorer is None:
            return
        digest = answer.digest
        if not ended_by_itself(answer.finish_reason):
            self._scored += 1
        elif digest in self._being_scored:
            self._being_scored[digest].append(answer)
        elif digest in self._alone:
            self._count([answer], self._alone[digest])
        elif self._stopped_by() != "stop_after":
            self._being_scored[digest] = [answer]
            self._begin(self._score_alone(self._answer_scorer, index, answer))

    def _vote(self, answer: Answer) -> None:
        assert self._ballot is not None
        self._scored += 1
        if ended_by_itself(answer.finish_reason):
            self._ballot.add(answer.text)

    async def _score_alone(self, scorer: AnswerScorer, index: int, answer: Answer) -> None:
        images = self._state.images if scorer.wants_images else []
        known = self._state.parts.get(answer.digest)
        asked = scorer if known is None else scorer.rest(known)
        score = await asked.score_with(self._state.entry, images, answer, self._verdicts(scorer))
        if known is not None:
            score = scorer.joined(known, score)
        self._keep_score(scorer.settings_id, index, answer, score, self._alone)
        self._count(self._being_scored.pop(answer.digest), score)

    async def _score_together(self, scorer: EntryScorer) -> None:
        """Scores the entry's distinct answers, unless all of their scores are known."""
        if self._all_scored():
            return
        whole = self._state.whole_answers()
        distinct = {answer.digest: (index, answer) for index, answer in reversed(whole)}
        images = self._state.images if scorer.wants_images else []
        answers = [answer for _, answer in whole]
        texts = [answer.text for answer in answers]
        if scorer.part is None:
            scores = await scorer.score_together_with(self._state.entry, images, texts, self._verdicts(scorer))
        else:
            parts = [self._state.parts.get(answer.digest) for answer in answers]
            known = [part or Score(None, unscored="it was not asked") for part in parts]
            scores = await scorer.score_with_parts(self._state.entry, images, texts, known)
        settings_id = score_id(scorer, answers)
        by_digest = {answer.digest: score for answer, score in zip(answers, scores)}
        for digest, (index, answer) in distinct.items():
            self._keep_score(settings_id, index, answer, by_digest[digest], self._state.scores)

    def _all_scored(self) -> bool:
        return all(answer.digest in self._state.scores for _, answer in self._state.whole_answers())

    def _verdicts(self, scorer: Scorer) -> Verdicts:
        """The known parts of the entry's scores, and what keeps a new one."""

        def keep(maker: str, about: str, fields: dict[str, Any]) -> None:
            self._keep(
                verdict_line(self._state.entry.entry_id, f"{scorer.settings_id}:{maker}", about, fields, self._row)
            )

        return Verdicts(self._state.verdicts, keep)

    def _keep_score(self, settings_id: str, index: int, answer: Answer, score: Score, scores: dict[str, Score]) -> None:
        self._keep(score_line(self._state.entry.entry_id, index, settings_id, answer, score, self._row))
        scores[answer.digest] = score

    def _count(self, answers: Sequence[Answer], score: Score) -> None:
        """Counts scored answers, and the distinct accepted ones among them."""
        self._scored += len(answers)
        for answer in answers:
            if self._rule is not None and self._rule.accepts(answer, score):
                self._accepted.add(normalised(answer.text))

    def _cancel(self) -> None:
        self._dropped = True
        for task in self._tasks:
            task.cancel()
