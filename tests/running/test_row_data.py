"""Scores belong to the row data that they were made of: what is asked again once the data is another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.forked import forked
from tests.helpers import read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

PROMPT = "Q {question} R {row.rubric} A {answer}"
CODE = "```python\ndef f():\n    return 1\n```"


def replies(request: Request) -> Reply:
    """A judge's score is the first number after R; an answer is a piece of code."""
    if not request.question.startswith("Q "):
        return completion(CODE)
    return completion(f"Score: {request.question.split(' R ')[1].split()[0]}")


def rows(**last: Any) -> list[dict[str, Any]]:
    first = {"question": "a?", "rubric": "3 points", "w": 1, "tests": ["assert f() == 1"], "id": 1}
    return [first, {**first, "question": "b?", **last}]


def judged(server: ScriptedServer, folder: Path, items: Any, *flags: object, output: str = "out") -> list[list[Any]]:
    """The scores of the entries a and b."""
    (folder / "prompt.txt").write_text(PROMPT)
    (folder / "check.py").write_text("def f(question, reference, answer, row):\n    return row['w']\n")
    source = write_input(folder / "in.jsonl", items)
    flags = tuple(str(flag).replace("HERE", str(folder)) for flag in flags)
    words = ["--input_file", source, "--output_file", folder / f"{output}.jsonl", "--generator_model", "m"]
    run = forked("reject", [*words, "--generator_port", server.port, "--answers_per_question", 1, *flags], folder)
    assert run.returncode == 0, run.stderr
    records = sorted(read_lines(folder / f"{output}.jsonl"), key=lambda record: str(record["original_question"]))
    return [record["generated_scores"] for record in records]


JUDGE = ("--judge_prompt", "HERE/prompt.txt")
SCORERS = {
    "judge": (JUDGE, {"rubric": "9 points"}, 9.0),
    "cascade": (("--scorer", "match", "judge", *JUDGE), {"rubric": "9 points"}, 9.0),
    "panel": ((*JUDGE, "--scorer_model", "j", "k"), {"rubric": "9 points"}, 9.0),
    "function": (("--scorer", "python:HERE/check.py:f"), {"w": 9}, 9.0),
    "code": (("--scorer", "code", "--sandbox", "none", "--code_tests", "tests"), {"tests": ["assert f() == 2"]}, 0.0),
}


@pytest.mark.parametrize(
    ("name", "output"), [*((name, "other") for name in SCORERS), ("judge", "out"), ("panel", "out")]
)
def test_other_row_data_is_scored_again_and_only_that(tmp_path: Path, name: str, output: str) -> None:
    flags, change, score = SCORERS[name]
    flags = (*flags, "--cache_file", "HERE/cache")
    with ScriptedServer(replies) as server:
        first = judged(server, tmp_path, rows(), *flags)
        sent = len(server.chats)
        assert judged(server, tmp_path, rows(id=2), *flags, output=output) == first
        assert len(server.chats) == sent
        assert judged(server, tmp_path, rows(**change), *flags, output=output) == [first[0], [score]]
        asked = [chat.question for chat in server.chats[sent:]]
        assert all("9 points" in question for question in asked)
        assert len(asked) == {"function": 0, "code": 0, "panel": 2}.get(name, 1)
        assert judged(server, tmp_path, rows(), *flags, output=output) == first
        assert len(server.chats) == sent + len(asked)


def test_a_record_says_the_row_data_of_its_score(tmp_path: Path) -> None:
    with ScriptedServer(replies) as server:
        judged(server, tmp_path, rows(), *JUDGE)
        judged(server, tmp_path, rows(rubric="9 points"), *JUDGE)
        assert len(server.chats) == 5
    extras = {record["original_question"]: record["extra"]["rubric"] for record in read_lines(tmp_path / "out.jsonl")}
    assert extras == {"a?": "3 points", "b?": "9 points"}


def test_scores_of_scorers_that_read_no_row_stay(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("Q {question} R 5 A {answer}")
    flags = ("--judge_prompt", "HERE/plain.txt", "--cache_file", "HERE/cache")
    with ScriptedServer(replies) as server:
        judged(server, tmp_path, rows(), *flags)
        judged(server, tmp_path, rows(rubric="9 points"), *flags, output="other")
        assert len(server.chats) == 4
    assert all("row" not in line for line in read_lines(tmp_path / "cache"))
    assert "scorer row_keys" not in json.loads((tmp_path / "out.jsonl.settings.json").read_text())
