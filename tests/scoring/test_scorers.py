"""Scorers: the judge's settings, the rules, and cascades."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest

from common.input.conversations import entry_from_conversation
from common.records import Entry, Score
from common.scoring.judge import Judge
from common.scoring.judge_prompt import ENDINGS, JUDGE_PROMPT
from common.scoring.rule_processes import Verifier, VerifierFailed
from common.scoring.scorers import Scorer, cascade, judge_scorer, match_scorer, verifier_scorer
from common.servers.client import ChatClient
from tests.helpers import conversation

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))
OPEN_ENTRY = entry_from_conversation(conversation("Tell me a joke."))


def matched(low: float, high: float, entry: Entry, text: str) -> Score:
    """The match rule's score of one text."""

    async def run() -> Score:
        return await match_scorer(low, high).score(entry, [], text)

    return asyncio.run(run())


def idle_judge(low: float = 0.0, high: float = 10.0, client: Optional[Dict[str, Any]] = None, **more: Any) -> Scorer:
    """A judge that is asked for nothing but its settings; ``client`` are its ChatClient's arguments."""
    arguments = {"urls": ["http://127.0.0.1:9/v1"], "model": "judge", "concurrency": 4, **(client or {})}
    return judge_scorer(Judge(ChatClient(**arguments), low, high, **more))


@pytest.mark.parametrize(
    "change",
    [
        {"low": 1.0},
        {"high": 5.0},
        {"template": "{answer}"},
        {"temperature": 0.5},
        {"temperature": None},
        {"max_tokens": 9},
        {"images": True},
        {"client": {"model": "another"}},
        {"client": {"extra_body": {"top_k": 1}}},
    ],
)
def test_what_makes_a_score_changes_the_fingerprint(change: Dict[str, Any]) -> None:
    assert idle_judge(**change).settings_id != idle_judge().settings_id


@pytest.mark.parametrize(
    "change",
    [
        {"template": JUDGE_PROMPT + ENDINGS["text"]},
        {"client": {"urls": ["https://elsewhere/v1"]}},
        {"client": {"concurrency": 99}},
        {"client": {"max_retries": 0}},
        {"client": {"request_timeout": 1}},
        {"client": {"api_key": "secret"}},
    ],
)
def test_what_does_not_make_a_score_leaves_the_fingerprint(change: Dict[str, Any]) -> None:
    assert idle_judge(**change).settings_id == idle_judge().settings_id


def test_the_match_rules_scores_are_told_apart_by_range_and_from_a_judges() -> None:
    made = [match_scorer(0, 10).settings_id, match_scorer(0, 1).settings_id, idle_judge(0, 10).settings_id]
    assert len(set(made)) == 3


def test_only_a_judge_that_is_to_see_images_wants_them() -> None:
    assert [idle_judge().wants_images, idle_judge(images=True).wants_images, match_scorer(0, 1).wants_images] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(("text", "value"), [("2 + 2 = 4", 5.0), ("It is 5.", -5.0), ("", -5.0), ("<think>4", -5.0)])
def test_the_match_rule_gives_the_top_or_the_bottom_of_the_range(text: str, value: float) -> None:
    assert matched(-5, 5, ENTRY, text) == Score(value)


def test_without_a_reference_the_match_rule_has_no_score() -> None:
    score = matched(0, 10, OPEN_ENTRY, "4")
    assert score.value is None
    assert score.unscored == "no reference to match"


@pytest.mark.parametrize("reference", ["", "  ", "**", "..."])
def test_a_reference_that_says_nothing_gives_no_score(reference: str) -> None:
    entry = replace(ENTRY, reference_turn={"from": "gpt", "value": reference})
    score = matched(0, 10, entry, "4")
    assert (score.value, score.unscored) == (None, "no reference to match")


# --- cascades ---------------------------------------------------------------------------------------------------------


def fixed(name: str, *scores: Score, sure: bool = True, asked: Optional[List[str]] = None) -> Scorer:
    """A scorer that gives these one after another, the last for ever."""
    waiting = list(scores)

    async def score(_: Entry, __: Sequence[str], text: str) -> Score:
        if asked is not None:
            asked.append(name)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return Scorer({"scorer": name, f"{name} own": 1, "score_min": 0}, score, low_is_final=sure)


def decided(*scorers: Scorer) -> Score:
    """What a cascade says of an answer."""

    async def run() -> Score:
        return await cascade(scorers, 0.0).score(ENTRY, [], "x")

    return asyncio.run(run())


