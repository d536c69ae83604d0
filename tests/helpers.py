"""What several tests need: inputs, running a script as a user would, reading its files."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parent.parent


def conversation(question: str, reference: Optional[str] = None, **more: Any) -> Dict[str, Any]:
    """One input item."""
    turns = [{"from": "human", "value": question}]
    if reference is not None:
        turns.append({"from": "gpt", "value": reference})
    return {"conversations": turns, **more}


def write_input(path: Path, items: Sequence[Any]) -> Path:
    """A JSON list, or JSONL if the path ends so."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
    else:
        path.write_text(json.dumps(list(items)))
    return path


def questions(path: Path, count: int) -> Path:
    """An input file of ``count`` questions "question 0?", "question 1?", ... with references "0", "1", ..."""
    return write_input(path, [conversation(f"question {n}?", str(n)) for n in range(count)])


def judge_flags(flags: Sequence[object], *words: object) -> List[object]:
    """The ``words`` that name the judge's model and server; none if ``flags`` choose scorers without a judge."""
    texts = list(map(str, flags))
    if "--scorer" not in texts:
        return list(words)
    chosen = itertools.takewhile(lambda text: not text.startswith("--"), texts[texts.index("--scorer") + 1 :])
    return list(words) if "judge" in chosen else []


def command(script: str, *flags: object) -> List[str]:
    """The command line that runs a script of this project with warnings as errors."""
    return [sys.executable, "-W", "error", str(ROOT / script), *map(str, flags)]


def environment(**more: str) -> Dict[str, str]:
    """This environment without proxies, keys and servers, with ``more``."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("OPENAI_")}
    return {**kept, **more}


def run_script(script: str, *flags: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end and gives exit code, stdout and stderr."""
    return subprocess.run(
        command(script, *flags), capture_output=True, text=True, timeout=120, env=environment(**env), check=False
    )


def said(run: subprocess.CompletedProcess[str]) -> str:
    """What a run says on stderr, without the line that its scorer's scores replace others."""
    return "".join(line for line in run.stderr.splitlines(True) if "this scorer's scores replace those in" not in line)


def read_lines(path: Path) -> List[Any]:
    """The JSON lines of a file; none if it does not exist."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def done(run: subprocess.CompletedProcess[str]) -> None:
    """The run ended well, and said nothing on stderr but that its scores replace others."""
    assert (run.returncode, said(run)) == (0, ""), run
