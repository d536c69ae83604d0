"""Several servers for a role, limits a minute, and a number in flight that is found: the scripts run as commands."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import command, environment, questions, read_lines, run_script
from tests.scripted_server import Reply, Request, ScriptedServer, completion


def answer(request: Request) -> Reply:
    return completion(f"answer {request.number} to {request.question}", delay=0.002)


def flags(tmp_path: Path, entries: int, *more: object) -> list[object]:
    source = questions(tmp_path / "in.json", entries)
    words = ["--input_file", source, "--output_file", tmp_path / "out.jsonl", "--model_name", "m"]
    return [*words, "--answers_per_question", 4, "--concurrent_requests", 6, *more]


def check_complete(tmp_path: Path, entries: int) -> None:
    records = read_lines(tmp_path / "out.jsonl")
    assert sorted(r["original_question"] for r in records) == sorted(f"question {n}?" for n in range(entries))
    assert all(len(record["generated_answers"]) == 4 for record in records)


def test_two_servers_share_the_work_and_each_entry_prefers_one(tmp_path: Path) -> None:
    with ScriptedServer(answer) as one, ScriptedServer(answer) as two:
        run = run_script("sampling.py", *flags(tmp_path, 60, "--base_url", one.url, two.url))
    assert (run.returncode, run.stderr) == (0, "")
    check_complete(tmp_path, 60)
    asked = [[request.question for request in server.chats] for server in (one, two)]
    assert len(asked[0]) + len(asked[1]) == 240
    assert min(map(len, asked)) > 60
    assert len(set(asked[0]) & set(asked[1])) < 30, "most entries were asked of one server alone"
    assert max(one.peak, two.peak) == 3
    for server in (one, two):
        assert f"{server.url}: {len(server.chats)} requests" in run.stdout


def test_a_server_that_dies_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    with ScriptedServer(answer) as one, ScriptedServer(answer) as two:
        words = command("sampling.py", *flags(tmp_path, 800, "--base_url", one.url, two.url))
        run = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while len(two.chats) < 200:
            time.sleep(0.001)
        two.stop()
        before = len(one.chats)
        while len(one.chats) < before + 200:
            time.sleep(0.001)
        two.start()
        came = len(two.chats)
        out, err = run.communicate(timeout=100)
    assert run.returncode == 0, err
    check_complete(tmp_path, 800)
    assert len(two.chats) > came, "it was used again"
    assert len(one.chats) + len(two.chats) <= 3200 + 2 * 3, "what was in flight was asked again, and no more"
    assert f"{two.url} is back" in err
    assert "800 done" in out


def test_a_server_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    with ScriptedServer(answer) as gone:
        pass
    with ScriptedServer(answer) as one:
        run = run_script("sampling.py", *flags(tmp_path, 30, "--base_url", gone.url, one.url))
    assert run.returncode == 0
    assert f"cannot reach {gone.url}" in run.stderr
    check_complete(tmp_path, 30)
    assert len(one.chats) == 120


def test_a_server_that_only_fails_is_taken_out_and_its_requests_go_elsewhere(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: Reply({"error": "out of memory"}, status=500)) as bad, ScriptedServer(answer) as good:
        run = run_script("sampling.py", *flags(tmp_path, 60, "--base_url", bad.url, good.url, "--max_retries", 8))
    assert run.returncode == 0, run.stderr
    check_complete(tmp_path, 60)
    assert len(bad.chats) < 30
    assert f"{bad.url} failed 5 times in a row" in run.stderr


def test_a_range_of_ports_is_all_of_its_ports(tmp_path: Path) -> None:
    with ScriptedServer(answer) as one:
        run = run_script("sampling.py", *flags(tmp_path, 10, "--port", f"{one.port}-{one.port + 1}"))
    assert run.returncode == 0
    assert f"127.0.0.1:{one.port + 1}/v1" in run.stderr + run.stdout
    check_complete(tmp_path, 10)


@pytest.mark.parametrize("text", ["8007-8000", "8000-", "0-7", "a-b", "1-65535", "-8000", "8000-70000"])
def test_a_range_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    run = run_script("sampling.py", *flags(tmp_path, 1, f"--port={text}"))
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "port" in run.stderr


def test_auto_finds_a_number_in_flight_and_says_it(tmp_path: Path) -> None:
    with ScriptedServer(answer) as one:
        run = run_script("sampling.py", *flags(tmp_path, 300, "--port", one.port, "--concurrent_requests", "auto"))
    assert (run.returncode, run.stderr) == (0, "")
    check_complete(tmp_path, 300)
    assert len(one.chats) == 1200
    found = re.search(r"up to (\d+) in flight", run.stdout)
    assert found is not None, run.stdout
    assert 1 < one.peak <= int(found[1])  # a request is in flight a little longer for its client than for its server


def test_auto_takes_back_what_a_server_refuses(tmp_path: Path) -> None:
    def busy(request: Request) -> Reply:
        return Reply({"error": "slow down"}, status=429) if server.in_flight > 4 else answer(request)

    with ScriptedServer(busy) as server:
        words = flags(tmp_path, 60, "--port", server.port, "--concurrent_requests", "auto", "--max_retries", 20)
        run = run_script("sampling.py", *words)
    assert run.returncode == 0, run.stderr
    check_complete(tmp_path, 60)


def test_no_more_requests_are_sent_than_the_limit_a_minute_allows(tmp_path: Path) -> None:
    begun = time.monotonic()
    with ScriptedServer(answer) as server:
        run = run_script("sampling.py", *flags(tmp_path, 15, "--port", server.port, "--requests_per_minute", 1800))
    assert run.returncode == 0, run.stderr
    check_complete(tmp_path, 15)
    assert len(server.chats) <= 30 + (time.monotonic() - begun) * 30


def test_a_server_that_is_over_its_daily_limit_leaves_its_share_to_the_other(tmp_path: Path) -> None:
    refusing = Reply({"error": "daily limit"}, 429, {"Retry-After": "86400"})
    with ScriptedServer(lambda _: refusing) as spent, ScriptedServer(answer) as one:
        words = ("--base_url", spent.url, one.url, "--max_retries", 0)
        run = run_script("sampling.py", *flags(tmp_path, 30, *words))
    assert run.returncode == 0, run.stderr
    check_complete(tmp_path, 30)
    assert (len(spent.chats) <= 3, len(one.chats)) == (True, 120)
    assert run.stderr.count("nothing is sent there for the next 86400 s") == run.stderr.count("\n") == 1


def test_a_run_that_waits_for_a_window_ends_at_once_when_it_is_interrupted(tmp_path: Path) -> None:
    full = Reply({"error": "Please try again in 50s"}, 429)
    with ScriptedServer(lambda request: full if request.number >= 20 else answer(request)) as one:
        words = command("sampling.py", *flags(tmp_path, 30, "--port", one.port))
        run = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while len(one.chats) < 21:
            time.sleep(0.001)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=40)
        assert run.returncode == 130, err
        one.script = answer
        assert run_script("sampling.py", *flags(tmp_path, 30, "--port", one.port)).returncode == 0
        assert len(one.chats) <= 120 + 2 * 6, "each answer was asked for once, and what was refused again"
    check_complete(tmp_path, 30)
