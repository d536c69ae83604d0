"""--dry_run: the requests that it shows are those that a run sends first; it sends and writes nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from tests.helpers import ROOT, conversation, questions, run_script, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion

PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def answer(request: Request) -> Reply:
    if "grading one answer" in request.question:
        return completion("Score: 9")
    return completion(*[f"a{request.number}.{n}" for n in range(request.body.get("n", 1))])


def files(folder: Path) -> Dict[str, Tuple[int, bytes]]:
    """All files of a folder with their times and contents."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def dry(script: str, folder: Path, server: ScriptedServer, *flags: object, **env: str) -> str:
    """What a dry run prints; it sends nothing and changes no file."""
    before, sent = files(folder), len(server.chats) + server.asked_for_schema
    folders = [path for path, _, _ in os.walk(folder)]
    run = run_script(script, *flags, "--dry_run", **env)
    assert run.returncode == int("cannot be read" in run.stdout), run
    assert (files(folder), len(server.chats) + server.asked_for_schema, server.probes) == (before, sent, 0)
    assert [path for path, _, _ in os.walk(folder)] == folders
    return run.stdout


def shown(text: str) -> List[Tuple[str, Dict[str, str], bytes]]:
    """The requests in the text of a dry run: URL, headers, body."""
    requests = []
    for part in text.split("\nPOST ")[1:]:
        head, body = part.split("\n\n")[:2]
        url, *lines = head.split("\n")
        requests.append((url, dict(line.split(": ", 1) for line in lines), body.split("\n")[0].encode()))
    return requests


def check(text: str, sent: List[Request], server: ScriptedServer) -> None:
    """The shown requests are the sent ones, to the header and the byte."""
    assert len(shown(text)) == len(sent)
    for (url, headers, body), request in zip(shown(text), sent):
        assert url == f"http://127.0.0.1:{server.port}{request.path}"
        assert headers == {**request.headers, **{k: v for k, v in headers.items() if k == "Authorization"}}
        assert int(headers["Content-Length"]) == len(body)
        assert json.loads(body) == request.body


ENTRIES = [
    conversation("2+2?", "4", images=[PNG]),
    conversation("3+3?", "6", system="Be brief."),
    conversation("ünïcode \u2028 😀?"),
]


