"""Batch files: whole folders within the limits of a file; each reply once, a good one before a failed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UsageError
from common.storage.batch_files import ReplyFiles, RequestFiles
from tests.helpers import read_lines

SETTINGS = "0123456789ab"


def reply(index: int, status: int = 200, settings: str = SETTINGS, **more: Any) -> str:
    body = {"choices": [], "n": index} if status == 200 else None
    line = {"custom_id": f"e-{index}-{settings}", "response": {"status_code": status, "body": body}, **more}
    return json.dumps(line) + "\n"


def read(folder: Path, *texts: str, **options: Any) -> ReplyFiles:
    paths = [folder / f"{number}.jsonl" for number in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_text(text)
    return ReplyFiles(list(map(str, paths)), SETTINGS, **options)


def test_a_file_has_at_most_so_many_lines_and_bytes(tmp_path: Path) -> None:
    body = b'{"a":1}'
    with RequestFiles(str(tmp_path / "b"), most_lines=3) as files:
        for number in range(7):
            files.add(f"id{number}", body)
    found = [read_lines(path) for path in sorted((tmp_path / "b").iterdir())]
    assert [len(lines) for lines in found] == [3, 3, 1]
    assert [line["custom_id"] for lines in found for line in lines] == [f"id{number}" for number in range(7)]
    assert found[0][0] == {"custom_id": "id0", "method": "POST", "url": "/v1/chat/completions", "body": {"a": 1}}
    size = (tmp_path / "b" / "batch-00001.jsonl").stat().st_size // 3
    with RequestFiles(str(tmp_path / "c"), most_bytes=2 * size) as files:
        for number in range(4):
            files.add(f"id{number}", body)
    assert [path.stat().st_size for path in sorted((tmp_path / "c").iterdir())] == [2 * size, 2 * size]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    files = RequestFiles(str(tmp_path / "b"))
    files.add("id", b"{}")
    files.__exit__(KeyError)
    assert list(tmp_path.iterdir()) == []
    with RequestFiles(str(tmp_path / "b")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    killed = RequestFiles(str(tmp_path / "b"))
    killed.add("old", b"{}")
    with RequestFiles(str(tmp_path / "b")) as files:
        files.add("new", b"{}")
    killed._close()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert [line["custom_id"] for line in read_lines(tmp_path / "b" / "batch-00001.jsonl")] == ["new"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "notes").write_text("mine")
    else:
        (tmp_path / "b").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        RequestFiles(str(tmp_path / "b"))


def test_each_reply_is_taken_once_whatever_the_order(tmp_path: Path) -> None:
    files = read(tmp_path, reply(2) + reply(0), "\n" + reply(2) + reply(1))
    for index in (0, 1, 2):
        line = files.take(f"e-{index}-{SETTINGS}")
        assert line is not None
        assert (line.status, json.loads(line.body)["n"]) == (200, index)
        assert files.take(f"e-{index}-{SETTINGS}") is None
    assert files.take(f"e-3-{SETTINGS}") is None
    files.close()
    assert +files.counts == {"lines": 4, "doubled": 1, "taken": 3}


@pytest.mark.parametrize("good_first", [True, False])
def test_a_good_line_counts_before_a_failed_one(tmp_path: Path, good_first: bool) -> None:
    lines = [reply(0), reply(0, 500)]
    files = read(tmp_path, "".join(lines if good_first else lines[::-1]))
    line = files.take(f"e-0-{SETTINGS}")
    assert line is not None
    assert line.status == 200
    files.close()


def test_lines_of_other_settings_and_unreadable_ones_are_counted(tmp_path: Path) -> None:
    torn = reply(4)[:40]
    others = '[]\n7\n{"custom_id": 5, "response": null}\n{"custom_id": "mine", "response": {}}\n'
    files = read(tmp_path, reply(0, settings="f" * 12) + reply(1) + others + torn)
    assert files.take("e-0-" + "f" * 12) is None
    files.close()
    assert +files.counts == {"lines": 7, "other settings": 1, "unreadable": 5}
    assert files.left == 1


FAILURES = [
    ({"response": {"status_code": 400, "body": {"error": {"message": "too long"}}}}, 400, "too long"),
    ({"response": {"status_code": 404, "body": None}, "error": {"error": {"message": "no model"}}}, 404, "no model"),
    ({"response": {"status_code": 400, "body": None}, "error": "bad url"}, 400, "bad url"),
    ({"response": None, "error": {"code": "batch_expired", "message": "expired"}}, None, "expired"),
    ({"response": {}, "error": None}, None, "null"),
    ({"response": {"status_code": "200", "body": {}}}, None, "{}"),
]


@pytest.mark.parametrize(("fields", "status", "text"), FAILURES)
def test_a_failed_line_has_its_status_and_its_error(tmp_path: Path, fields: Any, status: Any, text: str) -> None:
    """OpenAI, vLLM run-batch (both of its forms), OpenAI's expired requests, and odd ones."""
    files = read(tmp_path, json.dumps({"custom_id": f"e-0-{SETTINGS}", **fields}) + "\n")
    line = files.take(f"e-0-{SETTINGS}")
    assert line is not None
    assert (line.where, line.status) == ("0.jsonl: line 1", status)
    assert text in line.body.decode()
    files.close()
    assert +files.counts == {"lines": 1, "failed": 1}


def test_failures_of_old_files_do_not_count(tmp_path: Path) -> None:
    files = read(tmp_path, reply(0, 500) + reply(1), only_good=[str(tmp_path / "0.jsonl")])
    assert files.take(f"e-0-{SETTINGS}") is None
    assert files.take(f"e-1-{SETTINGS}") is not None
    files.close()


def test_files_that_are_not_replies_are_refused(tmp_path: Path) -> None:
    with RequestFiles(str(tmp_path / "b")) as files:
        files.add(f"e-0-{SETTINGS}", b"{}")
    with pytest.raises(UsageError, match=r"line 1 is a request: name the file of its replies"):
        ReplyFiles([str(tmp_path / "b" / "batch-00001.jsonl")], SETTINGS)
    with pytest.raises(UsageError, match=r"cannot read .*: No such file"):
        ReplyFiles([str(tmp_path / "none.jsonl")], SETTINGS)
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        ReplyFiles([str(tmp_path)], SETTINGS)
