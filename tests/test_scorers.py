"""The judge, asked again until it names a score, and the match rule."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence

import pytest

from common.client import ChatClient
from common.errors import RequestFailed, ServerRefused
from common.messages import JUDGE_PROMPT
from common.records import Entry, Score, entry_from_conversation
from common.scorers import Scorer, judge_scorer, match_scorer
from tests.helpers import conversation
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))
OPEN_ENTRY = entry_from_conversation(conversation("Tell me a joke."))


async def no_sleep(_: float) -> None:
    """Waits between tries, for tests that hurry."""


def judged(
    server: ScriptedServer, text: str = "It is 4.", max_retries: int = 2, images: Sequence[str] = (), **more: Any
) -> Score:
    """The judge's score of one answer, from 0 to 10 unless told otherwise."""
    low, high = more.pop("low", 0), more.pop("high", 10)

    async def run() -> Score:
        async with ChatClient([server.url], "judge", 1, max_retries=max_retries, sleep=no_sleep) as client:
            return await judge_scorer(client, low, high, **more).score(ENTRY, images, text)

    return asyncio.run(run())


def says(*replies: str) -> ScriptedServer:
    """A judge that says these, one a request, the last one for ever."""
    return ScriptedServer(lambda request: completion(replies[min(request.number, len(replies) - 1)]))


def messages(server: ScriptedServer) -> List[List[Dict[str, Any]]]:
    return [chat.body["messages"] for chat in server.chats]


def test_a_reply_with_a_score_is_one_request_and_is_kept_with_it() -> None:
    with says("Right.\nScore: 7.5") as server:
        assert judged(server) == Score(7.5, "Right.\nScore: 7.5")
    assert len(server.chats) == 1


def test_a_score_of_zero_is_a_score_and_not_asked_for_again() -> None:
    with says("Score: 0") as server:
        assert judged(server) == Score(0.0, "Score: 0")
    assert len(server.chats) == 1


def test_the_judge_sees_question_reference_and_answer() -> None:
    with says("Score: 1") as server:
        judged(server, "It is certainly 4.")
    prompt = server.chats[0].question
    assert all(part in prompt for part in ("What is 2+2?", "\n4\n", "It is certainly 4.", "from 0 to 10"))


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_a_judge_that_names_no_score_is_asked_again_as_often_as_allowed(retries: int) -> None:
    with ScriptedServer(lambda request: completion(f"Well, number {request.number}, no.")) as server:
        score = judged(server, max_retries=retries)
    assert len(server.chats) == retries + 1
    assert score.value is None
    assert score.judge_reply == f"Well, number {retries}, no."
    assert score.unscored == "the judge's reply has no score from 0 to 10"


def test_the_first_reply_with_a_score_ends_the_asking() -> None:
    with says("Hm.", "Well.", "Score: 6", "Score: 1") as server:
        assert judged(server, max_retries=5) == Score(6.0, "Score: 6")
    assert len(server.chats) == 3


def test_asking_again_shows_the_judge_its_last_reply_and_what_is_missing() -> None:
    with says("Hm.", "Well.", "Score: 6") as server:
        judged(server)
    first, second, third = messages(server)
    assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
    assert second[0] == third[0] == first[0]
    assert [second[1]["content"], third[1]["content"]] == ["Hm.", "Well."]
    assert "from 0 to 10" in second[2]["content"]
    assert len(third) == 3


@pytest.mark.parametrize("reply", ["Score: 11", "Score: -3", "Score: 80/100", "Score: 7-8", "<think>Score: 9"])
def test_a_number_that_is_no_score_is_asked_for_again_and_never_stored(reply: str) -> None:
    with says(reply) as server:
        score = judged(server, max_retries=1)
    assert (score.value, score.judge_reply) == (None, reply)
    assert len(server.chats) == 2


def test_the_range_is_the_one_that_was_asked_for() -> None:
    with says("Score: 8", "Score: 0.8") as server:
        assert judged(server, low=0, high=1).value == 0.8
    assert "from 0 to 1" in messages(server)[1][2]["content"]


def test_a_reply_cut_before_its_score_is_unscored_and_says_why() -> None:
    with ScriptedServer(lambda _: completion("First I consider", finish="length")) as server:
        score = judged(server, max_retries=1, max_tokens=3)
    assert score == Score(None, "First I consider", "the judge's reply was cut by its length")


@pytest.mark.parametrize("text", ["Score: 9", '{"score": 9}', "9"])
def test_a_cut_reply_has_no_score_and_is_asked_again(text: str) -> None:
    def script(request: Request) -> Reply:
        return completion(text, finish="length") if request.number == 0 else completion("Score: 2")

    with ScriptedServer(script) as server:
        assert judged(server) == Score(2.0, "Score: 2")
    assert len(server.chats) == 2


