"""--ray: the scripts on a Ray cluster of several nodes, which die and join amid the run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

pytest.importorskip("ray")

from tests.helpers import ROOT, command, environment, questions, read_lines, run_script, write_input
from tests.ray_nodes import RayNodes
from tests.scripted_server import Reply, Request, ScriptedServer, completion

SLOTS = 8


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with RayNodes(3) as nodes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # as RayNodes has it
        yield nodes


def generator(request: Request) -> Reply:
    return completion(f"answer {request.number}", delay=0.01 + 0.01 * (request.number % 3))


def judge(request: Request) -> Reply:
    return completion(f"Score: {request.number % 11}", delay=0.01)


def flags(**values: object) -> List[object]:
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def check_once_each(output: Path, entries: int, answers: int) -> None:
    records = read_lines(output)
    assert sorted(r["original_question"] for r in records) == sorted(f"question {n}?" for n in range(entries))
    assert all(len(r["generated_answers"]) == answers for r in records)
    every = [answer for record in records for answer in record["generated_answers"]]
    assert len(set(every)) == len(every), "an answer is in two records"


def is_documented(line: str) -> bool:
    """Whether the page shows this line, with its own addresses and versions."""
    examples = [
        (r"127\.0\.0\.1:\d+", "127.0.0.1:6379"),
        (r"--ray [\d.]+:\d+", "--ray 127.0.0.1:6379"),
        (r"the worker on \S+", "the worker on 10.0.0.2"),
        (r"named by /\S+/ray/", "named by /tmp/ray/"),
        (r"\d+ workers were lost", "3 workers were lost"),
        (r"Python [\d.]+", "Python 3.11.7"),
        (r"machine Ray [\d.]+", "machine Ray 2.60.0"),
    ]
    for pattern, example in examples:
        line = re.sub(pattern, example, line)
    return f"| `{line.strip()}` |" in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def wait_until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*map(str, words)), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_reject_is_complete_and_resumes_without_a_request(tmp_path: Path, nodes: RayNodes) -> None:
    with ScriptedServer(generator) as gen, ScriptedServer(judge) as scorer:
        asked = [
            *flags(input_file=questions(tmp_path / "in.json", 60), output_file=tmp_path / "out.jsonl"),
            *flags(cache_file=tmp_path / "cache.jsonl", generator_model="g", scorer_model="j", ray=nodes.address),
            *flags(generator_port=gen.port, scorer_port=scorer.port, concurrency=SLOTS, answers_per_question=4),
        ]
        first = run_script("reject.py", *asked)
        assert (first.returncode, first.stderr) == (0, "")
        assert "60 done" in first.stdout
        assert "240 sampled" in first.stdout
        assert "480 sent, 0 retries, 3,360 tokens" in first.stdout
        assert (len(gen.chats), len(scorer.chats)) == (240, 240)
        assert gen.peak > SLOTS, "one worker alone"
        check_once_each(tmp_path / "out.jsonl", 60, 4)
        assert len(read_lines(tmp_path / "cache.jsonl")) == 480
        (tmp_path / "out.jsonl").unlink()
        again = run_script("reject.py", *asked)
        assert (again.returncode, again.stderr) == (0, "")
        assert "0 sampled, 240 from the ledger" in again.stdout
        assert (len(gen.chats), len(scorer.chats)) == (240, 240)
        check_once_each(tmp_path / "out.jsonl", 60, 4)
        more = run_script("reject.py", *asked, "--answers_per_question", 5)
        assert (more.returncode, more.stderr) == (0, "")
        assert (len(gen.chats), len(scorer.chats)) == (300, 300)
    check_once_each(tmp_path / "out.jsonl", 60, 5)


def test_a_killed_driver_loses_what_was_in_flight_at_most(tmp_path: Path, nodes: RayNodes) -> None:
    # Ray ends the workers within moments of the driver, in which what is in flight may be answered
    with ScriptedServer(lambda request: completion(f"answer {request.number}", delay=0.1)) as gen:
        words = [
            *("sampling.py", *flags(input_file=questions(tmp_path / "in.json", 60))),
            *flags(output_file=tmp_path / "out.jsonl", model_name="g", port=gen.port, ray=nodes.address),
            *flags(concurrent_requests=SLOTS, answers_per_question=4),
        ]
        run = start(*words)
        wait_until(lambda: len(gen.chats) > 80)
        run.kill()
        run.communicate()
        time.sleep(0.5)
        sent = len(gen.chats)
        last = start(*words)
        said = last.communicate(timeout=60)
        assert last.returncode == 0, said
        assert sent < 240 <= len(gen.chats) <= 240 + 3 * 2 * SLOTS
    check_once_each(tmp_path / "out.jsonl", 60, 4)


def test_failures_are_said_as_without_ray(tmp_path: Path, nodes: RayNodes) -> None:
    def spoilt(request: Request) -> Reply:
        return Reply("no such", status=400) if "question 3?" in request.question else generator(request)

    source = questions(tmp_path / "in.jsonl", 8)
    with ScriptedServer(spoilt) as server:
        asked = flags(input_file=source, model_name="g", port=server.port, answers_per_question=2)
        alone = run_script("sampling.py", *asked, *flags(output_file=tmp_path / "alone.jsonl"))
        there = run_script("sampling.py", *asked, *flags(output_file=tmp_path / "there.jsonl", ray=nodes.address))
    assert alone.returncode == there.returncode == 1
    assert alone.stderr == there.stderr
    said = [read_lines(tmp_path / f"{name}.jsonl.errors.jsonl") for name in ("alone", "there")]
    assert said[0] == said[1]
    assert [(one["stage"], one["status"], one["line"]) for one in said[1]] == [("sample", 400, 4)]
    assert len(read_lines(tmp_path / "there.jsonl")) == 7


def test_a_wrong_model_stops_the_run_with_one_line(tmp_path: Path, nodes: RayNodes) -> None:
    source = questions(tmp_path / "in.json", 50)
    with ScriptedServer(lambda _: Reply({"error": {"message": "no model m"}}, status=404)) as server:
        run = run_script(
            *("sampling.py", *flags(input_file=source, output_file=tmp_path / "out.jsonl", model_name="m")),
            *flags(port=server.port, ray=nodes.address),
        )
    assert run.returncode == 1
    assert run.stderr.startswith(f"sampling.py: error: {server.url}: 404 no model m (wrong model name")
    assert run.stderr.count("\n") == 1


def test_no_server_anywhere_stops_the_run(tmp_path: Path, nodes: RayNodes) -> None:
    source = questions(tmp_path / "in.json", 50)
    with ScriptedServer(generator) as server:
        port = server.port
    asked = flags(input_file=source, output_file=tmp_path / "out.jsonl", model_name="m", port=port, ray=nodes.address)
    run = run_script("sampling.py", *asked)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("is the server running there?"), run.stderr


def test_the_budget_and_the_rule_hold(tmp_path: Path, nodes: RayNodes) -> None:
    source = questions(tmp_path / "in.json", 100)
    with ScriptedServer(lambda request: completion(f"wrong {request.number}!", delay=0.03)) as server:
        asked = [
            *flags(input_file=source, output_file=tmp_path / "out.jsonl", generator_model="m", accept_score=10),
            *flags(generator_port=server.port, scorer="match", answers_per_question=8, give_up_after=2),
            *flags(concurrency=SLOTS, ray=nodes.address),
        ]
        run = run_script("reject.py", *asked, *flags(token_budget=350))
        assert run.returncode == 1
        assert "of --token_budget 350 completion tokens are spent; run the same command again" in run.stderr
        assert 50 <= len(server.chats) <= 50 + 3 * 2 * SLOTS
        last = run_script("reject.py", *asked)
        assert last.returncode == 0, last
        records = read_lines(tmp_path / "out.jsonl")
        assert len(records) == 100
        assert sum(record.get("stopped_by") == "give_up_after" for record in records) > 70
        assert len(server.chats) < 100 * 4


def test_images_and_the_key_reach_the_servers(tmp_path: Path, nodes: RayNodes) -> None:
    (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 300_000)
    item = {"conversations": [{"from": "human", "value": "What is it?"}], "images": ["dot.png"]}
    source = write_input(tmp_path / "in.json", [item])
    with ScriptedServer(generator) as server:
        asked = flags(input_file=source, output_file=tmp_path / "out.jsonl", model_name="m", port=server.port)
        run = run_script("sampling.py", *asked, *flags(ray=nodes.address), OPENAI_API_KEY="sk-hidden")
        assert (run.returncode, run.stderr) == (0, "")
        assert {chat.headers["Authorization"] for chat in server.chats} == {"Bearer sk-hidden"}
        part = server.chats[0].body["messages"][0]["content"][0]
        assert part["image_url"]["url"].startswith("data:image/png;base64,")


def test_what_a_worker_cannot_do_is_one_line(tmp_path: Path, nodes: RayNodes) -> None:
    rule = tmp_path / "rule.py"
    rule.write_text("import os\nassert 'RAY_RAYLET_PID' not in os.environ\ndef node(q, r, a): return 5\n")
    with ScriptedServer(generator) as gen:
        run = run_script(
            *("reject.py", *flags(input_file=questions(tmp_path / "in.json", 4), output_file=tmp_path / "out.jsonl")),
            *flags(generator_model="g", generator_port=gen.port, scorer=f"python:{rule}:node", ray=nodes.address),
        )
    assert run.returncode == 1
    assert run.stderr.startswith("reject.py: error: the worker on ")
    assert str(rule) in run.stderr
    assert run.stderr.count("\n") == 1


def test_ctrl_c_ends_the_run_at_once(tmp_path: Path, nodes: RayNodes) -> None:
    source = questions(tmp_path / "in.json", 50)
    with ScriptedServer(lambda request: completion("late", delay=60)) as server:
        asked = flags(input_file=source, output_file=tmp_path / "out.jsonl", model_name="m", port=server.port)
        run = start("sampling.py", *asked, *flags(ray=nodes.address))
        wait_until(lambda: server.in_flight > 0)
        begun = time.monotonic()
        os.kill(run.pid, signal.SIGINT)
        said = run.communicate(timeout=30)
        assert run.returncode == 130, said
        assert time.monotonic() - begun < 10
        assert said[1] == "sampling.py: error: interrupted; run the same command again to go on\n"


def rule_file(folder: Path, body: str) -> str:
    """A rule that runs in the worker's own process, as ``python:FILE:node``."""
    file = folder / "rule.py"
    file.write_text("import os, time\nasync def node(question, reference, answer):\n" + textwrap.indent(body, "    "))
    return f"python:{file}:node"