@pytest.mark.parametrize(
    ("entry", "flags"),
    [
        (0, ["--samples_per_request", 3, "--seed", 7, "--top_p", 0.9, "--max_tokens", 50]),
        (1, ["--temperature", 0]),
        (1, ["--stop_loops"]),
        (2, ["--system_prompt", "Think.", "--extra_body", '{"top_k": 5, "temperature": null}']),
    ],
)
def test_the_generators_first_request_is_shown_as_it_is_sent(entry: int, flags: List[object], tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", [ENTRIES[entry]])
    with ScriptedServer(answer) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--port", server.port]
        words += ["--model_name", "m", "--concurrent_requests", 1, *flags]
        text = dry("sampling.py", tmp_path, server, *words)
        assert run_script("sampling.py", *words).returncode == 0
        check(text, server.chats[:1], server)
        assert ("it depends on the server" in text) == ("--stop_loops" in flags)


@pytest.mark.parametrize(
    "flags",
    [
        ["--judge_images", "--judge_samples", 2],
        ["--judge_mode", "json"],
        ["--judge_mode", "logprob", "--scorer_extra_body", '{"seed": 1}'],
        ["--scorer", "match", "judge"],
        ["--stop_after", 1, "--accept_score", 8, "--samples_per_request", 4],
    ],
)
def test_both_first_requests_of_reject_are_shown(flags: List[object], tmp_path: Path) -> None:
    """The judge's differs from the sent one only in the answer, for which a placeholder stands."""
    source = write_input(tmp_path / "in.json", ENTRIES[2:])

    def script(request: Request) -> Reply:
        return answer(request) if "grading" in request.question else completion("(an answer of the generator)")

    with ScriptedServer(script) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--generator_port", server.port]
        words += ["--generator_model", "m", "--scorer_model", "j", "--concurrency", 1, *flags]
        text = dry("reject.py", tmp_path, server, *words)
        assert run_script("reject.py", *words).returncode in (0, 1)
        judged = [request for request in server.chats if request.body["model"] == "j"]
        check(text, [server.chats[0], judged[0]], server)


@pytest.mark.parametrize(
    "flags",
    [
        ["--scorer", "match", "--stop_after", 1],
        ["--scorer", "majority", "--stop_sure", 0.99],
    ],
)
def test_a_topped_up_entry_samples_although_its_answers_await_no_score(flags: List[object], tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.json", [conversation("2+2?", "4")])
    with ScriptedServer(answer) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--generator_port", server.port]
        words += ["--generator_model", "m", *flags, "--answers_per_question"]
        assert run_script("reject.py", *words, 2).returncode == 0
        text = dry("reject.py", tmp_path, server, *words, 4)
        sent = len(server.chats)
        assert run_script("reject.py", *words, 4).returncode == 0
        assert "up to 2 requests for m" in text
        check(text, server.chats[sent : sent + 1], server)


def test_score_shows_the_request_about_the_first_real_answer(tmp_path: Path) -> None:
    source = write_input(
        tmp_path / "sampled.jsonl",
        [
            {"original_question": "q?", "original_answers": [{"from": "human", "value": "q?"}], "generated_answers": a}
            for a in (["first", "second"], ["third"])
        ],
    )
    with ScriptedServer(answer) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--api_port", server.port]
        words += ["--model_name", "m", "--concurrency", 1]
        text = dry("score.py", tmp_path, server, *words)
        assert "3 answers come with the input" in text
        assert "placeholder" not in text
        assert run_script("score.py", *words).returncode == 0
        check(text, server.chats[:1], server)


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    with ScriptedServer(answer) as server:
        words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "o", "--port", server.port]
        text = dry("sampling.py", tmp_path, server, *words, "--model_name", "m", OPENAI_API_KEY="sk-very-secret")
    assert "sk-very-secret" not in text
    assert "Authorization: Bearer ***" in text


def test_what_the_output_and_the_ledger_hold_is_not_counted_again(tmp_path: Path) -> None:
    """4 of 10 entries are in the output with 2 answers each; 4 answers are asked for; one entry is there twice."""
    items = [conversation(f"question {n}?", str(n), id=n) for n in (*range(10), 3)] + [{"other": 1}]
    source, first = write_input(tmp_path / "in.jsonl", items), write_input(tmp_path / "first.jsonl", items[:4])
    with ScriptedServer(answer) as server:
        words = ["--output_file", tmp_path / "out.jsonl", "--generator_port", server.port, "--generator_model", "m"]
        words += ["--scorer_model", "j", "--answers_per_question", 2, "--cache_file", tmp_path / "cache.jsonl"]
        assert run_script("reject.py", "--input_file", first, *words).returncode == 0
        os.remove(tmp_path / "out.jsonl.lock")
        text = dry("reject.py", tmp_path, server, "--input_file", source, *words)
        assert "JSON Lines, 12 items" in text
        assert "read: conversations (11)" in text
        assert "kept in the records: id (11)" in text
        assert "1 item cannot be read; the first: line 12: " in text
        assert "6 to do, 4 done before, 1 duplicate left out" in text
        assert "12 to sample" in text
        text = dry("reject.py", tmp_path, server, "--input_file", source, *words, "--answers_per_question", 4)
        assert "10 to do, 0 done before" in text
        assert "32 to sample" in text
        assert "32 requests for m" in text
        os.remove(tmp_path / "out.jsonl")
        text = dry("reject.py", tmp_path, server, "--input_file", first, *words)
        assert "0 to do, 0 done before, 4 from the ledger" in text
        assert text.count("no request") == 2


def test_the_counts_are_those_of_the_run(tmp_path: Path) -> None:
    source = questions(tmp_path / "in.json", 7)
    with ScriptedServer(answer) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--generator_port", server.port]
        words += ["--generator_model", "m", "--scorer_model", "j", "--answers_per_question", 5]
        words += ["--samples_per_request", 2, "--judge_samples", 2, "--limit", 6]
        text = dry("reject.py", tmp_path, server, *words)
        assert run_script("reject.py", *words).returncode == 0
        of_generator = [request for request in server.chats if request.body["model"] == "m"]
    counted = {model: int(number) for number, model in re.findall(r"(\d+) requests for (\w)", text)}
    assert counted == {"m": len(of_generator), "j": len(server.chats) - len(of_generator)}


@pytest.mark.parametrize("shape", ["CSV", "TSV", "a folder of 2 x JSON Lines"])
def test_the_shape_of_the_input_is_told(shape: str, tmp_path: Path) -> None:
    source = tmp_path / f"in.{shape.lower()}"
    if shape in ("CSV", "TSV"):
        source.write_text("question,answer\n2+2?,4\n".replace(",", "," if shape == "CSV" else "\t"))
    else:
        source = tmp_path / "folder"
        source.mkdir()
        questions(source / "a.jsonl", 1)
        questions(source / "b.jsonl", 1)
    with ScriptedServer(answer) as server:
        words = ["--input_file", source, "--output_file", tmp_path / "o.jsonl", "--port", server.port]
        text = dry("sampling.py", tmp_path, server, *words, "--model_name", "m")
    assert f"{shape}, " in text
    assert "references" in text


def test_the_page_shows_what_a_dry_run_prints(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
    block = re.search(r"```bash\npython reject.py(.*?--dry_run)\n```", text, re.S)
    assert block is not None
    words = shlex.split(block.group(1).replace("\\\n", " "))
    words[words.index("--input_file") + 1] = str(ROOT / "data" / "input.json")
    words[words.index("--output_file") + 1] = str(tmp_path / "out.jsonl")
    run = run_script("reject.py", *words)
    printed = run.stdout.replace(str(ROOT / "data" / "input.json"), "data/input.json")
    shown_text = text.split("```text\n")[1].split("```")[0]
    agent = re.compile("User-Agent: .*")
    assert agent.sub("", printed) == agent.sub("", shown_text)


def refused(tmp_path: Path, *flags: object, script: str = "sampling.py") -> str:
    """The error line of a dry run that is refused; no file changes."""
    if not (tmp_path / "in.json").exists():
        questions(tmp_path / "in.json", 2)
    before = files(tmp_path)
    words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl", *flags]
    run = run_script(script, *words, "--model_name", "m", "--port", 9, "--dry_run")
    assert (run.returncode, run.stdout, files(tmp_path)) == (2, "", before), run
    return run.stderr


def test_what_a_run_refuses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes\n")
    assert "holds no records" in refused(tmp_path, "--output_file", tmp_path / "notes.txt")
    assert "is not a folder" in refused(tmp_path, "--output_file", tmp_path / "notes.txt" / "out.jsonl")
    assert "the same file" in refused(tmp_path, "--output_file", tmp_path / "in.json")
    (tmp_path / "bad.json").write_text('[{"a": 1}]')
    assert "none of the first 1 entries" in refused(tmp_path, "--input_file", tmp_path / "bad.json")


def test_an_output_of_other_settings_is_refused(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    with ScriptedServer(answer) as server:
        words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl", "--port", server.port]
        assert run_script("sampling.py", *words, "--model_name", "m").returncode == 0
    assert "was written with generator temperature" in refused(tmp_path, "--temperature", 0.1)


def test_no_server_is_asked_for_its_model(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 1)
    run = run_script("sampling.py", "--input_file", tmp_path / "in.json", "--output_file", tmp_path / "o", "--dry_run")
    assert run.returncode == 0
    assert '"model":"(the model that the server lists)"' in run.stdout


def test_damage_further_on_ends_with_the_runs_own_error(tmp_path: Path) -> None:
    text = json.dumps([conversation(f"q{n}") for n in range(150)])
    (tmp_path / "in.json").write_text(text[:-200])
    words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "o", "--model_name", "m", "--dry_run"]
    run = run_script("sampling.py", *words)
    assert run.returncode == 1
    assert "broken JSON" in run.stderr
    assert "to do" in run.stdout


@pytest.mark.parametrize("bad", ["{broken", '{"other": 1}', '"text"'])
def test_an_item_that_cannot_be_read_ends_with_the_exit_code_of_the_run(bad: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(conversation('q'))}\n{bad}\n")
    words = ["--input_file", tmp_path / "in.jsonl", "--output_file", tmp_path / "o", "--model_name", "m", "--dry_run"]
    run = run_script("sampling.py", *words)
    assert run.returncode == 1
    assert "1 item cannot be read" in run.stdout
    assert "1 to do" in run.stdout


def test_a_run_that_writes_the_output_is_not_disturbed(tmp_path: Path) -> None:
    """A torn last line stays as it is, and its entry counts as to do."""
    questions(tmp_path / "in.json", 2)
    with ScriptedServer(answer) as server:
        words = ["--input_file", tmp_path / "in.json", "--output_file", tmp_path / "out.jsonl", "--port", server.port]
        words += ["--model_name", "m"]
        assert run_script("sampling.py", *words).returncode == 0
        data = (tmp_path / "out.jsonl").read_bytes()
        (tmp_path / "out.jsonl").write_bytes(data[:-10])
        assert "1 to do, 1 done before" in dry("sampling.py", tmp_path, server, *words)
