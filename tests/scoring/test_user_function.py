"""The user's function: what it may return, how it is loaded, and how its errors are named."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from pathlib import Path

import pytest

from common.errors import UsageError
from common.input.conversations import entry_from_conversation
from common.records import Answer, Score
from common.scoring.rules import RuleFailed, Verdict
from common.scoring.user_function import UserFunction, is_async, load_function, parse_target, source_of
from tests.helpers import conversation
from tests.scoring.user_rules import RULES, awaited, gathered, line_of, processes_of, results

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))


def test_a_result_that_is_no_score_is_named(rules: Path) -> None:
    found = results(processes_of(f"{rules}:gives"), "text", "nan", "huge", "list")
    assert [message.replace("check.py:gives gave ", "") for message in found] == [
        "a str, not a number, a bool or None",
        "nan, which is not a score",
        "inf, which is not a score",
        "a list, not a number, a bool or None",
    ]


def test_async_functions_run_side_by_side_and_no_more_than_allowed(rules: Path) -> None:
    runner = awaited(f"{rules}:meet", concurrency=3)
    with contextlib.closing(runner):
        found = asyncio.run(gathered(runner, [("q", None, "3")] * 3 + [("q", None, "1")] * 9))
    assert found[-1] == Verdict(3.0)


def test_async_hangs_and_errors_are_named(rules: Path) -> None:
    hung, raised, after = results(awaited(f"{rules}:slow", timeout=0.5), "hang", "raise", "quick")
    assert hung == "check.py:slow took longer than 0.5 s"
    assert raised == f"check.py:slow raised KeyError: 'bad' (check.py line {line_of(rules, 'raise KeyError')})"
    assert after is True


def test_a_cancelled_async_function_is_its_own_failure(rules: Path) -> None:
    answers = ("helper", "itself", "cancel", "generator", "keyboard")
    found = results(awaited(f"{rules}:cancelled"), *answers)
    names = [*["CancelledError"] * 3, "GeneratorExit", "KeyboardInterrupt"]
    assert [message.split(" (")[0] for message in found] == [f"check.py:cancelled raised {name}" for name in names]
    assert "check.py line" in found[0]
    assert results(awaited(f"{rules}:cancelled"), "mute")[0].startswith("check.py:cancelled raised Mute")


def test_an_async_function_that_hears_no_cancellation_costs_its_time_and_no_more(rules: Path) -> None:
    assert results(awaited(f"{rules}:cancelled", timeout=0.2), "deaf") == ["check.py:cancelled took longer than 0.2 s"]


def test_room_waits_while_too_many_checks_wait(rules: Path) -> None:
    async def run() -> None:
        runner = awaited(f"{rules}:slow", concurrency=1)
        await runner.turns.room(1)  # before any check too
        held = asyncio.ensure_future(runner.check("q", None, "hang"))
        waiting = asyncio.ensure_future(runner.check("q", None, "quick"))
        await asyncio.sleep(0)
        await runner.turns.room(2)
        room = asyncio.ensure_future(runner.turns.room(1))
        await asyncio.sleep(0.05)
        assert not room.done()
        held.cancel()
        await room
        assert (await waiting).value is True

    asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "function", "said"),
    [
        ("number = 7", "number", "number is not a function \\(it is of type int\\)"),
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
        UserFunction(f"python:{tmp_path / 'bad.py'}:{function}", 0, 10)


@pytest.mark.parametrize("spec", ["check.py", "C:\\check.py", "no_such_file.py:rule", ":rule", "check.py:", "."])
def test_a_target_that_names_no_function_of_a_file_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=r"--scorer python:.*(?:FILE\.py:FUNCTION|no file)"):
        UserFunction(f"python:{spec}", 0, 10)


def test_a_file_that_prints_leaves_stdout_alone(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_async(load_function(parse_target(f"python:{rules}:slow")))
    assert not is_async(load_function(parse_target(f"python:{rules}:rule")))
    assert capsys.readouterr().out == ""


def test_numbers_of_other_libraries_count(tmp_path: Path) -> None:
    body = "import decimal, fractions\nclass Scalar:\n    def item(self): return True\n"
    body += "def rule(q, r, a): return {'d': decimal.Decimal('0.5'), 'f': fractions.Fraction(1, 4), 's': Scalar()}[a]\n"
    (tmp_path / "numeric.py").write_text(body)
    assert results(processes_of(f"{tmp_path / 'numeric.py'}:rule"), "d", "f", "s") == [0.5, 0.25, True]


def test_the_source_is_told_apart_by_bytes_and_function(rules: Path) -> None:
    def source(function: str) -> str:
        return source_of(parse_target(f"python:{rules}:{function}"))

    before = source("rule")
    assert len(before) == 12
    assert before == source("rule")
    assert before != source("act")
    rules.write_text(RULES + "# changed\n")
    assert before != source("rule")


def verified(folder: Path, body: str, low: float = 0.0, high: float = 10.0, text: str = "4") -> Score:
    """What a function of this body makes of an answer."""
    path = folder / "check.py"
    path.write_text(f"def verify(question, reference, answer):\n    {body}\n")

    with contextlib.closing(UserFunction(f"python:{path}:verify", low, high)) as scorer:
        return asyncio.run(scorer.score(ENTRY, [], text))


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ("return answer == reference", Score(10.0)),
        ("return answer != reference", Score(0.0)),
        ("return 7", Score(7.0)),
        ("return len(question) / 10", Score(1.2)),
    ],
)
def test_a_users_verdict_becomes_a_score(tmp_path: Path, body: str, score: Score) -> None:
    assert verified(tmp_path, body) == score


def test_none_is_no_score_and_says_whose(tmp_path: Path) -> None:
    assert verified(tmp_path, "return None").unscored == f"python:{tmp_path}/check.py:verify gave no score"


def test_true_is_the_top_of_any_range_and_no_1(tmp_path: Path) -> None:
    assert verified(tmp_path, "return True", low=-5.0, high=5.0) == Score(5.0)


def test_a_number_outside_the_range_is_an_error_and_no_score(tmp_path: Path) -> None:
    with pytest.raises(RuleFailed, match=r"python:.*check.py:verify gave 11, which is not from 0 to 10"):
        verified(tmp_path, "return 11")


def test_what_the_users_function_raises_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleFailed, match=r"check.py:verify raised ValueError: bad thing \(check.py line 2\)"):
        verified(tmp_path, "raise ValueError('bad thing')")


@pytest.mark.parametrize(("function", "answer", "value"), [("rule", "int", 7), ("slow", "quick", 10)])
def test_another_process_makes_its_own_runner_from_the_file_at_the_same_path(
    rules: Path, monkeypatch: pytest.MonkeyPatch, function: str, answer: str, value: float
) -> None:
    monkeypatch.chdir(rules.parent)
    spec = f"python:check.py:{function}"
    scorer = UserFunction(spec, 0, 10)
    sent = pickle.dumps(scorer)
    monkeypatch.chdir("/")
    with contextlib.closing(pickle.loads(sent)) as copy:
        assert (copy.settings, copy.name) == (scorer.settings, spec)
        assert asyncio.run(copy.score(ENTRY, [], answer)).value == value
    rules.unlink()
    with pytest.raises(UsageError, match="FileNotFoundError"):
        pickle.loads(sent)


ROW = (
    "assert {k: row[k] for k in ('id', 'entry_id', 'images', 'reasoning', 'finish_reason')} == "
    "{'id': 7, 'entry_id': %r, 'images': ['a.png'], 'reasoning': 'hm', 'finish_reason': 'stop'}\n"
    "    assert row['extra'] == {'id': 7, 'reasoning': 'own'}\n    return True\n"
)


@pytest.mark.parametrize("taken", ["row", "*, row", "row=None", "**row"])
@pytest.mark.parametrize("word", ["def", "async def"])
def test_a_function_that_takes_the_row_gets_it(tmp_path: Path, taken: str, word: str) -> None:
    entry = entry_from_conversation({"question": "2+2?", "answer": "4", "image": "a.png", "id": 7, "reasoning": "own"})
    path = tmp_path / "check.py"
    path.write_text(f"{word} verify(question, reference, answer, {taken}):\n    {ROW % entry.entry_id}")
    with contextlib.closing(UserFunction(f"python:{path}:verify", 0, 10)) as scorer:
        score = asyncio.run(scorer.score_answer(entry, [], Answer("4", "stop", "hm")))
    assert score == Score(10.0)