MISS, HIT, NOTHING = Score(0.0), Score(10.0), Score(None, unscored="no idea")
UNREAD = Score(None, "hm", "the judge's reply has no score", judge_usage={"requests": 3})


def test_the_first_that_decides_ends_the_asking_and_is_named() -> None:
    asked: List[str] = []
    scorers = [fixed("match", HIT, asked=asked), fixed("math", MISS, asked=asked)]
    assert decided(*scorers) == HIT._replace(scorer="match")
    assert asked == ["match"]


def test_who_cannot_say_passes_it_on() -> None:
    assert decided(fixed("math", NOTHING), fixed("judge", Score(6.0))) == Score(6.0, scorer="judge")


def test_a_sure_miss_decides_and_an_unsure_one_does_not() -> None:
    assert decided(fixed("math", MISS), fixed("judge", HIT)) == MISS._replace(scorer="math")
    assert decided(fixed("match", MISS, sure=False), fixed("judge", HIT)) == HIT._replace(scorer="judge")


def test_an_unsure_miss_counts_where_no_rule_after_it_has_a_say() -> None:
    assert decided(fixed("match", MISS, sure=False), fixed("math", NOTHING)) == MISS._replace(scorer="match")


def test_an_unsure_miss_does_not_stand_in_for_a_judge_that_was_asked() -> None:
    """The rule was not sure, the judge could not be read: whoever trains on a 0 here trains on an invention."""
    assert decided(fixed("match", MISS, sure=False), fixed("judge", UNREAD)) == UNREAD._replace(scorer="judge")


def test_where_nobody_decides_the_last_reason_is_kept() -> None:
    first, last = Score(None, unscored="no reference"), Score(None, unscored="nothing to parse")
    assert decided(fixed("match", first), fixed("math", last)) == last._replace(scorer="math")


def test_a_cascade_of_match_needs_no_reference() -> None:
    async def run() -> Score:
        return await cascade([match_scorer(0, 10), fixed("judge", Score(3.0))], 0).score(OPEN_ENTRY, [], "x")

    assert asyncio.run(run()) == Score(3.0, scorer="judge")


def test_a_cascade_s_scores_are_its_own_and_told_apart_by_each_of_its_parts() -> None:
    one, two, other = fixed("a", HIT), fixed("b", HIT), Scorer({"scorer": "b", "b own": 2, "score_min": 0}, two_score)
    made = [cascade(parts, 0).settings_id for parts in ([one, two], [two, one], [one, other])]
    assert len({*made, one.settings_id, two.settings_id}) == 5


async def two_score(_: Entry, __: Sequence[str], ___: str) -> Score:
    """A score for scorers that are never asked."""
    return HIT


def test_a_cascade_ends_what_its_parts_started_and_waits_for_their_room() -> None:
    seen: List[str] = []

    def part(name: str) -> Scorer:
        async def room(depth: int) -> None:
            seen.append(f"{name} {depth}")

        return Scorer({"scorer": name}, two_score, room=room, close=lambda: seen.append(name))

    both = cascade([part("a"), part("b")], 0)

    async def wait() -> None:
        await both.room(8)

    asyncio.run(wait())
    both.close()
    assert seen == ["a 8", "b 8", "a", "b"]


# --- verifiers --------------------------------------------------------------------------------------------------------


def verified(folder: Path, body: str, low: float = 0.0, high: float = 10.0, text: str = "4") -> Score:
    """What a function of this body makes of an answer."""
    path = folder / "check.py"
    path.write_text(f"def verify(question, reference, answer):\n    {body}\n")

    async def run() -> Score:
        scorer = verifier_scorer({"scorer": "python:x"}, Verifier(f"python:{path}:verify"), low, high)
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
        ("return None", Score(None, unscored="python:x gave no score")),
    ],
)
def test_a_users_verdict_becomes_a_score(tmp_path: Path, body: str, score: Score) -> None:
    assert verified(tmp_path, body) == score


def test_true_is_the_top_of_any_range_and_no_1(tmp_path: Path) -> None:
    assert verified(tmp_path, "return True", low=-5.0, high=5.0) == Score(5.0)


def test_a_number_outside_the_range_is_an_error_and_no_score(tmp_path: Path) -> None:
    with pytest.raises(VerifierFailed, match=r"python:x gave 11, which is not from 0 to 10"):
        verified(tmp_path, "return 11")


def test_what_the_users_function_raises_is_named(tmp_path: Path) -> None:
    with pytest.raises(VerifierFailed, match=r"check.py:verify raised ValueError: bad thing \(check.py line 2\)"):
        verified(tmp_path, "raise ValueError('bad thing')")
