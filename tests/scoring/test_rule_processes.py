"""Rules in killable processes: their verdicts arrive, errors are named, and nothing outlives the run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import RunStopped
from common.scoring.rules import Verdict
from tests.helpers import ROOT, environment
from tests.scoring.user_rules import gathered, line_of, processes_of, results


def appeared(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def script(body: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own, warnings as errors, whose stderr ends when it and all its workers have ended."""
    lines = [
        "import asyncio, os, sys",
        f"sys.path.insert(0, {str(ROOT)!r})",
        "from tests.scoring.user_rules import processes_of",
        body,
    ]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "\n".join(lines), *map(str, arguments)],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )


def test_one_check_at_a_time_needs_one_worker_and_none_before_the_first(rules: Path) -> None:
    assert len(set(results(processes_of(f"{rules}:pid", processes=2), *["a"] * 5))) == 1


def test_concurrent_checks_use_as_many_workers_as_allowed(rules: Path) -> None:
    runner = processes_of(f"{rules}:pid", processes=2)
    with contextlib.closing(runner):
        found = asyncio.run(gathered(runner, [("q", None, "a")] * 40))
    assert len({verdict.value for verdict in found}) == 2


def test_a_hang_costs_its_worker_and_the_next_check_gets_another(rules: Path) -> None:
    before, hung, after, later = results(processes_of(f"{rules}:act", timeout=1), "a", "hang", "b", "c")
    assert hung == "check.py:act took longer than 1 s"
    assert before != after == later


def test_a_worker_that_dies_is_named_with_its_exit_code_and_replaced(rules: Path) -> None:
    exited, crashed, after = results(processes_of(f"{rules}:act"), "exit", "segfault", "a")
    assert exited == "check.py:act ended its process (exit code 3)"
    assert crashed == f"check.py:act ended its process (exit code -{int(signal.SIGSEGV)})"
    assert after > 0


def test_what_it_raises_is_named_with_its_line_and_costs_no_worker(rules: Path) -> None:
    before, raised, left, asked, after = results(
        processes_of(f"{rules}:act"), "a", "raise", "sys.exit", "input", "interrupt"
    )
    where = line_of(rules, "raise ValueError")
    assert raised == f"check.py:act raised ValueError: bad thing (check.py line {where})"
    assert left.startswith("check.py:act raised SystemExit: enough")
    assert asked.startswith("check.py:act raised EOFError")
    assert before == after


def test_any_text_reaches_the_function_as_it_is(rules: Path) -> None:
    runner = processes_of(f"{rules}:same")
    texts = ["\u2028 \u00e9 \U0001f600 \x00", "lone \ud800", "two\nlines\r\n", "x" * 1_000_000]
    with contextlib.closing(runner):
        found = asyncio.run(gathered(runner, [(text, text, text) for text in texts]))
    assert found == [Verdict(True)] * len(texts)


def test_what_the_function_returns_arrives_whatever_it_prints(rules: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runner = processes_of(f"{rules}:rule")
    assert results(runner, "yes", "no", "none", "half", "int") == [True, False, None, 0.5, 7]
    out, err = capfd.readouterr()
    assert out == ""
    assert "checking" in err


def test_starting_a_worker_does_not_count_as_checking(tmp_path: Path) -> None:
    body = "import sys, time\nif sys.argv[0] == '-c': time.sleep(1.2)\ndef rule(q, r, a): return True\n"
    (tmp_path / "late.py").write_text(body)
    assert results(processes_of(f"{tmp_path / 'late.py'}:rule", timeout=1), "a") == [True]


def test_a_worker_that_cannot_start_stops_the_run(tmp_path: Path) -> None:
    body = f"import os\nif os.getpid() != {os.getpid()}: 1 / 0\ndef rule(q, r, a): return True\n"
    (tmp_path / "broken.py").write_text(body)
    runner = processes_of(f"{tmp_path / 'broken.py'}:rule")
    with contextlib.closing(runner), pytest.raises(RunStopped, match=r"did not start.*ZeroDivisionError.*line 2"):
        asyncio.run(runner.check("q", None, "a"))


HELD = """
processes = processes_of(sys.argv[1], timeout=float(sys.argv[2]))
asyncio.run(processes.check(os.devnull, None, "a"))
"""


def test_during_a_hang_no_worker_outlives_its_killed_parent(rules: Path) -> None:
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
processes = processes_of(sys.argv[1], timeout=600, processes=1)
async def run():
    tasks = [asyncio.ensure_future(processes.check(sys.argv[2], None, "a")) for _ in range(3)]
    while not os.path.exists(sys.argv[2]):
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    processes.close()
    print("closed", file=sys.stderr)
    await asyncio.gather(*tasks, return_exceptions=True)
asyncio.run(run())
processes.close()
"""


def test_a_forked_child_is_not_part_of_the_check(rules: Path) -> None:
    returned, left, raised, after = results(processes_of(f"{rules}:forks"), "return", "sys.exit", "raise", "return")
    assert (returned, left, raised, after) == (0, 4, 1, 0)


def test_an_exception_of_any_class_is_the_rule_s(rules: Path) -> None:
    found = results(processes_of(f"{rules}:bare"), "cancel", "generator", "keyboard")
    names = ["CancelledError", "GeneratorExit", "KeyboardInterrupt"]
    where = line_of(rules, 'raise {"cancel"')
    assert found == [f"check.py:bare raised {name} (check.py line {where})" for name in names]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a guard that adopts processes")
def test_what_a_rule_leaves_in_other_sessions_ends_with_its_process(rules: Path) -> None:
    parent = script(HELD, f"{rules}:with_sessions", 600)
    assert parent.stderr is not None
    while parent.stderr.readline().strip() != "held":
        assert parent.poll() is None
    parent.kill()
    parent.communicate(timeout=60)  # its stderr ends when the last of them has ended
    exits = HELD.replace('"a"', '"exit"')
    _, said = script(exits, f"{rules}:with_sessions", 600).communicate(timeout=60)
    assert "ended its process (exit code 3)" in said


@pytest.mark.parametrize("function", ["held", "with_child", "with_sessions"])
def test_close_kills_a_hang_and_what_it_started_without_a_warning(rules: Path, function: str) -> None:
    parent = script(CLOSED, f"{rules}:{function}", rules.parent / "held")
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0, said
    assert [line for line in said.splitlines() if line != "loaded"] == ["held", "closed"]


def test_a_check_that_close_cuts_off_is_no_verdict(rules: Path, tmp_path: Path) -> None:
    async def run() -> None:
        runner = processes_of(f"{rules}:held", processes=1)
        checks = [asyncio.ensure_future(runner.check(str(tmp_path / "held"), None, "a")) for _ in range(2)]
        await asyncio.get_running_loop().run_in_executor(None, appeared, tmp_path / "held")
        runner.close()
        for check in checks:
            with pytest.raises(RunStopped, match="closed"):
                await check

    asyncio.run(run())
