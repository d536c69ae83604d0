"""--batch_submit: rounds of batches at a server; after kill -9 it goes on, and nothing is submitted twice."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from tests.batch_server import BatchServer
from tests.helpers import command, environment, questions, read_lines, run_script
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRIES, ANSWERS = 40, 4


def text_for(request: Request) -> str:
    return hashlib.md5(json.dumps(request.body, sort_keys=True).encode()).hexdigest()


def generator(request: Request) -> Reply:
    return completion(text_for(request))


def judge(request: Request) -> Reply:
    """A score that depends on the request; of some requests none, so that the judge is asked again."""
    digits = int(text_for(request)[:6], 16)
    if len(request.body["messages"]) == 1 and digits % 5 == 0:
        return completion("I cannot say.")
    return completion(f"Score: {digits % 11}")


def by_id(path: Path) -> Dict[str, Any]:
    return {record["entry_id"]: record for record in read_lines(path)}


def words(folder: Path, name: str, port: int, *flags: object) -> List[object]:
    known = ["--input_file", folder / "in.json", "--output_file", folder / name, "--model_name", "m", "--seed", 1]
    return [*known, "--answers_per_question", ANSWERS, "--port", port, *flags]


def submitted(folder: Path, server: BatchServer, *flags: object, code: int = 0, **env: str) -> str:
    run = run_script("sampling.py", *words(folder, "out.jsonl", server.port, "--batch_submit", *flags), **env)
    assert run.returncode == code, run
    return run.stdout + run.stderr


def test_answers_and_scores_through_the_api_are_those_of_the_live_path(tmp_path: Path) -> None:
    """The records are those of the live path. A second command sends nothing, not even a look."""
    questions(tmp_path / "in.json", ENTRIES)
    with BatchServer(generator) as server:
        submitted(tmp_path, server, OPENAI_API_KEY="sk-key")
        assert (len(server.batches), len(server.requests)) == (1, ENTRIES * ANSWERS)
        assert set(server.keys) == {"Bearer sk-key"}
        calls = len(server.calls)
        submitted(tmp_path, server)
        assert len(server.calls) == calls
    with ScriptedServer(generator) as live:
        assert run_script("sampling.py", *words(tmp_path, "live.jsonl", live.port)).returncode == 0
    assert by_id(tmp_path / "out.jsonl") == by_id(tmp_path / "live.jsonl")
    scoring = ["--input_file", tmp_path / "out.jsonl", "--model_name", "j"]
    with BatchServer(judge) as server:
        flags = ["--output_file", tmp_path / "s.jsonl", "--port", server.port, "--batch_submit"]
        run = run_script("score.py", *scoring, *flags)
        assert run.returncode == 0, run
        assert (len(server.batches), len(server.requests)) == (2, len({json.dumps(r) for r in server.requests}))
        asked = len(server.requests)
    with ScriptedServer(judge) as live:
        run = run_script("score.py", *scoring, "--output_file", tmp_path / "l.jsonl", "--port", live.port)
        assert run.returncode == 0, run
        assert len(live.chats) == asked > ENTRIES * ANSWERS
    assert by_id(tmp_path / "s.jsonl") == by_id(tmp_path / "l.jsonl")


CALLS = ["POST /v1/files", "POST /v1/batches", "GET /v1/files/file-1/content"]


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_each_call_submits_nothing_twice(tmp_path: Path, call: str) -> None:
    """The process is killed after the server did the work, and before it hears of that."""
    questions(tmp_path / "in.json", 3)
    process: Optional[subprocess.Popen[bytes]] = None

    def hook(method: str, path: str, number: int) -> Any:
        if f"{method} {path}" == call and number == 1:
            assert process is not None
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None
        return True

    with BatchServer(generator, hook) as server:
        line = command("sampling.py", *words(tmp_path, "out.jsonl", server.port, "--batch_submit"))
        process = subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert process.wait(60) == -signal.SIGKILL
        submitted(tmp_path, server)
        assert (len(server.batches), len(server.requests)) == (1, 3 * ANSWERS)
    assert sum(len(record["generated_answers"]) for record in read_lines(tmp_path / "out.jsonl")) == 3 * ANSWERS


def test_lost_replies_and_faults_of_the_server_are_tried_again(tmp_path: Path) -> None:
    """The connection drops after the batch was created; other calls are refused once with 500 or 429."""

    def hook(method: str, path: str, number: int) -> Any:
        if (method, path, number) == ("POST", "/v1/batches", 1):
            return None
        if path.endswith("/content") and number == 1:
            return Reply({"error": {"message": "overloaded"}}, 500)
        return True

    questions(tmp_path / "in.json", 3)
    with BatchServer(generator, hook) as server:
        submitted(tmp_path, server)
        assert (len(server.batches), len(server.requests)) == (1, 3 * ANSWERS)
    assert len(read_lines(tmp_path / "out.jsonl")) == 3


def test_what_failed_for_now_is_in_the_next_round_and_a_refusal_is_a_failure(tmp_path: Path) -> None:
    failed = set()

    def script(request: Request) -> Reply:
        if request.question == "question 0?":
            return Reply({"error": {"message": "too long"}}, 400)
        if request.question == "question 1?" and request.body["seed"] not in failed:
            failed.add(request.body["seed"])
            return Reply({"error": {"message": "overloaded"}}, 503)
        return generator(request)

    questions(tmp_path / "in.json", 3)
    with BatchServer(script) as server:
        said = submitted(tmp_path, server, code=1)
        assert (len(server.batches), len(server.requests)) == (2, 4 * ANSWERS)
        assert "too long" in said
        failures = read_lines(tmp_path / "out.jsonl.errors.jsonl")
        assert [(one["stage"], one["status"], one["line"]) for one in failures] == [("sample", 400, 1)]
        server.script = generator
        submitted(tmp_path, server)
        assert (len(server.batches), len(server.requests)) == (3, 5 * ANSWERS)
    assert len(read_lines(tmp_path / "out.jsonl")) == 3


def test_a_batch_that_expired_gives_what_it_has_and_the_next_command_asks_for_the_rest(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    with BatchServer(generator) as server:
        create = server._create

        def expiring(wanted: Dict[str, Any]) -> Dict[str, Any]:
            batch = create(wanted)
            if len(server.batches) == 1:
                lines = server.files[batch["output_file_id"]].splitlines(True)
                server.files[batch["output_file_id"]] = b"".join(lines[:5])
                gone = [json.loads(line) for line in lines[5:]]
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                rest = [{"custom_id": one["custom_id"], "response": None, "error": error} for one in gone]
                batch["error_file_id"] = server._store("".join(json.dumps(one) + "\n" for one in rest).encode())
                batch["status"] = "expired"
            return batch

        server._create = expiring  # type: ignore[method-assign]
        said = submitted(tmp_path, server, code=1)
        assert "the batch batch-0 ended as expired" in said
        assert len(server.requests) == 8
        submitted(tmp_path, server)
        assert len(server.requests) == 8 + 3
    answers = [answer for record in read_lines(tmp_path / "out.jsonl") for answer in record["generated_answers"]]
    assert len(set(answers)) == len(answers) == 8


def test_a_batch_that_the_server_refuses_is_sent_again_by_the_next_command_only(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    with BatchServer(generator) as server:
        create = server._create

        def failing(wanted: Dict[str, Any]) -> Dict[str, Any]:
            batch = create(wanted)
            if len(server.batches) == 1:
                del server.requests[:]
                errors = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
                batch.update(status="failed", output_file_id=None, errors=errors)
            return batch

        server._create = failing  # type: ignore[method-assign]
        said = submitted(tmp_path, server, code=1)
        assert "the batch batch-0 failed: Enqueued token limit reached" in said
        assert len(server.batches) == 1
        submitted(tmp_path, server)
        assert (len(server.batches), len(server.requests)) == (2, 8)
    assert len(read_lines(tmp_path / "out.jsonl")) == 2


def test_more_answers_are_a_round_of_their_own(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    with BatchServer(generator) as server:
        submitted(tmp_path, server)
        submitted(tmp_path, server, "--answers_per_question", ANSWERS + 2)
        assert len(server.requests) == 2 * (ANSWERS + 2)
    assert all(len(record["generated_answers"]) == ANSWERS + 2 for record in read_lines(tmp_path / "out.jsonl"))


def test_a_server_without_batches_is_named(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    with BatchServer(generator, lambda *_: Reply({"detail": "Not Found"}, 404)) as server:
        said = submitted(tmp_path, server, code=1)
        assert server.calls == ["POST /v1/files"]
    assert "404 Not Found; does it have /files and /batches?" in said


def test_one_server_is_needed(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    run = run_script("sampling.py", *words(tmp_path, "out.jsonl", 8000, 8001, "--batch_submit"))
    assert (run.returncode, "--batch_submit sends to one server" in run.stderr) == (2, True)


def test_an_interrupted_wait_goes_on_with_the_same_batch(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 2)
    process: Optional[subprocess.Popen[str]] = None

    def hook(method: str, path: str, number: int) -> Any:
        if path == "/v1/batches/batch-0" and number <= 2:
            if number == 2 and process is not None:
                process.send_signal(signal.SIGINT)
            return Reply({**server.batches[0], "status": "in_progress", "request_counts": {"completed": 3, "total": 8}})
        return True

    with BatchServer(generator, hook) as server:
        line = command("sampling.py", *words(tmp_path, "out.jsonl", server.port, "--batch_submit"))
        process = subprocess.Popen(
            line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 130, said
        assert "batch-0: in_progress, 3 of 8" in said
        assert said.splitlines()[-1] == "sampling.py: interrupted; run the same command again to go on"
        submitted(tmp_path, server)
        assert (len(server.batches), len(server.requests)) == (1, 8)
