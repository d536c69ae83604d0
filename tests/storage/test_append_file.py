"""Output files: append-only lines, mended tails, the scan for ids, the lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunStopped, UsageError
from common.input.conversations import entry_from_conversation
from common.input.json_items import PIECE
from common.records import Answer, answer_line, fingerprint, id_key, make_record
from common.storage.append_file import (
    LEDGER,
    RECORDS,
    AppendFile,
    Damaged,
    Kind,
    lock_output,
    read_records,
    repair_tail,
    scan,
    set_aside,
    to_line,
    write_whole,
)
from tests.helpers import ROOT, conversation, read_lines


def record_line(question: str, answer: str = "a") -> bytes:
    return to_line(make_record(entry_from_conversation(conversation(question)), [Answer(answer)], None))


def key_of(question: str) -> int:
    return id_key(entry_from_conversation(conversation(question)).entry_id)


def test_a_fraction_beside_a_lone_surrogate_is_written_too() -> None:
    assert to_line([0.1, "\ud83d"]) == b'[0.1,"\\ud83d"]\n'


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_a_line_is_one_line_and_holds_its_value_exactly(text: str) -> None:
    line = to_line({"text": text})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode()) == {"text": text}


def test_text_is_written_as_it_is() -> None:
    assert to_line({"text": "2·2 = 4 😀"}) == '{"text":"2·2 = 4 😀"}\n'.encode()


def test_each_line_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    file = AppendFile(str(path))
    for count in range(1, 5):
        file.append({"n": count})
        assert [line["n"] for line in read_lines(path)] == list(range(1, count + 1))
        assert file.size == path.stat().st_size
    file.close()


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"n": 0}\n')
    file = AppendFile(str(path))
    file.append({"n": 1})
    file.close()
    assert path.read_bytes() == b'{"n": 0}\n{"n":1}\n'


@pytest.mark.parametrize("name", [".", "missing/out.jsonl", "file/out.jsonl"])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        AppendFile(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
@pytest.mark.parametrize("room", [0, 1, 40, 99])
def test_a_line_that_does_not_fit_is_cut_away_and_stops_the_run(tmp_path: Path, room: int) -> None:
    code = (
        "import resource, sys\n"
        "from common.errors import RunStopped\n"
        "from common.storage.append_file import AppendFile\n"
        "file = AppendFile(sys.argv[1])\n"
        "file.append({'n': 0})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (file.size + int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try:\n"
        "    file.append({'n': 'x' * 100})\n"
        "except RunStopped as error:\n"
        "    print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "file.append({'n': 1})\n"
    )
    path = tmp_path / "out.jsonl"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(path), str(room)], cwd=str(ROOT), stdout=subprocess.PIPE, check=True
    )
    assert str(path).encode() in ended.stdout
    assert path.read_bytes() == b'{"n":0}\n{"n":1}\n'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_device_that_takes_nothing_stops_the_run(tmp_path: Path) -> None:
    file = AppendFile("/dev/full")
    for _ in range(2):
        with pytest.raises(RunStopped, match="/dev/full"):
            file.append({"n": 0})
    file.close()


def answered(index: int, text: str) -> bytes:
    return to_line(answer_line("0" * 32, index, "made", Answer(text), None))


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        (RECORDS, record_line("first?"), record_line("läst?", "a\nb")),
        (RECORDS, record_line("first?"), record_line("long?", 'x"}' * 100)),
        (LEDGER, answered(0, "first"), answered(1, 'ünd "entry_id": "')),
    ],
    ids=["record", "long record", "ledger"],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_last_line_torn_at_any_byte_is_cut_and_nothing_else(
    tmp_path: Path, kind: Kind, first: bytes, last: bytes, before: int
) -> None:
    path = tmp_path / "out.jsonl"
    for length in range(len(last) - 1):
        path.write_bytes(first * before + last[:length])
        repair_tail(str(path), kind)
        assert path.read_bytes() == first * before


@pytest.mark.parametrize(
    ("kind", "line"), [(RECORDS, record_line("läst?", "a\nb")), (LEDGER, answered(1, "ünd"))], ids=["record", "ledger"]
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_last_line_that_lacks_only_its_newline_is_kept_and_ended(
    tmp_path: Path, kind: Kind, line: bytes, before: int
) -> None:
    path = tmp_path / "out.jsonl"
    for content in (line * before + line[:-1], line * (before + 1)):
        path.write_bytes(content)
        repair_tail(str(path), kind)
        assert path.read_bytes() == line * (before + 1)


def test_a_last_line_that_ends_whole_but_is_no_json_is_cut(tmp_path: Path) -> None:
    path, before = tmp_path / "out.jsonl", record_line("first?")
    path.write_bytes(before + record_line("torn?")[30:-1])
    repair_tail(str(path), RECORDS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("extra", [-1, 0, 1, PIECE - 1, PIECE, PIECE + 1])
def test_a_torn_line_longer_than_a_piece_is_cut_whole(tmp_path: Path, extra: int) -> None:
    path, before = tmp_path / "out.jsonl", record_line("first?")
    torn = record_line("torn?", "x" * 3 * PIECE)[: PIECE + extra]
    path.write_bytes(before + torn)
    repair_tail(str(path), RECORDS)
    assert path.read_bytes() == before


def test_a_tail_of_zero_bytes_is_cut(tmp_path: Path) -> None:
    path, before = tmp_path / "out.jsonl", record_line("first?")
    path.write_bytes(before + b"\0" * 5000)
    repair_tail(str(path), RECORDS)
    assert path.read_bytes() == before


def test_after_a_repair_the_next_record_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?") + record_line("two?")[:-20])
    repair_tail(str(path), RECORDS)
    file = AppendFile(str(path))
    file.append({"original_question": "three?", "entry_id": "3"})
    file.close()
    assert [record["original_question"] for record in read_lines(path)] == ["one?", "three?"]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"conversations": []}]',
        b'[\n  {"original_question": "q"}\n]',
        b'{"conversations": [{"from": "human", "value": "q"}]}\n{"conv',
        b'{"messages": []}',
        b"question,answer\n2+2?,4",
        b"# README",
        b"\n",
        b"\x1f\x8b\x08\x00",
        b'{"original_answers": ["4"]}\n{"ori',
        b'{"indexes": 1',
        b'{"original_question": "q"}\n{"ori',
        b'{"original_question": "q", "entry_id": "1"}\n{"ori',
        b'{"original_question": "q", "generated_answers": []}\n{"ori',
        b'{"original_questions": ["q", ',
        b'{"made_by_hand": 1',
        b'{"made_by": 1, "note": "mine"}\n{"made',
        b'["generated_answers", "made_by", "entry_id"]\n[',
        b"[" * 9000 + b"\n",
    ],
)
@pytest.mark.parametrize("kind", [RECORDS, LEDGER], ids=["record", "ledger"])
def test_a_file_that_is_not_ours_is_refused_and_stays_as_it_is(tmp_path: Path, content: bytes, kind: Kind) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        repair_tail(str(path), kind)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "content"),
    [(RECORDS, answered(0, "first")), (LEDGER, record_line("first?"))],
    ids=["ledger as output", "output as ledger"],
)
@pytest.mark.parametrize("tail", [b"", b'{"torn', None], ids=["whole", "torn", "one torn line"])
def test_an_output_is_no_ledger_and_a_ledger_no_output(
    tmp_path: Path, kind: Kind, content: bytes, tail: Optional[bytes]
) -> None:
    path = tmp_path / "swapped.jsonl"
    path.write_bytes(content[:40] if tail is None else content + tail)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        repair_tail(str(path), kind)
    assert str(path) in str(caught.value)
    assert kind.name in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [RECORDS, LEDGER], ids=["record", "ledger"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: Kind) -> None:
    names = [str(tmp_path), os.devnull]
    if hasattr(os, "mkfifo"):
        names.append(str(tmp_path / "pipe"))
        os.mkfifo(names[-1])
    for name in names:
        with pytest.raises(UsageError) as caught:
            repair_tail(name, kind)
        assert f"{name} is not a regular file" in str(caught.value)


def test_a_missing_file_needs_no_repair_and_is_not_made(tmp_path: Path) -> None:
    repair_tail(str(tmp_path / "out.jsonl"), RECORDS)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_ours(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").touch()
    repair_tail(str(tmp_path / "out.jsonl"), RECORDS)
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(
        st.tuples(
            st.text(st.characters(), min_size=1, max_size=8),
            st.sampled_from(["ours", "crlf", "indented", "spaced", "first", "more after"]),
            st.sampled_from([b"", b"\n", b"\r\n", b"  \n"]),
        ),
        max_size=6,
    )
)
def test_every_shape_of_line_is_found_at_its_place_with_its_id(
    tmp_path_factory: pytest.TempPathFactory, entries: List[Tuple[str, str, bytes]]
) -> None:
    content, expected = b"", []
    for question, shape, blank in entries:
        content += blank
        entry_id = fingerprint(question, 32) if shape == "ours" else f"id {question}"
        expected.append((len(content), id_key(entry_id)))
        record = {"text": '"entry_id": "', "entry_id": entry_id}
        line = to_line(record)
        if shape == "crlf":
            line = line.replace(b"\n", b"\r\n")
        elif shape == "indented":
            line = b"  " + line
        elif shape == "spaced":
            line = json.dumps(record).encode() + b"\n"
        elif shape == "first":
            line = to_line({"entry_id": entry_id, "text": "x" * 60})
        elif shape == "more after":
            line = line.replace(b"\n", b"   \n")
        content += line
    path = tmp_path_factory.mktemp("scan") / "out.jsonl"
    path.write_bytes(content)
    assert list(scan(str(path))) == expected


@pytest.mark.parametrize("shape", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_our_own_id_is_found_in_a_line_written_by_another_tool(tmp_path: Path, shape: Any) -> None:
    path, entry_id = tmp_path / "out.jsonl", fingerprint("q", 32)
    path.write_text(json.dumps({"entry_id": entry_id, "original_question": "é"}, **shape) + "\n", encoding="utf-8")
    assert [key for _, key in scan(str(path))] == [id_key(entry_id)]


@pytest.mark.parametrize("ending", [b'"}\n', b'"}\r\n', b'" }\n', b'","n":1}\n', b'"}  \n'])
def test_an_id_that_is_not_at_our_place_is_read_whole(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "out.jsonl"
    ids = ["7" * length for length in range(25, 36)]
    path.write_bytes(b"".join(b'{"index": 0, "entry_id": "' + one.encode() + ending for one in ids))
    assert [key for _, key in scan(str(path))] == [id_key(one) for one in ids]


def test_a_whole_line_is_known_by_its_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?").replace(b"{", b"\xff", 1))
    assert [key for _, key in scan(str(path))] == [key_of("one?")]


def test_an_id_quoted_inside_an_answer_is_not_the_lines_id(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?", '"entry_id": "' + "f" * 32 + '"}\n'))
    assert [key for _, key in scan(str(path))] == [key_of("one?")]


def test_a_file_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert list(scan(str(tmp_path / "missing"))) == []
    assert list(read_records(str(tmp_path / "missing"))) == []


@pytest.mark.parametrize(
    "bad",
    [
        b'{"original_question": "q"}',
        b"oops",
        b"[]",
        b'{"entry_id": 7}',
        b'{"entry_id": null}',
        b'{"entry_id": "x"',
        b"\xff",
        b"\0" * 9,
        b"[" * 9000,
        b'{"n": ' * 9000,
    ],
    ids=lambda bad: repr(bad[:16]),
)
def test_a_damaged_line_is_named_by_file_and_number(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?") + b"\n" + bad + b"\n" + record_line("two?"))
    with pytest.raises(UsageError, match=r"out\.jsonl: line 3 "):
        list(scan(str(path)))


@pytest.mark.parametrize(
    "own",
    [
        *("F" * 32, "0123456789abcdef" * 2, "0123456789ABCDEF" * 2, "f" * 31, "f" * 33, "+" + "f" * 31, "f_" * 16),
        *(" " * 32, "0x" + "f" * 30, "\u0663" * 32, "\uff11" * 32, "f" * 32 + "\n"),
    ],
)
def test_only_32_lower_case_hex_digits_are_an_id_of_ours_in_every_spelling(tmp_path: Path, own: str) -> None:
    path = tmp_path / "out.jsonl"
    lines = [json.dumps({"n": 0, "entry_id": own}, ensure_ascii=ascii) for ascii in (True, False)]
    path.write_text("\n".join([*lines, json.dumps({"entry_id": own, "more": 1})]) + "\n", encoding="utf-8")
    assert [key for _, key in scan(str(path))] == [id_key(own)] * 3
    assert (id_key(own) == int("0123456789abcdef" * 2, 16)) == (own == "0123456789abcdef" * 2)


@pytest.mark.parametrize("bad", [b"oops", b'{"original_question": "q"', b"\0\0", b'{"n": "\xff"}'])
def test_a_damaged_record_stops_the_run_with_its_file_and_number(tmp_path: Path, bad: bytes) -> None:
    path, read_before = tmp_path / "out.jsonl", []
    path.write_bytes(record_line("one?") + b"\n" + bad + b"\n" + record_line("two?"))
    with pytest.raises(RunStopped, match=r"out\.jsonl: line 3 "):
        read_before.extend(record["original_question"] for record in read_records(str(path)))
    assert read_before == ["one?"]


def test_records_are_read_in_order_past_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?") + b"\n\r\n" + record_line("two\u2028?").replace(b"\n", b"\r\n"))
    assert [record["original_question"] for record in read_records(str(path))] == ["one?", "two\u2028?"]


def test_a_second_run_is_refused_while_the_first_holds_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    lock = lock_output(path)
    with pytest.raises(UsageError) as caught:
        lock_output(path)
    assert path in str(caught.value)
    lock.release()
    lock_output(path).release()


def test_holding_one_file_leaves_the_others_free(tmp_path: Path) -> None:
    lock = lock_output(str(tmp_path / "one.jsonl"))
    lock_output(str(tmp_path / "two.jsonl")).release()
    lock.release()


def test_a_run_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    code = (
        "import sys; from common.storage.append_file import lock_output; lock = lock_output(sys.argv[1]); "
        "print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=str(ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(UsageError):
            lock_output(path)
        other.kill()
    lock_output(path).release()


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock and links")
@pytest.mark.parametrize("link", ["symlink", "link", "same name"])
def test_an_open_file_is_locked_under_every_name(tmp_path: Path, link: str) -> None:
    path, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    file = AppendFile(str(path), RECORDS)
    if link == "same name":
        other = path
    else:
        getattr(os, link)(str(path), str(other))
    with pytest.raises(UsageError, match="another run is writing"):
        AppendFile(str(other), RECORDS)
    file.append({"n": 1})
    file.close()
    AppendFile(str(other)).close()


def move(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


def replace(path: Path) -> None:
    move(path)
    path.write_bytes(b"mine\n" * 99)


def empty(path: Path) -> None:
    os.truncate(str(path), 0)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("renamed"))


CHANGES = {"moved": move, "removed": Path.unlink, "replaced": replace, "emptied": empty}


@pytest.mark.parametrize("change", CHANGES)
def test_what_someone_did_to_an_open_file_stops_the_run(tmp_path: Path, change: str) -> None:
    path = tmp_path / "out.jsonl"
    file = AppendFile(str(path), RECORDS)
    file.append({"n": 1})
    file.check()
    CHANGES[change](path)
    with pytest.raises(RunStopped, match=rf"out\.jsonl was {change}"):
        file.sync()
    file.close()


def test_a_renamed_folder_and_a_line_of_another_program_stop_the_run(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "out.jsonl"
    path.parent.mkdir()
    file = AppendFile(str(path), RECORDS)
    with open(path, "ab") as other:
        other.write(b"oops\n")
    file.sync()
    with pytest.raises(RunStopped, match="changed by another program"):
        file.check()
    move_folder(path)
    with pytest.raises(RunStopped, match="moved"):
        file.check()
    file.close()


def test_another_working_folder_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = AppendFile("out.jsonl", RECORDS)
    monkeypatch.chdir("/")
    file.check()
    file.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flip", range(0, 120, 7))
@pytest.mark.parametrize("kind", [RECORDS, LEDGER], ids=["record", "ledger"])
def test_a_flipped_byte_in_the_first_line_does_not_make_the_file_foreign(tmp_path: Path, kind: Kind, flip: int) -> None:
    line = record_line("first?") if kind is RECORDS else answered(0, "first")
    path, damaged = tmp_path / "file", bytearray(line)
    damaged[flip % (len(line) - 1)] ^= 0x80
    path.write_bytes(bytes(damaged) + line)
    repair_tail(str(path), kind)
    assert path.read_bytes() == bytes(damaged) + line


def test_damaged_lines_are_moved_away_and_the_others_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    damaged: List[Damaged] = []
    lines = [record_line("one?"), b"oops\n", record_line("two?"), b'{"n": 1\n', record_line("three?")]
    path.write_bytes(b"".join(lines))
    before = list(scan(str(path), damaged.append))
    assert [one.number for one in damaged] == [2, 4]
    assert "lines 2, 4" in set_aside(str(path), damaged)
    assert (tmp_path / "out.jsonl.damaged").read_bytes() == lines[1] + lines[3]
    assert list(scan(str(path))) == before
    assert len(list(read_records(str(path)))) == 3


def test_a_damaged_record_is_given_away_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    damaged: List[Damaged] = []
    bad = record_line("two?").replace(b'"generated_answers":', b'"generated_answers" ')
    path.write_bytes(record_line("one?") + bad + record_line("three?"))
    read = [record["original_question"] for record in read_records(str(path), damaged.append)]
    assert (read, [one.number for one in damaged]) == (["one?", "three?"], [2])


def test_writing_a_whole_file_follows_no_link_to_another_file(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "best.json"
    precious.write_text("precious")
    for name in ("best.json.part", "best.json.1.part"):
        (tmp_path / name).symlink_to(precious)
    write_whole(str(path), [b"[1]"])
    assert (path.read_text(), precious.read_text()) == ("[1]", "precious")


def test_writing_a_whole_file_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "best.json").symlink_to(tmp_path / "data" / "best.json")
    write_whole(str(tmp_path / "best.json"), [b"[1]"])
    assert (tmp_path / "best.json").is_symlink()
    assert (tmp_path / "data" / "best.json").read_text() == "[1]"


@pytest.mark.parametrize("content", ["[tool]\nname = 1\n", "link"])
def test_a_lock_file_that_is_something_else_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    lock, mine = tmp_path / "out.jsonl.lock", tmp_path / "mine"
    mine.write_text("mine")
    if content == "link":
        lock.symlink_to(mine)
    else:
        lock.write_text(content)
    with pytest.raises(UsageError, match="not a lock file"):
        lock_output(str(tmp_path / "out.jsonl"))
    assert lock.read_text() == ("mine" if content == "link" else content)


@pytest.mark.parametrize("kind", [RECORDS, LEDGER], ids=["record", "ledger"])
def test_a_first_line_that_a_power_loss_left_as_zeros_is_cut(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "file"
    for written in range(len(kind.begins)):
        path.write_bytes(kind.begins[:written] + bytes(9))
        repair_tail(str(path), kind)
        assert path.read_bytes() == b""
