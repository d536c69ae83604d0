"""The runner: how far it reads ahead, what overlaps, what it keeps in memory."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from common.input.conversations import entry_from_conversation
from common.records import PendingEntry
from common.running.generators import Generators
from common.running.job import Job, Pipeline
from common.running.run import run
from common.running.sampler import Sampler
from common.scoring.judge import Judge
from common.servers.client import ChatClient
from tests.helpers import ROOT, conversation, environment, questions, read_lines, write_input
from tests.scripted_server import Reply, Request, ScriptedServer, completion


def make_job(folder: Path, generator: ScriptedServer, judge: Optional[ScriptedServer] = None, **options: Any) -> Job:
    """A job over folder/in.json with 4 answers per entry and 8 requests in flight."""
    clients = [ChatClient([generator.url], "g", 8)]
    if judge is not None:
        clients.append(ChatClient([judge.url], "j", 8))
    values: Dict[str, Any] = {
        "script": "test",
        "input_file": str(folder / "in.json"),
        "output_file": str(folder / "out.jsonl"),
        "ledger_file": str(folder / "ledger"),
        "keep_ledger": False,
        "read": lambda item, line: PendingEntry(entry_from_conversation(item, line), None),
        "pipeline": Pipeline(
            clients, Generators([Sampler(clients[0], 4)]), Judge(clients[1], 0, 10) if judge is not None else None
        ),
        "quiet": True,
        **options,
    }
    return Job(**values)


def test_it_reads_no_further_ahead_than_the_servers_have_room(tmp_path: Path) -> None:
    """600 entries: while the answers trickle in, only a bounded number more than those done were parsed."""
    questions(tmp_path / "in.json", 600)
    parsed: List[int] = []
    ahead: List[int] = []

    def read(item: object, line: int) -> PendingEntry:
        parsed.append(line)
        return PendingEntry(entry_from_conversation(item, line), None)

    def script(request: Request) -> Reply:
        ahead.append(len(parsed) - request.number // 4)
        return completion(f"a{request.number}")

    with ScriptedServer(script) as server:
        assert run(make_job(tmp_path, server, read=read)) == 0
    assert len(parsed) == 601  # the first one also before anything is sent
    assert max(ahead) <= 40


def test_a_slow_judge_holds_back_the_generator(tmp_path: Path) -> None:
    """Answers wait for the judge in bounded number: memory stays flat when judging is what takes the time."""
    questions(tmp_path / "in.json", 200)
    behind: List[int] = []

    def judge(request: Request) -> Reply:
        behind.append(len(gen.chats) - request.number)
        return completion("Score: 7", delay=0.01)

    with ScriptedServer(lambda request: completion(f"a{request.number}")) as gen, ScriptedServer(judge) as scorer:
        assert run(make_job(tmp_path, gen, scorer)) == 0
        assert len(scorer.chats) == 800
    assert max(behind) < 300


def test_judging_begins_while_generating_goes_on(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 100)
    sampled_at_first_judgement: List[int] = []

    def judge(request: Request) -> Reply:
        if request.number == 0:
            sampled_at_first_judgement.append(len(gen.chats))
        return completion("Score: 7")

    answer = lambda request: completion(f"a{request.number}", delay=0.005)
    with ScriptedServer(answer) as gen, ScriptedServer(judge) as scorer:
        assert run(make_job(tmp_path, gen, scorer)) == 0
    assert sampled_at_first_judgement[0] < 40


def test_one_slow_answer_does_not_hold_up_other_entries(tmp_path: Path) -> None:
    """The first request is answered only after all the others."""
    questions(tmp_path / "in.json", 30)
    script = lambda request: completion(f"a{request.number}", delay=1.5 if request.number == 0 else 0)
    with ScriptedServer(script) as server:
        assert run(make_job(tmp_path, server)) == 0
        arrivals = [at for (at, level), (_, before) in zip(server.timeline[1:], server.timeline) if level > before]
        assert max(arrivals) < server.timeline[-1][0] - 0.5
    assert read_lines(tmp_path / "out.jsonl")[-1]["original_question"] == "question 0?"


def test_in_flight_reaches_the_flag_and_never_passes_it(tmp_path: Path) -> None:
    questions(tmp_path / "in.json", 100)
    with ScriptedServer(lambda request: completion(f"a{request.number}", delay=0.002 * (request.number % 9))) as server:
        assert run(make_job(tmp_path, server)) == 0
        assert server.peak == 8


def test_an_image_is_read_once_an_entry(tmp_path: Path) -> None:
    """The file is gone after the first request, and the other three still carry it."""
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    (tmp_path / "a.png").write_bytes(png)
    write_input(tmp_path / "in.json", [conversation("q", images=["a.png"])])

    def vanish(request: Request) -> Reply:
        (tmp_path / "a.png").unlink(missing_ok=True)
        return completion(f"a{request.number}")

    with ScriptedServer(vanish) as server:
        job = make_job(tmp_path, server)
        job.pipeline.clients[0].concurrency = 1
        assert run(job) == 0
        sent = [request.body["messages"][0]["content"][0]["image_url"]["url"] for request in server.chats]
    assert sent == ["data:image/png;base64," + base64.b64encode(png).decode()] * 4


def test_memory_holds_an_id_for_each_finished_entry_and_no_more(tmp_path: Path) -> None:
    """60,000 finished records of 2 kB are passed over within a few megabytes."""
    turns = [{"from": "human", "value": "q" * 1000}]
    with open(tmp_path / "out.jsonl", "w") as output, open(tmp_path / "in.jsonl", "w") as source:
        for number in range(60_000):
            item = {"conversations": [{"from": "human", "value": f"question {number} " + "x" * 1000}]}
            record = {"original_question": "q", "original_answers": turns, "generated_answers": ["a"]}
            record["entry_id"] = entry_from_conversation(item).entry_id
            output.write(json.dumps(record) + "\n")
            source.write(json.dumps(item) + "\n")
    flags = ["--input_file", tmp_path / "in.jsonl", "--output_file", tmp_path / "out.jsonl", "--model_name", "m"]
    small = ["--input_file", questions(tmp_path / "few.json", 1), "--output_file", tmp_path / "few.jsonl"]
    code = (
        "import resource, subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=False); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peaks = []
    for words in ([*small, "--model_name", "m", "--port", 9], flags):
        command = [sys.executable, "-c", code, str(ROOT / "sampling.py"), *map(str, words), "--quiet"]
        said = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True).stdout
        peaks.append(int(said.split()[-1]) * (1 if sys.platform == "linux" else 1 / 1024))
    assert peaks[1] - peaks[0] < 20_000, peaks
