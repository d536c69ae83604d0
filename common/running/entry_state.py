"""An entry in progress as plain data: what it has, what it lacks, and the record that it becomes.

It is the same in this process and on a Ray worker, and it can be pickled.

Example: ``state = EntryState(entry); state.recall(ledger.recall(entry.entry_id), pipeline); state.missing(sampler)``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Sequence

from ..input.conversations import work_from_record
from ..records import (
    CUT,
    NOT_NEEDED,
    SCORE_DETAILS,
    Answer,
    Entry,
    Record,
    Score,
    answer_from_line,
    fingerprint,
    make_record,
    score_from_line,
    score_line,
)
from ..results.pass_rate import pass_rate_of
from ..results.selection import normalised
from ..scoring.majority import WEIGHT_ID, part_of
from ..scoring.rows import row_id
from ..scoring.shapes import AnswerScorer, EntryScorer, Scorer
from ..servers.known_servers import ended_by_itself
from ..storage.ledger_lines import is_vote
from ..storage.run_files import scorer_of
from .early_stopping import Standing, StopRule, StopSure
from .generators import Generators
from .job import Pipeline
from .posterior import Seen

CHARACTERS = 4  # of a token, roughly


@dataclass
class EntryState:
    """``answers`` are by index, ``scores`` by the digest of the answer's text: equal texts share one score.

    ``parts`` are scores that the scorer's own would contain, ``verdicts`` the ledger lines that save it requests.
    ``most`` is how many answers may be sampled in this visit (None: all that are missing).
    ``images`` are URLs, and ``prompts`` the JSON of the messages by the generator's settings; both are filled only if a
    request needs them.
    """

    entry: Entry
    answers: dict[int, Answer] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    parts: dict[str, Score] = field(default_factory=dict)
    verdicts: list[Record] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    prompts: dict[str, bytes] = field(default_factory=dict)
    most: int | None = None

    def recall(self, lines: Iterable[Record], pipeline: Pipeline, retry: bool = True) -> None:
        """Takes from ledger lines the answers and the scores that the pipeline's settings would make again.

        An answer that is there already stays. With ``retry``, an answer without a score is to be scored again, if the
        scorer retries such answers.
        """
        retry = retry and pipeline.scorer is not None and pipeline.scorer.retry_unscored
        scores, there, row = [], set(self.answers), self._row_id(pipeline.scorer)
        for line in lines:
            if "answer" in line:
                if line["index"] not in there:
                    self._take_answer(line, pipeline.sampler)
                continue
            if line.get("row") != row:
                continue  # a score of other row data
            if "score" in line and "digest" in line:
                scores.append(line)
            if pipeline.scorer is not None and pipeline.scorer.recalls(line):
                self.verdicts.append(line)
        if pipeline.scorer is not None and scores:
            wanted = score_id(pipeline.scorer, self._whole())
            known = [line for line in scores if line["made_by"] == wanted]
            if retry:
                known = [line for line in known if line["score"] is not None]
            self.scores.update((line["digest"], score_from_line(line)) for line in known)
        if pipeline.scorer is not None:
            parts = [line for line in scores if line["made_by"] in ids_of_parts(pipeline.scorer)]
            if isinstance(pipeline.scorer, EntryScorer) and retry:
                parts = [line for line in parts if line["score"] is not None]
            for line in sorted(parts, key=lambda line: len(line.get("judge_samples") or [line])):
                self.parts[line["digest"]] = score_from_line(line)

    def _row_id(self, scorer: Scorer | None) -> str | None:
        """The fingerprint of what the scorer reads of the entry's own keys; None if it reads none."""
        return None if scorer is None else row_id(scorer.settings, self.entry.extra)

    def _take_answer(self, line: Record, generators: Generators | None) -> None:
        """Takes an answer of the generator that its index has now."""
        if generators is None or line["index"] >= generators.count or not isinstance(line["answer"], str):
            return
        sampler, answer = generators.of(self.entry.entry_id, line["index"]), answer_from_line(line)
        if line["made_by"] == sampler.settings_id and sampler.usable(answer, line.get("max_tokens")):
            self.answers[line["index"]] = generators.signed(answer, sampler)

    def take_record(
        self, record: Record, before: dict[str, Any], pipeline: Pipeline, retry: bool = True
    ) -> list[Record]:
        """Takes what an output whose settings were ``before`` has of the entry. All its answers count, if usable.

        Only the scores are taken if the answers come with the input. Returns the ledger lines of the scores of other
        scorers, or of other row data.
        """
        answers = work_from_record(record).answers or []
        sampler = pipeline.sampler
        for place, answer in enumerate(answers if sampler is not None else ()):
            limit = limit_before(before) if answer.max_tokens is None else answer.max_tokens
            index = index_of(record, place)
            if sampler is not None and sampler.usable(answer, self.entry.entry_id, index, limit):
                answer.max_tokens = limit
                self.answers[index] = answer
        lines = list(score_lines(record, answers, scorer_of(before), pipeline.scorer))
        self.recall(lines, pipeline, retry)
        own = pipeline.scorer.settings_id if pipeline.scorer is not None else ""
        row = self._row_id(pipeline.scorer)
        return [line for line in lines if line.get("row") != row or not line["made_by"].startswith(own)]

    def is_complete(self, pipeline: Pipeline) -> bool:
        """Whether nothing is to be sampled or scored."""
        unscored = pipeline.scorer is not None and self.are_unscored()
        if not self.missing(pipeline.sampler) and not unscored:
            return True
        if unscored and isinstance(pipeline.scorer, EntryScorer):
            return False  # it scores all answers that are there
        return pipeline.stop_rule is not None and self._stopped_by(pipeline.stop_rule) is not None

    def are_unscored(self) -> bool:
        """Whether an answer that counts has no score."""
        return any(one.digest not in self.scores for one in self._whole())

    def seen(self, accept_score: float | None) -> Seen:
        """How many answers there are, how many different ones score at least that, and the tokens of all of them."""
        rule = None if accept_score is None else StopRule(accept_score)
        accepted = {normalised(answer.text) for answer, score in self._known() if rule and rule.accepts(answer, score)}
        return Seen(len(self.answers), len(accepted), sum(map(tokens_of, self.answers.values())))

    def drop_unscored(self) -> None:
        """Takes away the answers that no scorer was asked about."""
        known = {one.digest for one, _ in self._known()}
        self.answers = {
            index: one
            for index, one in self.answers.items()
            if one.digest in known or not ended_by_itself(one.finish_reason)
        }

    def _known(self) -> list[tuple[Answer, Score]]:
        """The answers that have a score, each with it."""
        return [(one, self.scores[one.digest]) for one in self._whole() if one.digest in self.scores]

    def _stopped_by(self, rule: StopRule | StopSure) -> str | None:
        known = self._known()
        accepted = {normalised(answer.text) for answer, score in known if rule.accepts(answer, score)}
        scored = len(known) + len(self.answers) - len(self._whole())
        votes = sizes_of_classes([score for _, score in known])
        return rule.stopped_by(Standing(len(self.answers), len(self.answers), scored, len(accepted), votes))

    def _whole(self) -> list[Answer]:
        return [answer for _, answer in self.whole_answers()]

    def missing(self, sampler: Generators | None) -> list[int]:
        """The indices of the answers that are still to be sampled, if all are wanted."""
        return [] if sampler is None else [index for index in range(sampler.count) if index not in self.answers]

    def within_reach(self, sampler: Generators | None) -> list[int]:
        """The indices of the missing answers whose generators are not lost."""
        return [] if sampler is None else sampler.within_reach(self.entry.entry_id, self.missing(sampler))

    def to_sample(self, sampler: Generators | None) -> int:
        """How many answers may be sampled in this visit."""
        return len(self.missing(sampler)) if self.most is None else min(self.most, len(self.within_reach(sampler)))

    def needs_images(self, pipeline: Pipeline) -> bool:
        """Whether a request may be made that shows the entry's images."""
        if not self.entry.images:
            return False
        shown = pipeline.scorer is not None and pipeline.scorer.wants_images
        return bool(self.missing(pipeline.sampler)) or (shown and self.are_unscored())

    def record(
        self, scorer: Scorer | None, stopped_by: str | None, accept_score: float | None = None
    ) -> tuple[Record, list[Score]]:
        """The output line and its scores. An answer without a score came after its entry had enough.

        With an ``accept_score``, the line has the pass rate.
        The details of an answer have its index where answers before it are missing.
        """
        answers = [self.answers[index] for index in sorted(self.answers)]
        scores = [self._score_of(answer) for answer in answers] if scorer is not None else None
        about = scorer.about_entry(scores) if isinstance(scorer, EntryScorer) and scores else None
        rate = None
        if scores is not None and accept_score is not None:
            values = [score.value for score in scores]
            scored = {"generated_answers": [answer.text for answer in answers], "generated_scores": values}
            rate = pass_rate_of(scored, accept_score).as_data()
        record = make_record(self.entry, answers, scores, stopped_by, about, rate)
        for place, index in enumerate(sorted(self.answers)):
            if index != place:
                record["generated_details"][place]["index"] = index
        return record, scores or []

    def _score_of(self, answer: Answer) -> Score:
        if not ended_by_itself(answer.finish_reason):
            return Score(None, unscored=f"{CUT}{answer.finish_reason}")
        return self.scores.get(answer.digest, Score(None, unscored=NOT_NEEDED))

    def whole_answers(self) -> list[tuple[int, Answer]]:
        """The answers that count, each after its index."""
        return [(index, one) for index, one in sorted(self.answers.items()) if ended_by_itself(one.finish_reason)]


