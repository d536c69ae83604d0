"""Rules in killable processes: what they say arrives, what goes wrong is named, and nothing outlives the run."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import pytest

from common.errors import RunStopped, UsageError
from common.input.conversations import entry_from_conversation
from common.records import Score
from common.scoring.math_equal import Math, math_verify_version
from common.scoring.rules import RuleFailed, RuleRunner, Verdict
from common.scoring.user_function import UserFunction, is_async, load_function, parse_target, source_of
from tests.helpers import ROOT, conversation, environment

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


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("SEVEN = 7\n")
    (tmp_path / "check.py").write_text(RULES)
    return tmp_path / "check.py"


def runner(spec: str, **options: Any) -> RuleRunner:
    """What runs a user's function: processes, or the event loop if it is async."""
    return UserFunction(spec, 0, 10, **options)._runner


def appeared(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


async def gathered(verifier: RuleRunner, calls: Sequence[Call]) -> List[Any]:
    return list(await asyncio.gather(*(verifier.check(*call) for call in calls), return_exceptions=True))


def results(verifier: RuleRunner, *answers: str) -> List[Any]:
    """What each answer gave: a value, or the message of its error; checked one after another."""

    async def run() -> List[Any]:
        return [(await gathered(verifier, [("q", "r", answer)]))[0] for answer in answers]

    with contextlib.closing(verifier):
        found = asyncio.run(run())
    assert all(isinstance(one, (Verdict, RuleFailed)) for one in found), found
    return [one.value if isinstance(one, Verdict) else str(one) for one in found]


def line_of(rules: Path, text: str) -> int:
    return 1 + next(n for n, line in enumerate(rules.read_text().splitlines()) if text in line)


def script(body: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own, warnings as errors, whose stderr ends when it and all its workers have ended."""
    lines = [
        "import asyncio, os, sys",
        f"sys.path.insert(0, {str(ROOT)!r})",
        "from common.scoring.user_function import UserFunction",
        body,
    ]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "\n".join(lines), *map(str, arguments)],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )


def test_what_the_function_returns_arrives_whatever_it_prints(rules: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verifier = runner(f"python:{rules}:rule")
    assert results(verifier, "yes", "no", "none", "half", "int") == [True, False, None, 0.5, 7]
    out, err = capfd.readouterr()
    assert out == ""
    assert "checking" in err


def test_any_text_reaches_the_function_as_it_is(rules: Path) -> None:
    verifier = runner(f"python:{rules}:same")
    texts = ["\u2028 \u00e9 \U0001f600 \x00", "lone \ud800", "two\nlines\r\n", "x" * 1_000_000]
    with contextlib.closing(verifier):
        found = asyncio.run(gathered(verifier, [(text, text, text) for text in texts]))
    assert found == [Verdict(True)] * len(texts)


def test_one_check_at_a_time_needs_one_worker_and_none_before_the_first(rules: Path) -> None:
    assert len(set(results(runner(f"python:{rules}:pid", processes=2), *["a"] * 5))) == 1


def test_concurrent_checks_use_as_many_workers_as_allowed(rules: Path) -> None:
    verifier = runner(f"python:{rules}:pid", processes=2)
    with contextlib.closing(verifier):
        found = asyncio.run(gathered(verifier, [("q", None, "a")] * 40))
    assert len({verdict.value for verdict in found}) == 2


def test_a_hang_costs_its_worker_and_the_next_check_gets_another(rules: Path) -> None:
    before, hung, after, later = results(runner(f"python:{rules}:act", timeout=1), "a", "hang", "b", "c")
    assert hung == "check.py:act took longer than 1 s"
    assert before != after == later


def test_a_worker_that_dies_is_named_with_its_exit_code_and_replaced(rules: Path) -> None:
    exited, crashed, after = results(runner(f"python:{rules}:act"), "exit", "segfault", "a")
    assert exited == "check.py:act ended its process (exit code 3)"
    assert crashed == f"check.py:act ended its process (exit code -{int(signal.SIGSEGV)})"
    assert after > 0


def test_what_it_raises_is_named_with_its_line_and_costs_no_worker(rules: Path) -> None:
    before, raised, left, asked, after = results(
        runner(f"python:{rules}:act"), "a", "raise", "sys.exit", "input", "interrupt"
    )
    where = line_of(rules, "raise ValueError")
    assert raised == f"check.py:act raised ValueError: bad thing (check.py line {where})"
    assert left.startswith("check.py:act raised SystemExit: enough")
    assert asked.startswith("check.py:act raised EOFError")
    assert before == after


def test_a_result_that_is_no_score_is_named(rules: Path) -> None:
    found = results(runner(f"python:{rules}:gives"), "text", "nan", "huge", "list")
    assert [message.replace("check.py:gives gave ", "") for message in found] == [
        "a str, not a number, a bool or None",
        "nan, which is not a score",
        "inf, which is not a score",
        "a list, not a number, a bool or None",
    ]


def test_async_functions_run_side_by_side_and_no_more_than_allowed(rules: Path) -> None:
    verifier = runner(f"python:{rules}:meet", concurrency=3)
    with contextlib.closing(verifier):
        found = asyncio.run(gathered(verifier, [("q", None, "3")] * 3 + [("q", None, "1")] * 9))
    assert found[-1] == Verdict(3.0)


def test_async_hangs_and_errors_are_named(rules: Path) -> None:
    hung, raised, after = results(runner(f"python:{rules}:slow", timeout=0.5), "hang", "raise", "quick")
    assert hung == "check.py:slow took longer than 0.5 s"
    assert raised == f"check.py:slow raised KeyError: 'bad' (check.py line {line_of(rules, 'raise KeyError')})"
    assert after is True


def test_room_waits_while_too_many_checks_wait(rules: Path) -> None:
    async def run() -> None:
        verifier = runner(f"python:{rules}:slow", concurrency=1)
        await verifier.turns.room(1)  # before any check too
        held = asyncio.ensure_future(verifier.check("q", None, "hang"))
        waiting = asyncio.ensure_future(verifier.check("q", None, "quick"))
        await asyncio.sleep(0)
        await verifier.turns.room(2)
        room = asyncio.ensure_future(verifier.turns.room(1))
        await asyncio.sleep(0.05)
        assert not room.done()
        held.cancel()
        await room
        assert (await waiting).value is True

    asyncio.run(run())


def test_starting_a_worker_does_not_count_as_checking(tmp_path: Path) -> None:
    body = "import sys, time\nif sys.argv[0] == '-c': time.sleep(1.2)\ndef rule(q, r, a): return True\n"
    (tmp_path / "late.py").write_text(body)
    assert results(runner(f"python:{tmp_path / 'late.py'}:rule", timeout=1), "a") == [True]


def test_a_worker_that_cannot_start_stops_the_run(tmp_path: Path) -> None:
    body = f"import os\nif os.getpid() != {os.getpid()}: 1 / 0\ndef rule(q, r, a): return True\n"
    (tmp_path / "broken.py").write_text(body)
    verifier = runner(f"python:{tmp_path / 'broken.py'}:rule")
    with contextlib.closing(verifier), pytest.raises(RunStopped, match=r"did not start.*ZeroDivisionError.*line 2"):
        asyncio.run(verifier.check("q", None, "a"))


@pytest.mark.parametrize(
    ("content", "function", "said"),
    [
        ("number = 7", "number", "number is not a function"),
        ("", "rule", "has no function rule"),
        ("def rule(q, r): return 1", "rule", "must take question, reference and answer"),
        ("def rule(q, r, a, *, level): return 1", "rule", "must take question, reference and answer"),
        ("x = 1\nimport no_such_module_here", "rule", "ModuleNotFoundError: .*\\(bad.py line 2\\)"),
        ("x = 1\n\ndef rule(:", "rule", "SyntaxError: .*\\(bad.py line 3\\)"),
        ("import sys\nsys.exit(2)", "rule", "SystemExit: 2 \\(bad.py line 2\\)"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(tmp_path: Path, content: str, function: str, said: str) -> None:
    (tmp_path / "bad.py").write_text(content)
    with pytest.raises(UsageError, match=rf"bad\.py.*{said}"):
        load_function(parse_target(f"python:{tmp_path / 'bad.py'}:{function}"))


@pytest.mark.parametrize("spec", ["check.py", "C:\\check.py", "no_such_file.py:rule", ":rule", "check.py:", "."])
def test_a_target_that_names_no_function_of_a_file_is_refused(spec: str) -> None:
    for refused in (parse_target, runner):
        with pytest.raises(UsageError, match=r"--scorer python:.*(?:FILE\.py:FUNCTION|no file)"):
            refused(f"python:{spec}")
    with pytest.raises(UsageError, match="--scorer"):
        runner(spec)


def test_a_file_that_prints_leaves_stdout_alone(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = parse_target(f"python:{rules}:slow")
    assert (target.name, is_async(load_function(target))) == ("check.py:slow", True)
    assert not is_async(load_function(parse_target(f"python:{rules}:rule")))
    assert capsys.readouterr().out == ""


def test_numbers_of_other_libraries_count(tmp_path: Path) -> None:
    body = "import decimal, fractions\nclass Scalar:\n    def item(self): return True\n"
    body += "def rule(q, r, a): return {'d': decimal.Decimal('0.5'), 'f': fractions.Fraction(1, 4), 's': Scalar()}[a]\n"
    (tmp_path / "numeric.py").write_text(body)
    assert results(runner(f"python:{tmp_path / 'numeric.py'}:rule"), "d", "f", "s") == [0.5, 0.25, True]


def test_the_source_is_told_apart_by_bytes_and_function(rules: Path) -> None:
    before = source_of(parse_target(f"python:{rules}:rule"))
    assert len(before) == 12
    assert before == source_of(parse_target(f"python:{rules}:rule"))
    assert before != source_of(parse_target(f"python:{rules}:act"))
    rules.write_text(RULES + "# changed\n")
    assert before != source_of(parse_target(f"python:{rules}:rule"))


HELD = """
verifier = UserFunction(f"python:{sys.argv[1]}", 0, 10, timeout=float(sys.argv[2]))._runner
asyncio.run(verifier.check(os.devnull, None, "a"))
"""


def test_amid_a_hang_no_worker_outlives_its_killed_parent(rules: Path) -> None:
    parent = script(HELD, f"{rules}:held", 1)
    assert parent.stderr is not None
    while parent.stderr.readline().strip() != "held":
        assert parent.poll() is None
    parent.kill()
    parent.communicate(timeout=120)
    assert parent.returncode == -signal.SIGKILL


def test_no_idle_worker_outlives_its_killed_parent(rules: Path) -> None:
    parent = script(
        HELD + "print('idle', file=sys.stderr, flush=True); import time; time.sleep(600)", f"{rules}:pid", 600
    )
    assert parent.stderr is not None
    while parent.stderr.readline().strip() != "idle":
        assert parent.poll() is None
    parent.kill()
    parent.communicate(timeout=120)
    assert parent.returncode == -signal.SIGKILL


CLOSED = """
verifier = UserFunction(f"python:{sys.argv[1]}", 0, 10, timeout=600, processes=1)._runner
async def run():
    tasks = [asyncio.ensure_future(verifier.check(sys.argv[2], None, "a")) for _ in range(3)]
    while not os.path.exists(sys.argv[2]):
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    verifier.close()
    print("closed", file=sys.stderr)
    await asyncio.gather(*tasks, return_exceptions=True)
asyncio.run(run())
verifier.close()
"""


@pytest.mark.parametrize("function", ["held", "with_child"])
def test_close_kills_a_hang_and_what_it_started_without_a_warning(rules: Path, function: str) -> None:
    parent = script(CLOSED, f"{rules}:{function}", rules.parent / "held")
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0, said
    assert [line for line in said.splitlines() if line != "loaded"] == ["held", "closed"]


def test_a_check_that_close_cuts_off_is_no_verdict(rules: Path, tmp_path: Path) -> None:
    async def run() -> None:
        verifier = runner(f"python:{rules}:held", processes=1)
        checks = [asyncio.ensure_future(verifier.check(str(tmp_path / "held"), None, "a")) for _ in range(2)]
        await asyncio.get_running_loop().run_in_executor(None, appeared, tmp_path / "held")
        verifier.close()
        for check in checks:
            with pytest.raises(RunStopped, match="closed"):
                await check

    asyncio.run(run())


HANGS = r"\boxed{9^{9^{9}}}"


if importlib.util.find_spec("math_verify"):

    def test_math_that_hangs_is_unscored_and_the_next_is_answered() -> None:
        async def run() -> List[Score]:
            calls = [("1", HANGS), ("2", r"\boxed{2}")]
            entries = [(entry_from_conversation(conversation("q", wanted)), said) for wanted, said in calls]
            return list(await asyncio.gather(*(scorer.score(entry, [], said) for entry, said in entries)))

        with contextlib.closing(Math(0, 10, timeout=1.5, processes=1)) as scorer:
            found = asyncio.run(run())
        assert found == [Score(None, unscored="math took longer than 1.5 s"), Score(10.0)]

    def test_the_version_of_math_verify_is_told() -> None:
        assert math_verify_version()[0].isdigit()

else:

    def test_math_without_its_package_is_one_line_with_the_install_command() -> None:
        hint = "" if sys.version_info >= (3, 10) else r" \(needs Python 3\.10 or newer\)"
        with pytest.raises(UsageError, match=rf"pip install 'math-verify\[antlr4_13_2\]==0\.9\.0'{hint}$"):
            math_verify_version()
