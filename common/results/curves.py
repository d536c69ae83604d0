"""Best-of-k curves: how often k answers per entry include an accepted one, and the best score among them.

>>> histories = [SampleHistory([1.0, 9.0], [False, True]), SampleHistory([2.0, 2.0], [False, False])]
>>> curves = curves_of(histories, low=0, high=10)
>>> [passed.mean for passed in curves.passed], [best.mean for best in curves.best]
([0.25, 0.5], [3.5, 5.5])
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

from .estimators import Estimate, curve_steps, expected_best, gain_interval, mean_interval, pass_at_k
from .record_view import RecordView
from .selection import selectable


class SampleHistory(NamedTuple):
    """An entry's answers in the order sampled: their scores, which are accepted, the flag that stopped the entry."""

    scores: list[float]
    accepted: list[bool]
    stopped_by: str | None = None


class Curves(NamedTuple):
    """For each k of ``steps`` the share of entries with an accepted answer and the mean best score.

    ``in_order`` says that some entries were stopped early, so that the answers count in the order sampled.
    """

    steps: list[int]
    passed: list[Estimate]
    best: list[Estimate]
    last_pass: Estimate | None  # the gain of the last step; None if there is only one
    last_best: Estimate | None
    entries: int
    in_order: bool


def history_of(view: RecordView, threshold: float, low: float) -> SampleHistory:
    """The history of an entry: accepted are the selectable answers with scores of at least ``threshold``.

    Answers that repeat another count, since each was sampled. An answer without a score counts with ``low``, the lowest
    score, since it is never chosen either. Answers that were not scored because the entry had enough do not count.
    """
    judged = [candidate for candidate in view.candidates if not candidate.is_not_needed]
    is_accepted = [
        candidate.score is not None
        and candidate.score >= threshold
        and selectable(candidate.text, candidate.detail.get("finish_reason"), candidate.score)
        for candidate in judged
    ]
    stopped_by = view.record.get("stopped_by")
    if len(judged) < len(view.candidates):
        stopped_by = "stop_after"  # all answers were sampled, but not all were scored
    scores = [low if candidate.score is None else candidate.score for candidate in judged]
    return SampleHistory(scores, is_accepted, stopped_by if isinstance(stopped_by, str) else None)


def curves_of(histories: Sequence[SampleHistory], low: float, high: float) -> Curves | None:
    """The curves of scores from ``low`` to ``high``; None if no entry has a scored answer.

    Every k is over the same entries, so that no step is a change of population: the entries with at least N answers,
    N the most that half of the entries have. Once entries were stopped because of their scores, subsets of their
    answers are biased. Then the answers count in the order sampled, and a stopped entry keeps its last value.
    """
    scored = [history for history in histories if history.scores]
    if not scored:
        return None
    full = sorted((len(history.scores) for history in scored if history.stopped_by is None), reverse=True)
    in_order = len(full) < len(scored)
    most = full[(len(full) - 1) // 2] if full else max(len(history.scores) for history in scored)
    population = [one for one in scored if one.stopped_by is not None or len(one.scores) >= most]
    steps = curve_steps(most)
    of_entry = _of_first_answers if in_order else _of_subsets
    by_entry = [of_entry(history, steps) for history in population]
    passed = [[shares[step] for shares, _ in by_entry] for step in range(len(steps))]
    best = [[scores[step] for _, scores in by_entry] for step in range(len(steps))]
    return Curves(
        steps,
        [mean_interval(values, 0, 1) for values in passed],
        [mean_interval(values, low, high) for values in best],
        gain_interval(passed[-2], passed[-1]) if most > 1 else None,
        gain_interval(best[-2], best[-1]) if most > 1 else None,
        len(population),
        in_order,
    )


def _of_subsets(history: SampleHistory, steps: Sequence[int]) -> tuple[list[float], list[float]]:
    """(pass@k, expected best score) of an entry at each k: the mean over all subsets of k answers."""
    ascending, count, accepted = sorted(history.scores), len(history.scores), sum(history.accepted)
    return [pass_at_k(count, accepted, k) for k in steps], [expected_best(ascending, k) for k in steps]


def _of_first_answers(history: SampleHistory, steps: Sequence[int]) -> tuple[list[float], list[float]]:
    """(whether one is accepted, the best score) of an entry's first k answers at each k."""
    return [float(any(history.accepted[:k])) for k in steps], [max(history.scores[:k]) for k in steps]
