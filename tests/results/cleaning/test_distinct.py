"""The answers that differ most are taken first, and the choice depends on nothing else."""

from __future__ import annotations

from common.records import Record
from common.results.cleaning.distinct import farthest_first
from common.results.selection import Selection, choose

PATHS = ["3 * 4 = 12, so 12 + 5 = 17", "3 * 4 = 12, so 12 + 5 = 17.", "5 + 4 + 4 + 4 = 17", "17 it must be, of course"]


def test_each_next_text_is_the_farthest_from_those_taken() -> None:
    assert farthest_first(PATHS, 3) == [0, 2, 3]
    assert farthest_first(PATHS, 9) == [0, 2, 3, 1]
    assert farthest_first([], 2) == []


def test_top_k_takes_the_best_first_and_only_accepted_answers() -> None:
    record: Record = {"generated_answers": PATHS, "generated_scores": [8, 9, 8, 2]}
    picks = choose(record, Selection("top_k", top_k=2, accept_score=8, distinct=True))
    assert [pick.chosen for pick in picks] == [1, 2]
    picks = choose(record, Selection("top_k", top_k=9, accept_score=8, distinct=True))
    assert [pick.chosen for pick in picks] == [1, 2, 0]