def test_a_frozen_worker_loses_its_entries_to_the_others(tmp_path: Path, nodes: RayNodes) -> None:
    pids = tmp_path / "pids"
    rule = rule_file(tmp_path, f"with open({str(pids)!r}, 'a') as file:\n    print(os.getpid(), file=file)\nreturn 5\n")
    with ScriptedServer(lambda request: completion(f"answer {request.number}", delay=0.1)) as gen:
        run = start(
            *("reject.py", *flags(input_file=questions(tmp_path / "in.json", 100), output_file=tmp_path / "out.jsonl")),
            *flags(generator_model="g", generator_port=gen.port, concurrency=SLOTS, answers_per_question=2),
            *flags(scorer=rule, ray=nodes.address),
        )
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) > 20)
        frozen = int(pids.read_text().split()[0])
        os.kill(frozen, signal.SIGSTOP)
        said = run.communicate(timeout=110)
        assert run.returncode == 0, said
        assert is_documented(said[1])
        assert 200 <= len(gen.chats) <= 200 + 2 * SLOTS
        with contextlib.suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    check_once_each(tmp_path / "out.jsonl", 100, 2)


def test_only_the_entries_that_end_their_worker_fail(tmp_path: Path, nodes: RayNodes) -> None:
    ends = "if question in ('question 13?', 'question 40?'):\n    os._exit(3)\n"
    rule = rule_file(tmp_path, f"{ends}return 5\n")
    with ScriptedServer(generator) as gen:
        run = run_script(
            *("reject.py", *flags(input_file=questions(tmp_path / "in.json", 60), output_file=tmp_path / "out.jsonl")),
            *flags(generator_model="g", generator_port=gen.port, concurrency=SLOTS, answers_per_question=2),
            *flags(scorer=rule, ray=nodes.address),
        )
        requests = len(gen.chats)
    failed = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert run.returncode == 1, run
    assert sorted(one["original_question"] for one in failed) == ["question 13?", "question 40?"]
    assert all(is_documented(line) for line in [*run.stderr.splitlines(), *(one["error"] for one in failed)])
    assert len(read_lines(tmp_path / "out.jsonl")) == 58
    assert 120 <= requests <= 120 + 6 * 2 * SLOTS


