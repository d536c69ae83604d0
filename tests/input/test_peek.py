from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry
from common.input.conversations import ItemReader, work_from_record
from common.input.files import InputFile
from common.input.json_items import Passed
from common.input.peek import conversation_key, peek_of, record_key
from common.input.strict_json import loads
from common.records import id_key
from tests.helpers import conversation, read_lines, run_script, write_input
from tests.scripted_server import ScriptedServer, completion

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8) | st.sampled_from(["<image>", "\x7f", "é", ""])
TURN = st.fixed_dictionaries({"value": TEXT | st.integers(), "from": st.sampled_from(["human", "gpt", "user", "x"])})
ODD_TURN = TURN | st.fixed_dictionaries({"from": TEXT, "value": TEXT, "tool_calls": TEXT}) | TEXT | st.none()
MORE = st.dictionaries(st.sampled_from(["images", "image", "id", "system", "answer"]), TEXT | st.just([]), max_size=2)
ITEMS = st.builds(
    lambda key, turns, more: {key: turns, **more},
    st.sampled_from(["conversations", "conversations", "messages"]),
    st.lists(ODD_TURN, max_size=3) | st.lists(TURN, max_size=3) | TEXT,
    MORE,
)


@settings(max_examples=300, deadline=None)
@given(ITEMS, st.booleans())
def test_a_key_that_a_line_has_is_that_of_its_entry(item: Dict[str, Any], ascii_only: bool) -> None:
    line = json.dumps(item, ensure_ascii=ascii_only).encode() + b"\n"
    key = conversation_key(line)
    try:
        entry = ItemReader()(loads(line), 1).entry
    except BadEntry:
        return  # no output has such an entry, whatever its key
    assert key in (None, id_key(entry.entry_id))
    if set(item) == {"conversations"} and all(set(turn) == {"from", "value"} for turn in item["conversations"]):
        assert key is not None


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[1]", b'"text"', b"{", b'{"conversations": 5}', b'{"conversations": []}']
)
def test_another_line_has_no_key(line: bytes) -> None:
    assert conversation_key(line) is record_key(line) is None


@pytest.mark.parametrize(
    ("more", "has_key"), [({}, True), ({"extra": {"id": 1}}, False), ({"generated_scores": [1.0]}, True)]
)
def test_a_record_without_own_keys_has_the_key_at_its_end(more: Dict[str, Any], has_key: bool) -> None:
    turns = conversation("2+2?")["conversations"]
    item = {"original_answers": turns, "generated_answers": ["4"], **more, "entry_id": "0f" * 16}
    line = json.dumps(item).encode() + b"\n"
    assert record_key(line) == (id_key(work_from_record(item, 1).entry.entry_id) if has_key else None)


def test_an_id_inside_a_text_is_not_that_of_a_record() -> None:
    assert record_key(json.dumps({"entry_id": "a", "x": '"entry_id":"%s"}' % ("0f" * 16)}).encode()) is None


def test_only_readers_that_read_the_usual_keys_can_be_anticipated() -> None:
    assert (peek_of(ItemReader()), peek_of(work_from_record)) == (conversation_key, record_key)
    assert peek_of(ItemReader(ItemReader().columns._replace(question="q"))) is None


@pytest.mark.parametrize("is_folder", [False, True])
def test_known_lines_are_passed_and_keep_their_numbers(tmp_path: Path, is_folder: bool) -> None:
    (tmp_path / "in").mkdir()
    path = write_input(tmp_path / "in" / "x.jsonl", [{"n": n} for n in range(600)])
    source = InputFile(str(path.parent if is_folder else path))
    source.pass_over(lambda line: json.loads(line)["n"] not in (0, 3, 4))
    found = [(item.line, item.value) for item in source]
    read = [(1, {"n": 0}), (4, {"n": 3}), (5, {"n": 4})]
    assert found == [read[0], (3, Passed(2)), *read[1:], (261, Passed(256)), (517, Passed(256)), (600, Passed(83))]
    assert source.expected_items() == 600
    source.close()


def resume(server: ScriptedServer, folder: Path, items: List[Any]) -> str:
    source = write_input(folder / "in.jsonl", items)
    flags = ("--input_file", source, "--output_file", folder / "out.jsonl", "--model_name", "m", "--port", server.port)
    run = run_script("sampling.py", *flags, "--answers_per_question", 1)
    assert run.returncode == 0, run.stderr
    return next(line for line in run.stdout.splitlines() if line.startswith("  entries"))


def test_a_resumed_run_counts_the_lines_that_it_passes_over(tmp_path: Path) -> None:
    items = [conversation(f"question {n}?") for n in range(130)]
    with ScriptedServer(lambda request: completion("4")) as server:
        resume(server, tmp_path, items[:128])
        entries = resume(server, tmp_path, [*items[:129], items[5], conversation("question 120?", id=7), items[129]])
        assert len(server.chats) == 130
    assert (
        "2 done, 128 skipped (already done), 0 failed, 2 duplicates left out (1 differ in their other keys)" in entries
    )
    assert sorted(record["line"] for record in read_lines(tmp_path / "out.jsonl"))[-2:] == [129, 132]
