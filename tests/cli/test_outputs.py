"""``report`` and ``select``: they read a finished output and one that a run is writing, and disturb no run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.helpers import ROOT, environment, read_lines, run_script

TURNS = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]

# holds the lock of an output, as a run does
HOLD = """
import sys, time
from common.storage.append_file import lock_output
lock_output(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


def record(number: int, **more: Any) -> Dict[str, Any]:
    """A record that score.py can score."""
    answers = ["It is 4.", "It is 5.", f"The answer is {number}."]
    return {"original_question": "2+2?", "original_answers": TURNS, "generated_answers": answers, **more}


def output(folder: Path, count: int = 3) -> Path:
    """An output that score.py made: with settings, and a selection and a report beside it."""
    source = folder / "sampled.jsonl"
    source.write_text("".join(json.dumps({**record(n), "entry_id": f"{n:032x}"}) + "\n" for n in range(count)))
    assert score(folder).returncode == 0
    return folder / "out.jsonl"


def score(folder: Path) -> subprocess.CompletedProcess[str]:
    """The run that makes the output, with a selection."""
    flags = ["--input_file", folder / "sampled.jsonl", "--output_file", folder / "out.jsonl", "--scorer", "match"]
    return run_script("score.py", *flags, "--accept_score", 10, "--selected_file", folder / "out_selected.json")


def read(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m common ...``."""
    command = [sys.executable, "-W", "error", "-m", "common", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(), cwd=ROOT, check=False
    )


def test_select_writes_what_the_run_itself_would_write_and_the_run_goes_on(tmp_path: Path) -> None:
    path = output(tmp_path)
    by_run = (tmp_path / "out_selected.json").read_bytes()
    settings = Path(f"{path}.settings.json").read_bytes()
    for flags in (["--accept_score", 10], ["--select", "top_k", "--top_k", 2], ["--accept_score", 10]):
        ran = read("select", path, *flags)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "entries: " in ran.stdout
    assert (tmp_path / "out_selected.json").read_bytes() == by_run
    assert Path(f"{path}.settings.json").read_bytes() == settings
    again = score(tmp_path)
    assert (again.returncode, again.stderr) == (0, "")


def test_only_right_answers_of_a_rule_are_accepted_without_a_flag(tmp_path: Path) -> None:
    path = output(tmp_path)
    pairs = tmp_path / "all.jsonl"
    ran = read("select", path, "--select", "threshold", "--selected_file", pairs)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line["conversations"][-1]["value"] for line in read_lines(pairs)] == ["It is 4."] * 3
    ran = read("select", path, "--select", "threshold", "--accept_score", 0, "--selected_file", pairs)
    assert len(read_lines(pairs)) == 9


def test_the_settings_are_as_old_as_the_first_run(tmp_path: Path) -> None:
    path = output(tmp_path)
    settings = Path(f"{path}.settings.json")
    os.utime(settings, (60, 60))
    (tmp_path / "out_selected.json").unlink()
    assert score(tmp_path).returncode == 0
    assert (tmp_path / "out_selected.json").exists()
    assert settings.stat().st_mtime == 60
    assert read("report", path).returncode == 0
    assert "<dt>begun</dt><dd>1970-01-01 00:01 UTC</dd>" in (tmp_path / "out_report.html").read_text()


def test_an_output_that_a_run_is_writing_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = output(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            with path.open("a") as file:
                file.write('{"original_question": "half of a li')
            written = path.read_bytes()
            for words in (
                ["select", path, "--selected_file", tmp_path / "pairs.jsonl", "--select", "dpo"],
                ["report", path],
            ):
                ran = read(*words)
                assert (ran.returncode, ran.stderr) == (0, "")
        finally:
            holder.kill()
    assert path.read_bytes() == written
    assert len(read_lines(tmp_path / "pairs.jsonl")) == 3
    assert "still being written" in (tmp_path / "out_report.html").read_text()
    new = {"out.jsonl.results.json", "out_report.html", "pairs.jsonl", "pairs.jsonl.md"}
    assert set(os.listdir(tmp_path)) - set(before) == new


@pytest.mark.parametrize("held", ['{"question": "2+2?"}\n', '[\n {"question": "2+2?"}\n]\n', "id,question\n1,2+2?\n"])
@pytest.mark.parametrize("command", ["select", "report"])
def test_a_file_that_is_not_an_output_is_named_and_stays(tmp_path: Path, command: str, held: str) -> None:
    data = tmp_path / "gsm.jsonl"
    data.write_text(held)
    done = read(command, data)
    assert done.returncode
    assert "is this an output of" in done.stderr
    assert "remove" not in done.stderr
    assert data.read_text() == held


@pytest.mark.parametrize(
    ("scores", "details", "says"),
    [
        ([0, 0], [{}, {}], "the lowest score, 0, is that of 1 of 1 selected answer"),
        ([None, None], [{"unscored": "no reference"}] * 2, "2 because no reference"),
        ([9, 9], [{"finish_reason": "length"}] * 2, "no answer is selected: each is cut or has no score"),
        (None, [{}, {}], "no answer is selected: the output has no scores"),
    ],
)
def test_select_warns_as_a_run_does(tmp_path: Path, scores: Any, details: List[Any], says: str) -> None:
    path = tmp_path / "out.jsonl"
    answers = {"generated_answers": ["4", "5"], "generated_details": details}
    line = {"original_question": "2+2?", "original_answers": TURNS, **answers, "entry_id": "0" * 32}
    path.write_text(json.dumps({**line, **({} if scores is None else {"generated_scores": scores})}) + "\n")
    done = read("select", path)
    assert done.returncode == 0
    assert says in done.stdout


def test_two_outputs_are_compared(tmp_path: Path) -> None:
    path = output(tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_text(path.read_text().replace('"generated_scores":[10.0,0.0', '"generated_scores":[0.0,10.0'))
    ran = read("report", path, other, "--accept_score", 10)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"report  {tmp_path}/out_vs_other_report.html\n"
    assert "Two outputs compared" in (tmp_path / "out_vs_other_report.html").read_text()


def test_what_they_may_not_write_stays_as_it_is(tmp_path: Path) -> None:
    path = output(tmp_path)
    own = tmp_path / "own.json"
    own.write_text("[1]")
    refused: List[List[object]] = [
        ["select", path, "--selected_file", own],
        ["select", path, "--selected_file", path],
        ["report", tmp_path / "nothing.jsonl"],
        ["report", path, path, path],
    ]
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    for words in refused:
        ran = read(*words)
        assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), words
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
