"""What common/ledger.py promises: nothing paid for is lost, and finished entries cost no memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from common.records import Answer, Score, answer_line, fingerprint, id_key, score_line
from common.storage.append_file import to_line
from common.storage.ledger import Ledger
from common.storage.ledger_lines import to_checked_line
from tests.helpers import ROOT, read_lines

A, B, C = (fingerprint(name, 32) for name in "abc")


def line(entry_id: str, index: int) -> Dict[str, Any]:
    return answer_line(entry_id, index, "made", Answer(f"answer {index}"), None)


def write(path: Path, *lines: Dict[str, Any]) -> Path:
    path.write_bytes(b"".join(map(to_line, lines)))
    return path


def recalled(path: Path, *entry_ids: str) -> List[List[Dict[str, Any]]]:
    """What a new run recalls of each entry."""
    ledger = Ledger(str(path), done=())
    try:
        return [ledger.recall(entry_id) for entry_id in entry_ids]
    finally:
        ledger.close()


def test_an_entrys_lines_come_back_in_the_order_they_were_written(tmp_path: Path) -> None:
    score = score_line(A, 2, "judge", Answer("answer 2"), Score(None, "?", "no score"))
    mine, other = [line(A, 2), score, line(A, 0), line(A, 2)], [line(B, 1), line(B, 0)]
    path = write(tmp_path / "ledger", mine[0], other[0], mine[1], mine[2], other[1], mine[3])
    assert recalled(path, B, A) == [other, mine]


@settings(max_examples=30, deadline=None)
@given(written=st.lists(st.tuples(st.sampled_from([A, B, C, "own-1", "ж" * 3]), st.integers(0, 9)), max_size=25))
def test_each_run_recalls_all_that_the_runs_before_it_wrote(
    tmp_path_factory: pytest.TempPathFactory, written: List[Tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    for one in written:  # a run for each line
        ledger = Ledger(str(path), done=())
        ledger.append(line(*one))
        ledger.close()
    ids = [A, B, C, "own-1", "ж" * 3]
    assert recalled(path, *ids) == [[line(*one) for one in written if one[0] == entry_id] for entry_id in ids]


def test_an_entry_is_recalled_once(tmp_path: Path) -> None:
    path = write(tmp_path / "ledger", line(A, 0))
    assert recalled(path, A, A) == [[line(A, 0)], []]


def test_an_entry_that_is_not_in_it_has_no_lines(tmp_path: Path) -> None:
    assert recalled(write(tmp_path / "ledger", line(A, 0)), B) == [[]]
    assert recalled(tmp_path / "missing", B) == [[]]


def test_recall_gives_earlier_runs_lines_and_not_this_ones(tmp_path: Path) -> None:
    ledger = Ledger(str(write(tmp_path / "ledger", line(A, 0), line(B, 0))), done=())
    ledger.append(line(A, 1))
    ledger.append(line(C, 0))
    assert [ledger.recall(entry_id) for entry_id in (A, B, C)] == [[line(A, 0)], [line(B, 0)], []]
    ledger.close()


def test_lines_of_finished_entries_are_not_recalled_nor_left_over(tmp_path: Path) -> None:
    path = write(tmp_path / "ledger", line(A, 0), line(B, 0), line(A, 1))
    ledger = Ledger(str(path), done={id_key(A)})
    assert ledger.recall(A) == []
    assert ledger.leftover
    assert ledger.recall(B) == [line(B, 0)]
    assert not ledger.leftover
    ledger.close()


def test_finished_entries_take_no_memory(tmp_path: Path) -> None:
    ids = [fingerprint(number, 32) for number in range(20000)]
    path = write(tmp_path / "ledger", *(line(entry_id, 0) for entry_id in ids))
    done = {id_key(entry_id) for entry_id in ids}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        ledger = Ledger(str(path), done)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    ledger.close()
    assert kept < len(ids)  # less than a byte an entry


def test_what_was_appended_is_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger"), done=())
    for count in range(1, 4):
        ledger.append(line(A, count))
        assert len(read_lines(tmp_path / "ledger")) == count
    ledger.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_kill_9_loses_no_line_that_append_returned_from(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from common.storage.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1], ())\n"
        "for index in range(50):\n"
        "    ledger.append({'made_by': 'made', 'index': index, 'entry_id': '0' * 32})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "ledger")], cwd=str(ROOT), check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [one["index"] for one in recalled(tmp_path / "ledger", "0" * 32)[0]] == list(range(50))


def test_a_torn_tail_is_cut_at_every_byte_and_the_next_line_stands_alone(tmp_path: Path) -> None:
    whole, last = to_line(line(A, 0)) + to_line(line(B, 0)), to_line(line(A, 1))
    path = tmp_path / "ledger"
    for length in range(len(last) - 1):
        path.write_bytes(whole + last[:length])
        ledger = Ledger(str(path), done=())
        ledger.append(line(C, 0))
        assert ledger.recall(A) == [line(A, 0)]
        ledger.close()
        assert path.read_bytes() == whole + to_checked_line(line(C, 0))


@pytest.mark.parametrize("before", [[], [line(B, 0)]], ids=["alone", "after another"])
def test_a_last_line_that_lacks_only_its_newline_was_paid_for_and_is_recalled(
    tmp_path: Path, before: List[Dict[str, Any]]
) -> None:
    path = write(tmp_path / "ledger", *before, line(A, 0))
    path.write_bytes(path.read_bytes()[:-1])
    ledger = Ledger(str(path), done=())
    ledger.append(line(C, 0))
    assert ledger.recall(A) == [line(A, 0)]
    ledger.close()
    assert read_lines(path) == [*before, line(A, 0), json.loads(to_checked_line(line(C, 0)))]


def test_every_ledger_line_begins_with_what_made_it() -> None:
    lines = [line(A, 0), score_line(A, 0, "made", Answer("x"), Score(1.0))]
    assert [to_line(one).startswith(b'{"made_by":"made","index":0,') for one in lines] == [True, True]


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b" \n"])
def test_blank_lines_do_not_shift_what_is_recalled(tmp_path: Path, between: bytes) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(between.join([to_line(line(A, 0)), to_line(line(B, 0)), to_line(line(A, 1))]))
    assert recalled(path, A, B) == [[line(A, 0), line(A, 1)], [line(B, 0)]]


def test_a_ledger_with_crlf_and_another_key_order_is_still_read(tmp_path: Path) -> None:
    lines = [line(A, 0), {"index": 1, "entry_id": A, "made_by": "made", "answer": "é"}]
    path = tmp_path / "ledger"
    path.write_bytes(b"".join(to_line(one).replace(b"\n", b"\r\n") for one in lines))
    assert recalled(path, A) == [lines]


@pytest.mark.parametrize("first", [b"", b"oops\n", b"\0" * 50 + b"\n"], ids=["none", "text", "zeros"])
def test_a_damaged_line_is_named_with_its_number_and_costs_only_itself(
    tmp_path: Path, first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = to_line(line(A, 0)).replace(b'"answer":', b'"answer" ')
    path = tmp_path / "ledger"
    path.write_bytes(first + to_line(line(B, 0)) + damaged + to_line(line(A, 1)))
    assert recalled(path, B, A) == [[line(B, 0)], [line(A, 1)]]
    lines = ([1] if first else []) + [2 + bool(first)]
    assert [message.split(" is damaged")[0] for message in caplog.messages] == [f"{path}: line {n}" for n in lines]
    assert path.read_bytes().startswith(first + to_line(line(B, 0)))


def test_of_many_damaged_lines_the_first_are_named_and_the_others_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(to_line(line(B, 0)) + b"oops\n" * 50)
    recalled(path, B)
    assert len(caplog.messages) == 11
    assert caplog.messages[-1] == f"{path}: 40 more lines are damaged"


def test_a_flipped_byte_anywhere_never_changes_what_is_recalled(tmp_path: Path) -> None:
    whole, path = to_checked_line(line(A, 7)), tmp_path / "ledger"
    for place in range(len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(to_checked_line(line(B, 0)) + flipped + to_checked_line(line(B, 1)))
        mine, others = recalled(path, A, B)
        assert [{key: one[key] for key in line(A, 7)} for one in mine] in ([], [line(A, 7)])
        assert others == [line(B, 0), line(B, 1)]


@pytest.mark.parametrize(
    "content",
    [
        b"notes\nmore notes",
        b'[{"conversations": []}]',
        b'{"conversations": []}\n{"c',
        b'{"original_question": "q", "generated_answers": [], "entry_id": "1"}\n{"orig',
        b'{"original_question": "q", "gen',
        b'{"index": 0, "answer": "4"}\n{"ind',
    ],
)
def test_a_file_that_is_no_ledger_is_refused_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Ledger(str(path), done=())
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_closing_keeps_the_file_unless_it_is_to_go(tmp_path: Path) -> None:
    path = write(tmp_path / "ledger", line(A, 0))
    before = path.read_bytes()
    Ledger(str(path), done=()).close()
    assert path.read_bytes() == before
    Ledger(str(path), done=()).close(remove=True)
    assert not path.exists()


def test_a_ledger_that_never_got_a_line_leaves_no_file(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger"), done=())
    assert not ledger.leftover
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_a_lone_surrogate_in_an_answer_is_kept(tmp_path: Path) -> None:
    broken = answer_line(A, 0, "made", Answer("half \ud83d and \u2028 é"), None)
    ledger = Ledger(str(tmp_path / "ledger"), done=())
    ledger.append(broken)
    ledger.close()
    assert recalled(tmp_path / "ledger", A) == [[json.loads(json.dumps(broken))]]


WRONG: Dict[str, Any] = {
    "index": [-1, True, 1.0, "0", None, 1 << 70, [0]],
    "made_by": [None, 7, ["made"]],
    "answer": [None, 4, ["4"]],
    "digest": [["x"], None, 5],
    "score": [True, "7", float("nan"), float("inf"), [7], 10**400],
    "usage": ["x", [1], {"n": float("nan")}, {"n": json.loads("[" * 200 + "]" * 200)}],
    "finish_reason": [1, {}],
    "probabilities": [[1], {"a": float("-inf")}],
    "judge_samples": [{}, [1]],
    "panel": [{}, ["a"], "a"],
    "compared": [[], "a", {"as": float("nan")}],
    "verdict": [None, 1],
    "winner": [1, ["a"]],
    "unread": [{}, 1],
}


@pytest.mark.parametrize("key", WRONG)
def test_a_value_that_no_run_writes_is_damage(tmp_path: Path, key: str) -> None:
    answer = {**line(A, 0), "usage": {"completion_tokens": 2}}
    score = score_line(A, 0, "judge", Answer("answer 0"), Score(7.0))
    good = score if key in ("digest", "score", "probabilities", "judge_samples", "panel", "compared") else answer
    for value in WRONG[key]:
        path = tmp_path / "ledger"
        bad = json.dumps({**good, key: value, "entry_id": A}, separators=(",", ":")).encode() + b"\n"
        path.write_bytes(to_line(line(B, 0)) + bad.replace(b',"entry_id"', b', "entry_id"'))
        assert recalled(path, A, B) == [[], [line(B, 0)]], value


def test_a_key_that_occurs_twice_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(to_line(line(A, 0)).replace(b'"index":0', b'"index":0,"index":1') + to_line(line(A, 2)))
    assert recalled(path, A) == [[line(A, 2)]]


def test_scores_outside_the_range_are_not_recalled(tmp_path: Path) -> None:
    scores = [score_line(A, 0, "judge", Answer("a"), Score(value)) for value in (99.0, -0.5, 10.0, 0.0, None)]
    ledger = Ledger(str(write(tmp_path / "ledger", *scores)), (), (0.0, 10.0))
    assert [one["score"] for one in ledger.recall(A)] == [10.0, 0.0, None]
    ledger.close()


def test_lines_with_and_without_a_checksum_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(
        to_line(line(A, 0)) + to_checked_line(line(A, 1)) + to_checked_line(line(A, 2)).replace(b"\n", b"\r\n")
    )
    assert recalled(path, A) == [[line(A, 0), line(A, 1), line(A, 2)]]


def test_a_ledger_that_is_another_file_by_now_is_not_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "ledger", line(A, 0))
    ledger = Ledger(str(path), done=())
    path.rename(tmp_path / "moved")
    path.write_bytes(b"mine")
    ledger.close(remove=True)
    assert path.read_bytes() == b"mine"
    assert (tmp_path / "moved").exists()
    assert "it was replaced by another file" in caplog.text


def test_a_ledger_that_is_gone_already_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "ledger", line(A, 0))
    ledger = Ledger(str(path), done=())
    path.unlink()
    ledger.close(remove=True)
    assert len(caplog.messages) == 1
