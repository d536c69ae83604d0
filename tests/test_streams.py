"""Closed and full streams, and signals: what was to be shown is lost, and nothing else."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import List

import pytest

from tests.helpers import command, environment, questions, read_lines, write_input

RECORD = {
    "original_question": "q",
    "original_answers": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "4"}],
    "generated_answers": ["4"],
}


def shell(folder: Path, tail: str, *flags: str) -> List[str]:
    """Runs score.py with its streams as ``tail`` says. Its exit code, and what it said on stderr if that is open."""
    source, output = write_input(folder / "in.jsonl", [RECORD]), folder / "out.jsonl"
    words = command("score.py", "--input_file", source, "--output_file", output, "--scorer", "match", *flags)
    line = f"{' '.join(map(str, words))} {tail}; echo code ${{PIPESTATUS[0]}} >&3"
    ran = subprocess.run(
        ["bash", "-c", f"exec 3>{folder / 'code'}; {line}"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    return [(folder / "code").read_text().strip(), ran.stderr]


@pytest.mark.parametrize("tail", [">/dev/full", "| true", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_run_is_done_whatever_its_streams_are(tmp_path: Path, tail: str) -> None:
    code, said = shell(tmp_path, tail)
    assert code == "code 0"
    assert [record["generated_scores"] for record in read_lines(tmp_path / "out.jsonl")] == [[10.0]]
    assert said.count("\n") == (tail == ">/dev/full" or "true" in tail)
    assert "Traceback" not in said


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--no_such_flag", 2)])
def test_help_and_errors_keep_their_exit_code(tmp_path: Path, flag: str, code: int) -> None:
    assert shell(tmp_path, ">/dev/full 2>/dev/full", flag)[0] == f"code {code}"


def test_a_wrong_flag_with_an_escape_code_is_one_printable_line(tmp_path: Path) -> None:
    ran = subprocess.run(
        command("score.py", "--\x1b[2J"), capture_output=True, text=True, env=environment(), check=False
    )
    assert ran.stderr.count("\n") == 1
    assert "\x1b" not in ran.stderr


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_is_one_line(tmp_path: Path, name: signal.Signals) -> None:
    """The file that is imported last of all waits; the signal comes then."""
    (tmp_path / "uvloop.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    source = questions(tmp_path / "i.json", 1)
    words = command("score.py", "--input_file", source, "--output_file", tmp_path / "o", "--scorer", "match")
    env = environment(PYTHONPATH=str(tmp_path))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.send_signal(name)
        said = run.communicate(timeout=60)[1]
    assert (run.returncode, said) == (130, "score.py: interrupted before the run began\n")
