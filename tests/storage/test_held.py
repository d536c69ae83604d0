"""A look at an output and its ledger finds what a run would find, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UsageError
from common.records import Answer, Entry, answer_line, make_record
from common.storage.held import Held, check_place
from common.storage.run_files import RunFiles

SETTINGS = {"answers_per_question": 1, "generator model": "m"}
ONE, TWO, THREE = ("1" * 32, "2" * 32, "3" * 32)


def write(folder: Path) -> Held:
    """An output with one entry, and a ledger with an answer of another, left by a run."""
    names = (str(folder / "out.jsonl"), str(folder / "ledger"))
    with RunFiles(*names, SETTINGS, keep_ledger=True) as files:
        entry = Entry(ONE, [{"from": "human", "value": "q"}], None, [])
        files.output.append(make_record(entry, [Answer("a")], None))
        files.ledger.append(answer_line(TWO, 0, "f", Answer("b"), None))
    return Held(*names, SETTINGS)


def test_each_entry_has_its_status_once(tmp_path: Path) -> None:
    with write(tmp_path) as held:
        assert [held.meet(one) for one in (ONE, TWO, THREE, ONE, TWO)] == ["done", "new", "new"] + ["duplicate"] * 2
        assert [line["answer"] for line in held.ledger.recall(TWO)] == ["b"]
        assert held.old_record(ONE) is None  # it lacks nothing


def test_a_record_that_may_lack_something_is_given(tmp_path: Path) -> None:
    write(tmp_path).__exit__()
    more = {**SETTINGS, "answers_per_question": 2}
    with Held(str(tmp_path / "out.jsonl"), str(tmp_path / "ledger"), more) as held:
        record = held.old_record(ONE)
        assert held.meet(ONE) == "new"
        assert record is not None
        assert record["generated_answers"] == ["a"]
        assert held.old_record(TWO) is None


def test_other_settings_and_other_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path).__exit__()
    names = (str(tmp_path / "out.jsonl"), str(tmp_path / "ledger"))
    with pytest.raises(UsageError, match="was written with generator model"):
        Held(*names, {**SETTINGS, "generator model": "other"})
    with pytest.raises(UsageError, match="holds no records"):
        Held(names[1], names[0], SETTINGS)


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_place(str(tmp_path / "new" / "folder" / "out.jsonl"))
    with pytest.raises(UsageError, match="is not a folder"):
        check_place(str(tmp_path / "file" / "out.jsonl"))