def test_sigterm_is_one_line(tmp_path: Path, nodes: RayNodes) -> None:
    with ScriptedServer(lambda request: completion("late", delay=60)) as server:
        asked = flags(input_file=questions(tmp_path / "in.json", 50), output_file=tmp_path / "out.jsonl")
        run = start("sampling.py", *asked, *flags(model_name="m", port=server.port, ray=nodes.address))
        wait_until(lambda: server.in_flight > 0)
        run.terminate()
        said = run.communicate(timeout=30)
    assert run.returncode == 130, said
    assert said[1] == "sampling.py: error: interrupted; run the same command again to go on\n"


@pytest.mark.parametrize("words", [["--ray"], ["--ray", "local"]])
def test_without_a_cluster_ray_starts_one_and_ends_it(tmp_path: Path, short_folder: str, words: List[str]) -> None:
    with ScriptedServer(generator) as server:
        asked = flags(input_file=questions(tmp_path / "in.json", 20), output_file=tmp_path / "out.jsonl")
        asked += flags(model_name="m", port=server.port, answers_per_question=2)
        run = run_script("sampling.py", *asked, *words, RAY_TMPDIR=short_folder, RAY_AUTH_MODE="disabled")
        assert (run.returncode, run.stderr) == (0, "")
        assert len(server.chats) == 40
    check_once_each(tmp_path / "out.jsonl", 20, 2)
    wait_until(lambda: not processes_of(short_folder))


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


