"""Test questions are found in other case, punctuation and company, and nothing that shares fewer words is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UsageError
from common.results.cleaning.test_questions import Match, TestQuestions, read_tests

LONG = "Natalia sold 48 clips in April, and then she sold half as many in May. How many in all?"


def index(*questions: str, size: int = 8) -> TestQuestions:
    tests = TestQuestions(size)
    for question in questions:
        tests.add(question, "t.jsonl")
    return tests


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        LONG.upper(),
        f"Solve this problem.\n\n**{LONG}** Think first.",
        "Tom said: natalia sold -- 48 clips; in April and then! stop",
        LONG.replace(" ", "\n"),
        "ｎatalia sold 48 clips in April, and then",  # noqa: RUF001
    ],
)
def test_eight_words_in_a_row_are_found(text: str) -> None:
    match = index(LONG).found_in(text)
    assert match is not None
    assert match.ngram == "natalia sold 48 clips in april and then"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Natalia sold 48 clips in April, and",
        LONG.replace("half", "twice").replace("48", "50")[:50],
        "How many in all?",
    ],
)
def test_fewer_words_are_not(text: str) -> None:
    assert index(LONG).found_in(text) is None


def test_a_short_test_question_is_found_only_as_a_whole() -> None:
    tests = index("What is 2+2?")
    assert tests.found_in("what is 2 + 2") == Match("what is 2 2", "t.jsonl")
    assert tests.found_in("What is 2+2 times 3?") is None
    assert index("").found_in("") is None


def test_text_without_spaces_is_compared_by_its_characters() -> None:
    tests = index("小明有三个苹果又买了五个苹果")
    assert tests.found_in("问题小明有三个苹果又买了两个") is not None
    assert tests.found_in("小红有三个梨") is None


def test_files_are_read_as_inputs_are(tmp_path: Path) -> None:
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"problem": LONG, "solution": "72"}) + "\n")
    talk = tmp_path / "b.json"
    turns = [{"from": "human", "value": "First of all I have one more thing to ask."}, {"from": "gpt", "value": "Yes?"}]
    talk.write_text(json.dumps([{"conversations": [*turns, {"from": "human", "value": "No."}]}]))
    questions, references = read_tests([str(rows), str(talk)], 8)
    assert questions.found_in(LONG) == Match("natalia sold 48 clips in april and then", str(rows))
    assert questions.found_in("first of all i have one more thing") == Match(
        "first of all i have one more thing", str(talk)
    )
    assert references.found_in("72") == Match("72", str(rows))


def test_a_file_without_a_question_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "no question"}\n')
    with pytest.raises(UsageError, match=r"--decontaminate .*a\.jsonl: no question can be read: "):
        read_tests([str(path)], 8)