def tokens_of(answer: Answer) -> int:
    """The completion tokens of an answer, or about as many if its server did not count them."""
    counted = (answer.usage or {}).get("completion_tokens")
    return counted if isinstance(counted, int) else len(answer.text) // CHARACTERS


def score_id(scorer: Scorer, answers: Iterable[Answer]) -> str:
    """The ``made_by`` of a ledger's score: of the settings, and where answers are scored together, of all of them."""
    if not isinstance(scorer, EntryScorer):
        return scorer.settings_id
    return score_id_of(scorer, scorer.settings_id, answers)


def score_id_of(scorer: EntryScorer, settings_id: str, answers: Iterable[Answer]) -> str:
    """The ``made_by`` of the scores of answers that a scorer with these settings scores together."""
    digests = [answer.digest for answer in answers]
    return f"{settings_id}:{fingerprint(sorted(digests if scorer.counts_copies else set(digests)))}"


def ids_of_parts(scorer: Scorer) -> frozenset[str]:
    """The ``made_by`` of the ledger's scores that are a part of this scorer's."""
    if isinstance(scorer, EntryScorer):
        return frozenset() if scorer.part is None else frozenset([scorer.part.settings_id])
    return scorer.part_ids if isinstance(scorer, AnswerScorer) else frozenset()


