"""The numbers of one run: its entries, answers and scores, for the progress during the run and the summary at its end.

>>> counts = Counts(accept_score=8)
>>> counts.add_scores([Score(9.0), Score(2.0), Score(None, unscored="no reference to match")])
>>> counts.mean_score, counts.accepted, counts.unscored
(5.5, 1, 1)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Iterable, Sequence

from ..errors import EntryFailed
from ..records import CUT, NOT_NEEDED, Answer, Score
from ..results.quantiles import ScoreSample
from ..results.reasons import ReasonCounts
from ..servers.known_servers import ended_by_itself
from ..thinking import split_thoughts

ALWAYS_REFUSED = (400, 413, 422)  # status of a request that is refused again if it is sent again


@dataclass
class Counts:
    """The numbers of this run. ``accept_score`` says which scores are accepted (None: that is not asked for)."""

    accept_score: float | None = None
    begun: int = 0  # entries
    done: int = 0
    skipped: int = 0  # in the output before this run
    duplicates: int = 0
    other_keys: int = 0  # duplicates whose other keys are not those of the first
    failed: int = 0
    hopeless: int = 0  # failed, and will fail again if they stay as they are
    postponed: int = 0  # begun, and left for the next run
    unfinished: int = 0  # written to the output although they lack something, without those that failed
    there: int = 0  # answers that the entries had when they were begun
    answers: int = 0  # sampled in this run
    sampled_by: Counter[str] = field(default_factory=Counter)  # these answers, by the settings of their generator
    recalled: int = 0  # answers taken from the ledger
    scored: int = 0  # answers at hand that the scorer is done with, also in entries that are not complete
    arrived: int = 0  # numbers that the scorer gave in this run, also in entries that are not complete
    arrived_accepted: int = 0
    unneeded: int = 0  # answers that early stopping made unnecessary
    lost: int = 0  # answers that are missing in failed entries
    recorded: int = 0  # answers in this run's records
    scores: int = 0  # numbers in this run's records
    accepted: int = 0
    unscored: int = 0
    undecided: int = 0  # unscored although the scorer was asked
    score_sum: float = 0.0
    sample: ScoreSample | None = None  # of the scores, where they have no range
    cut: Counter[str] = field(default_factory=Counter)  # answers in this run's records, by finish reason
    failures: ReasonCounts = field(default_factory=ReasonCounts)  # failed entries, by stage, status and message
    reasons: ReasonCounts = field(default_factory=lambda: ReasonCounts(tails=1))  # of unscored answers

    def add_answers(self, answers: Iterable[Answer]) -> None:
        """Counts the answers of one record, and the cut ones among them."""
        for one in answers:
            self.recorded += 1
            if not ended_by_itself(one.finish_reason):
                self.cut[str(one.finish_reason)] += 1
            elif split_thoughts(one.text).answer is None:
                self.cut["thoughts without an end"] += 1

    def add_scores(self, scores: Sequence[Score]) -> None:
        """Counts the scores of one record."""
        for score in scores:
            if score.value is None:
                self._add_unscored(score.unscored or "")
                continue
            self.scores += 1
            self.score_sum += score.value
            if self.sample is not None:
                self.sample.add(score.value)
            self.accepted += self.accept_score is not None and score.value >= self.accept_score

    def add_arrived(self, value: float | None) -> None:
        """Counts a score as it arrives."""
        if value is not None:
            self.arrived += 1
            self.arrived_accepted += self.accept_score is not None and value >= self.accept_score

    def _add_unscored(self, reason: str) -> None:
        self.unscored += 1
        if reason.startswith(CUT):
            self.reasons.add("", f"it is cut by {reason[len(CUT) :]}")
        elif reason == NOT_NEEDED:
            self.reasons.add("", "it is not needed (its entry was settled before)")
        else:
            self.undecided += 1
            self.reasons.add("", reason)

    def add_failure(self, error: EntryFailed) -> None:
        """Counts an entry that failed."""
        self.failed += 1
        self.hopeless += error.stage == "input" or error.status in ALWAYS_REFUSED
        self.failures.add(" ".join(filter(None, [error.stage, str(error.status or "")])), str(error))

    def anything(self) -> bool:
        """Whether there is anything to report."""
        entries = (self.done, self.skipped, self.duplicates, self.failed, self.postponed)
        return any((*entries, self.answers, self.recalled, self.recorded))

    @property
    def finished(self) -> int:
        """The entries that this run will not look at again."""
        return self.done + self.skipped + self.duplicates + self.failed

    @property
    def mean_score(self) -> float | None:
        return self.score_sum / self.scores if self.scores else None

    @property
    def accepted_share(self) -> float | None:
        """The accepted part of the answers in this run's records; None if it is not known."""
        return self.accepted / self.recorded if self.recorded and self.accept_score is not None else None
