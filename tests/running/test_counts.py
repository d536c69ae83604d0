"""What is counted in a run."""

from __future__ import annotations

from typing import List, Optional

import pytest

from common.errors import BadEntry, EntryFailed, RequestFailed
from common.records import CUT, NOT_NEEDED, Answer, Score
from common.running.counts import Counts


def counted(*scores: Score, accept: Optional[float] = None) -> Counts:
    counts = Counts(accept_score=accept)
    counts.add_scores(scores)
    return counts


def test_a_score_of_zero_counts_and_none_is_unscored() -> None:
    counts = counted(Score(0.0), Score(None), Score(6.0))
    assert (counts.scores, counts.unscored, counts.mean_score) == (2, 1, 3.0)


def test_scores_of_several_records_add_up() -> None:
    counts = Counts()
    for values in ([1.0, 2.0], [], [None], [6.0]):
        counts.add_scores([Score(value) for value in values])
    assert (counts.scores, counts.unscored, counts.mean_score) == (3, 1, 3.0)


def test_without_a_score_there_is_no_mean() -> None:
    assert counted(Score(None), Score(None)).mean_score is None


def test_the_accepted_are_a_share_of_all_answers() -> None:
    counts = counted(Score(8.0), Score(7.9), Score(None), Score(9.0), accept=8)
    counts.add_answers([Answer("a")] * 4)
    assert (counts.accepted, counts.accepted_share) == (2, 0.5)
    assert counted(Score(8.0)).accepted_share is None


def test_an_answer_that_no_scorer_was_asked_about_is_not_undecided() -> None:
    counts = counted(Score(None, unscored=f"{CUT}length"), Score(None, unscored=NOT_NEEDED), Score(None, unscored="no"))
    assert (counts.unscored, counts.undecided) == (3, 1)
    assert counts.reasons.total() == 3


def test_cut_answers_are_told_apart_by_their_finish_reasons() -> None:
    counts = Counts()
    counts.add_answers([Answer("a", "stop"), Answer("b", "length"), Answer("c", "content_filter"), Answer("d")])
    assert (dict(counts.cut), counts.recorded) == ({"length": 1, "content_filter": 1}, 4)


def failed(stage: str, status: Optional[int]) -> EntryFailed:
    error = RequestFailed("it failed", status)
    error.stage = stage
    return error


@pytest.mark.parametrize(
    ("error", "hopeless"),
    [
        (BadEntry("no question"), 1),
        (failed("sample", 400), 1),
        (failed("sample", 500), 0),
        (failed("score", None), 0),
    ],
)
def test_failures_that_stay_are_told_apart_from_those_that_may_pass(error: EntryFailed, hopeless: int) -> None:
    counts = Counts()
    counts.add_failure(error)
    assert (counts.failed, counts.hopeless, counts.failures.total()) == (1, hopeless, 1)


def test_failures_are_grouped_by_stage_status_and_message() -> None:
    counts = Counts()
    errors: List[EntryFailed] = [RequestFailed(f"{number} tokens are too many", 400) for number in range(3)]
    for error in [*errors, BadEntry("no question")]:
        counts.add_failure(error)
    assert [(one.messages, one.tag) for one in counts.failures.top()] == [(3, "request 400"), (1, "input")]


def test_answers_of_the_ledger_that_reach_the_output_are_something_to_report() -> None:
    counts = Counts()
    assert not counts.anything()
    counts.add_answers([Answer("a")])
    assert counts.anything()
