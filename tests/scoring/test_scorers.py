"""Scorers: the judge's settings, the match rule, and cascades."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence

import pytest

from common.input.conversations import entry_from_conversation
from common.records import Entry, Score
from common.scoring.judge import Judge
from common.scoring.judge_prompt import ENDINGS, JUDGE_PROMPT
from common.scoring.match import Match
from common.scoring.scorers import Cascade
from common.scoring.shapes import AnswerScorer
from common.servers.client import ChatClient
from tests.helpers import conversation

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))
OPEN_ENTRY = entry_from_conversation(conversation("Tell me a joke."))


def matched(low: float, high: float, entry: Entry, text: str) -> Score:
    """The match rule's score of one text."""

    async def run() -> Score:
        return await Match(low, high).score(entry, [], text)

    return asyncio.run(run())


def idle_judge(low: float = 0.0, high: float = 10.0, client: Optional[Dict[str, Any]] = None, **more: Any) -> Judge:
    """A judge that is asked for nothing but its settings; ``client`` are its ChatClient's arguments."""
    arguments = {"urls": ["http://127.0.0.1:9/v1"], "model": "judge", "concurrency": 4, **(client or {})}
    return Judge(ChatClient(**arguments), low, high, **more)


@pytest.mark.parametrize(
    "change",
    [
        {"low": 1.0},
        {"high": 5.0},
        {"template": "{answer}"},
        {"temperature": 0.5},
        {"temperature": None},
        {"max_tokens": 9},
        {"wants_images": True},
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
    made = [Match(0, 10).settings_id, Match(0, 1).settings_id, idle_judge(0, 10).settings_id]
    assert len(set(made)) == 3


def test_only_a_judge_that_is_to_see_images_wants_them() -> None:
    assert [idle_judge().wants_images, idle_judge(wants_images=True).wants_images, Match(0, 1).wants_images] == [
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


class Fixed(AnswerScorer):
    """A scorer that gives these one after another, the last for ever."""

    def __init__(
        self, name: str, *scores: Score, sure: bool = True, asked: Optional[List[str]] = None, own: int = 1
    ) -> None:
        super().__init__({f"{name} own": own, "score_min": 0}, name)
        self.low_is_final = sure
        self._waiting = list(scores)
        self._asked = asked

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        if self._asked is not None:
            self._asked.append(self.name)
        return self._waiting.pop(0) if len(self._waiting) > 1 else self._waiting[0]


def decided(*scorers: AnswerScorer) -> Score:
    """What a cascade says of an answer."""

    async def run() -> Score:
        return await Cascade(scorers, 0.0).score(ENTRY, [], "x")

    return asyncio.run(run())


MISS, HIT, NOTHING = Score(0.0), Score(10.0), Score(None, unscored="no idea")
UNREAD = Score(None, "hm", "the judge's reply has no score", judge_usage={"requests": 3})


def test_the_first_that_decides_ends_the_asking_and_is_named() -> None:
    asked: List[str] = []
    scorers = [Fixed("match", HIT, asked=asked), Fixed("math", MISS, asked=asked)]
    assert decided(*scorers) == HIT._replace(scorer="match")
    assert asked == ["match"]


def test_who_cannot_say_passes_it_on() -> None:
    assert decided(Fixed("math", NOTHING), Fixed("judge", Score(6.0))) == Score(6.0, scorer="judge")


def test_a_sure_miss_decides_and_an_unsure_one_does_not() -> None:
    assert decided(Fixed("math", MISS), Fixed("judge", HIT)) == MISS._replace(scorer="math")
    assert decided(Fixed("match", MISS, sure=False), Fixed("judge", HIT)) == HIT._replace(scorer="judge")


def test_an_unsure_miss_counts_where_no_rule_after_it_has_a_say() -> None:
    assert decided(Fixed("match", MISS, sure=False), Fixed("math", NOTHING)) == MISS._replace(scorer="match")


def test_an_unsure_miss_does_not_stand_in_for_a_judge_that_was_asked() -> None:
    """The rule was not sure, the judge could not be read: whoever trains on a 0 here trains on an invention."""
    assert decided(Fixed("match", MISS, sure=False), Fixed("judge", UNREAD)) == UNREAD._replace(scorer="judge")


def test_where_nobody_decides_the_last_reason_is_kept() -> None:
    first, last = Score(None, unscored="no reference"), Score(None, unscored="nothing to parse")
    assert decided(Fixed("match", first), Fixed("math", last)) == last._replace(scorer="math")


def test_a_cascade_of_match_needs_no_reference() -> None:
    async def run() -> Score:
        return await Cascade([Match(0, 10), Fixed("judge", Score(3.0))], 0).score(OPEN_ENTRY, [], "x")

    assert asyncio.run(run()) == Score(3.0, scorer="judge")


def test_a_cascade_s_scores_are_its_own_and_told_apart_by_each_of_its_parts() -> None:
    one, two, other = Fixed("a", HIT), Fixed("b", HIT), Fixed("b", HIT, own=2)
    made = [Cascade(parts, 0).settings_id for parts in ([one, two], [two, one], [one, other])]
    assert len({*made, one.settings_id, two.settings_id}) == 5


def test_a_cascade_ends_what_its_parts_started_and_waits_for_their_room() -> None:
    seen: List[str] = []

    class Part(Fixed):
        async def room(self, depth: int) -> None:
            seen.append(f"{self.name} {depth}")

        def close(self) -> None:
            seen.append(self.name)

    both = Cascade([Part("a", HIT), Part("b", HIT)], 0)

    async def wait() -> None:
        await both.room(8)

    asyncio.run(wait())
    both.close()
    assert seen == ["a 8", "b 8", "a", "b"]
