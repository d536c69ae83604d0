"""The row of an answer in a judge's prompt: the texts of its keys, and what a key that is missing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import BadEntry
from common.input.conversations import entry_from_conversation
from common.input.strict_json import loads
from common.records import Answer
from common.scoring.rows import row_of, row_texts
from tests.helpers import read_lines, run_script, write_input
from tests.scripted_server import ScriptedServer, completion


def texts(template: str, own: dict[str, Any]) -> dict[str, str]:
    entry = entry_from_conversation({"question": "q", **own})
    return dict(row_texts(template, row_of(entry, Answer("a", "stop", "hm"))))


def test_a_key_is_its_text_or_its_json_and_a_dotted_path_leads_to_a_part() -> None:
    own = {"rubric": "be {answer}", "tests": [{"in": 1.0}], "n": loads("1e5"), "a.b": "dotted", "no": False}
    template = (
        "{row.rubric} {row.tests} {row.tests.0.in} {row.n} {row.a.b} {row.no} {row.reasoning} {row.finish_reason}"
    )
    assert list(texts(template, own).values()) == [
        *("be {answer}", '[{"in":1.0}]', "1.0", "1e5", "dotted", "false", "hm", "stop")
    ]


@pytest.mark.parametrize("own", [{}, {"rubric": None}, {"rubric": " "}, {"Rubric": "x"}])
def test_a_key_that_is_missing_or_empty_is_named(own: dict[str, Any]) -> None:
    with pytest.raises(BadEntry, match='"rubric"'):
        texts("{row.rubric}", own)


def test_a_rubric_per_question_reaches_the_judge_and_an_answer_without_one_is_unscored(tmp_path: Path) -> None:
    rows = [{"question": "a?", "rubric": "short {question}", "w": 1.50}, {"question": "b?"}]
    source = write_input(tmp_path / "in.jsonl", rows)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Q {question} R {row.rubric} W {row.w} A {answer}")
    with ScriptedServer(lambda request: completion("Score: 8" if " R " in request.question else "4.")) as server:
        run = run_script(
            *("reject.py", "--input_file", source, "--output_file", tmp_path / "out.jsonl", "--judge_prompt", prompt),
            *("--generator_model", "m", "--generator_port", server.port, "--answers_per_question", 1),
        )
    assert run.returncode == 0, run.stderr
    assert [chat.question for chat in server.chats if "R short" in chat.question] == [
        "Q a? R short {question} W 1.5 A 4."
    ]
    assert len(server.chats) == 3
    first, second = sorted(read_lines(tmp_path / "out.jsonl"), key=lambda record: int(record["line"]))
    assert (first["generated_scores"], second["generated_scores"]) == ([8.0], [None])
    assert second["generated_details"][0]["unscored"] == (
        'the judge prompt needs "rubric", which this entry does not have'
    )
    assert json.dumps(first["extra"]) == json.dumps({"rubric": "short {question}", "w": 1.5})
