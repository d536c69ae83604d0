"""The three scripts run as commands against a scripted server: the promises a user sees."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.helpers import command, conversation, environment, questions, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, Script, ScriptedServer, completion

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"


def numbered(request: Request) -> Reply:
    """Another answer to each request."""
    return completion(f"answer {request.number}")


def judge(request: Request) -> Reply:
    return completion("Fine. Score: 7")


def sample(server: ScriptedServer, source: Path, output: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    return run_script(
        "sampling.py",
        *("--input_file", source, "--output_file", output, "--model_name", "m", "--port", server.port),
        *("--answers_per_question", 3, *flags),
    )


def score(server: ScriptedServer, source: Path, output: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    return run_script(
        "score.py",
        *("--input_file", source, "--output_file", output, "--model_name", "j", "--api_port", server.port, *flags),
    )


def reject(
    generator: ScriptedServer, scorer: ScriptedServer, source: Path, output: Path, *flags: object
) -> subprocess.CompletedProcess[str]:
    return run_script(
        "reject.py",
        *("--input_file", source, "--output_file", output, "--cache_file", output.parent / "cache.jsonl"),
        *("--generator_model", "g", "--scorer_model", "j"),
        *("--generator_port", generator.port, "--scorer_port", scorer.port, *flags),
    )


def check_done(run: subprocess.CompletedProcess[str]) -> None:
    assert (run.returncode, run.stderr) == (0, ""), run


# what the three commands do


def test_the_commands_of_the_seed_write_the_keys_of_the_seed(tmp_path: Path) -> None:
    source = write_input(tmp_path / "input.json", [conversation("What is 2+2?", "4", images=["a.png"])])
    (tmp_path / "a.png").write_bytes(PNG)
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        flags: List[object] = ["--input_file", source, "--output_file", tmp_path / "sampled.jsonl"]
        flags += ["--model_name", "your-model-name", "--port", gen.port]
        check_done(run_script("sampling.py", *flags, "--concurrent_requests", 10, "--answers_per_question", 10))
        flags = ["--input_file", tmp_path / "sampled.jsonl", "--output_file", tmp_path / "scored.jsonl"]
        flags += ["--model_name", "judge-model-name", "--api_port", scorer.port, "--concurrency", 10]
        check_done(run_script("score.py", *flags))
        flags = ["--input_file", source, "--output_file", tmp_path / "final_results.jsonl"]
        flags += ["--cache_file", tmp_path / "sampling_cache.jsonl", "--generator_model", "gen-model"]
        flags += ["--scorer_model", "judge-model", "--generator_port", gen.port, "--scorer_port", scorer.port]
        check_done(run_script("reject.py", *flags, "--concurrency", 5, "--answers_per_question", 4))
    sampled, scored, final = (
        read_lines(tmp_path / name)[0] for name in ("sampled.jsonl", "scored.jsonl", "final_results.jsonl")
    )
    keys = ["original_question", "original_answers", "images", "generated_answers", "generated_scores"]
    assert list(scored) == list(final) == [*keys, "generated_details", "line", "entry_id"]
    assert list(sampled) == [key for key in scored if key != "generated_scores"]
    assert sampled["entry_id"] == scored["entry_id"] == final["entry_id"]
    assert re.fullmatch("[0-9a-f]{32}", final["entry_id"])
    assert len(sampled["generated_answers"]) == 10
    assert scored["generated_answers"] == sampled["generated_answers"]
    assert final["generated_scores"] == [7.0] * 4
    assert {request.body["model"] for request in gen.chats} == {"your-model-name", "gen-model"}
    assert {request.body["model"] for request in scorer.chats} == {"judge-model-name", "judge-model"}


def test_each_entry_is_in_the_output_once_with_its_own_answers(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.jsonl", 40)
    script: Script = lambda request: completion(f"re: {request.question}", delay=0.001 * (request.number % 5))
    with ScriptedServer(script) as server:
        check_done(sample(server, source, tmp_path / "out.jsonl"))
    records = read_lines(tmp_path / "out.jsonl")
    assert sorted(r["original_question"] for r in records) == sorted(f"question {n}?" for n in range(40))
    assert all(r["generated_answers"] == [f"re: {r['original_question']}"] * 3 for r in records)


def test_the_reference_is_never_sent_to_the_generator(tmp_path: Path) -> None:
    source = write_input(tmp_path / "input.json", [conversation("2+2?", "the reference")])
    with ScriptedServer(numbered) as server:
        sample(server, source, tmp_path / "out.jsonl")
        assert len(server.chats) == 3
        assert all("the reference" not in json.dumps(request.body) for request in server.chats)


def test_images_are_sent_in_place_of_their_marks_with_their_true_type(tmp_path: Path) -> None:
    (tmp_path / "really_a_gif.png").write_bytes(GIF)
    url = "https://example.com/b.png"
    entry = conversation("left <image> right <image>", images=["really_a_gif.png", url])
    with ScriptedServer(numbered) as server:
        check_done(sample(server, write_input(tmp_path / "input.json", [entry]), tmp_path / "out.jsonl"))
        content = server.chats[0].body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url"]
    data = "data:image/gif;base64," + base64.b64encode(GIF).decode()
    assert [part["image_url"]["url"] for part in content if "image_url" in part] == [data, url]


def test_the_judge_sees_images_only_when_it_is_given_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    source = write_input(tmp_path / "input.json", [conversation("<image> what?", images=["a.png"])])
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, tmp_path / "a.jsonl"))
        assert all("image_url" not in json.dumps(request.body) for request in scorer.chats)
        check_done(reject(gen, scorer, source, tmp_path / "b.jsonl", "--judge_images"))
        assert all("image_url" in json.dumps(request.body) for request in scorer.chats[4:])
        assert len(scorer.chats) == 8


def test_several_choices_are_asked_for_in_one_request(tmp_path: Path) -> None:
    script: Script = lambda request: completion(*(f"{request.number}.{n}" for n in range(request.body.get("n", 1))))
    with ScriptedServer(script) as server:
        flags = ("--answers_per_question", 10, "--samples_per_request", 4)
        check_done(sample(server, questions(tmp_path / "input.json", 1), tmp_path / "out.jsonl", *flags))
        assert sorted(request.body.get("n", 1) for request in server.chats) == [2, 4, 4]
    assert len(set(read_lines(tmp_path / "out.jsonl")[0]["generated_answers"])) == 10


def test_identical_answers_of_an_entry_are_judged_once(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: completion("same")) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, questions(tmp_path / "input.json", 5), tmp_path / "out.jsonl"))
        assert (len(gen.chats), len(scorer.chats)) == (20, 5)
    assert all(r["generated_scores"] == [7.0] * 4 for r in read_lines(tmp_path / "out.jsonl"))


def test_a_judge_that_gives_no_score_leaves_null_with_its_reply(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as gen, ScriptedServer(lambda _: completion("I would rather not say")) as scorer:
        flags = ("--max_retries", 2, "--answers_per_question", 1)
        check_done(reject(gen, scorer, questions(tmp_path / "input.json", 1), tmp_path / "out.jsonl", *flags))
        assert len(scorer.chats) == 3
    record = read_lines(tmp_path / "out.jsonl")[0]
    assert record["generated_scores"] == [None]
    assert record["generated_details"][0]["judge_reply"] == "I would rather not say"
    assert "no score" in record["generated_details"][0]["unscored"]


def test_match_scores_without_any_server(tmp_path: Path) -> None:
    script: Script = lambda request: completion("It is 4." if request.number % 2 else "It is 5.")
    source = write_input(tmp_path / "input.json", [conversation("2+2?", "4")])
    with ScriptedServer(script) as server:
        check_done(sample(server, source, tmp_path / "sampled.jsonl", "--concurrent_requests", 1))
    flags = ("--input_file", tmp_path / "sampled.jsonl", "--output_file", tmp_path / "out.jsonl", "--scorer", "match")
    check_done(run_script("score.py", *flags))
    assert read_lines(tmp_path / "out.jsonl")[0]["generated_scores"] == [0.0, 10.0, 0.0]


def test_the_selected_file_is_an_input_again(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    entry = conversation("q", "old", images=["a.png"])
    entry["conversations"].insert(0, {"from": "system", "value": "be brief"})
    source = write_input(tmp_path / "input.json", [entry])
    best: Script = lambda request: completion(f"Score: {9 if 'answer 2' in request.question else 3}")
    with ScriptedServer(numbered) as gen, ScriptedServer(best) as scorer:
        flags = ("--selected_file", tmp_path / "best.json", "--accept_score", 8)
        check_done(reject(gen, scorer, source, tmp_path / "out.jsonl", *flags))
        selected = json.loads((tmp_path / "best.json").read_text())
        assert [turn["value"] for turn in selected[0]["conversations"]] == ["be brief", "<image>q", "answer 2"]
        assert selected[0]["images"] == ["a.png"]
        check_done(sample(gen, tmp_path / "best.json", tmp_path / "again.jsonl"))


def test_each_answer_has_a_seed_of_its_own_that_a_second_run_repeats(tmp_path: Path) -> None:
    seeds: List[List[int]] = []
    for name in ("a.jsonl", "b.jsonl"):
        with ScriptedServer(numbered) as server:
            check_done(sample(server, questions(tmp_path / "input.json", 3), tmp_path / name, "--seed", 1))
            seeds.append(sorted(request.body["seed"] for request in server.chats))
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 9


# resuming


def test_the_same_command_again_sends_nothing_and_changes_nothing(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "input.json", 5), tmp_path / "out.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, source, output))
        before = output.read_bytes()
        check_done(sample(server, source, output))
        assert len(server.chats) == 15
    assert output.read_bytes() == before


def test_a_finished_run_needs_no_server_to_say_so(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "input.json", 2), tmp_path / "out.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, source, output))
    check_done(sample(server, source, output))


def test_sampling_and_score_leave_no_ledger_when_all_is_done(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 2)
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(sample(gen, source, tmp_path / "sampled.jsonl"))
        check_done(score(scorer, tmp_path / "sampled.jsonl", tmp_path / "scored.jsonl"))
    assert not list(tmp_path.glob("*.ledger"))
    assert not list(tmp_path.glob("*.errors.jsonl"))


def test_new_entries_of_a_longer_input_are_all_that_is_asked(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, questions(tmp_path / "input.json", 3), output))
        check_done(sample(server, questions(tmp_path / "input.json", 5), output))
        assert len(server.chats) == 15
    assert len(read_lines(output)) == 5


def test_limit_does_the_first_entries_and_the_rest_later(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "input.json", 5), tmp_path / "out.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, source, output, "--limit", 2))
        assert not (tmp_path / "out.jsonl.ledger").exists()
        assert sorted(r["original_question"] for r in read_lines(output)) == ["question 0?", "question 1?"]
        check_done(sample(server, source, output))
        assert len(server.chats) == 15


def test_a_lost_output_is_rebuilt_from_the_cache_without_a_request(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "input.json", 5), tmp_path / "out.jsonl"
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, output))
        before = sorted(output.read_bytes().splitlines())
        output.unlink()
        check_done(reject(gen, scorer, source, output))
        assert (len(gen.chats), len(scorer.chats)) == (20, 20)
    assert sorted(output.read_bytes().splitlines()) == before


def test_another_judge_scores_without_new_answers(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 5)
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, tmp_path / "a.jsonl"))
        check_done(reject(gen, scorer, source, tmp_path / "b.jsonl", "--scorer_model", "another"))
        assert (len(gen.chats), len(scorer.chats)) == (20, 40)


def test_more_answers_draw_only_the_missing_ones(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 5)
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, tmp_path / "a.jsonl"))
        check_done(reject(gen, scorer, source, tmp_path / "b.jsonl", "--answers_per_question", 6))
        assert (len(gen.chats), len(scorer.chats)) == (30, 30)
    old = {r["entry_id"]: r["generated_answers"] for r in read_lines(tmp_path / "a.jsonl")}
    new = {r["entry_id"]: r["generated_answers"] for r in read_lines(tmp_path / "b.jsonl")}
    assert all(new[entry][:4] == old[entry] and len(new[entry]) == 6 for entry in old)


def test_a_larger_token_limit_redoes_only_the_answers_the_old_one_cut(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        cut = request.body["max_tokens"] == 10 and request.number % 4 == 0
        return completion(f"answer {request.number}", finish="length" if cut else "stop")

    source = questions(tmp_path / "input.json", 5)
    with ScriptedServer(script) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, tmp_path / "a.jsonl", "--max_tokens", 10))
        check_done(reject(gen, scorer, source, tmp_path / "b.jsonl", "--max_tokens", 20))
        assert (len(gen.chats), len(scorer.chats)) == (25, 20)  # a cut answer is not judged
        check_done(reject(gen, scorer, source, tmp_path / "c.jsonl", "--max_tokens", 20))
        assert (len(gen.chats), len(scorer.chats)) == (25, 20)
    details = [d for r in read_lines(tmp_path / "b.jsonl") for d in r["generated_details"]]
    assert {d["finish_reason"] for d in details} == {"stop"}


def test_other_sampling_settings_do_not_reuse_the_answers_of_these(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 5)
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, tmp_path / "a.jsonl"))
        check_done(reject(gen, scorer, source, tmp_path / "b.jsonl", "--temperature", 0.3))
        assert len(gen.chats) == 40


def test_how_requests_are_sent_does_not_change_what_is_reused(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 5)
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        check_done(reject(gen, scorer, source, tmp_path / "a.jsonl"))
        flags = ("--concurrency", 9, "--max_retries", 1, "--request_timeout", 9, "--samples_per_request", 2)
        check_done(reject(gen, scorer, source, tmp_path / "b.jsonl", *flags))
        assert (len(gen.chats), len(scorer.chats)) == (20, 20)


def test_an_exact_duplicate_is_done_once_and_counted(tmp_path: Path) -> None:
    source = write_input(tmp_path / "input.json", [conversation("q"), conversation("r"), conversation("q")])
    with ScriptedServer(numbered) as server:
        run = sample(server, source, tmp_path / "out.jsonl")
        assert len(server.chats) == 6
    assert "1 duplicate left out" in run.stdout


def test_the_same_question_with_another_image_or_history_is_another_entry(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PNG)
    history = conversation("q")
    history["conversations"] = [*conversation("before", "yes")["conversations"], *history["conversations"]]
    items = [conversation("q"), conversation("q", images=["a.png"]), conversation("q", images=["b.png"]), history]
    with ScriptedServer(numbered) as server:
        check_done(sample(server, write_input(tmp_path / "input.json", items), tmp_path / "out.jsonl"))
    assert len({record["entry_id"] for record in read_lines(tmp_path / "out.jsonl")}) == 4


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_nothing_that_arrived_is_asked_again(tmp_path: Path, name: signal.Signals) -> None:
    source, output = questions(tmp_path / "input.json", 50), tmp_path / "out.jsonl"
    enough = threading.Event()

    def script(request: Request) -> Reply:
        if request.number == 40:
            enough.set()
        return completion(f"answer {request.number}", delay=0 if request.number < 38 else 30)

    flags: Dict[str, Any] = {"--input_file": source, "--output_file": output, "--model_name": "m"}
    with ScriptedServer(script) as server:
        flags.update({"--port": server.port, "--concurrent_requests": 4, "--answers_per_question": 3})
        words = command("sampling.py", *(word for pair in flags.items() for word in pair))
        run = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        assert enough.wait(60)
        run.send_signal(name)
        _, said = run.communicate(timeout=30)
        assert run.returncode == 130
        assert "run the same command again" in said
        asked = len(server.chats)
        server.script = numbered
        check_done(subprocess.run(words, capture_output=True, text=True, env=environment(), check=False))
        assert len(server.chats) <= 150 + 4
        assert asked <= 38 + 4
    assert len(read_lines(output)) == 50


# failures


def test_a_failed_entry_is_in_the_errors_file_and_tried_again_next_time(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "input.jsonl", 5), tmp_path / "out.jsonl"
    too_long = Reply({"error": {"message": "too long"}}, status=400)
    with ScriptedServer(lambda request: too_long if "question 3" in request.question else numbered(request)) as server:
        run = sample(server, source, output)
        assert run.returncode == 1
        assert len(read_lines(output)) == 4
        failure = read_lines(tmp_path / "out.jsonl.errors.jsonl")[0]
        assert (failure["original_question"], failure["stage"], failure["status"], failure["line"]) == (
            ("question 3?", "sample", 400, 4)
        )
        assert "too long" in failure["error"]
        server.script = numbered
        check_done(sample(server, source, output))
    assert len(read_lines(output)) == 5
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()


def test_what_a_failed_entry_had_is_not_asked_again(tmp_path: Path) -> None:
    """The second answer of each entry fails for good; the other two are kept for the next run."""
    source, output = questions(tmp_path / "input.json", 4), tmp_path / "out.jsonl"
    refuse: Script = lambda request: Reply("no", status=400) if request.number % 3 == 1 else numbered(request)
    with ScriptedServer(refuse) as server:
        assert sample(server, source, output, "--concurrent_requests", 1).returncode == 1
        assert len(server.chats) == 12
        server.script = numbered
        check_done(sample(server, source, output))
        assert len(server.chats) == 16


def test_a_score_under_way_is_kept_when_a_draw_of_its_entry_fails(tmp_path: Path) -> None:
    """The second of two draws fails while the first one's answer is being judged."""

    def draw(request: Request) -> Reply:
        return Reply("no", status=400, delay=0.3) if request.number == 1 else numbered(request)

    source, output = questions(tmp_path / "input.json", 1), tmp_path / "out.jsonl"
    with ScriptedServer(draw) as gen, ScriptedServer(lambda _: completion("Score: 7", delay=0.9)) as scorer:
        assert reject(gen, scorer, source, output, "--answers_per_question", 2).returncode == 1
        check_done(reject(gen, scorer, source, output, "--answers_per_question", 2))
        assert (len(gen.chats), len(scorer.chats)) == (3, 2)


