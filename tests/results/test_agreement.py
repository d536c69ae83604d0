"""Contradictions and the share of wrong answers that are kept, as the report shows them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from common.results.agreement import Agreement
from common.results.calibration import Calibration
from common.results.certify import Trial, interval
from common.results.record_view import view_of
from common.results.selection import Selection


def record(
    scores: List[Any], labels: Optional[List[Any]] = None, details: Optional[List[Dict[str, Any]]] = None
) -> Dict[str, Any]:
    turns = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    return {
        "original_question": "2+2?",
        "original_answers": turns,
        **({} if labels is None else {"extra": {"labels": labels}}),
        "generated_answers": [f"answer {number}" for number in range(len(scores))],
        "generated_scores": scores,
        "generated_details": details or [{"finish_reason": "stop"} for _ in scores],
        "line": 7,
        "entry_id": "0" * 32,
    }


def counted(*records: Dict[str, Any], has_labels: bool = True, select: str = "threshold") -> Agreement:
    agreement = Agreement(6.0, has_labels)
    for one in records:
        agreement.add(view_of(one, Selection(select, accept_score=6.0)))
    return agreement


def test_verdicts_of_a_cascade_that_differ_are_a_case() -> None:
    verdicts = [{"verdicts": {"match": 10.0, "python:a.py:f": 0.0}}, {"verdicts": {"match": 10.0, "judge": 7.5}}, {}]
    agreement = counted(record([10, 10, 3], details=verdicts))
    assert (agreement.contradictions, agreement.compared) == (1, 2)
    assert agreement.cases == [["7, answer 1", "match: 10, python:a.py:f: 0", "2+2?", "4", "answer 0"]]
    (panel,) = agreement.panels(None)
    assert panel.title == "Contradictions"
    assert len(panel.rows) == 2


def test_a_label_contradicts_a_score() -> None:
    agreement = counted(record([10, 0, 0, 10], [True, True, False, None]))
    assert (agreement.contradictions, agreement.compared, agreement.labelled) == (1, 3, 3)
    assert agreement.cases[0][1] == "score: 0, label: right"


def test_the_share_of_wrong_answers_among_the_selected_has_its_interval() -> None:
    agreement = counted(*[record([10, 0], [number % 5 > 0, False]) for number in range(50)])
    row = agreement.panels(None)[1].rows[1]
    low, high = interval(10, 50)
    assert row == ("labels of the selected answers", "50", "10", "0.200", f"{low:.3f} to {high:.3f}")


def test_labels_of_a_row_are_not_those_of_sampled_answers_nor_of_other_lengths() -> None:
    assert counted(record([10, 0], [False, True]), has_labels=False).panels(None) == []
    assert counted(record([10, 0], [False]), record([10], ["math"]), record([1, 2], [0.5, 1])).panels(None) == []


def test_without_labels_the_calibration_tells_the_share_that_is_expected() -> None:
    trials = [Trial(8, number > 1, number) for number in range(40)] + [Trial(2, False, number) for number in range(40)]
    calibration = Calibration({"scorer": "judge"}, "f" * 12, 80, 0, trials, [], [])
    rates, figures = counted(record([10])).panels(calibration, 6.0)
    assert rates.rows[1][:4] == ("the calibration, at a score of at least 6", "40", "2", "0.050")
    assert figures.title == "Calibration of the scorer"
    assert "judge (settings ffffffffffff)" in figures.words
