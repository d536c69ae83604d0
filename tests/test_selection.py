"""Which candidates are kept, and the file they are written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunStopped
from common.input_file import InputFile
from common.records import Answer, Record, Score, entry_from_conversation, make_record
from common.selection import as_conversation, best_index, write_best
from tests.helpers import conversation

Values = List[Optional[float]]


def record(
    values: Values, cut: Optional[List[int]] = None, item: Optional[Dict[str, Any]] = None, text: str = "answer"
) -> Record:
    """A record as the scripts write it, with answers "answer 0", "answer 1", ...; those in ``cut`` were cut."""
    finish = ["length" if index in (cut or []) else "stop" for index in range(len(values))]
    answers = [Answer(f"{text} {index}", reason) for index, reason in enumerate(finish)]
    entry = entry_from_conversation(item or conversation("2+2?", "4"))
    return json.loads(json.dumps(make_record(entry, answers, [Score(value) for value in values])))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("values", "cut", "accept", "index"),
    [
        ([3.0, 9.0, 5.0], [], None, 1),
        ([9.0, 9.0, 9.0], [], None, 0),
        ([1.0, 9.0, 9.0], [], None, 1),
        ([None, 2.0, None], [], None, 1),
        ([None, None], [], None, None),
        ([], [], None, None),
        ([0.0], [], None, 0),
        ([-2.0, -1.0], [], None, 1),
        ([9.0, 4.0], [0], None, 1),
        ([9.0, 9.0], [0], None, 1),
        ([9.0], [0], None, None),
        ([7.9, 8.0], [], 8, 1),
        ([7.9, 7.99], [], 8, None),
        ([0.0, None], [], 0, 0),
        ([-1.0], [], 0, None),
        ([10.0, 8.0], [0], 8, 1),
        ([10.0, 7.0], [0], 8, None),
    ],
)
def test_the_best_is_the_first_of_the_highest_that_may_be_taken(
    values: Values, cut: List[int], accept: Optional[float], index: Optional[int]
) -> None:
    assert best_index(record(values, cut), accept) == index


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 3).map(float)), st.booleans()), max_size=6),
    st.one_of(st.none(), st.integers(0, 4).map(float)),
)
def test_never_is_a_cut_unscored_or_rejected_answer_chosen(pairs: List[Any], accept: Optional[float]) -> None:
    cut = [index for index, (_, is_cut) in enumerate(pairs) if is_cut]
    able = [(-value, index) for index, (value, is_cut) in enumerate(pairs) if value is not None and not is_cut]
    able = [pair for pair in able if accept is None or -pair[0] >= accept]
    assert best_index(record([value for value, _ in pairs], cut), accept) == (min(able)[1] if able else None)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf"), "9", [9]])
@pytest.mark.parametrize("accept", [None, 0.0])
def test_what_is_no_finite_number_is_never_the_best_wherever_it_stands(score: Any, accept: Optional[float]) -> None:
    for values, index in ([score, 2.0, 3.0], 2), ([3.0, score, 2.0], 0), ([2.0, 3.0, score], 1), ([score], None):
        assert best_index({"generated_answers": ["a"] * len(values), "generated_scores": values}, accept) == index


def test_a_record_that_was_never_scored_gives_nothing() -> None:
    entry = entry_from_conversation(conversation("2+2?"))
    assert best_index(make_record(entry, [Answer("4")], None)) is None


def test_a_record_without_details_is_judged_by_its_scores() -> None:
    assert best_index({"generated_answers": ["a", "b"], "generated_scores": [1.0, 2.0]}) == 1


def test_the_answer_takes_the_place_of_the_reference() -> None:
    assert as_conversation(record([1.0, 2.0]), 1) == conversation("2+2?", "answer 1")


def test_without_a_reference_the_answer_is_added() -> None:
    assert as_conversation(record([1.0], item=conversation("2+2?")), 0) == conversation("2+2?", "answer 0")


def test_system_turn_history_and_images_are_kept() -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "<image>What is it?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "Black."},
    ]
    item = {"conversations": turns, "images": ["a/cat.png"]}
    chosen = as_conversation(record([5.0], item=item), 0)
    assert chosen == {"conversations": [*turns[:-1], {"from": "gpt", "value": "answer 0"}], "images": ["a/cat.png"]}


def test_the_speaker_is_called_as_the_conversation_calls_it() -> None:
    item = {"conversations": [{"from": "user", "value": "2+2?"}]}
    assert as_conversation(record([5.0], item=item), 0)["conversations"][-1]["from"] == "assistant"


def test_choosing_leaves_the_record_as_it_was() -> None:
    kept = record([1.0, 2.0])
    before = json.dumps(kept)
    as_conversation(kept, 1)
    assert json.dumps(kept) == before


@pytest.mark.parametrize("name", ["best.json", "best.jsonl"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_written_can_be_read_again_as_an_input(tmp_path: Path, name: str, count: int) -> None:
    path = tmp_path / name
    records = [record([1.0, 9.0], item=conversation(f"question {n}?\n\u2028\u4f60\u597d", "x")) for n in range(count)]
    write_best(records, str(path))
    wanted = [conversation(f"question {n}?\n\u2028\u4f60\u597d", "answer 1") for n in range(count)]
    if name.endswith(".jsonl"):
        assert [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] == wanted
    else:
        assert json.loads(path.read_bytes()) == wanted
    if path.stat().st_size:  # an empty JSONL file is no input
        source = InputFile(str(path))
        read = [entry_from_conversation(item) for _, item in source]
        source.close()
        assert [entry.reference for entry in read] == ["answer 1"] * count


def test_the_count_of_looked_at_and_of_chosen_is_given(tmp_path: Path) -> None:
    records = [record([9.0]), record([None]), record([3.0]), record([9.0], cut=[0])]
    chosen = write_best(records, str(tmp_path / "best.jsonl"), accept_score=5)
    assert (chosen.records, chosen.chosen) == (4, 1)
    assert len((tmp_path / "best.jsonl").read_bytes().splitlines()) == 1


def test_records_that_give_nothing_leave_no_comma_in_the_list(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    write_best([record([None]), record([9.0]), record([None]), record([8.0]), record([None])], str(path))
    assert len(json.loads(path.read_bytes())) == 2


def test_a_lone_surrogate_in_an_answer_does_not_break_the_file(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    write_best([record([9.0], text="\ud83d half"), record([9.0])], str(path))
    assert json.loads(path.read_bytes())[0]["conversations"][-1]["value"] == "\ud83d half 0"


def test_the_former_selection_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "best.jsonl"
    path.write_text("of an earlier run, and much longer than what follows\n" * 99)
    write_best([record([9.0])], str(path))
    assert len(path.read_bytes().splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["best.jsonl"]


def test_a_selection_that_breaks_off_leaves_the_former_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text("[]\n")

    def damaged() -> Iterator[Record]:
        yield record([9.0])
        raise OSError(5, "Input/output error")

    with pytest.raises(RunStopped):
        write_best(damaged(), str(path))
    assert path.read_text() == "[]\n"


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "best.json"
    with pytest.raises(RunStopped, match="no such folder"):
        write_best([], str(path))