def test_a_failed_judge_request_is_no_score_and_costs_no_new_answers(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "input.json", 2), tmp_path / "out.jsonl"
    with ScriptedServer(numbered) as gen, ScriptedServer(lambda _: Reply("no", status=500)) as scorer:
        assert reject(gen, scorer, source, output, "--max_retries", 0).returncode == 1
        assert read_lines(output) == []
        assert {line["stage"] for line in read_lines(tmp_path / "out.jsonl.errors.jsonl")} == {"score"}
        scorer.script = judge
        check_done(reject(gen, scorer, source, output))
        assert len(gen.chats) == 8
    assert all(r["generated_scores"] == [7.0] * 4 for r in read_lines(output))


def unwilling(request: Request) -> Reply:
    """A judge that refuses one answer of the first question for good, says nothing of another, and scores the rest."""
    if "answer 1\n" in request.body["messages"][0]["content"]:
        return Reply({"error": {"message": "too long"}}, status=400)
    return completion(None) if "answer 2\n" in request.question else judge(request)


@pytest.mark.parametrize("more", [[], ["--scorer", "match", "judge"], ["--judge_samples", 2], ["--judge_mode", "json"]])
def test_an_answer_that_the_judge_refuses_costs_no_other_one_its_score(tmp_path: Path, more: List[object]) -> None:
    source = write_input(tmp_path / "input.json", [conversation(f"question {n}?", "right") for n in range(2)])
    output, again = tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    flags = ["--answers_per_question", 3, "--concurrency", 1, *more]
    with ScriptedServer(numbered) as gen, ScriptedServer(unwilling) as scorer:
        check_done(reject(gen, scorer, source, output, *flags, "--selected_file", tmp_path / "best.json"))
        scores = sorted((r["generated_scores"] for r in read_lines(output)), key=lambda one: one.count(None))
        assert scores == [[7.0] * 3, [7.0, None, None]]
        reasons = [d["unscored"] for r in read_lines(output) for d in r["generated_details"] if "unscored" in d]
        refused = f"the judge's server refused the request: {scorer.url}: 400 too long"
        assert reasons == [refused, "the judge's reply is empty"]
        assert len(json.loads((tmp_path / "best.json").read_text())) == 2
        asked = len(scorer.chats)
        check_done(reject(gen, scorer, source, again, *flags))
        assert len(scorer.chats) == asked
        assert sorted(again.read_bytes().splitlines()) == sorted(output.read_bytes().splitlines())
        scorer.script = judge
        more_flags = [*flags, "--retry_unscored"]
        check_done(reject(gen, scorer, source, tmp_path / "retried.jsonl", *more_flags))
        assert len(scorer.chats) - asked == 2 * (2 if "--judge_samples" in more else 1)
        assert len(gen.chats) == 6
    assert [r["generated_scores"] for r in read_lines(tmp_path / "retried.jsonl")] == [[7.0] * 3] * 2


