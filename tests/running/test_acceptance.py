"""Scorers, acceptance and selection through the scripts, as a user runs them: counted in requests."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.helpers import conversation, judge_flags, questions, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

RIGHT = ("--scorer", "match", "--accept_score", 10)


def nth(request: Request) -> Reply:
    """The n-th draw of "question q?" is right where q divides n: q = 0 never, q = 1 always, q = 3 every third time."""
    found = re.search(r"question (\d+)\?", request.question)
    assert found is not None
    seen = nth_seen.setdefault(found[1], [])
    seen.append(request)
    right = int(found[1]) > 0 and len(seen) % int(found[1]) == 0
    return completion(f"Take {len(seen)}. It is {found[1] if right else 99}.", tokens=10)


nth_seen: Dict[str, List[Request]] = {}


@pytest.fixture(autouse=True)
def _forget() -> None:
    nth_seen.clear()


def reject(server: ScriptedServer, folder: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    """reject.py on four questions with a cache; the judge, if any, is the same server."""
    source = folder / "in.json"
    if not source.exists():
        questions(source, 4)
    return run_script(
        "reject.py",
        *("--input_file", source, "--output_file", folder / "out.jsonl", "--cache_file", folder / "cache.jsonl"),
        *("--generator_model", "g", "--generator_port", server.port, *flags),
        *judge_flags(flags, "--scorer_model", "j", "--scorer_port", server.port),
    )


def check_done(run: subprocess.CompletedProcess[str]) -> None:
    assert (run.returncode, run.stderr) == (0, ""), run


def by_question(path: Path) -> Dict[str, Any]:
    return {record["original_question"]: record for record in read_lines(path)}


# --- sampling for acceptance ------------------------------------------------------------------------------------------


def test_each_entry_draws_until_enough_are_accepted_or_it_is_given_up(tmp_path: Path) -> None:
    with ScriptedServer(nth) as server:
        run = reject(server, tmp_path, *RIGHT, "--answers_per_question", 12, "--stop_after", 2, "--give_up_after", 5)
        check_done(run)
    found = by_question(tmp_path / "out.jsonl")
    drawn = {name: (len(record["generated_answers"]), record.get("stopped_by")) for name, record in found.items()}
    assert {name: why for name, (_, why) in drawn.items()} == {
        "question 0?": "give_up_after",
        **{f"question {n}?": "stop_after" for n in (1, 2, 3)},
    }
    assert drawn["question 0?"][0] == 5
    assert drawn["question 1?"][0] == 2
    for name, record in found.items():
        assert record["generated_scores"].count(10.0) == (0 if name == "question 0?" else 2)


def test_fewer_tokens_bring_the_same_accepted_answers(tmp_path: Path) -> None:
    counts = {}
    for name, flags in (("fixed", ()), ("enough", ("--stop_after", 1))):
        (tmp_path / name).mkdir()
        nth_seen.clear()
        with ScriptedServer(nth) as server:
            check_done(reject(server, tmp_path / name, *RIGHT, "--answers_per_question", 12, *flags))
            counts[name] = len(server.chats)
        accepted = [10.0 in record["generated_scores"] for record in read_lines(tmp_path / name / "out.jsonl")]
        assert sum(accepted) == 3
    assert counts["fixed"] == 48
    assert counts["enough"] <= 12 + 1 + 2 + 3 + 3  # the hopeless one, one each, and draws in a servers_idle at the end


def test_a_run_that_was_cut_short_draws_only_what_is_still_needed(tmp_path: Path) -> None:
    flags = (*RIGHT, "--answers_per_question", 6, "--stop_after", 2)
    with ScriptedServer(nth) as server:
        run = reject(server, tmp_path, *flags, "--token_budget", 40, "--concurrency", 1)
        assert run.returncode == 1
        first = len(server.chats)
        for _ in range(20):
            if reject(server, tmp_path, *flags, "--token_budget", 40, "--concurrency", 1).returncode == 0:
                break
        total = len(server.chats)
    assert len(read_lines(tmp_path / "out.jsonl")) == 4
    assert first == 4
    drawn = [line for line in read_lines(tmp_path / "cache.jsonl") if "answer" in line]
    assert len(drawn) == total  # every answer that was paid for is there, and none was asked for again
    assert len({(line["entry_id"], line["index"]) for line in drawn}) == total


def test_a_spent_budget_ends_the_run_whole_and_says_so(tmp_path: Path) -> None:
    with ScriptedServer(nth) as server:
        flags = (*RIGHT, "--answers_per_question", 5, "--token_budget", 70, "--concurrency", 1)
        run = reject(server, tmp_path, *flags, "--selected_file", tmp_path / "best.json")
        assert len(server.chats) == 7
    assert run.returncode == 1
    assert "70 of --token_budget 70 completion tokens are spent; run the same command again to go on" in run.stderr
    assert " postponed" in run.stdout
    records = read_lines(tmp_path / "out.jsonl")
    assert [len(record["generated_answers"]) for record in records] == [5]
    assert len(json.loads((tmp_path / "best.json").read_text())) <= len(records)
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()


def test_a_budget_holds_for_sampling_too_and_counts_what_is_in_flight(tmp_path: Path) -> None:
    source = questions(tmp_path / "in.json", 10)
    flags: List[object] = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--model_name", "m"]
    with ScriptedServer(lambda request: completion(f"{request.number}", tokens=10, delay=0.02)) as server:
        flags += ["--port", server.port, "--answers_per_question", 4, "--concurrent_requests", 4]
        run = run_script("sampling.py", *flags, "--token_budget", 100)
        assert run.returncode == 1
        assert 10 <= len(server.chats) <= 10 + 3
        check_done(run_script("sampling.py", *flags))
        assert len(server.chats) == 40


def test_a_budget_without_a_count_of_tokens_is_refused_and_not_ignored(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        reply = nth(request)
        assert isinstance(reply.body, dict)
        del reply.body["usage"]
        return reply

    with ScriptedServer(script) as server:
        run = reject(server, tmp_path, *RIGHT, "--token_budget", 1000, "--concurrency", 1)
        assert len(server.chats) == 1
    assert run.returncode == 1
    assert "--token_budget cannot be kept: the server does not say how many tokens it spent" in run.stderr


def test_the_judge_s_tokens_count_against_the_budget(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        judging = request.body["model"] == "j"
        return completion("Score: 5" if judging else f"{request.number}", tokens=100 if judging else 1)

    with ScriptedServer(script) as server:
        run = reject(server, tmp_path, "--token_budget", 100, "--concurrency", 1)
        drawn = sum(request.body["model"] == "g" for request in server.chats)
    assert run.returncode == 1
    assert drawn < 16


# --- scorers ----------------------------------------------------------------------------------------------------------


def sampled(folder: Path, texts: List[str], reference: str = "4") -> Path:
    """An output of sampling.py: one question with these answers."""
    source = write_input(folder / "q.json", [conversation("What is 2+2?", reference)])
    with ScriptedServer(lambda request: completion(texts[request.number])) as server:
        flags: List[object] = ["--input_file", source, "--output_file", folder / "sampled.jsonl", "--model_name", "m"]
        flags += ["--port", server.port, "--answers_per_question", len(texts), "--concurrent_requests", 1]
        check_done(run_script("sampling.py", *flags))
    return folder / "sampled.jsonl"


def score(source: Path, output: Path, *flags: object) -> Dict[str, Any]:
    """The record of score.py, one answer after another."""
    check_done(run_script("score.py", "--input_file", source, "--output_file", output, "--concurrency", 1, *flags))
    record: Dict[str, Any] = read_lines(output)[0]
    return record


def test_a_cascade_asks_the_judge_only_where_the_rule_is_not_sure(tmp_path: Path) -> None:
    source = sampled(tmp_path, ["It is 4.", "The sum is even."])
    with ScriptedServer(lambda _: completion("Score: 6")) as server:
        flags = ("--scorer", "match", "judge", "--model_name", "j", "--api_port", server.port)
        record = score(source, tmp_path / "scored.jsonl", *flags)
        assert len(server.chats) == 1
    assert record["generated_scores"] == [10.0, 6.0]
    assert [detail["scorer"] for detail in record["generated_details"]] == ["match", "judge"]


def test_a_function_of_the_user_s_scores_sync_and_async(tmp_path: Path) -> None:
    source = sampled(tmp_path, ["4", "five"])
    check = tmp_path / "check.py"
    check.write_text(
        "import asyncio\n"
        "def plain(question, reference, answer):\n    print('seen', answer)\n    return answer == reference\n"
        "async def waiting(question, reference, answer):\n    await asyncio.sleep(0)\n    return float(len(answer))\n"
    )
    for function, expected in (("plain", [10.0, 0.0]), ("waiting", [1.0, 4.0])):
        flags: List[object] = ["--input_file", source, "--output_file", tmp_path / f"{function}.jsonl"]
        run = run_script("score.py", *flags, "--scorer", f"python:{check}:{function}")
        assert run.returncode == 0, run
        assert "seen" not in run.stdout
        assert read_lines(tmp_path / f"{function}.jsonl")[0]["generated_scores"] == expected


def test_a_function_that_fails_is_named_and_tried_again_once_mended(tmp_path: Path) -> None:
    source = sampled(tmp_path, ["4", "five"])
    check = tmp_path / "check.py"
    check.write_text("def verify(question, reference, answer):\n    return {'4': 9}[answer]\n")
    flags: List[object] = ["--input_file", source, "--output_file", tmp_path / "out.jsonl"]
    flags += ["--scorer", f"python:{check}:verify"]
    run = run_script("score.py", *flags)
    assert run.returncode == 1
    failed = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert [(line["stage"], line["error"]) for line in failed] == [
        ("score", "check.py:verify raised KeyError: 'five' (check.py line 2)")
    ]
    assert read_lines(tmp_path / "out.jsonl") == []
    check.write_text("def verify(question, reference, answer):\n    return {'4': 9}.get(answer, 1)\n")
    check_done(run_script("score.py", *flags))
    assert read_lines(tmp_path / "out.jsonl")[0]["generated_scores"] == [9, 1]


def test_another_scorer_costs_no_new_answer_and_no_known_score(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return completion("Score: 6") if request.body["model"] == "j" else nth(request)

    with ScriptedServer(script) as server:
        check_done(reject(server, tmp_path, "--scorer", "judge"))
        assert len(server.chats) == 4 * 4 * 2
        (tmp_path / "out.jsonl").unlink()
        check_done(reject(server, tmp_path, "--scorer", "match"))
        (tmp_path / "out.jsonl").unlink()
        check_done(reject(server, tmp_path, "--scorer", "judge"))
        assert len(server.chats) == 4 * 4 * 2
        (tmp_path / "out.jsonl").unlink()
        check_done(reject(server, tmp_path, "--scorer", "judge", "--judge_mode", "json"))
        models = [request.body["model"] for request in server.chats[32:]]
    assert models == ["j"] * 16


@pytest.mark.parametrize(("mode", "field"), [("json", "response_format"), ("logprob", "logprobs")])
def test_a_server_that_cannot_do_the_judge_mode_stops_the_run_at_once(tmp_path: Path, mode: str, field: str) -> None:
    source = sampled(tmp_path, ["a", "b", "c"])

    def script(request: Request) -> Reply:
        return Reply({"error": f"no {field} here"}, 400) if field in request.body else completion("Score: 3")

    with ScriptedServer(script) as server:
        flags = ("--model_name", "j", "--api_port", server.port, "--judge_mode", mode)
        run = run_script("score.py", "--input_file", source, "--output_file", tmp_path / "out.jsonl", *flags)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert f"no {field} here" in run.stderr
    assert "judge by --judge_mode text" in run.stderr


# --- selection --------------------------------------------------------------------------------------------------------


def test_a_finished_output_is_selected_from_in_other_ways_without_a_request(tmp_path: Path) -> None:
    with ScriptedServer(nth) as server:
        flags = ("--scorer", "match", "--answers_per_question", 6)
        check_done(reject(server, tmp_path, *flags, "--selected_file", tmp_path / "best.json"))
        assert len(server.chats) == 24
        written = (tmp_path / "out.jsonl").read_bytes()
        kinds: Dict[str, List[object]] = {
            "top.jsonl": ["--select", "top_k", "--top_k", 2, "--accept_score", 10, "--selected_format", "messages"],
            "all.json": ["--select", "threshold", "--accept_score", 10],
            "any.jsonl": ["--select", "random", "--top_k", 3],
            "pairs.jsonl": ["--select", "dpo", "--pairs_per_entry", 2],
        }
        for name, more in kinds.items():
            check_done(reject(server, tmp_path, *flags, "--selected_file", tmp_path / name, *more))
        assert len(server.chats) == 24
    assert (tmp_path / "out.jsonl").read_bytes() == written
    assert len(json.loads((tmp_path / "best.json").read_text())) == 3  # one question has no right answer
    assert len(json.loads((tmp_path / "all.json").read_text())) == 6 + 3 + 2
    rows = {name: read_lines(tmp_path / name) for name in kinds if name.endswith(".jsonl")}
    assert len(rows["top.jsonl"]) == 2 * 3
    assert [turn["role"] for turn in rows["top.jsonl"][0]["messages"]] == ["user", "assistant"]
    assert len(rows["any.jsonl"]) == 3 * 4
    assert len(rows["pairs.jsonl"]) == 2 * 2  # neither the hopeless question nor the easy one makes a pair
    assert set(rows["pairs.jsonl"][0]) == {"prompt", "chosen", "rejected"}


def test_the_folders_of_what_is_made_at_the_end_are_made_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with ScriptedServer(nth) as server:
        check_done(reject(server, tmp_path, "--scorer", "match", "--selected_file", tmp_path / "a" / "b" / "best.json"))
        sent = len(server.chats)
        run = reject(server, tmp_path, "--scorer", "match", "--selected_file", tmp_path / "file" / "best.json")
        assert len(server.chats) == sent
    assert (tmp_path / "a" / "b" / "best.json").exists()
    assert run.returncode == 2
    assert "--selected_file: cannot make the folder of" in run.stderr


def test_selection_is_said_in_rows_and_entries(tmp_path: Path) -> None:
    with ScriptedServer(nth) as server:
        flags = ("--scorer", "match", "--answers_per_question", 3, "--select", "threshold", "--accept_score", 10)
        run = reject(server, tmp_path, *flags, "--selected_file", tmp_path / "best.jsonl")
    assert f"selected  5 from 3 of the 4 entries: {tmp_path / 'best.jsonl'}" in run.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stop_after", "2"], "--stop_after needs --accept_score"),
        (["--give_up_after", "2"], "--give_up_after needs --accept_score"),
        (["--accept_score", "5", "--stop_after", "9"], "--stop_after 9 is more than --answers_per_question 4"),
        (["--accept_score", "80", "--stop_after", "1"], "--accept_score 80 is above --score_max 10"),
        (["--judge_mode", "logprob", "--score_max", "100000"], "can use at most 1000 scores"),
        (["--scorer", "match", "match"], "names a scorer twice"),
        (
            ["--scorer", "guess"],
            "must be judge, match, math, code, compare, reward, majority or python:FILE.py:FUNCTION",
        ),
        (["--scorer", "python:none.py:f"], "none.py"),
        (["--judge_mode", "logprob", "--judge_samples", "3"], "needs no --judge_samples"),
        (["--judge_mode", "logprob", "--score_max", "0.5"], "needs two whole numbers"),
        (["--judge_samples", "3", "--judge_temperature", "0"], "asks for the same reply 3 times"),
        (["--select", "top_k"], "--selected_file"),
        (["--select", "threshold", "--selected_file", "s.json"], "--accept_score"),
        (["--select", "dpo", "--selected_format", "messages", "--selected_file", "s.json"], "messages"),
        (["--selected_format", "preference", "--selected_file", "s.json"], "dpo"),
        (["--min_margin", "2", "--selected_file", "s.json"], "--min_margin"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_sent(tmp_path: Path, flags: List[str], words: str) -> None:
    with ScriptedServer(nth) as server:
        run = reject(server, tmp_path, *flags)
        assert server.chats == []
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert words in run.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_another_rule_draws_what_it_still_needs(tmp_path: Path) -> None:
    with ScriptedServer(nth) as server:
        check_done(reject(server, tmp_path, *RIGHT, "--stop_after", 1))
        kept = {name: record["generated_answers"] for name, record in by_question(tmp_path / "out.jsonl").items()}
        check_done(reject(server, tmp_path, *RIGHT, "--stop_after", 2))
        sent = len(server.chats)
        check_done(reject(server, tmp_path, *RIGHT, "--stop_after", 1))
        assert len(server.chats) == sent
    for name, record in by_question(tmp_path / "out.jsonl").items():
        assert set(kept[name]) <= set(record["generated_answers"])  # each take is another text
        enough = record["generated_scores"].count(10.0) == 2
        assert enough or len(record["generated_answers"]) == 4
