"""What real servers replied (tests/recorded/, by benchmarks/compatibility.py), played to the scripts again."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator

import pytest

from benchmarks.compatibility import CHECKS, RECORDED, lines, recordings, replay, reply_of, run_check, table
from tests.helpers import ROOT, conversation, read_lines, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer

FOUND = recordings()
STOPPED = re.compile(r"\w+\.py: error: ")


def recorded(kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(server, check, what was recorded) of the checks of sampling.py that ended so: answered, failed, stopped."""
    for server, one in FOUND.items():
        for name, check in one["checks"].items():
            line = check["seen"].get("line", "")
            ended = "stopped" if STOPPED.match(line) else "failed" if line else "answered"
            if CHECKS[name].script == "sampling.py" and ended == kind:
                yield server, name, check


def sample(folder: Path, replies: dict[str, list[Any]], *flags: object) -> tuple[int, Counter[str]]:
    """Runs sampling.py on a question for each of ``replies``, which come in turn, the last for ever.

    The exit code, and how often each question was asked; the output is ``out.jsonl``.
    """
    asked: Counter[str] = Counter()

    def script(request: Request) -> Reply:
        asked[request.question] += 1
        of_it = replies[request.question]
        return reply_of(of_it[min(asked[request.question], len(of_it)) - 1])

    source = write_input(folder / "input.json", [conversation(question) for question in replies])
    with ScriptedServer(script) as server:
        words = ("--input_file", source, "--output_file", folder / "out.jsonl", "--model_name", "m")
        run = run_script("sampling.py", *words, "--port", server.port, *flags)
        lost = folder / "out.jsonl.errors.jsonl"
        if lost.exists():
            lost.write_text(lost.read_text().replace(f"127.0.0.1:{server.port}", "127.0.0.1:8000"))
    assert run.stderr == ""
    return run.returncode, asked


def test_answers_are_what_the_servers_said(tmp_path: Path) -> None:
    told = {f"{server} {name}": check for server, name, check in recorded("answered")}
    replies = {question: check["exchanges"] for question, check in told.items()}
    assert sample(tmp_path, replies, "--answers_per_question", 1)[0] == 0
    records = {record["original_question"]: record for record in read_lines(tmp_path / "out.jsonl")}
    assert set(records) == set(told)
    for question, check in told.items():
        assert records[question]["generated_answers"] == check["seen"]["answers"][:1]
        choice = check["exchanges"][0]["body"]["choices"][0]
        detail = records[question]["generated_details"][0]
        assert detail["finish_reason"] == choice["finish_reason"]
        assert detail["usage"]["completion_tokens"] > 0


def test_a_server_that_gives_one_choice_of_four_is_asked_four_times(tmp_path: Path) -> None:
    told = {server: one["checks"]["n"] for server, one in FOUND.items()}
    replies = {server: check["exchanges"] for server, check in told.items()}
    code, asked = sample(tmp_path, replies, "--answers_per_question", 4, "--samples_per_request", 4)
    assert code == 0
    assert asked == {"llama_cpp": 1, "vllm": 1, "vllm_image": 1, "llama_cpp_python": 4, "transformers": 4}
    for record in read_lines(tmp_path / "out.jsonl"):
        assert record["generated_answers"] == told[record["original_question"]]["seen"]["answers"]


def test_a_refused_entry_is_in_the_errors_file_with_the_very_line(tmp_path: Path) -> None:
    told = {f"{server} {name}": check for server, name, check in recorded("failed")}
    replies = {question: check["exchanges"] for question, check in told.items()}
    code, asked = sample(tmp_path, replies, "--answers_per_question", 1, "--max_retries", 1)
    assert code == 1
    errors = {failed["original_question"]: failed for failed in read_lines(tmp_path / "out.jsonl.errors.jsonl")}
    assert {question: failed["error"] for question, failed in errors.items()} == {
        question: check["seen"]["line"] for question, check in told.items()
    }
    assert all(errors[question]["status"] == check["exchanges"][-1]["status"] for question, check in told.items())
    # what a 500 says is for good is asked once, like a 400
    assert {question for question, times in asked.items() if times > 1} == {
        "llama_cpp_python image",
        "llama_cpp_python broken_image",
        "llama_cpp_python lost_image",
        "transformers bad_field",
        "vllm_image lost_image",
    }


@pytest.mark.parametrize("server", sorted(FOUND))
def test_stopped_runs_and_scores_are_what_they_were(server: str) -> None:
    checks = FOUND[server]["checks"]
    names = [name for name in checks if CHECKS[name].script == "score.py"]
    names += [name for of, name, _ in recorded("stopped") if of == server]
    with ThreadPoolExecutor(4) as pool:
        again = pool.map(lambda name: run_check(CHECKS[name], replay(checks[name]["exchanges"]), "m"), names)
        assert [rounded(seen) for seen in again] == [rounded(checks[name]["seen"]) for name in names]


def rounded(seen: dict[str, Any]) -> dict[str, Any]:
    """With scores to nine digits: Python 3.12 and newer add floats up more exactly."""
    scores = [score if score is None else round(score, 9) for score in seen.get("scores", [])]
    return {**seen, "scores": scores}


def test_the_scores_are_these() -> None:
    names = ("logprob", "two_digits", "json")
    scores = {
        server: [one["checks"][name]["seen"].get("scores", ["stopped"])[0] for name in names]
        for server, one in FOUND.items()
        if "json" in one["checks"]
    }
    assert scores["transformers"] == ["stopped", "stopped", None]
    assert scores["llama_cpp_python"] == [None, None, "stopped"]
    assert scores["llama_cpp"] == pytest.approx([3.94, 3.55, 4.0], abs=0.01)
    assert scores["vllm"] == pytest.approx([4.05, 3.57, 2.0], abs=0.01)


def test_the_documents_show_what_was_recorded() -> None:
    assert table(FOUND) in (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
    assert lines(FOUND) in (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_a_recording_names_no_machine_and_no_key(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(root|home|tmp|Users)/|secret|Bearer", text)
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) <= {"8000", "9"}
    assert len(text) < 60_000
