"""The selection and the report replace only what a run of the same output wrote by the same flag."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict

import pytest

from common.errors import RunStopped, UsageError
from common.storage.result_files import ResultFiles

LIST = [b"["]


def output(folder: Path, **settings: Any) -> str:
    """An output's name; its settings file exists."""
    folder.mkdir(exist_ok=True)
    (folder / "out.jsonl.settings.json").write_text(json.dumps({"written": {}, **settings}))
    return str(folder / "out.jsonl")


def write(name: str, path: Path, content: str, flag: str = "--selected_file") -> None:
    """What a run does at its end."""
    with ResultFiles(name).replacing(flag, str(path)):
        path.write_text(content)


def test_a_new_file_and_one_of_an_earlier_run_are_written(tmp_path: Path) -> None:
    name, path = output(tmp_path), tmp_path / "best.json"
    for content in ("[1]", "[2]", "[3]"):
        ResultFiles(name).check("--selected_file", str(path), LIST)
        write(name, path, content)
        assert path.read_text() == content


@pytest.mark.parametrize("content", ["[9]", "[11]", "[1"], ids=["other", "longer", "shorter"])
def test_a_file_that_someone_changed_since_stays(tmp_path: Path, content: str) -> None:
    name, path = output(tmp_path), tmp_path / "best.json"
    write(name, path, "[1]")
    path.write_text(content)
    with pytest.raises(RunStopped, match=r"best\.json is not as a run of .*out\.jsonl wrote it"):
        write(name, path, "[2]")
    assert path.read_text() == content


def test_the_settings_stay_beside_the_list(tmp_path: Path) -> None:
    name = output(tmp_path, temperature=0.8)
    write(name, tmp_path / "best.json", "[1]")
    settings: Dict[str, Any] = json.loads((tmp_path / "out.jsonl.settings.json").read_text())
    assert settings["temperature"] == 0.8
    assert list(settings["written"]) == ["best.json"]


def test_a_file_of_another_flag_or_of_another_output_stays(tmp_path: Path) -> None:
    name, other, path = output(tmp_path), output(tmp_path / "b"), tmp_path / "best.json"
    write(name, path, "[1]")
    for whose, flag in ((name, "--report_file"), (other, "--selected_file")):
        with pytest.raises(RunStopped):
            write(whose, path, "[2]", flag)
    assert path.read_text() == "[1]"


def test_a_file_whose_writing_was_killed_is_written_again(tmp_path: Path) -> None:
    name, path = output(tmp_path), tmp_path / "best.json"
    killed = ResultFiles(name).replacing("--selected_file", str(path))
    killed.__enter__()
    path.write_text("half")
    write(name, path, "[1]")
    assert path.read_text() == "[1]"


def test_a_moved_folder_keeps_what_is_ours(tmp_path: Path) -> None:
    name = output(tmp_path / "a")
    write(name, tmp_path / "a" / "best.json", "[1]")
    shutil.copytree(str(tmp_path / "a"), str(tmp_path / "b"))
    write(str(tmp_path / "b" / "out.jsonl"), tmp_path / "b" / "best.json", "[2]")


def test_what_the_flag_never_writes_is_refused_before_the_run(tmp_path: Path) -> None:
    name = output(tmp_path)
    (tmp_path / "notes.json").write_text('{"my": "notes"}')
    for path in (tmp_path / "notes.json", tmp_path / "out.jsonl.settings.json", tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError):
            ResultFiles(name).check("--selected_file", str(path), LIST)


def test_an_empty_file_may_be_written(tmp_path: Path) -> None:
    name, path = output(tmp_path), tmp_path / "best.json"
    path.touch()
    ResultFiles(name).check("--selected_file", str(path), LIST)
    write(name, path, "[1]")


def test_an_output_of_an_older_version_goes_on_as_before(tmp_path: Path) -> None:
    name, path = output(tmp_path, written=None), tmp_path / "best.json"
    path.write_text("[1]")
    results = ResultFiles(name)
    results.check("--selected_file", str(path), LIST)
    with results.replacing("--selected_file", str(path)):
        path.write_text("[2]")
    path.write_text("[mine]")
    with pytest.raises(RunStopped):
        write(name, path, "[3]")
