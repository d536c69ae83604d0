"""Answers that did not end by themselves: kept and shown by reason, but never judged, accepted or selected."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.forked import forked
from tests.helpers import questions, read_lines
from tests.scripted_server import Reply, Request, ScriptedServer, completion, event, streamed

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


def sampled(folder: Path, server: ScriptedServer, *flags: object) -> str:
    """What sampling.py says of two questions, with an answer each, or more by ``flags``."""
    source = questions(folder / "in.json", 2)
    words = ["--input_file", source, "--output_file", folder / "out.jsonl", "--port", server.port, "--model_name", "m"]
    run = forked("sample", [*words, *flags], folder)
    assert run.returncode == 0, run
    return run.stdout + run.stderr


def one_loops(request: Request) -> Reply:
    """A server on which question 0 loops, in its thoughts."""
    if "question 0" not in request.question:
        return Reply(pieces=streamed(["four"])) if request.body.get("stream") else completion("four")
    return Reply(pieces=streamed(itertools.repeat("No, wait. "), field="reasoning_content"))


def test_a_loop_is_kept_as_cut_and_never_paid_for_again(tmp_path: Path) -> None:
    """Not with a larger limit of tokens, for which it is not cut, nor without the flag, nor in a run for more."""
    once = ("--stop_loops", "--answers_per_question", 1, "--max_tokens", 32_000)
    with ScriptedServer(one_loops) as server:
        said = sampled(tmp_path, server, *once)
        assert "cut       1 answers: 1 by repetition" in said
        assert "loops     1 answer stopped after 400 tokens; up to 31,600 saved" in said
        sampled(tmp_path, server, *once)
        sampled(tmp_path, server, "--answers_per_question", 1, "--max_tokens", 64_000)
        assert len(server.chats) == 2
    with ScriptedServer(lambda _: completion("five")) as server:
        sampled(tmp_path, server, "--answers_per_question", 2, "--max_tokens", 64_000)
        assert len(server.chats) == 2
    looped = next(one for one in read_lines(tmp_path / "out.jsonl") if "question 0" in one["original_question"])
    assert looped["generated_answers"] == ["", "five"]
    usage = looped["generated_details"][0]["usage"]
    assert (usage["completion_tokens"], usage["estimated"]) == (400, True)  # and those of the prompt, once one is known
    assert looped["generated_details"][0] == {
        "finish_reason": "repetition",
        "reasoning": "No, wait. " * 400,
        "usage": usage,
    }


def test_a_budget_counts_the_chunks_of_streams_that_are_left(tmp_path: Path) -> None:
    """One that counts no tokens otherwise: 400 of the first answer, and none is begun after these."""
    pieces = [event({"content": "No, wait. "})] * 5000
    with ScriptedServer(lambda _: Reply(pieces=pieces)) as server:
        words = ["--input_file", questions(tmp_path / "in.json", 9), "--output_file", tmp_path / "out.jsonl"]
        words += ["--port", server.port, "--model_name", "m", "--stop_loops", "--answers_per_question", 1]
        run = forked("sample", [*words, "--token_budget", 300, "--concurrent_requests", 1], tmp_path)
        assert (run.returncode, len(server.chats)) == (1, 1)
    assert "400 of --token_budget 300 completion tokens are spent" in run.stderr


def test_only_the_generator_is_streamed(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return one_loops(request) if "grading" not in request.question else completion("Score: 9")

    source = questions(tmp_path / "in.json", 2)
    with ScriptedServer(script) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--generator_port", server.port]
        words += ["--generator_model", "g", "--scorer_model", "j", "--stop_loops", "--answers_per_question", 1]
        run = forked("reject", words, tmp_path)
        assert run.returncode == 0, run
        streams = {chat.body["model"]: chat.body.get("stream") for chat in server.chats}
    assert (streams, len(server.chats)) == ({"g": True, "j": None}, 3)
