"""What is kept out is counted, listed, and replaced by the entry's next answer."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from common.errors import UsageError
from common.records import Record
from common.results.cleaning.cleaner import Cleaner, Cleaning
from common.results.examples import RowOptions
from common.results.export import NOTHING_CLEAN, Extras, Selected, check_selection, write_selected
from common.results.selection import Selection
from tests.helpers import read_lines

LOOP = "Let me think again. " * 40
LONG = "The quick brown fox jumps over the lazy dog while {} other animals look at it from behind the tall trees, {}."
NUMBERS = itertools.count()


def record(question: str, answers: List[str], scores: List[float], **more: Any) -> Record:
    turns = [{"from": "human", "value": question}]
    number = next(NUMBERS)
    details = [{"finish_reason": "stop"} for _ in answers]
    parts = {"generated_answers": answers, "generated_scores": scores, "generated_details": details}
    return {"original_question": question, "original_answers": turns, **parts, **more, "entry_id": f"{number:032x}"}


def selected(path: Path, records: List[Record], cleaning: Cleaning, **how: Any) -> List[List[str]]:
    """The texts of each row of what is written, and checks the counts."""
    with Cleaner(cleaning, str(path)) as cleaner:
        made = write_selected(records, str(path), Selection(**how), "sharegpt", cleaner=cleaner)
    rows = read_lines(path)
    assert made.rows == len(rows)
    return [[turn["value"] for turn in row["conversations"]] for row in rows]


def removed(path: Path) -> List[Dict[str, Any]]:
    return read_lines(Path(f"{path}.removed.jsonl"))


def test_an_answer_that_loops_gives_way_to_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = selected(path, [record("a?", [LOOP, "4"], [9, 8], line=7)], Cleaning(max_repetition=0.5))
    assert rows == [["a?", "4"]]
    (line,) = removed(path)
    assert (line["reason"], line["line"], line["index"], line["period"]) == ("max_repetition", 7, 0, 20)


def test_thoughts_that_loop_count_too(tmp_path: Path) -> None:
    one = record("a?", ["4", "5"], [9, 8])
    one["generated_details"][0]["reasoning"] = LOOP
    assert selected(tmp_path / "train.jsonl", [one], Cleaning(max_repetition=0.5)) == [["a?", "5"]]


def test_a_repeated_test_question_takes_the_entry_out(tmp_path: Path) -> None:
    tests = tmp_path / "tests.jsonl"
    tests.write_text(json.dumps({"question": "How many days are in a leap year?", "answer": "366 days it has"}) + "\n")
    records = [
        record("Please: HOW many days are in a leap year", ["366"], [9]),
        record("What is a year?", ["I know how many days are in a leap year.", "12 months"], [9, 8]),
    ]
    path = tmp_path / "train.jsonl"
    cleaning = Cleaning([str(tests)], ngram=7)
    assert [row[-1] for row in selected(path, records, cleaning)] == [records[1]["generated_answers"][0]]
    (line,) = removed(path)
    assert (line["index"], line["ngram"], line["test_file"]) == (None, "how many days are in a leap", str(tests))
    with_answers = Cleaning([str(tests)], ngram=7, decontaminate_answers=True)
    assert [row[-1] for row in selected(path, records, with_answers)] == ["12 months"]
    assert [line["index"] for line in removed(path)] == [None, 0]


def test_history_is_checked_too(tmp_path: Path) -> None:
    tests = tmp_path / "tests.jsonl"
    tests.write_text(json.dumps({"question": "one two three"}) + "\n")
    one = record("a?", ["4"], [9])
    earlier = [{"from": "human", "value": "Say one two three."}, {"from": "gpt", "value": "No."}]
    one["original_answers"] = earlier + one["original_answers"]
    assert selected(tmp_path / "train.jsonl", [one], Cleaning([str(tests)], ngram=3)) == []


def test_near_copies_are_kept_out_within_and_across_entries(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    first, near, other = LONG.format("many", "today"), LONG.format("many", "now"), "A dog sleeps."
    records = [
        record("Tell me a long story?", [first, near, other], [9, 8, 7], line=2),
        record("Tell me a long story!", [near], [9], line=1),
        record("Tell me why.", [other], [9], line=3),
    ]
    path = tmp_path / "train.jsonl"
    rows = selected(path, records, Cleaning(near_duplicates=0.6), select="top_k", top_k=2)
    assert [row[-1] for row in rows] == [near, other, other]
    within, across = removed(path)
    assert (within["index"], within["of"]) == (1, {"index": 0})
    assert (across["line"], across["of"]["line"]) == (2, 1)


def test_the_counts_leave_out_near_copies(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    path = tmp_path / "train.jsonl"
    records = [record("Name a city in the north.", ["Paris is a city in the north."], [9]) for _ in range(5)]
    with Cleaner(Cleaning(near_duplicates=0.8), str(path)) as cleaner:
        made = write_selected(records, str(path), Selection(), "sharegpt", cleaner=cleaner)
    assert made == Selected(records=5, chosen=1, rows=1)
    assert cleaner.counts == {"near_duplicates": 4}


def test_pairs_have_two_clean_sides(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with Cleaner(Cleaning(max_repetition=0.5), str(path)) as cleaner:
        one = record("a?", [LOOP + "x", "good", LOOP, "bad"], [9, 8, 1, 2])
        write_selected([one], str(path), Selection("dpo"), "preference", cleaner=cleaner)
    (row,) = read_lines(path)
    assert [row[side][0]["content"] for side in ("chosen", "rejected")] == ["good", "bad"]
    assert cleaner.counts == {"max_repetition": 2}


def test_without_cleaning_nothing_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    assert selected(path, [record("a?", [LOOP], [9])], Cleaning()) == [["a?", LOOP]]
    assert not Path(f"{path}.removed.jsonl").exists()


def test_distinct_needs_a_score() -> None:
    with pytest.raises(UsageError, match="--distinct needs --accept_score"):
        check_selection(Selection("top_k", top_k=2, distinct=True), "sharegpt", None)
    check_selection(Selection("top_k", top_k=2, distinct=True, accept_score=8), "sharegpt", None)


def test_the_list_can_be_read_whatever_the_texts_hold(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    path = tmp_path / "train.parquet"
    odd = record("lone \ud800 half?", ["one \udfff two three", "one two three"], [9, 9])
    with Cleaner(Cleaning(near_duplicates=0.8, max_repetition=0.5), str(path)) as cleaner:
        write_selected([odd, odd], str(path), Selection(), "sharegpt", Extras(["id"]), cleaner=cleaner)
    assert cleaner.counts["near_duplicates"] == 1


def test_bad_answers_of_kto_are_kept_out_too(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    one = record("a?", [LOOP + "x", "good", LOOP, "bad"], [9, 8, 1, 2])
    with Cleaner(Cleaning(max_repetition=0.5), str(path)) as cleaner:
        write_selected([one], str(path), Selection(accept_score=5), "kto", cleaner=cleaner)
    assert [(row["completion"][0]["content"], row["label"]) for row in read_lines(path)] == [
        ("good", True),
        ("bad", False),
    ]
    assert cleaner.counts == {"max_repetition": 2}


def test_rows_of_questions_are_compared_by_their_questions(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    tests, path = tmp_path / "tests.jsonl", tmp_path / "train.jsonl"
    tests.write_text(json.dumps({"question": "one two three"}) + "\n")
    questions = [LONG.format("many", end) for end in ("today", "now")] + ["Say one two three.", "A dog?"]
    records = [record(question, [LOOP], [9]) for question in questions]
    records[0]["original_answers"].append({"from": "gpt", "value": "A reference, which is not a part of the question."})
    with Cleaner(Cleaning([str(tests)], ngram=3, near_duplicates=0.8), str(path)) as cleaner:
        made = write_selected(records, str(path), Selection(), "prompts", cleaner=cleaner)
    assert [row["prompt"][0]["content"] for row in read_lines(path)] == [questions[0], questions[3]]
    assert cleaner.counts == {"decontaminate": 1, "near_duplicates": 1}
    assert (made.chosen, made.rows) == (2, 2)


def test_an_answer_that_is_kept_out_still_counts_for_the_pass_rate(tmp_path: Path) -> None:
    one = record("a?", [LOOP, "4", "5", "6"], [9, 9, 0, 0])
    how = {"accept_score": 5, "pass_rate": (0.5, 0.5)}
    assert selected(tmp_path / "train.jsonl", [one], Cleaning(max_repetition=0.5), **how) == [["a?", "4"]]


def test_an_entry_of_which_nothing_is_clean_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with Cleaner(Cleaning(max_repetition=0.5), str(path)) as cleaner:
        made = write_selected([record("a?", [LOOP], [9])], str(path), Selection(), "sharegpt", cleaner=cleaner)
    assert made == Selected(1, 0, 0, without=((NOTHING_CLEAN, 1),))


@pytest.mark.parametrize(("reasoning", "answers"), [("think", ["first", "second"]), ("drop", ["first", "third"])])
def test_answers_are_compared_as_the_rows_show_them(reasoning: str, answers: List[str], tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    path, text = tmp_path / "train.jsonl", LONG.format("many", "{}")
    one = record("a?", [text.format("first"), text.format("second"), "A third one."], [9, 8, 7])
    for detail, thoughts in zip(one["generated_details"], ("Foxes " * 30, "Dogs bark at night. " * 30)):
        detail["reasoning"] = thoughts + LONG.format(thoughts, thoughts)
    one["generated_details"][2]["reasoning"] = ""
    extras = Extras(options=RowOptions(reasoning))
    with Cleaner(Cleaning(near_duplicates=0.8), str(path)) as cleaner:
        write_selected([one], str(path), Selection("top_k", top_k=2), "sharegpt", extras, cleaner=cleaner)
    rows = [row["conversations"][-1]["value"] for row in read_lines(path)]
    assert [name in row for name, row in zip(answers, rows)] == [True, True]