def is_score_of(scorer: Scorer, line: Record) -> bool:
    """Whether a ledger line is a score of this scorer, and not of its part."""
    return str(line["made_by"]).startswith(scorer.settings_id)


def sizes_of_classes(scores: Iterable[Score]) -> list[int]:
    """How many answers each class has, the largest first, as the ``vote`` of the scores says."""
    votes = {score.vote["answer"]: int(score.vote["votes"]) for score in scores if score.vote and "votes" in score.vote}
    return sorted(votes.values(), reverse=True)


def limit_before(settings: dict[str, Any]) -> int | None:
    """The limit of tokens of an output's answers whose details say none.

    Where its generators had different limits, these answers had none.
    """
    limit = settings.get("max_tokens")
    return limit if isinstance(limit, int) else None


def index_of(record: Record, place: int) -> int:
    """The index of the answer at a place of a record."""
    details = record.get("generated_details") or []
    index = details[place].get("index") if place < len(details) else None
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= place else place


def score_lines(
    record: Record, answers: Sequence[Answer], made_by: dict[str, Any], scorer: Scorer | None
) -> Iterator[Record]:
    """The ledger lines of a record's scores, and of their parts; a scorer with the settings ``made_by`` gave them."""
    values = record.get("generated_scores")
    if not made_by or not isinstance(values, list) or len(values) != len(answers):
        return
    settings_id, row = fingerprint(made_by), row_id(made_by, record.get("extra"))
    if isinstance(scorer, EntryScorer):
        settings_id = score_id_of(scorer, settings_id, [one for one in answers if ended_by_itself(one.finish_reason)])
    details = record.get("generated_details") or [{}] * len(answers)
    for index, (answer, value, detail) in enumerate(zip(answers, values, details)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        was_scored = is_number or detail.get("unscored") not in (None, NOT_NEEDED)
        if was_scored and ended_by_itself(answer.finish_reason) and is_vote(detail.get("vote")):
            score = Score(value, **{name: detail[name] for name in SCORE_DETAILS if name in detail})
            yield score_line(record["entry_id"], index, settings_id, answer, score, row)
            part = part_of(score) if WEIGHT_ID in made_by else None
            if part is not None:
                yield score_line(record["entry_id"], index, made_by[WEIGHT_ID], answer, part, row)
