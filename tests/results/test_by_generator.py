"""The table of generators: who made what, and whose request the tokens are."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from common.results.by_generator import ByGenerator
from common.results.record_view import OutputReader
from common.results.selection import Selection
from tests.helpers import write_input


def rows(folder: Any, usual: Optional[str], *details: Dict[str, Any]) -> List[Any]:
    """The rows for one record, whose answers are all accepted but those that are cut or unscored."""
    scores = [None if "unscored" in one else 9.0 for one in details]
    record = {
        "original_question": "q",
        "original_answers": [{"from": "human", "value": "q"}],
        "generated_answers": [f"answer {n}" for n in range(len(details))],
        "generated_scores": scores,
        "generated_details": list(details),
        "entry_id": "e",
    }
    table = ByGenerator(usual, 8)
    for view in OutputReader(str(write_input(folder / "out.jsonl", [record]))).views(Selection()):
        table.add(view)
    return [list(row) for panel in table.panels() for row in panel.rows[1:]]


def made(name: str, tokens: Optional[int] = None, **more: Any) -> Dict[str, Any]:
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    return {"finish_reason": "stop", "model": name, "made_by": name, **usage, **more}


def test_the_tokens_of_a_request_are_those_of_its_generator(tmp_path: Any) -> None:
    assert rows(tmp_path, None, made("a", 40), made("b", 6), made("a"), made("b")) == [
        ["a", "2", "0", "0", "2", "100 %", "40", "20"],
        ["b", "2", "0", "0", "2", "100 %", "6", "3"],
    ]


def test_cut_and_unscored_answers_are_counted_and_a_name_comes_before_the_model(tmp_path: Any) -> None:
    cut = made("m", 9, finish_reason="length", unscored="cut", generator="cold")
    assert rows(tmp_path, None, cut, made("m", 7, unscored="odd", generator="hot"), made("m", 5, generator="hot")) == [
        ["cold", "1", "1", "0", "0", "0 %", "9", "\u2013"],
        ["hot", "2", "0", "1", "1", "50 %", "12", "12"],
    ]


def test_answers_without_a_name_are_those_of_the_settings(tmp_path: Any) -> None:
    unnamed = {"finish_reason": "stop", "usage": {"completion_tokens": 3}}
    assert [row[:2] for row in rows(tmp_path, "first", unnamed, made("second", 4))] == [["first", "1"], ["second", "1"]]
    assert rows(tmp_path, "first", unnamed, made("first", 4)) == []
