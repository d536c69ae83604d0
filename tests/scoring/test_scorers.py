"""Scorers: the judge's settings, the rules, and cascades."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Dict, List, Optional, Sequence

import pytest

from common.errors import UsageError
from common.input.conversations import entry_from_conversation
from common.records import Entry, Score
from common.scoring.judge import Judge
from common.scoring.judge_prompt import own_prompt
from common.scoring.match import Match
from common.scoring.rules import RuleFailed
from common.scoring.scorers import SCORERS, Cascade, add_scorer_flags, make_scorer, needs_client, scorer_name
from common.scoring.shapes import AnswerScorer
from common.servers.client import ChatClient
from tests.helpers import conversation

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))
OPEN_ENTRY = entry_from_conversation(conversation("Tell me a joke."))


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
        {"template": own_prompt("text")},
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


# --- cascades ---------------------------------------------------------------------------------------------------------


class Fixed(AnswerScorer):
    """A scorer that always gives the same score; ``log`` is told of everything it is asked for."""

    def __init__(self, name: str, score: Score, log: Optional[List[str]] = None, setting: int = 1) -> None:
        super().__init__({f"{name} own": setting, "score_min": 0}, name)
        self._score = score
        self._log = [] if log is None else log

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        self._log.append(self.name)
        return self._score

    async def room(self, depth: int) -> None:
        self._log.append(f"{self.name} {depth}")

    def close(self) -> None:
        self._log.append(f"{self.name} closed")


def decided(*scorers: AnswerScorer) -> Score:
    """What a cascade says of an answer."""
    return asyncio.run(Cascade(scorers).score(ENTRY, [], "x"))


UNSURE = Score(0.0, unsure="the words differ, but may mean the same")
MISS, HIT, NOTHING = Score(0.0), Score(10.0), Score(None, unscored="no idea")
UNREAD = Score(None, "hm", "the judge's reply has no score", judge_usage={"requests": 3})


class Paid(Fixed):
    """A scorer that sends requests."""

    needs_client = True


class Failing(Fixed):
    """A rule that fails."""

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        raise RuleFailed("it took longer than 30 s")


def test_the_first_that_decides_is_named_and_no_request_is_sent_after_it() -> None:
    asked: List[str] = []
    scorers = [Fixed("match", HIT, log=asked), Paid("judge", MISS, log=asked)]
    assert decided(*scorers) == HIT._replace(scorer="match")
    assert asked == ["match"]


def test_a_free_rule_that_contradicts_the_first_is_kept_with_the_score() -> None:
    scorers = [Fixed("match", HIT), Paid("judge", MISS), Failing("python:a.py:f", HIT), Fixed("math", MISS)]
    assert decided(*scorers) == HIT._replace(scorer="match", verdicts={"match": 10.0, "math": 0.0})


@pytest.mark.parametrize("later", [HIT, UNSURE, NOTHING])
def test_a_rule_that_agrees_or_does_not_decide_contradicts_nothing(later: Score) -> None:
    assert decided(Fixed("match", HIT), Fixed("math", later)) == HIT._replace(scorer="match")


def test_who_cannot_say_passes_it_on() -> None:
    assert decided(Fixed("math", NOTHING), Fixed("judge", Score(6.0))) == Score(6.0, scorer="judge")


def test_a_sure_miss_decides_and_an_unsure_one_does_not() -> None:
    assert decided(Fixed("math", MISS), Paid("judge", HIT)) == MISS._replace(scorer="math")
    assert decided(Fixed("match", UNSURE), Fixed("judge", HIT)) == HIT._replace(scorer="judge")


def test_an_unsure_miss_counts_where_no_rule_after_it_has_a_say() -> None:
    assert decided(Fixed("match", UNSURE), Fixed("math", NOTHING)) == UNSURE._replace(scorer="match")


def test_an_unsure_miss_does_not_stand_in_for_a_judge_that_was_asked() -> None:
    """The rule was not sure, the judge could not be read: whoever trains on a 0 here trains on an invention."""
    assert decided(Fixed("match", UNSURE), Fixed("judge", UNREAD)) == UNREAD._replace(scorer="judge")


def test_where_nobody_decides_the_last_reason_is_kept() -> None:
    first, last = Score(None, unscored="no reference"), Score(None, unscored="nothing to parse")
    assert decided(Fixed("match", first), Fixed("math", last)) == last._replace(scorer="math")


def test_a_cascade_of_match_needs_no_reference() -> None:
    scorer = Cascade([Match(0, 10), Fixed("judge", Score(3.0))])
    assert asyncio.run(scorer.score(OPEN_ENTRY, [], "x")) == Score(3.0, scorer="judge")


def test_a_cascade_s_scores_are_its_own_and_told_apart_by_each_of_its_parts() -> None:
    one, two, other = Fixed("a", HIT), Fixed("b", HIT), Fixed("b", HIT, setting=2)
    made = [Cascade(parts).settings_id for parts in ([one, two], [two, one], [one, other])]
    assert len({*made, one.settings_id, two.settings_id}) == 5


def test_a_cascade_ends_what_its_parts_started_and_waits_for_their_room() -> None:
    log: List[str] = []
    both = Cascade([Fixed("a", HIT, log=log), Fixed("b", HIT, log=log)])
    asyncio.run(both.room(8))
    assert both.idle()
    both.close()
    assert log == ["a 8", "b 8", "a closed", "b closed"]


# --- flags ------------------------------------------------------------------------------------------------------------


def parsed(*words: str) -> argparse.Namespace:
    """The flags of scorers, with those of the scripts that they need."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int)
    add_scorer_flags(parser)
    return parser.parse_args(words)


def test_a_scorer_is_registered_by_its_own_name_and_says_how_it_is_used() -> None:
    for name, scorer in SCORERS.items():
        assert scorer.name == name == scorer.usage.partition(":")[0]
        assert scorer.help


@pytest.mark.parametrize("name", ["judge", "match", "math", "python:check.py:verify", "python:"])
def test_the_name_of_a_scorer_is_taken(name: str) -> None:
    assert scorer_name(name) == name


@pytest.mark.parametrize("name", ["", "Judge", "nonsense", "match:5", "judge:", "python", ":", "check.py:verify"])
def test_another_name_is_refused_with_all_the_names_that_there_are(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        scorer_name(name)
    assert str(caught.value).startswith("must be judge, match, math")
    assert " or " in str(caught.value)
    assert str(caught.value).endswith(f", not {name!r}")
    assert all(scorer.usage in str(caught.value) for scorer in SCORERS.values())


def test_only_models_need_a_server() -> None:
    assert needs_client(parsed().scorer)
    assert needs_client(["reward"])
    assert needs_client(["match", "judge"])
    assert not needs_client(["match", "math", "python:judge:judge"])


def test_the_flags_make_the_scorer_or_the_cascade() -> None:
    assert isinstance(make_scorer(parsed("--scorer", "match"), None), Match)
    client = ChatClient(["http://127.0.0.1:9/v1"], "judge", 4)
    scorer = make_scorer(parsed("--scorer", "match", "judge", "--judge_images"), client)
    assert isinstance(scorer, Cascade)
    assert (scorer.name, scorer.wants_images) == ("match judge", True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--scorer match match", "--scorer match match names a scorer twice"),
        ("--scorer match --score_min 5 --score_max 5", "--score_min 5 must be below --score_max 5"),
        ("--scorer python:", "--scorer python:: it must be python:FILE.py:FUNCTION"),
    ],
)
def test_flags_that_fit_no_scorer_are_refused(words: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make_scorer(parsed(*words.split()), None)
