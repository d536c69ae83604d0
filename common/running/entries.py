"""What the files of a run have of its entries: an entry in progress comes from there, and its record goes there.

Example: ``state, lines = Entries(job, files, counts, limits, several_visits=False).open(visit)``
"""

from __future__ import annotations

import asyncio
from typing import Iterable, Iterator, NamedTuple

from ..fast_json import dumps
from ..images import load_images
from ..records import PendingEntry, Record, Score, id_key
from ..scoring.shapes import AnswerScorer, EntryScorer
from ..servers.messages import chat_messages
from ..storage.run_files import RunFiles
from .breadth import Visit
from .candidates import Candidates
from .counts import Counts
from .entry_state import EntryState
from .job import Job, Pipeline
from .limits import Limits
from .posterior import Seen
from .sampler import Sampler


class Recalled(NamedTuple):
    """What there is of an entry: in its old record, and in its ledger lines, from which ``answers`` answers come."""

    state: EntryState
    lines: list[Record]
    replaced: list[Record]  # lines of scores that a new record does not hold
    answers: int


class Entries:
    """The entries of a job. ``several_visits`` says that an entry may have more than one visit."""

    def __init__(self, job: Job, files: RunFiles, counts: Counts, limits: Limits, several_visits: bool) -> None:
        self._job = job
        self._files = files
        self._counts = counts
        self._limits = limits
        self._several_visits = several_visits
        self._retried: set[int] = set()  # entries whose answers without a score were scored again in this run
        self._failed: set[int] = set()  # entries that failed in this run
        files.ledger.keeps_track = several_visits

    def open(self, visit: Visit) -> tuple[EntryState, list[Record]]:
        """An entry in progress, and its ledger lines."""
        key = id_key(visit.pending.entry.entry_id)
        state, lines, replaced, answers = self._recall(visit.pending, is_first=key not in self._retried)
        state.most = 0 if visit.most is not None and self._are_to_score(state) else visit.most
        if self._several_visits and self._job.pipeline.scorer is not None and self._job.pipeline.scorer.retry_unscored:
            self._retried.add(key)
        if visit.is_first:
            self._count_begun(state, answers)
        for line in replaced:
            if line not in lines:
                self._files.ledger.append(line)
        return state, lines

    def _recall(self, pending: PendingEntry, is_first: bool) -> Recalled:
        """``is_first`` says that the scorer is to be asked again where it gave no score, if the user wants that."""
        job, ledger = self._job, self._files.ledger
        state = EntryState(pending.entry, dict(enumerate(pending.answers or ())))
        before, replaced = self._files.before, []
        if pending.record is not None:
            replaced = state.take_record(pending.record, before, job.pipeline, is_first)
        known, lines = len(state.answers), ledger.recall(pending.entry.entry_id, forget=not self._several_visits)
        state.recall(lines, job.pipeline, is_first)
        return Recalled(state, lines, replaced, len(state.answers) - known)

    def _count_begun(self, state: EntryState, recalled: int) -> None:
        self._counts.recalled += recalled
        self._counts.begun += 1
        self._counts.there += len(state.answers)

    def seen(self, state: EntryState) -> Seen:
        """What an entry has, as far as its next visit depends on that."""
        return state.seen(self._job.results.selection.passes) if self._several_visits else Seen()

    def seen_before(self, pending: PendingEntry) -> Seen | None:
        """What earlier runs have of an entry that is to have more answers; None if it has none, or needs none.

        None too if its answers are to be scored first.
        """
        if pending.record is None and pending.entry.entry_id not in self._files.ledger:
            return None
        state, _, _, recalled = self._recall(pending, is_first=True)
        pipeline = self._job.pipeline
        if not state.answers or not state.missing(pipeline.sampler) or state.is_complete(pipeline):
            return None
        if self._are_to_score(state):
            return None
        self._count_begun(state, recalled)
        self.count_rows(state)
        return self.seen(state)

    def _are_to_score(self, state: EntryState) -> bool:
        """Whether answers at hand are to be scored before more are sampled: nobody knows yet what the entry needs."""
        return isinstance(self._job.pipeline.scorer, AnswerScorer) and state.are_unscored()

    def count_rows(self, state: EntryState) -> None:
        """Counts the rows of an entry that is not complete."""
        if self._limits.target is not None:
            self._limits.count(self._record(state, None)[0])

    def fail(self, state: EntryState) -> None:
        """Notes that an entry failed. Its scored answers still count: with several visits, they reach the output."""
        self._failed.add(id_key(state.entry.entry_id))
        if self._several_visits:
            self.count_rows(state)

    def _record(self, state: EntryState, stopped_by: str | None) -> tuple[Record, list[Score]]:
        return state.record(self._job.pipeline.scorer, stopped_by, self._job.results.selection.passes)

    def finish(self, state: EntryState, stopped_by: str | None) -> tuple[Record, list[Score]]:
        """Writes the record of a complete entry; returns it with its scores."""
        record, scores = self._record(state, stopped_by)
        self._files.output.append(record)
        self._files.ledger.forget(state.entry.entry_id)
        self._limits.count(record)
        self._count_record(state, scores)
        return record, scores

    def _count_record(self, state: EntryState, scores: list[Score]) -> None:
        self._counts.add_answers(state.answers.values())
        self._counts.add_scores(scores)

    def unfinished(self, entries: Iterable[PendingEntry]) -> Iterator[Record]:
        """The records of entries that need more, as far as they have more scored answers than the output has."""
        pipeline, scorer_changed = self._job.pipeline, self._files.scorer_changed
        for pending in entries:
            state = self._recall(pending, is_first=False).state
            if isinstance(pipeline.scorer, EntryScorer):
                asyncio.run(_score_at_hand(state, pipeline))
            if pipeline.scorer is not None:
                state.drop_unscored()
            has_failed = id_key(pending.entry.entry_id) in self._failed
            self._counts.postponed += bool(state.answers) and not self._limits.is_reached and not has_failed
            old = None if scorer_changed else pending.record
            there = 0 if old is None else len(old["generated_answers"])
            record, scores = self._record(state, None)
            has_score = any(score.value is not None for score in scores)
            if len(state.answers) > there and (has_score or pipeline.scorer is None):
                self._count_record(state, scores)
                self._counts.unfinished += not has_failed
                if self._limits.target is not None:
                    self._limits.target.count(record)  # with what was in flight when the run ended
                yield record

    def count_those_of_output(self) -> None:
        """Counts the rows that earlier runs gave. If they are enough, all these entries are done."""
        for record in self._files.records_before() if self._limits.target is not None else ():
            self._limits.count(record)
        self._counts.skipped += self._files.entries_before if self._limits.is_reached else 0


