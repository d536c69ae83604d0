"""The first entries are looked at before anything is sent: a key that no entry has is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.input.conversations import entry_from_conversation
from common.running.opening import keys_of
from tests.helpers import conversation, run_script, write_input

ROWS = [{"question": f"{n} + {n}?", "antwort_text": str(2 * n), "rubric": "be short"} for n in range(3)]
NOWHERE = ("--generator_port", 1, "--generator_model", "m", "--max_retries", 0)


def reject(folder: Path, items: Any, *flags: object) -> tuple[int, str]:
    """The exit code and stderr of a run whose server is not there: a refusal comes before the first request."""
    source = write_input(folder / "in.jsonl", items)
    result = run_script("reject.py", "--input_file", source, "--output_file", folder / "out.jsonl", *NOWHERE, *flags)
    return result.returncode, result.stderr


@pytest.mark.parametrize("name", ["reference", "system", "images"])
def test_key_of_no_entry_is_refused(tmp_path: Path, name: str) -> None:
    code, error = reject(tmp_path, ROWS, f"--{name}_key", "antworttext", "--scorer", "match")
    assert code == 2
    assert f'--{name}_key: none of the first 3 entries has "antworttext"' in error
    assert "question, antwort_text, rubric; did you mean antwort_text?" in error
    assert not (tmp_path / "out.jsonl").exists() or not (tmp_path / "out.jsonl").stat().st_size


@pytest.mark.parametrize("scorer", [["match"], ["math"], ["match", "math"]])
def test_rules_without_any_reference_are_refused(tmp_path: Path, scorer: list[str]) -> None:
    if "math" in scorer:
        pytest.importorskip("math_verify")
    code, error = reject(tmp_path, ROWS, "--scorer", *scorer)
    assert code == 2
    assert f"none of the first 3 entries has a reference, which --scorer {' '.join(scorer)} needs" in error
    assert "question, antwort_text, rubric; name the key with --reference_key" in error


def test_one_reference_is_enough(tmp_path: Path) -> None:
    items = [*ROWS, {"question": "1 + 1?", "antwort": "2"}]
    code, error = reject(tmp_path, items, "--scorer", "match", "--reference_key", "antwort")
    assert code == 1
    assert "cannot reach" in error


def test_score_refuses_records_without_references(tmp_path: Path) -> None:
    record = {"original_answers": conversation("2+2?")["conversations"], "generated_answers": ["4"], "entry_id": "e"}
    source = write_input(tmp_path / "in.jsonl", [record])
    result = run_script(
        "score.py", "--input_file", source, "--output_file", tmp_path / "out.jsonl", "--scorer", "match"
    )
    assert result.returncode == 2
    assert "none of the first 1 entries has a reference" in result.stderr
    assert "--scorer judge" in result.stderr


@pytest.mark.parametrize("key", ["reference", "target", "gold_answer", "best_answer", "answers"])
def test_usual_names_of_references(key: str) -> None:
    assert entry_from_conversation({"question": "2+2?", key: ["4"] if key == "answers" else "4"}).reference == "4"


@pytest.mark.parametrize(
    "row",
    [
        {"target": "4", "gold_answer": "5"},
        {"target": ""},
        {"answers": ["4", "four"]},
        {"reference": {"page": 3}},
    ],
)
def test_ambiguous_names_are_kept(row: dict[str, Any]) -> None:
    entry = entry_from_conversation({"question": "2+2?", **row})
    assert entry.reference is None
    assert entry.extra == row


def test_own_answer_comes_first() -> None:
    entry = entry_from_conversation({"question": "2+2?", "answer": "4", "target": "x"})
    assert entry.reference == "4"
    assert entry.extra == {"target": "x"}


def test_keys_are_named_once() -> None:
    assert keys_of([{"a": 1}, {"b": 1, "a": 2}]) == ["a", "b"]


@pytest.mark.parametrize("key", ["rubrik", "meta.rubrik", "extra.rubrik"])
def test_prompt_with_a_key_of_no_entry_is_refused(tmp_path: Path, key: str) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(f"{{question}} {{row.{key}}} {{answer}}")
    for scorer in (["judge"], ["match", "judge"]):
        code, error = reject(tmp_path, ROWS, "--judge_prompt", prompt, "--scorer", *scorer)
        assert code == 2
        assert f'--judge_prompt: none of the first 3 entries has "{key}"' in error
        assert "antwort_text, rubric" in error


def test_prompt_with_keys_of_the_answer_is_not_refused(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{question} {row.reasoning} {row.finish_reason} {row.rubric} {answer}")
    assert reject(tmp_path, ROWS, "--judge_prompt", prompt)[0] == 1


def test_tests_under_a_key_of_no_entry_are_refused(tmp_path: Path) -> None:
    items = [{"question": "f?", "info": '{"tests": ["assert f() == 1"]}'}]
    flags = ("--scorer", "code", "--sandbox", "none", "--code_tests")
    code, error = reject(tmp_path, items, *flags, "info.test")
    assert (code, '--code_tests: none of the first 1 entries has "info.test"' in error) == (2, True)
    assert reject(tmp_path, items, *flags, "info.tests")[0] == 1
