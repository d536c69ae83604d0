"""A user's function as a scorer: what it returns becomes a score, and what it raises is named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common.input.conversations import entry_from_conversation
from common.records import Score
from common.scoring.rules import RuleFailed
from common.scoring.user_function import UserFunction
from tests.helpers import conversation

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))


def verified(folder: Path, body: str, low: float = 0.0, high: float = 10.0, text: str = "4") -> Score:
    """What a function of this body makes of an answer."""
    path = folder / "check.py"
    path.write_text(f"def verify(question, reference, answer):\n    {body}\n")

    async def run() -> Score:
        scorer = UserFunction(f"python:{path}:verify", low, high)
        try:
            return await scorer.score(ENTRY, [], text)
        finally:
            scorer.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ("return answer == reference", Score(10.0)),
        ("return answer != reference", Score(0.0)),
        ("return 7", Score(7.0)),
        ("return len(question) / 10", Score(1.2)),
        ("return None", Score(None, unscored="python:FOLDER/check.py:verify gave no score")),
    ],
)
def test_a_users_verdict_becomes_a_score(tmp_path: Path, body: str, score: Score) -> None:
    found = verified(tmp_path, body)
    unscored = found.unscored and found.unscored.replace(str(tmp_path), "FOLDER")
    assert found._replace(unscored=unscored) == score


def test_true_is_the_top_of_any_range_and_no_1(tmp_path: Path) -> None:
    assert verified(tmp_path, "return True", low=-5.0, high=5.0) == Score(5.0)


def test_a_number_outside_the_range_is_an_error_and_no_score(tmp_path: Path) -> None:
    with pytest.raises(RuleFailed, match=r"python:.*check.py:verify gave 11, which is not from 0 to 10"):
        verified(tmp_path, "return 11")


def test_what_the_users_function_raises_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleFailed, match=r"check.py:verify raised ValueError: bad thing \(check.py line 2\)"):
        verified(tmp_path, "raise ValueError('bad thing')")
