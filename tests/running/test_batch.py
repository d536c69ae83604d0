"""Batch files in place of servers: the records are those of the live path, whatever happens to the lines."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from tests.batch_server import Line, answered
from tests.helpers import conversation, questions, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRIES, ANSWERS = 50, 4


def text_for(request: Request) -> str:
    """A text that depends on the whole request, and only on it."""
    return hashlib.md5(json.dumps(request.body, sort_keys=True).encode()).hexdigest()


def generator(request: Request) -> Reply:
    n = request.body.get("n", 1)
    return completion(*(f"{text_for(request)} {choice}" for choice in range(n)), tokens=n)


def judge(request: Request) -> Reply:
    """A score that depends on the request; of some requests none, so that the judge is asked again."""
    digits = int(text_for(request)[:6], 16)
    if len(request.body["messages"]) == 1 and digits % 5 == 0:
        return completion("I cannot say.")
    return completion(f"It is fine. Score: {digits % 11}")


def requests_in(folder: Path) -> List[Line]:
    return [line for path in sorted(folder.iterdir()) for line in read_lines(path)]


def write_lines(path: Path, lines: Sequence[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def by_id(path: Path) -> Dict[str, Any]:
    records = read_lines(path)
    assert len({record["entry_id"] for record in records}) == len(records)
    return {record["entry_id"]: record for record in records}


def sampled(folder: Path, name: str, *flags: object, code: int = 0) -> str:
    """Runs sampling.py to folder/name, and gives what it says."""
    words = ["--input_file", folder / "in.json", "--output_file", folder / name, "--model_name", "m", "--seed", 1]
    run = run_script("sampling.py", *words, "--answers_per_question", ANSWERS, *flags)
    assert run.returncode == code, run
    return run.stdout + run.stderr


def test_answers_through_files(tmp_path: Path) -> None:
    """Shuffled, a tenth lost, some doubled, failed or torn: the rest comes with the next files and a live run."""
    questions(tmp_path / "in.json", ENTRIES)
    said = sampled(tmp_path, "out.jsonl", "--batch_out", tmp_path / "b1")
    assert "200 requests in 1 file" in said
    lines = answered(requests_in(tmp_path / "b1"), generator)
    assert len({line["custom_id"] for line in lines}) == ENTRIES * ANSWERS
    assert max(len(line["custom_id"]) for line in lines) <= 64
    random.Random(1).shuffle(lines)
    for line, status in zip(lines[:20], [500] * 10 + [400] * 10):
        line["response"] = {"status_code": status, "body": {"error": {"message": "oh"}}}
    replies = write_lines(tmp_path / "r1.jsonl", lines[:180] + lines[100:120])
    with replies.open("a") as file:
        file.write(json.dumps(lines[190])[:30])
    said = sampled(tmp_path, "out.jsonl", "--batch_in", replies, code=1)
    assert "201 lines: 160 taken, 20 failed, 20 doubled, 1 unreadable" in said
    assert "no reply to 20 requests" in said
    failures = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert {(one["stage"], one["status"]) for one in failures} == {("sample", 500), ("sample", 400)}
    said = sampled(tmp_path, "out.jsonl", "--batch_out", tmp_path / "b2")
    second = requests_in(tmp_path / "b2")
    assert len(second) == 40
    assert {line["custom_id"] for line in second} == {line["custom_id"] for line in lines[:20] + lines[180:]}
    write_lines(tmp_path / "r2.jsonl", answered(second[:20], generator))
    sampled(tmp_path, "out.jsonl", "--batch_in", tmp_path / "r2.jsonl", replies, code=1)
    with ScriptedServer(generator) as server:
        sampled(tmp_path, "out.jsonl", "--port", server.port)
        assert len(server.chats) == 20
        sampled(tmp_path, "live.jsonl", "--port", server.port)
    assert by_id(tmp_path / "out.jsonl") == by_id(tmp_path / "live.jsonl")


def test_a_judges_scores_through_files(tmp_path: Path) -> None:
    """A second question to an answer stands in the next files."""
    questions(tmp_path / "in.json", 40)
    words: List[object] = ["--input_file", tmp_path / "sampled.jsonl", "--model_name", "j"]
    with ScriptedServer(generator) as server:
        sampled(tmp_path, "sampled.jsonl", "--port", server.port)
    with ScriptedServer(judge) as server:
        run = run_script("score.py", *words, "--output_file", tmp_path / "live.jsonl", "--port", server.port)
        assert run.returncode == 0, run
        asked = len(server.chats)
    words += ["--output_file", tmp_path / "out.jsonl"]
    replies: List[object] = []
    counts = []
    while len(counts) < 5 and (not counts or counts[-1]):
        taken = ["--batch_in", *replies] if replies else []
        run = run_script("score.py", *words, *taken, "--batch_out", tmp_path / f"b{len(counts)}")
        assert run.returncode == 0, run
        folder = tmp_path / f"b{len(counts)}"
        requests = requests_in(folder) if folder.exists() else []
        counts.append(len(requests))
        lines = answered(requests, judge)
        random.Random(2).shuffle(lines)
        replies.append(write_lines(tmp_path / f"r{len(counts)}.jsonl", lines))
    assert counts[0] == 160
    assert counts[1] > 10
    assert counts[2:] == [0]
    assert sum(counts) == asked
    assert by_id(tmp_path / "out.jsonl") == by_id(tmp_path / "live.jsonl")


def test_several_json_replies_of_a_cascade_go_through_files(tmp_path: Path) -> None:
    flags = ["--judge_samples", 3, "--judge_mode", "json", "--scorer", "match", "judge"]

    def in_json(request: Request) -> Reply:
        assert "response_format" in request.body
        return completion(json.dumps({"reasoning": "r", "score": int(text_for(request)[:6], 16) % 6}))

    write_input(tmp_path / "in.json", [conversation("2+2?", "4"), conversation("3+3?", "6")])
    with ScriptedServer(generator) as server:
        sampled(tmp_path, "sampled.jsonl", "--port", server.port)
    words = ["--input_file", tmp_path / "sampled.jsonl", "--model_name", "j", *flags]
    with ScriptedServer(in_json) as server:
        run = run_script("score.py", *words, "--output_file", tmp_path / "live.jsonl", "--port", server.port)
        assert run.returncode == 0, run
        asked = len(server.chats)
    words += ["--output_file", tmp_path / "out.jsonl"]
    assert run_script("score.py", *words, "--batch_out", tmp_path / "b").returncode == 0
    lines = answered(requests_in(tmp_path / "b"), in_json)
    assert len({line["custom_id"] for line in lines}) == len(lines) == asked
    write_lines(tmp_path / "r.jsonl", lines[::-1])
    run = run_script("score.py", *words, "--batch_in", tmp_path / "r.jsonl")
    assert run.returncode == 0, run
    assert by_id(tmp_path / "out.jsonl") == by_id(tmp_path / "live.jsonl")


def test_several_choices_per_request(tmp_path: Path) -> None:
    """A reply with fewer choices than asked for leaves the rest to the next file."""
    questions(tmp_path / "in.json", 3)
    flags = ["--samples_per_request", 4]
    sampled(tmp_path, "out.jsonl", *flags, "--batch_out", tmp_path / "b1")
    lines = answered(requests_in(tmp_path / "b1"), generator)
    assert len(lines) == 3
    del lines[1]["response"]["body"]["choices"][3]
    write_lines(tmp_path / "r1.jsonl", lines)
    sampled(tmp_path, "out.jsonl", *flags, "--batch_in", tmp_path / "r1.jsonl", "--batch_out", tmp_path / "b2")
    second = requests_in(tmp_path / "b2")
    assert [line["custom_id"].split("-")[1] for line in second] == ["3"]
    write_lines(tmp_path / "r2.jsonl", answered(second, generator))
    sampled(tmp_path, "out.jsonl", *flags, "--batch_in", tmp_path / "r2.jsonl", tmp_path / "r1.jsonl")
    answers = [answer for record in read_lines(tmp_path / "out.jsonl") for answer in record["generated_answers"]]
    assert len(set(answers)) == len(answers) == 12


OTHER = [["--temperature", 0.3], ["--max_tokens", 9]]


@pytest.mark.parametrize("flags", OTHER)
def test_replies_of_other_settings_are_left_out(tmp_path: Path, flags: List[object]) -> None:
    questions(tmp_path / "in.json", 2)
    sampled(tmp_path, "first.jsonl", *flags, "--batch_out", tmp_path / "b")
    write_lines(tmp_path / "r.jsonl", answered(requests_in(tmp_path / "b"), generator))
    said = sampled(tmp_path, "out.jsonl", "--batch_in", tmp_path / "r.jsonl", code=1)
    assert "8 lines: 0 taken, 8 other settings" in said
    assert read_lines(tmp_path / "out.jsonl") == []


def test_an_empty_or_broken_answer_fails_its_entry_and_a_filtered_one_too(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 3)
    sampled(tmp_path, "out.jsonl", "--answers_per_question", 1, "--batch_out", tmp_path / "b")
    lines = answered(requests_in(tmp_path / "b"), generator)
    lines[0]["response"]["body"] = completion("").body
    lines[1]["response"]["body"] = {"object": "list"}
    lines[2]["response"] = {"status_code": 401, "body": {"error": "Unauthorized"}}
    write_lines(tmp_path / "r.jsonl", lines)
    sampled(tmp_path, "out.jsonl", "--answers_per_question", 1, "--batch_in", tmp_path / "r.jsonl", code=1)
    failures = [one["error"] for one in read_lines(tmp_path / "out.jsonl.errors.jsonl")]
    assert sorted(error.split(":")[1] for error in failures) == [" line 1", " line 2", " line 3"]


def test_nothing_is_sent_and_a_finished_output_needs_no_files(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    with ScriptedServer(generator) as server:
        for flags in (
            ["--batch_out", tmp_path / "b"],
            ["--concurrent_requests", "auto", "--batch_out", tmp_path / "c"],
        ):
            sampled(tmp_path, "out.jsonl", "--port", server.port, *flags)
        assert (server.chats, server.posted, server.probes) == ([], [], 0)
        sampled(tmp_path, "out.jsonl", "--port", server.port)
    sampled(tmp_path, "out.jsonl", "--batch_out", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_the_model_of_the_output_is_used_without_a_server(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl"]
    run = run_script("sampling.py", *words, "--batch_out", tmp_path / "b")
    assert run.returncode == 2
    assert "--model_name is required: --batch_out and --batch_in ask no server for it" in run.stderr
    assert run_script("sampling.py", *words, "--model_name", "m", "--batch_out", tmp_path / "b").returncode == 0
    assert run_script("sampling.py", *words, "--batch_out", tmp_path / "c").returncode == 0
    assert requests_in(tmp_path / "b") == requests_in(tmp_path / "c")


@pytest.mark.parametrize(
    ("scorer", "line"),
    [("match", "sends no requests: there is no batch"), ("reward", "cannot use batch files: they hold only chat")],
)
def test_a_scorer_without_chat_requests_is_refused(tmp_path: Path, scorer: str, line: str) -> None:
    record = {"original_question": "q", "original_answers": [], "generated_answers": ["a"], "entry_id": "e"}
    write_lines(tmp_path / "in.jsonl", [record])
    words = ["--input_file", tmp_path / "in.jsonl", "--output_file", tmp_path / "o.jsonl", "--scorer", scorer]
    run = run_script("score.py", *words, "--model_name", "m", "--batch_out", tmp_path / "b")
    assert run.returncode == 2
    assert line in run.stderr
