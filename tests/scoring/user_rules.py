"""A user's file of rules, and what they say: for the tests of processes and of the user's function."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, List, Optional, Tuple

from common.scoring.rule_processes import RuleProcesses
from common.scoring.rules import RuleFailed, RuleRunner, Verdict
from common.scoring.user_function import AsyncFunction, load_function, load_rule, parse_target

Call = Tuple[str, Optional[str], str]
RULES = """
import asyncio, os, re, signal, subprocess, sys, time
import neighbour

print("loaded")

def pid(question, reference, answer):
    return os.getpid()

def rule(question, reference, answer):
    print("checking")
    os.write(1, b"raw bytes\\n")
    return {"yes": True, "no": False, "none": None, "half": 0.5, "int": neighbour.SEVEN}[answer]

def same(question, reference, answer):
    return question == reference == answer

def act(question, reference, answer):
    if answer == "hang":
        while True:
            pass
    if answer == "exit":
        os._exit(3)
    if answer == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if answer == "raise":
        raise ValueError("bad\\nthing")
    if answer == "sys.exit":
        sys.exit("enough")
    if answer == "input":
        input()
    if answer == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()

def gives(question, reference, answer):
    return {"text": "7", "nan": float("nan"), "huge": 10**400, "list": [1]}[answer]

def held(question, reference, answer):
    print("held", file=sys.stderr, flush=True)
    open(question, "w").close()
    re.match("(a+)+$", "a" * 60 + "b")  # for years, and without letting any other thread run

def with_child(question, reference, answer):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("held", file=sys.stderr, flush=True)
    open(question, "w").close()
    child.wait()

def with_sessions(question, reference, answer):
    body = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], " \
        "start_new_session=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", body], start_new_session=True)
    if answer == "exit":
        time.sleep(0.5)
        os._exit(3)
    print("held", file=sys.stderr, flush=True)
    open(question, "w").close()
    child.wait()

def forks(question, reference, answer):
    child = os.fork()
    if child:
        return os.WEXITSTATUS(os.waitpid(child, 0)[1])
    if answer == "sys.exit":
        sys.exit(4)
    if answer == "raise":
        raise ValueError("in the child")
    if answer == "kill":
        os.killpg(0, signal.SIGKILL)
    return 9

def bare(question, reference, answer):
    raise {"cancel": asyncio.CancelledError, "generator": GeneratorExit, "keyboard": KeyboardInterrupt}[answer]

class Mute(BaseException):
    def __str__(self):
        raise ValueError

async def cancelled(question, reference, answer):
    if answer == "helper":
        helper = asyncio.ensure_future(asyncio.sleep(9))
        helper.cancel()
        await helper
    if answer == "itself":
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
    if answer == "mute":
        raise Mute
    if answer == "deaf":
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                return True
    return bare(question, reference, answer)

inside = most = 0

async def meet(question, reference, answer):
    global inside, most
    inside += 1
    most = max(most, inside)
    while inside < int(answer):
        await asyncio.sleep(0)
    for _ in range(9):
        await asyncio.sleep(0)
    inside -= 1
    return most

async def slow(question, reference, answer):
    if answer == "raise":
        raise KeyError("bad")
    await asyncio.sleep(0 if answer == "quick" else 600)
    return True

def two(question, reference):
    return 1

number = 7
"""


def processes_of(spec: str, timeout: float = 30, processes: Optional[int] = None) -> RuleProcesses:
    """The processes of a function."""
    target = parse_target(f"python:{spec}")
    return RuleProcesses(target.name, load_rule, target, timeout, processes)


def awaited(spec: str, concurrency: int = 16, timeout: float = 30) -> AsyncFunction:
    """What awaits an async function."""
    target = parse_target(f"python:{spec}")
    return AsyncFunction(load_function(target), target, concurrency, timeout)


async def gathered(runner: RuleRunner, calls: List[Call]) -> List[Any]:
    """The verdict or the error of each call, all made at once."""
    return list(await asyncio.gather(*(runner.check(*call) for call in calls), return_exceptions=True))


def results(runner: RuleRunner, *answers: str) -> List[Any]:
    """The result for each answer: a value, or the message of its error; checked one after another."""

    async def run() -> List[Any]:
        return [(await gathered(runner, [("q", "r", answer)]))[0] for answer in answers]

    with contextlib.closing(runner):
        found = asyncio.run(run())
    assert all(isinstance(result, (Verdict, RuleFailed)) for result in found), found
    return [result.value if isinstance(result, Verdict) else str(result) for result in found]


def line_of(rules: Path, text: str) -> int:
    """The number of the first line that holds this text."""
    return 1 + next(number for number, line in enumerate(rules.read_text().splitlines()) if text in line)