def processes_of(folder: str) -> List[str]:
    """The processes whose command line names the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [file.read_text()] if folder in file.read_text() else []
    return found


@pytest.mark.parametrize("named_by", ["RAY_ADDRESS", "ray_current_cluster"])
def test_a_stale_address_is_named(tmp_path: Path, short_folder: str, named_by: str) -> None:
    environ = {"RAY_TMPDIR": short_folder}
    if named_by == "RAY_ADDRESS":
        environ["RAY_ADDRESS"] = "127.0.0.1:1"
    else:
        named_by = f"{short_folder}/ray/ray_current_cluster"
        Path(named_by).parent.mkdir()
        Path(named_by).write_text("127.0.0.1:1")
    asked = flags(input_file=questions(tmp_path / "in.json", 1), output_file=tmp_path / "out.jsonl", model_name="m")
    run = run_script("sampling.py", *asked, "--ray", **environ)
    assert run.returncode == 1
    assert is_documented(run.stderr)
    assert f" at 127.0.0.1:1 (named by {named_by}): " in run.stderr


def test_a_folder_that_ray_cannot_use_is_named(tmp_path: Path) -> None:
    asked = flags(input_file=questions(tmp_path / "in.json", 1), output_file=tmp_path / "out.jsonl", model_name="m")
    run = run_script("sampling.py", *asked, *flags(ray="local"), RAY_TMPDIR="/proc/none")
    assert run.returncode == 1
    assert is_documented(run.stderr)


@pytest.mark.parametrize("program", ["silent", "HTTP", "hangs up"])
def test_another_program_at_the_address_is_named(tmp_path: Path, program: str) -> None:
    def listen(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                if program == "HTTP":
                    kept[-1].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                if program != "silent":
                    kept.pop().close()

    kept: List[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, args=[listener], daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        asked = flags(input_file=questions(tmp_path / "in.json", 1), output_file=tmp_path / "out.jsonl", model_name="m")
        run = run_script("sampling.py", *asked, *flags(ray=address))
        listener.shutdown(socket.SHUT_RDWR)
    for one in kept:
        one.close()
    assert run.returncode == 1
    assert f"--ray {address}: " in run.stderr
    assert is_documented(run.stderr)


def test_other_versions_in_the_cluster_are_named(tmp_path: Path) -> None:
    asked = flags(input_file=questions(tmp_path / "in.json", 1), output_file=tmp_path / "out.jsonl", model_name="m")
    with RayNodes(1, ray_version="2.59.0") as old:
        run = run_script("sampling.py", *asked, *flags(ray=old.address), RAY_AUTH_MODE="disabled")
    assert run.returncode == 1
    python = ".".join(map(str, sys.version_info[:3]))
    assert f"its nodes run Ray 2.59.0 with Python {python}, this machine Ray " in run.stderr
    assert is_documented(run.stderr)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, address: str) -> None:
    source = questions(tmp_path / "in.json", 1)
    asked = flags(input_file=source, output_file=tmp_path / "out.jsonl", model_name="m", ray=address)
    run = run_script("sampling.py", *asked)
    assert run.returncode == 1
    assert run.stderr.startswith(f"sampling.py: error: --ray {address}: cannot join the cluster: ")
    assert is_documented(run.stderr.replace("ray://", ""))


def test_local_and_ray_exclude_each_other(tmp_path: Path) -> None:
    source = questions(tmp_path / "in.json", 1)
    run = run_script("sampling.py", *flags(input_file=source, output_file=tmp_path / "o"), "--local", "--ray")
    assert run.returncode == 2
    assert "argument --ray: not allowed with argument --local" in run.stderr


def test_nodes_that_die_and_join(tmp_path: Path, nodes: RayNodes) -> None:
    # the last one here: for some seconds a killed node passes for alive, and a run says that it takes no worker
    rule, seen = tmp_path / "rule.py", tmp_path / "seen"
    rule.write_text(
        "import os\n"
        "async def node(question, reference, answer):\n"
        f"    with open({str(seen)!r}, 'a') as file:\n"
        "        print(os.environ['RAY_RAYLET_PID'], file=file)\n"
        "    return 5\n"
    )
    joined = threading.Event()

    def slow_until_joined(request: Request) -> Reply:
        return completion(f"answer {request.number}", delay=0.01 if joined.is_set() else 0.2)

    with ScriptedServer(slow_until_joined) as gen:
        run = start(
            *("reject.py", *flags(input_file=questions(tmp_path / "in.json", 400))),
            *flags(output_file=tmp_path / "out.jsonl", generator_model="g", generator_port=gen.port),
            *flags(concurrency=SLOTS, answers_per_question=4, scorer=f"python:{rule}:node", ray=nodes.address),
        )
        wait_until(lambda: len(gen.chats) > 150)
        nodes.kill()
        assert run.poll() is None
        nodes.add()
        # the killed one, the new one, and the two others
        wait_until(lambda: run.poll() is not None or len(set(seen.read_text().split())) == 4)
        assert run.poll() is None, run.communicate()
        joined.set()
        said = run.communicate(timeout=60)
        assert run.returncode == 0, said
        assert said[1].count("died; its entries go to the others") == 1
        assert said[1].count("\n") == 1, said
        assert 1600 <= len(gen.chats) <= 1600 + 2 * SLOTS
    check_once_each(tmp_path / "out.jsonl", 400, 4)
    workers = seen.read_text().split()
    assert len(set(workers)) == 4
    assert min(workers.count(one) for one in set(workers)) > 10