async def fill(state: EntryState, job: Job) -> None:
    """Adds the images and the prompt to an entry, if a request needs them. BadEntry if an image cannot be sent."""
    loop = asyncio.get_running_loop()
    if state.needs_images(job.pipeline):
        where = (job.image_folder, job.image_root is not None, job.max_image_bytes)
        state.images = await loop.run_in_executor(None, load_images, state.entry.images, *where)
    sampler = job.pipeline.sampler
    groups = [] if sampler is None else sampler.groups(state.entry.entry_id, state.missing(sampler))
    for one, _ in groups:
        if state.images:  # base64 of megabytes: off the event loop
            prompt = await loop.run_in_executor(None, _prompt, state, one)
        else:
            prompt = _prompt(state, one)
        same = (known for known in state.prompts.values() if known == prompt)
        state.prompts[one.settings_id] = next(same, prompt)  # equal prompts are kept once


def _prompt(state: EntryState, sampler: Sampler) -> bytes:
    begun = [] if sampler.prefill is None else [sampler.prefill.message()]
    return dumps([*chat_messages(state.entry, state.images, sampler.system_prompt), *begun])


async def _score_at_hand(state: EntryState, pipeline: Pipeline) -> None:
    """Scores an entry's answers together, if that takes no request. Python 3.8 makes no events without a loop."""
    await Candidates(state, pipeline, lambda line: None, lambda error: None).score_at_hand()
