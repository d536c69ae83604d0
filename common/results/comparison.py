"""Two outputs compared: two judges of the same answers, or two models' answers to the same questions.

Answers are joined by entry_id and text, questions by entry_id. Of the first output, only numbers stay in memory.

>>> agreement = Agreement()
>>> for pair in ((True, True), (True, True), (False, False), (True, False)): agreement.add(*pair)
>>> agreement.rate, agreement.kappa
(0.75, 0.5)
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Iterable, NamedTuple

from ..records import fingerprint, id_key
from .curves import history_of
from .estimators import Reservoir, spearman
from .record_view import RecordView
from .selection import selectable

SAMPLES = 20_000  # pairs of scores for the rank correlation
MOST_SHOWN = 300  # of the largest disagreements
BINS = 20
MOST_EXACT = 21  # different scores of an output that get a row or column each


class Rated(NamedTuple):
    """An answer as one output has it."""

    digest: str  # of its text
    place: int
    score: float | None
    accepted: bool


class Question(NamedTuple):
    """An entry as one output has it: its answers, each text once, and how many of all are accepted."""

    answers: list[Rated]
    passed: int
    judged: int

    @property
    def pass_rate(self) -> float:
        """The share of the answers that are accepted; 0 without answers."""
        return self.passed / self.judged if self.judged else 0.0

    @property
    def best(self) -> Rated | None:
        """The answer with the highest score."""
        scored = [one for one in self.answers if one.score is not None]
        return max(scored, key=lambda one: (one.accepted, one.score, -one.place)) if scored else None


class Scale(NamedTuple):
    """The scores of one output: the range, and the lowest score that is accepted."""

    low: float
    high: float
    threshold: float

    def share(self, score: float) -> float:
        """A score as a part of the range, so that two ranges compare."""
        return (score - self.low) / ((self.high - self.low) or 1.0)

    def bin(self, score: float) -> int:
        """The bin of a score, 0 to BINS - 1; scores outside the range fall in the outermost bins."""
        return int(min(max(self.share(score) * BINS, 0), BINS - 1))


class Agreement:
    """Two verdicts on the same things, counted."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[bool, bool]] = Counter()

    def add(self, first: bool, second: bool) -> None:
        """Counts one thing."""
        self.counts[first, second] += 1

    @property
    def total(self) -> int:
        """How many things were counted."""
        return sum(self.counts.values())

    @property
    def rate(self) -> float:
        """The share with the same verdict; nan without any."""
        same = self.counts[True, True] + self.counts[False, False]
        return same / self.total if self.total else math.nan

    @property
    def kappa(self) -> float:
        """Cohen's kappa (1960): the agreement beyond that of chance; nan if both always say the same."""
        if not self.total:
            return math.nan
        first = (self.counts[True, True] + self.counts[True, False]) / self.total
        second = (self.counts[True, True] + self.counts[False, True]) / self.total
        by_chance = first * second + (1 - first) * (1 - second)
        return (self.rate - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


class Disagreement(NamedTuple):
    """A joined answer (``digest``) or a question ("": the best answers differ); ``size`` is from 0 to 1."""

    size: float
    order: tuple[int, int]  # of record and answer; negative, so that of equal sizes the first is the largest
    key: int  # of the entry
    digest: str
    first: Rated | None
    second: Rated | None


@dataclass
class Comparison:
    """The numbers of two outputs, the first one's before the second one's."""

    scales: tuple[Scale, Scale]
    entries: list[int] = field(default_factory=lambda: [0, 0])
    answers: list[int] = field(default_factory=lambda: [0, 0])
    both: int = 0  # entries
    by_answer: Agreement = field(default_factory=Agreement)  # accepted or not, each joined answer
    by_question: Agreement = field(default_factory=Agreement)  # whether any answer is accepted
    better: Counter[str] = field(default_factory=Counter)  # questions: by whose pass rate is higher
    pass_rates: list[float] = field(default_factory=lambda: [0.0, 0.0])  # sums, over the joined questions
    scores: Reservoir[tuple[float, float]] = field(default_factory=lambda: Reservoir(SAMPLES))
    exact: Counter[tuple[float, float]] = field(default_factory=Counter)  # by both scores; incomplete if too many
    binned: Counter[tuple[int, int]] = field(default_factory=Counter)  # by the bins of both scores
    largest_answers: list[Disagreement] = field(default_factory=list)
    largest_questions: list[Disagreement] = field(default_factory=list)

    @property
    def correlation(self) -> float:
        """Spearman's rank correlation of the joined answers' scores; nan if it is not defined."""
        pairs = self.scores.items
        return spearman([one for one, _ in pairs], [other for _, other in pairs]) if len(pairs) > 1 else math.nan


def compare(first: Iterable[RecordView], second: Iterable[RecordView], scales: tuple[Scale, Scale]) -> Comparison:
    """Reads both outputs once, the first one before the second."""
    comparison = Comparison(scales)
    known: dict[int, Question] = {}
    for view in first:
        known[key_of(view)] = question_of(view, scales[0])
        comparison.answers[0] += len(view.candidates)
    comparison.entries[0] = len(known)
    for order, view in enumerate(second):
        other = question_of(view, scales[1])
        comparison.entries[1] += 1
        comparison.answers[1] += len(view.candidates)
        key = key_of(view)
        if key in known:
            _compare_questions(comparison, order, key, known[key], other)
    for largest in (comparison.largest_answers, comparison.largest_questions):
        largest.sort(reverse=True)
    return comparison


def key_of(view: RecordView) -> int:
    """The key of a record's entry."""
    return id_key(str(view.record.get("entry_id")))


def question_of(view: RecordView, scale: Scale) -> Question:
    """The numbers of a record."""
    history = history_of(view, scale.threshold, scale.low)
    answers: dict[str, Rated] = {}
    for place, (text, score, detail) in enumerate(view.candidates):
        can_be_accepted = score is not None and score >= scale.threshold
        accepted = can_be_accepted and selectable(text, detail.get("finish_reason"), score)
        digest = fingerprint(text, 16)
        answers.setdefault(digest, Rated(digest, place, score, accepted))
    return Question(list(answers.values()), sum(history.accepted), len(history.accepted))


def _compare_questions(comparison: Comparison, order: int, key: int, first: Question, second: Question) -> None:
    comparison.both += 1
    comparison.by_question.add(first.passed > 0, second.passed > 0)
    rates = first.pass_rate, second.pass_rate
    comparison.better["first" if rates[0] > rates[1] else "second" if rates[1] > rates[0] else "same"] += 1
    for place, rate in enumerate(rates):
        comparison.pass_rates[place] += rate
    size = abs(rates[0] - rates[1])
    if size > 0:
        _keep(comparison.largest_questions, Disagreement(size, (-order, 0), key, "", first.best, second.best))
    joined = {one.digest: one for one in first.answers}
    for other in second.answers:
        if other.digest in joined:
            _compare_answers(comparison, order, key, joined[other.digest], other)


def _compare_answers(comparison: Comparison, order: int, key: int, first: Rated, second: Rated) -> None:
    """Counts an answer that both outputs have; a score that is missing on one side is no verdict."""
    if first.score is None or second.score is None:
        return
    comparison.by_answer.add(first.accepted, second.accepted)
    comparison.scores.add((first.score, second.score))
    one, other = comparison.scales
    comparison.binned[one.bin(first.score), other.bin(second.score)] += 1
    if len(comparison.exact) <= MOST_EXACT**2:
        comparison.exact[first.score, second.score] += 1
    size = round(abs(one.share(first.score) - other.share(second.score)), 9)
    if size > 0:
        _keep(comparison.largest_answers, Disagreement(size, (-order, -first.place), key, first.digest, first, second))


def _keep(largest: list[Disagreement], found: Disagreement) -> None:
    """Keeps the MOST_SHOWN largest."""
    if len(largest) < MOST_SHOWN:
        heapq.heappush(largest, found)
    else:
        heapq.heappushpop(largest, found)
