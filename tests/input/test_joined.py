"""Several files of records as one input: the union of the answers, each once, with who made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest

from common.errors import BadEntry, UsageError
from common.input.conversations import entry_from_conversation, work_from_record
from common.input.joined import JoinedFiles
from common.records import Answer, Record, fingerprint, make_record
from tests.helpers import conversation


def record(question: str, *texts: str, **more: Any) -> Record:
    return {
        **make_record(entry_from_conversation(conversation(question)), [Answer(text) for text in texts], None),
        **more,
    }


def write(path: Path, records: Sequence[Any], model: Optional[str] = None, temperature: float = 1.0) -> str:
    """A file of records, with the settings of a model beside it."""
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    if model is not None:
        settings = {"generator model": model, "generator temperature": temperature, "answers_per_question": 2}
        Path(f"{path}.settings.json").write_text(json.dumps(settings))
    return str(path)


def joined(*paths: str) -> List[Any]:
    source = JoinedFiles(list(paths))
    try:
        return [value for _, value in source]
    finally:
        source.close()


def by_question(records: Sequence[Record]) -> Dict[str, List[str]]:
    found = {one["original_question"]: one["generated_answers"] for one in records}
    assert len(found) == len(records)
    return found


def test_each_entry_is_there_once_with_the_answers_of_all_files(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [record("q", "1", "2"), record("r", "3")], "m")
    second = write(tmp_path / "b.jsonl", [record("s", "4"), record("q", "5")], "n")
    third = write(tmp_path / "c.jsonl", [record("s", "6"), record("q", "7")], "o")
    assert by_question(joined(first, second, third)) == {"q": ["1", "2", "5", "7"], "r": ["3"], "s": ["4", "6"]}


def test_each_answer_says_who_made_it(tmp_path: Path) -> None:
    mixed = record("q", "1", generated_details=[{"finish_reason": "length", "model": "x", "made_by": "y"}])
    first = write(tmp_path / "a.jsonl", [record("q", "1")], "m", 0.5)
    second = write(tmp_path / "b.jsonl", [mixed], "n")
    third = write(tmp_path / "c.jsonl", [record("q", "2")])
    [found] = joined(first, second, third)
    made_by = fingerprint({"model": "m", "temperature": 0.5})
    assert found["generated_details"] == [
        {"model": "m", "made_by": made_by},
        {"model": "x", "made_by": "y", "finish_reason": "length"},
        {},
    ]
    answers = work_from_record(found).answers or []
    assert [(one.model, one.made_by) for one in answers] == [("m", made_by), ("x", "y"), (None, None)]


@pytest.mark.parametrize(
    ("model", "temperature", "texts", "expected"),
    [
        ("m", 1.0, ["1", "2", "3"], ["1", "2", "3"]),  # a copy that was topped up
        ("n", 1.0, ["1", "2"], ["1", "2", "1", "2"]),  # another model
        ("m", 0.5, ["1", "2"], ["1", "2", "1", "2"]),  # another temperature
        (None, 1.0, ["1", "2"], ["1", "2", "1", "2"]),  # who knows
        ("m", 1.0, ["2", "1"], ["1", "2", "2", "1"]),  # a second run with the same settings
    ],
)
def test_an_answer_is_the_same_if_text_index_and_settings_are(
    tmp_path: Path, model: Optional[str], temperature: float, texts: List[str], expected: List[str]
) -> None:
    first = write(tmp_path / "a.jsonl", [record("q", "1", "2")], "m")
    second = write(tmp_path / "b.jsonl", [record("q", *texts)], model, temperature)
    [found] = joined(first, second)
    assert found["generated_answers"] == expected
    assert len(found["generated_details"]) == len(expected)


def test_what_is_not_a_record_is_named_and_costs_only_itself(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [record("q", "1"), {"no": "record"}])
    second = write(tmp_path / "b.jsonl", [record("q", 5), record("r", "2")])
    with open(second, "a") as file:
        file.write("{torn\n")
    found = joined(first, second)
    assert by_question([one for one in found if isinstance(one, dict) and "entry_id" in one]) == {
        "q": ["1"],
        "r": ["2"],
    }
    assert len(found) == 5
    assert next(str(one) for one in found if isinstance(one, BadEntry)).startswith(second)


def test_lines_go_on_from_file_to_file_and_have_a_place(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [record("q", "1"), record("r", "1")])
    second = write(tmp_path / "b.jsonl", [record("q", "2"), record("s", "2")])
    source = JoinedFiles([first, second])
    lines = [line for line, _ in source]
    assert lines == [1, 2, 4]
    assert source.place(4) == (second, "line", 2)
    source.close()


def test_records_of_other_tools_are_joined_by_their_conversation(tmp_path: Path) -> None:
    others = [{"original_question": "q", "original_answers": ["4"], "generated_answers": [text]} for text in "xy"]
    assert by_question(joined(*(write(tmp_path / f"{n}.jsonl", [one]) for n, one in enumerate(others)))) == {
        "q": ["x", "y"]
    }


def test_what_stopped_an_entry_is_kept_only_if_it_is_true_of_all(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl", [record("q", "1", stopped_by="stop_after"), record("r", "1", stopped_by="x")], "m"
    )
    second = write(tmp_path / "b.jsonl", [record("q", "1"), record("r", "1", stopped_by="x")], "n")
    assert [one.get("stopped_by") for one in joined(first, second)] == [None, "x"]


def test_a_file_that_cannot_be_read_from_its_middle_is_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", [record("q", "1")])
    (tmp_path / "list.json").write_text(json.dumps([record("q", "1")]))
    (tmp_path / "folder").mkdir()
    for bad in ("list.json", "folder", "missing.jsonl"):
        with pytest.raises(UsageError, match=bad):
            JoinedFiles([good, str(tmp_path / bad)])
