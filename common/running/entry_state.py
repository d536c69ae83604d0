"""An entry in progress as plain data: what it has, what it lacks, and the record that it becomes.

It is the same in this process and on a Ray worker, and it can be pickled.

Example: ``state = EntryState(entry); state.recall(ledger.recall(entry.entry_id), pipeline); state.missing(sampler)``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, Sequence

from ..records import (
    CUT,
    NOT_NEEDED,
    Answer,
    Entry,
    Record,
    Score,
    answer_from_line,
    fingerprint,
    make_record,
    score_from_line,
)
from ..scoring.shapes import EntryScorer, Scorer
from ..servers.known_servers import ended_by_itself
from .job import Pipeline
from .sampler import Sampler


@dataclass
class EntryState:
    """``answers`` are by index, ``scores`` by the digest of the answer's text: equal texts share one score.

    ``images`` are URLs and ``messages`` is the JSON of the prompt; both are filled only if a request needs them.
    """

    entry: Entry
    answers: dict[int, Answer] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    messages: bytes = b""

    def recall(self, lines: Iterable[Record], pipeline: Pipeline) -> None:
        """Takes from ledger lines the answers and the scores that the pipeline's settings would make again."""
        scores = []
        for line in lines:
            if "answer" in line:
                self._take_answer(line, pipeline.sampler)
            elif "score" in line and "digest" in line:
                scores.append(line)
        if pipeline.scorer is not None and scores:
            wanted = score_id(pipeline.scorer, [answer for _, answer in self.whole_answers()])
            self.scores.update((line["digest"], score_from_line(line)) for line in scores if line["made_by"] == wanted)

    def _take_answer(self, line: Record, sampler: Sampler | None) -> None:
        if sampler is None or line["made_by"] != sampler.settings_id or not isinstance(line["answer"], str):
            return
        answer = answer_from_line(line)
        if line["index"] < sampler.count and sampler.usable(answer, line.get("max_tokens")):
            self.answers[line["index"]] = answer

    def missing(self, sampler: Sampler | None) -> list[int]:
        """The indices of the answers that are still to be sampled, if all are wanted."""
        return [] if sampler is None else [index for index in range(sampler.count) if index not in self.answers]

    def needs_images(self, pipeline: Pipeline) -> bool:
        """Whether a request may be made that shows the entry's images."""
        if not self.entry.images:
            return False
        shown = pipeline.scorer is not None and pipeline.scorer.wants_images
        unscored = any(answer.digest not in self.scores for _, answer in self.whole_answers())
        return bool(self.missing(pipeline.sampler)) or (shown and unscored)

    def record(self, scorer: Scorer | None, stopped_by: str | None) -> tuple[Record, list[Score]]:
        """The output line and its scores. An answer without a score came after its entry had enough."""
        answers = [self.answers[index] for index in sorted(self.answers)]
        if scorer is None:
            return make_record(self.entry, answers, None, stopped_by), []
        scores = [self._score_of(answer) for answer in answers]
        return make_record(self.entry, answers, scores, stopped_by), scores

    def _score_of(self, answer: Answer) -> Score:
        if not ended_by_itself(answer.finish_reason):
            return Score(None, unscored=f"{CUT}{answer.finish_reason}")
        return self.scores.get(answer.digest, Score(None, unscored=NOT_NEEDED))

    def whole_answers(self) -> list[tuple[int, Answer]]:
        """The answers that count, each after its index."""
        return [(index, one) for index, one in sorted(self.answers.items()) if ended_by_itself(one.finish_reason)]


def score_id(scorer: Scorer, answers: Iterable[Answer]) -> str:
    """The ``made_by`` of a ledger's score: of the settings, and where answers are scored together, of all of them."""
    if not isinstance(scorer, EntryScorer):
        return scorer.settings_id
    digests: Sequence[str] = sorted({answer.digest for answer in answers})
    return fingerprint([scorer.settings_id, *digests])
