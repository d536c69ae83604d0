"""A selection is made again from its output: the same bytes, or the first row that differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Optional, Tuple

import pytest

from common.errors import RunStopped, UsageError
from common.results.cleaning.cleaner import Cleaning
from common.results.examples import RowOptions
from common.results.record_view import OutputReader
from common.results.selection import Selection
from common.running.job import Results
from common.running.results import Output, Written, write_selection
from common.running.verify import verify
from common.storage.result_files import ResultFiles
from tests.cli.test_selected_file import output

BEST = Selection()
ROWS = RowOptions("auto", system_prompt="Count the pears.")
TEST = json.dumps({"question": "How many pears are 3 pears and 4 pears?"}) + "\n"


def selected(
    folder: Path, name: str, how: Selection = BEST, form: str = "sharegpt", most: Optional[int] = None
) -> Tuple[Path, Path]:
    """An output and a selection of it, without what repeats a test question, and without loops."""
    path, file, tests = output(folder), folder / name, folder / "tests.jsonl"
    tests.write_text(TEST)
    results = Results(how, str(file), form, ["score", "entry_id", "model"], rows=ROWS, most_rows=most)
    results.cleaning = Cleaning([str(tests)], max_repetition=0.5)
    source = Output(str(path), "select", lambda: OutputReader(str(path)).records(), generator="m")
    write_selection(source, results, ResultFiles(str(path), reads_only=True), Written())
    return path, file


WAYS = [
    ("train.json", BEST, "messages"),
    ("pairs.parquet", Selection("dpo", min_margin=2), "preference"),
    ("two.jsonl", Selection("top_k", top_k=2, accept_score=1, distinct=True), "sharegpt"),
    ("kto.parquet", Selection("threshold", accept_score=8, pass_rate=(0.0, 0.9), per_entry="uniform:2"), "kto"),
    ("prompts.json", Selection(accept_score=8), "prompts"),
    ("far.jsonl", Selection("dpo", rejected="mean_minus_2sd"), "swift"),
]


@pytest.mark.parametrize(("name", "how", "form"), WAYS)
def test_each_byte_is_the_same_also_in_another_folder(name: str, how: Any, form: str, tmp_path: Path) -> None:
    _, file = selected(tmp_path, name, how, form)
    assert verify(str(file), None) > 0
    moved = tmp_path / "moved"
    moved.mkdir()
    for one in tmp_path.glob("*.*"):
        shutil.move(str(one), str(moved))
    before = sorted(moved.iterdir())
    assert verify(str(moved / name), None) > 0
    assert sorted(moved.iterdir()) == before


def test_a_file_with_a_limit_of_rows_is_made_again_with_the_limit(tmp_path: Path) -> None:
    _, file = selected(tmp_path, "train.jsonl", most=2)
    assert verify(str(file), None) == 2
    assert "| most rows | 2 |" in Path(f"{file}.md").read_text()


@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_a_changed_byte_is_found_in_its_row(name: str, tmp_path: Path) -> None:
    path, file = selected(tmp_path, name)
    whole = file.read_bytes()
    last = whole.splitlines(keepends=True)[-2 if name.endswith(".json") else -1]
    for changed, said in (
        (whole.replace(b"are 6 of", b"are 7 of"), "row 3 is the first that differs"),
        (whole.replace(b"{", b" {", 1), "row 1 is the first that differs"),
        (whole.replace(last, b""), "it ends before row 3"),
        (whole.replace(last, last + b",{}\n"), "it goes on with row 4, which the output does not give"),
    ):
        file.write_bytes(changed)
        with pytest.raises(RunStopped) as error:
            verify(str(file), None)
        assert str(error.value) == f"{file} is not what {path} gives: {said}"
        assert file.read_bytes() == changed


def test_a_changed_row_of_parquet_is_named(tmp_path: Path) -> None:
    _, file = selected(tmp_path, "a.parquet")
    (tmp_path / "other").mkdir()
    _, other = selected(tmp_path / "other", "a.parquet", Selection("threshold", accept_score=1))
    shutil.copy(other, file)
    with pytest.raises(RunStopped, match="row 2 is the first that differs"):
        verify(str(file), None)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RunStopped, match="it cannot be read"):
        verify(str(file), None)


def test_an_output_that_has_more_now_is_told(tmp_path: Path) -> None:
    path, file = selected(tmp_path, "train.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join([*lines, lines[0].replace(b"pears are 0", b"plums are 0").replace(b'"line": 1', b'"line": 9')])
    )
    with pytest.raises(RunStopped, match="it ends before row 4"):
        verify(str(file), None)


def test_what_is_missing_or_another_one_is_named(tmp_path: Path) -> None:
    path, file = selected(tmp_path, "train.jsonl")
    other = path.rename(tmp_path / "other.jsonl")
    with pytest.raises(UsageError, match=r"the output .*out\.jsonl is missing; name it: select OUTPUT --verify"):
        verify(str(file), None)
    assert verify(str(file), str(other)) == 3
    (tmp_path / "tests.jsonl").write_text("{}")
    with pytest.raises(UsageError, match=r"tests\.jsonl is not the file of test questions that was used"):
        verify(str(file), str(other))
    card = Path(f"{file}.md")
    card.write_text("# no values\n")
    with pytest.raises(UsageError, match="it holds no values to make the file again"):
        verify(str(file), None)
    card.write_text("```json\n{}\n```\n")
    with pytest.raises(UsageError, match="lacks values: 'output'"):
        verify(str(file), None)
    card.unlink()
    with pytest.raises(UsageError, match="needs the card"):
        verify(str(file), None)
    file.unlink()
    with pytest.raises(UsageError, match="there is no file"):
        verify(str(file), None)