def test_bad_entries_are_reported_with_their_line_and_the_good_ones_done(tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    lines = [
        json.dumps(conversation("good")),
        "{broken",
        "[]",
        '{"conversations": []}',
        json.dumps(conversation("<image>")),
    ]
    source.write_text("\n".join(lines))
    with ScriptedServer(numbered) as server:
        run = sample(server, source, tmp_path / "out.jsonl")
    assert run.returncode == 1
    assert [line["line"] for line in read_lines(tmp_path / "out.jsonl.errors.jsonl")] == [2, 3, 4, 5]
    assert len(read_lines(tmp_path / "out.jsonl")) == 1


def refused(run: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The run ended with ``code`` and one line that has all the words."""
    assert run.returncode == code, run
    assert run.stderr.count("\n") == 1, run.stderr
    assert all(word in run.stderr for word in words), run.stderr


def test_an_input_that_breaks_off_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    source = tmp_path / "input.json"
    source.write_text('[{"conversations": [{"from": "human", "value": "q"}]},\n {"conversations":,]')
    with ScriptedServer(numbered) as server:
        refused(sample(server, source, tmp_path / "out.jsonl"), 2, str(source), "line 2")
        assert server.chats == []


def test_an_input_that_breaks_off_late_loses_nothing_before_the_break(tmp_path: Path) -> None:
    source = questions(tmp_path / "input.json", 300)
    source.write_text(source.read_text()[:-1] + ", oops]")
    with ScriptedServer(numbered) as server:
        run = sample(server, source, tmp_path / "out.jsonl", "--answers_per_question", 1)
    refused(run, 1, "broken JSON", str(source))
    assert len(read_lines(tmp_path / "out.jsonl")) == 300


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "http"], ["--port", "whole number"]),
        (["--answers_per_question", "0"], ["--answers_per_question"]),
        (["--temperature", "warm"], ["--temperature"]),
        (["--top_p", "1.5"], ["--top_p", "0 to 1"]),
        (["--extra_body", "[]"], ["--extra_body", "JSON object"]),
        (["--base_url", "localhost:80"], ["--base_url", "URL"]),
        (["--base_url", "http://localhost:80/v1"], ["--base_url", "ports"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(tmp_path: Path, flags: List[str], words: List[str]) -> None:
    with ScriptedServer(numbered) as server:
        refused(sample(server, questions(tmp_path / "i.json", 1), tmp_path / "o.jsonl", *flags), 2, *words)
        assert server.chats == []


def listed(*names: str) -> List[Dict[str, Any]]:
    """Models as a server lists them."""
    return [{"id": name} for name in names]


def test_a_missing_model_name_is_one_line_that_says_so(tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", tmp_path / "o.jsonl")
    refused(run_script("sampling.py", *flags, "--port", 9), 2, "error: cannot reach http://127.0.0.1:9", "--model_name")
    refused(run_script("reject.py", *flags, "--generator_port", 9), 2, "error: cannot reach", "--generator_model")


def test_the_model_is_the_servers_and_a_finished_output_needs_no_server(tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 2), "--output_file", tmp_path / "o.jsonl")
    with ScriptedServer(numbered) as server:
        server.models = listed("one")
        flags += ("--port", server.port, "--answers_per_question", 1)
        assert run_script("sampling.py", *flags).returncode == 0
        assert [chat.body["model"] for chat in server.chats] == ["one", "one"]
        server.models = listed("other")
        refused(run_script("sampling.py", *flags), 2, "model 'one', now 'other'")
        server.models = listed("one", "other")
        refused(run_script("sampling.py", *flags), 2, "--model_name is required", "one, other")
        assert len(server.chats) == 2
    assert run_script("sampling.py", *flags).returncode == 0


def both_roles(request: Request) -> Reply:
    """A verdict for the judge's prompt, which is long, and an answer for a question."""
    return completion("Score: 7" if len(request.question) > 100 else "an answer")


def test_the_judge_is_the_generator_unless_a_flag_names_another(tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--answers_per_question", 1)
    with ScriptedServer(both_roles) as generator, ScriptedServer(both_roles) as other:
        flags += ("--generator_port", generator.port, "--api_key_env", "GEN_KEY")
        generator.models, other.models = listed("one"), listed("judge")
        for number, more in enumerate([(), ("--scorer_model", "j"), ("--scorer_port", other.port)]):
            run = run_script("reject.py", *flags, "--output_file", tmp_path / f"{number}.jsonl", *more, GEN_KEY="sk-1")
            assert (run.returncode, run.stderr) == (0, "")
        models = [chat.body["model"] for chat in generator.chats]
        assert models == ["one", "one", "one", "j", "one"]
        assert {chat.headers["Authorization"] for chat in generator.chats} == {"Bearer sk-1"}
        assert [(chat.body["model"], "Authorization" in chat.headers) for chat in other.chats] == [("judge", False)]


def test_an_output_that_is_another_file_is_left_alone(tmp_path: Path) -> None:
    source, notes = questions(tmp_path / "i.json", 1), tmp_path / "notes.txt"
    notes.write_text("dear diary,\nno newline here")
    with ScriptedServer(numbered) as server:
        refused(sample(server, source, notes), 2, str(notes))
        refused(sample(server, source, source), 2, "the same file")
        assert server.chats == []
    assert notes.read_text() == "dear diary,\nno newline here"


def test_a_wrong_key_stops_the_run_with_one_line(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: Reply({"error": "Unauthorized"}, status=401)) as server:
        run = sample(server, questions(tmp_path / "i.json", 50), tmp_path / "o.jsonl", "--concurrent_requests", 4)
        refused(run, 1, "401 Unauthorized", "--api_key_env", server.url)
        assert len(server.chats) <= 4


def test_a_server_that_is_down_is_one_line_that_names_it(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        pass
    refused(sample(server, questions(tmp_path / "i.json", 50), tmp_path / "o.jsonl"), 1, server.url, "running")


def test_a_server_that_goes_away_for_good_stops_the_run_which_then_resumes(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "i.json", 30), tmp_path / "o.jsonl"
    server = ScriptedServer(numbered)
    stopping = threading.Thread(target=server.stop)

    def dying(request: Request) -> Reply:
        if request.number == 20:
            stopping.start()
        return completion(f"answer {request.number}", delay=30 if request.number >= 20 else 0)

    server.script = dying
    server.start()
    run = sample(server, source, output, "--max_retries", 1, "--concurrent_requests", 4)
    stopping.join()
    assert run.returncode == 1
    assert "did not come back" in run.stderr
    server.script = numbered
    with server:
        check_done(sample(server, source, output))
    assert len(server.chats) <= 90 + 4
    assert len(read_lines(output)) == 30


def test_an_output_of_other_settings_is_refused_unless_mixing_is_allowed(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "i.json", 2), tmp_path / "o.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, source, output))
        more = questions(tmp_path / "i.json", 3)
        (tmp_path / "o.jsonl.errors.jsonl").write_text('{"stage": "sample", "entry_id": null}\n')
        refused(sample(server, more, output, "--model_name", "n"), 2, "model 'm', now 'n'", "--allow_mixed")
        assert (tmp_path / "o.jsonl.errors.jsonl").exists()
        assert len(server.chats) == 6
        check_done(sample(server, more, output, "--model_name", "n", "--allow_mixed"))
    assert len(read_lines(output)) == 3


def test_a_second_run_on_one_output_is_refused(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "i.json", 1), tmp_path / "o.jsonl"
    second: List[subprocess.CompletedProcess[str]] = []

    def script(request: Request) -> Reply:
        if request.number == 0:
            second.append(sample(server, source, output))
        return completion("a")

    with ScriptedServer(script) as server:
        check_done(sample(server, source, output, "--concurrent_requests", 1))
    refused(second[0], 2, "another run", str(output))


def test_keys_are_in_no_file_and_no_message(tmp_path: Path) -> None:
    source = questions(tmp_path / "i.json", 3)
    echo: Script = lambda request: Reply({"error": f"refused {request.headers.get('Authorization')}"}, status=400)
    with ScriptedServer(echo) as server:
        flags = ("--input_file", source, "--output_file", tmp_path / "o.jsonl", "--model_name", "m")
        run = run_script("sampling.py", *flags, "--port", server.port, OPENAI_API_KEY="sk-very-secret")
        assert server.chats[0].headers["Authorization"] == "Bearer sk-very-secret"
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"refused" in written
    assert b"secret" not in written
    assert "secret" not in run.stdout + run.stderr


def test_another_variable_may_hold_the_key(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", tmp_path / "o.jsonl")
        flags += ("--model_name", "m", "--port", server.port, "--api_key_env", "MY_KEY")
        run_script("sampling.py", *flags, MY_KEY="sk-mine", OPENAI_API_KEY="sk-other")
        assert {request.headers["Authorization"] for request in server.chats} == {"Bearer sk-mine"}


# what a person sees


@pytest.mark.parametrize("script", ["sampling.py", "score.py", "reject.py"])
def test_help_is_grouped_and_shows_defaults_and_an_example(script: str) -> None:
    text = run_script(script, "--help_all").stdout
    assert all(f"\n{group}:" in text for group in ("files", "running"))
    assert "(default: 5)" in text
    assert f"python {script} --input_file" in text


def test_the_summary_tells_what_was_done_and_where_it_is(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "i.json", 5), tmp_path / "o.jsonl"
    with ScriptedServer(numbered) as gen, ScriptedServer(judge) as scorer:
        run = reject(gen, scorer, source, output, "--selected_file", tmp_path / "s.json")
    for words in (
        "5 done",
        "20 sampled",
        "40 sent",
        "generator: 100 prompt, 140 completion",
        "scorer: 100 prompt",
        "mean 7.00",
        "5 of the 5",
        str(output),
        "s.json",
    ):
        assert words in run.stdout, run.stdout


def test_quiet_says_nothing_but_errors(tmp_path: Path) -> None:
    with ScriptedServer(numbered) as server:
        run = sample(server, questions(tmp_path / "i.json", 5), tmp_path / "o.jsonl", "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_terminal_codes_in_a_servers_error_are_not_replayed(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: Reply({"error": {"message": "\x1b[2Jboo"}}, status=401)) as server:
        run = sample(server, questions(tmp_path / "i.json", 1), tmp_path / "o.jsonl")
    assert "\x1b" not in run.stderr
    assert "boo" in run.stderr


def test_the_output_folder_is_made(tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder" / "o.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, questions(tmp_path / "i.json", 1), output))
    assert os.path.exists(output)


def test_a_terminal_that_cannot_show_a_path_does_not_end_the_run(tmp_path: Path) -> None:
    output = tmp_path / "\u00fcbung.jsonl"
    with ScriptedServer(numbered) as server:
        flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", output, "--model_name", "m")
        run = run_script("sampling.py", *flags, "--port", server.port, PYTHONIOENCODING="ascii")
    assert (run.returncode, run.stderr) == (0, "")
    assert "\\xfcbung.jsonl" in run.stdout


def test_settings_that_are_damaged_and_an_errors_folder_are_one_line(tmp_path: Path) -> None:
    source, output = questions(tmp_path / "i.json", 1), tmp_path / "o.jsonl"
    with ScriptedServer(numbered) as server:
        check_done(sample(server, source, output))
        (tmp_path / "o.jsonl.errors.jsonl").mkdir()
        refused(sample(server, source, output), 2, "o.jsonl.errors.jsonl")
        (tmp_path / "o.jsonl.settings.json").write_text("[]")
        refused(sample(server, source, output), 2, "o.jsonl.settings.json")


def test_a_turn_that_is_nested_too_deep_is_refused_before_it_costs_anything(tmp_path: Path) -> None:
    item: Any = conversation("q")
    item["conversations"][0]["extra"] = json.loads("[" * 400 + "]" * 400)
    with ScriptedServer(numbered) as server:
        refused(sample(server, write_input(tmp_path / "i.jsonl", [item]), tmp_path / "o.jsonl"), 2, "nested")
        assert server.chats == []


def test_on_a_terminal_a_bar_shows_answers_entries_and_rates(tmp_path: Path) -> None:
    """A terminal of 200 columns: the bar reaches the last answer and tells tokens, retries and failures."""
    source = questions(tmp_path / "i.json", 30)
    with ScriptedServer(lambda request: completion(f"a{request.number}", delay=0.05)) as server:
        flags = ("--input_file", source, "--output_file", tmp_path / "o.jsonl", "--model_name", "m")
        words = command("sampling.py", *flags, "--port", server.port, "--answers_per_question", 2)
        terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 200, 0, 0))
        run = subprocess.Popen(words, stdin=end, stdout=end, stderr=end, env=environment())
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # how the end of a terminal reads
            for piece in iter(lambda: os.read(terminal, 4096), b""):
                shown += piece
        os.close(terminal)
        assert run.wait() == 0, shown
    assert b"60/60 answers" in shown
    assert b"30/30 entries" in shown
    assert all(word in shown for word in (b"answers/s", b"tokens/s", b"0 retries", b"0 failed", b"0 in flight"))
