"""Answers that did not end by themselves: kept and shown by reason, but never judged, accepted or selected."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.forked import forked
from tests.helpers import questions, read_lines
from tests.scripted_server import Reply, Request, ScriptedServer, completion

BAD = ["length", "max_tokens", "MAX_TOKENS", "content_filter", "tool_calls", "repetition", "SAFETY", "a new one"]
GOOD = ["stop", "eos", "end_turn", "STOP", ""]
JUDGE = ("--model_name", "j", "--scorer", "judge", "--accept_score", 5)


def scored(folder: Path, judge: ScriptedServer, details: List[Dict[str, Any]], *flags: object) -> Dict[str, Any]:
    """The record that score.py makes of one with an answer for each of these details."""
    record = {
        "original_question": "q",
        "original_answers": [{"from": "human", "value": "q"}],
        "generated_answers": [f"answer {number}" for number in range(len(details))],
        "generated_details": details,
        "entry_id": "0" * 32,
    }
    (folder / "in.jsonl").write_text(json.dumps(record) + "\n")
    words = ["--input_file", folder / "in.jsonl", "--output_file", folder / "out.jsonl", "--api_port", judge.port]
    run = forked("score", [*words, *JUDGE, *flags], folder)
    assert (run.returncode, run.stderr) == (0, ""), run
    (folder / "said").write_text(run.stdout)
    [found] = read_lines(folder / "out.jsonl")
    assert isinstance(found, dict)
    return found


def test_score_sends_only_whole_answers_to_the_judge(tmp_path: Path) -> None:
    details: List[Dict[str, Any]] = [{"finish_reason": reason} for reason in BAD + GOOD] + [{"finish_reason": None}, {}]
    with ScriptedServer(lambda _: completion("Score: 9")) as judge:
        selection = ("--selected_file", tmp_path / "all.jsonl", "--select", "threshold")
        record = scored(tmp_path, judge, details, *selection)
        whole = len(details) - len(BAD)
        assert len(judge.chats) == whole
    assert record["generated_scores"] == [None] * len(BAD) + [9.0] * whole
    assert all(
        detail["unscored"] == f"cut: it did not end by itself, but by {reason}"
        for reason, detail in zip(BAD, record["generated_details"])
    )
    assert len(read_lines(tmp_path / "all.jsonl")) == whole
    shown = re.search(r"cut +8 answers: (.*)", (tmp_path / "said").read_text())
    assert shown is not None
    assert set(shown[1].split(", ")) == {f"1 by {reason}" for reason in BAD}


def test_the_report_counts_cut_answers_by_reason(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    details = [{"finish_reason": reason} for reason in ("length", "length", "content_filter", "stop")]
    with ScriptedServer(lambda _: completion("Score: 9")) as judge:
        scored(tmp_path, judge, details, "--report_file", tmp_path / "report.html")
    assert "3 answers were cut (2 by length, 1 by content_filter)." in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_cut_answer_is_not_accepted_however_right_it_is(tmp_path: Path, reason: str) -> None:
    """The first answer is cut: --stop_after needs another one, and --give_up_after counts it as one that failed."""

    def script(request: Request) -> Reply:
        return completion("It is 0.", finish=reason if request.number == 0 else "stop")

    source = questions(tmp_path / "in.json", 1)
    for flag, asked in (("--stop_after", 2), ("--give_up_after", 1)):
        with ScriptedServer(script) as server:
            words = ["--input_file", source, "--output_file", tmp_path / f"{flag}.jsonl", "--generator_model", "g"]
            words += ["--generator_port", server.port, "--scorer", "match", "--accept_score", 10, flag, 1]
            run = forked("reject", [*words, "--answers_per_question", 4, "--concurrency", 1], tmp_path)
            assert (run.returncode, len(server.chats)) == (0, asked), run
