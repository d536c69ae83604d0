"""The file that replaces an output: which states a killed run can leave, and what becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List

import pytest

from common.errors import RunStopped, UsageError
from common.input.conversations import entry_from_conversation
from common.records import Answer, Record, make_record
from common.storage.append_file import AppendFile, to_line
from common.storage.rewrite import Rewrite, new_file, new_settings_file, recover, settings_file
from tests.helpers import conversation, read_lines

OLD: Dict[str, Any] = {"answers_per_question": 1}
NEW: Dict[str, Any] = {"answers_per_question": 2}


def record(number: int, *texts: str) -> Record:
    entry = entry_from_conversation(conversation(f"question {number}"))
    return make_record(entry, [Answer(text) for text in texts], None)


def finished(folder: Path, count: int = 3) -> str:
    """An output of records with one answer each."""
    output = folder / "out.jsonl"
    output.write_bytes(b"".join(to_line(record(number, "old")) for number in range(count)))
    Path(settings_file(str(output))).write_text(json.dumps(OLD))
    return str(output)


def add(output: str, *records: Record) -> None:
    new = AppendFile(new_file(output))
    for one in records:
        new.append(one)
    new.close()


def replace(rewrite: Rewrite, complete: bool) -> None:
    with contextlib.closing(AppendFile(rewrite.path)) as new:
        rewrite.replace(complete, new)


def texts(output: str) -> List[List[str]]:
    return sorted(one["generated_answers"] for one in read_lines(Path(output)))


def settings(output: str) -> Any:
    return json.loads(Path(settings_file(output)).read_bytes())


@pytest.mark.parametrize("complete", [True, False])
def test_the_changed_records_replace_the_old_ones_and_the_others_stay(tmp_path: Path, complete: bool) -> None:
    output = finished(tmp_path)
    os.chmod(output, 0o640)
    rewrite = Rewrite(output, NEW)
    assert rewrite.take(record(1)["entry_id"]) == record(1, "old")
    assert rewrite.take(record(1)["entry_id"]) is None
    assert rewrite.take(record(9)["entry_id"]) is None
    assert rewrite.unmet == 2
    add(output, record(1, "old", "new"))
    replace(rewrite, complete)
    rewrite.close()
    assert texts(output) == [["old"], ["old"], ["old", "new"]]
    assert settings(output) == (NEW if complete else OLD)
    assert os.stat(output).st_mode & 0o777 == 0o640
    assert not os.path.exists(new_file(output))
    assert not os.path.exists(new_settings_file(output))


def test_a_rewrite_goes_on_with_its_own_settings_only(tmp_path: Path) -> None:
    output = finished(tmp_path)
    Rewrite(output, NEW).close()
    add(output, record(0, "old", "new"))
    again = Rewrite(output, NEW)
    assert again.take(record(0)["entry_id"]) is None
    again.close()
    other = Rewrite(output, {"answers_per_question": 3})
    assert other.take(record(0)["entry_id"]) == record(0, "old")
    assert os.path.getsize(new_file(output)) == 0
    other.close()


def test_a_kill_between_the_two_renames_is_made_up_for(tmp_path: Path) -> None:
    output = finished(tmp_path)
    Path(new_settings_file(output)).write_text(json.dumps(NEW))
    recover(output)
    assert settings(output) == NEW
    assert not os.path.exists(new_settings_file(output))


def test_a_new_file_without_settings_is_no_help(tmp_path: Path) -> None:
    output = finished(tmp_path)
    add(output, record(0, "old", "new"))
    recover(output)
    assert not os.path.exists(new_file(output))
    assert texts(output) == [["old"]] * 3


def test_somebody_elses_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    output = finished(tmp_path)
    Path(new_file(output)).write_text("dear diary\n")
    with pytest.raises(UsageError, match="holds no records"):
        recover(output)
    assert Path(new_file(output)).read_text() == "dear diary\n"


def test_an_output_behind_a_link_stays_there(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    there, link = finished(tmp_path / "far"), str(tmp_path / "link.jsonl")
    os.symlink(there, link)
    rewrite = Rewrite(link, NEW)
    add(link, record(0, "new"))
    replace(rewrite, True)
    rewrite.close()
    assert os.path.islink(link)
    assert texts(there) == [["new"], ["old"], ["old"]]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    output = finished(tmp_path)
    lines = Path(output).read_bytes().splitlines(keepends=True)
    lines[1] = b"{broken!" + lines[1][8:]
    Path(output).write_bytes(b"".join(lines))
    rewrite = Rewrite(output, NEW)
    with pytest.raises(RunStopped, match=f"{output}: the line at byte {len(lines[0])} is damaged"):
        rewrite.take(record(1)["entry_id"])
    rewrite.close()
