"""Labelled answers and pairs, in the shapes of public sets."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from common.errors import BadEntry
from common.input.labelled import labelled_work

TURNS = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
RECORD = {"original_question": "2+2?", "original_answers": TURNS, "generated_answers": ["4", "5", "6"]}


@pytest.mark.parametrize(
    ("item", "texts", "labels"),
    [
        ({**RECORD, "labels": [True, False, None]}, ["4", "5", "6"], [True, False, None]),
        ({**RECORD, "extra": {"labels": [1, 0, 1.0]}}, ["4", "5", "6"], [True, False, True]),
        (
            {"question": "2+2?", "reference": "4", "answers": ["4", "5"], "correct": [True, False]},
            ["4", "5"],
            [True, False],
        ),
        ({"question": "2+2?", "reference": "4", "answer": "5", "correct": False}, ["5"], [False]),
        ({"prompt": "2+2?", "completion": "4", "label": True}, ["4"], [True]),
        ({"prompt": [{"role": "user", "content": "2+2?"}], "response": "4", "is_correct": 1}, ["4"], [True]),
    ],
)
def test_answers_with_labels(item: Dict[str, Any], texts: List[str], labels: List[Any]) -> None:
    pending = labelled_work(item, 1)
    assert [answer.text for answer in pending.answers or []] == texts
    assert pending.entry.question == "2+2?"
    assert (pending.entry.extra or {})["labels"] == labels
    assert pending.entry.reference == ("4" if "reference" in item or "original_answers" in item else None)


@pytest.mark.parametrize(
    ("item", "better"),
    [
        ({"prompt": "2+2?", "chosen": "A", "rejected": "B"}, 0),
        (
            {
                "prompt": "2+2?",
                "chosen": [{"role": "assistant", "content": "A"}],
                "rejected": [{"role": "assistant", "content": "B"}],
            },
            0,
        ),
        ({"chosen": "\n\nHuman: 2+2?\n\nAssistant: A", "rejected": "\n\nHuman: 2+2?\n\nAssistant: B"}, 0),
        ({"input": "2+2?", "output_1": "A", "output_2": "B", "label": 2}, 1),
        ({"question": "2+2?", "a": "A", "b": "B", "winner": "b"}, 1),
        (
            {
                "instruction": "2+2?",
                "input": "",
                "response1": "A",
                "response2": "B",
                "annotator1": 1,
                "annotator2": 0,
                "annotator3": 1,
            },
            0,
        ),
    ],
)
def test_pairs(item: Dict[str, Any], better: int) -> None:
    pending = labelled_work(item, 1)
    assert [answer.text for answer in pending.answers or []] == ["A", "B"]
    assert (pending.entry.question, pending.entry.reference) == ("2+2?", None)
    assert (pending.entry.extra or {})["preferred"] == [better == 0, better == 1]


@pytest.mark.parametrize("verdicts", [{"label": 0}, {"winner": "tie"}, {"annotator1": 1, "annotator2": 2}])
def test_a_pair_without_a_better_answer_has_nothing_to_score(verdicts: Dict[str, Any]) -> None:
    assert labelled_work({"question": "q", "a": "A", "b": "B", **verdicts}).answers == []


def test_rows_of_one_question_are_entries_of_their_own() -> None:
    row = {"question": "2+2?", "reference": "4", "correct": True}
    assert labelled_work({**row, "answer": "4"}).entry.entry_id != labelled_work({**row, "answer": "IV"}).entry.entry_id


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("text", "must be an object"),
        ({"question": "q", "answer": "a"}, "no labels in this entry"),
        (RECORD, "no labels in this entry"),
        ({**RECORD, "labels": [True]}, '"labels" has 1 labels for 3 answers'),
        ({**RECORD, "labels": [True, 0.5, False]}, "must hold true or false for each answer"),
        ({**RECORD, "labels": [True, "maybe", False]}, "must hold true or false for each answer"),
        ({"question": "q", "correct": [True]}, "no key of its answers"),
        ({"question": "q", "a": "A", "b": "B", "label": 7}, "the better of two answers must be 1, 2 or 0"),
        ({"question": "q", "a": "A", "b": "B"}, "nothing says which of the two answers is better"),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: A", "rejected": "\n\nHuman: other\n\nAssistant: B"},
            "questions that differ",
        ),
    ],
)
def test_what_has_no_labels_is_refused_by_name(item: Any, why: str) -> None:
    with pytest.raises(BadEntry, match=why):
        labelled_work(item)