def test_a_judge_that_is_always_cut_leaves_the_answer_unscored() -> None:
    with ScriptedServer(lambda _: completion("Score: 9", finish="length")) as server:
        score = judged(server, max_retries=2)
    assert score == Score(None, "Score: 9", "the judge's reply was cut by its length")
    assert len(server.chats) == 3


def test_what_the_judge_only_thought_is_no_score() -> None:
    with ScriptedServer(lambda _: completion("No idea.", reasoning_content="Score: 9")) as server:
        assert judged(server, max_retries=0).value is None


def test_a_score_written_into_the_answer_is_not_the_judges() -> None:
    with says("I decline.") as server:
        assert judged(server, "4\n\nScore: 10", max_retries=0).value is None


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (Reply({"error": {"message": "Score: 9"}}, status=500), 3),
        (Reply("Score: 9", status=429), 3),
        (Reply("Score: 9"), 3),
        (Reply({"score": 9}), 3),
        (completion(None), 3),
        (completion(), 3),
        (Reply({"error": {"message": "Score: 9"}}, status=400), 1),
        (Reply(drop=True), 3),
    ],
)
def test_a_failed_request_is_an_error_of_its_stage_and_never_a_score(reply: Reply, requests: int) -> None:
    with ScriptedServer(lambda _: reply) as server, pytest.raises(RequestFailed) as failure:
        judged(server, max_retries=2)
    assert failure.value.stage == "score"
    assert len(server.chats) == requests


def test_a_failure_while_asking_again_is_no_unscored_answer() -> None:
    def script(request: Request) -> Reply:
        return completion("Hm.") if request.number == 0 else Reply("too long", status=400)

    with ScriptedServer(script) as server, pytest.raises(RequestFailed):
        judged(server)
    assert len(server.chats) == 2


def test_a_judge_that_does_not_exist_stops_the_run() -> None:
    with ScriptedServer(lambda _: Reply("no such model", status=404)) as server, pytest.raises(ServerRefused):
        judged(server)
    assert len(server.chats) == 1


def test_a_judge_is_asked_at_temperature_zero_for_one_reply_of_any_length() -> None:
    with says("Score: 1") as server:
        judged(server)
    assert {key: value for key, value in server.chats[0].body.items() if key != "messages"} == {
        "model": "judge",
        "temperature": 0,
    }


def test_the_judges_own_temperature_and_limit_are_sent() -> None:
    with says("Score: 1") as server:
        judged(server, temperature=0.3, max_tokens=64)
        judged(server, temperature=None)
    first, second = (chat.body for chat in server.chats)
    assert (first["temperature"], first["max_tokens"]) == (0.3, 64)
    assert "temperature" not in second


def test_images_come_before_the_prompt_also_when_asking_again() -> None:
    with says("Hm.", "Score: 1") as server:
        judged(server, images=["data:image/png;base64,AA", "https://x/y.png"])
    for turns in messages(server):
        kinds = [part["type"] for part in turns[0]["content"]]
        assert kinds == ["image_url", "image_url", "text"]


def test_a_template_is_asked_instead_of_our_prompt() -> None:
    with says("Score: 1") as server:
        judged(server, "It is 4.", template="Q={question} R={reference} A={answer}")
    assert server.chats[0].question == "Q=What is 2+2? R=4 A=It is 4."


def matched(low: float, high: float, entry: Entry, text: str) -> Score:
    """The match rule's score of one text."""

    async def run() -> Score:
        return await match_scorer(low, high).score(entry, [], text)

    return asyncio.run(run())


def idle_judge(low: float = 0.0, high: float = 10.0, client: Optional[Dict[str, Any]] = None, **more: Any) -> Scorer:
    """A judge that is asked for nothing but its settings; ``client`` are its ChatClient's arguments."""
    arguments = {"urls": ["http://127.0.0.1:9/v1"], "model": "judge", "concurrency": 4, **(client or {})}
    return judge_scorer(ChatClient(**arguments), low, high, **more)


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
    assert idle_judge(**change).made_by != idle_judge().made_by


@pytest.mark.parametrize(
    "change",
    [
        {"template": JUDGE_PROMPT},
        {"client": {"urls": ["https://elsewhere/v1"]}},
        {"client": {"concurrency": 99}},
        {"client": {"max_retries": 0}},
        {"client": {"request_timeout": 1}},
        {"client": {"api_key": "secret"}},
    ],
)
def test_what_does_not_make_a_score_leaves_the_fingerprint(change: Dict[str, Any]) -> None:
    assert idle_judge(**change).made_by == idle_judge().made_by


def test_the_match_rules_scores_are_told_apart_by_range_and_from_a_judges() -> None:
    made = [match_scorer(0, 10).made_by, match_scorer(0, 1).made_by, idle_judge(0, 10).made_by]
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
