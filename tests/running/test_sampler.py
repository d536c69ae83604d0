"""From an entry to its answers: requests, choices, seeds, fingerprints."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from common.errors import RequestFailed, ServerRefused
from common.input.conversations import entry_from_conversation
from common.records import Answer, Entry
from common.running.sampler import Sampler
from common.servers.client import ChatClient
from tests.helpers import conversation
from tests.scripted_server import Reply, Request, ScriptedServer, completion

ENTRY = entry_from_conversation(conversation("2+2?", "4"))
MESSAGES = b'[{"role": "user", "content": "2+2?"}]'
Kept = List[Tuple[int, str]]


async def no_sleep(_: float) -> None:
    """Waits between tries, for tests that must not wait."""


def an_idle_sampler(count: int = 4, client: Optional[Dict[str, Any]] = None, **settings: Any) -> Sampler:
    """One that is asked for nothing but its settings; ``client`` are its ChatClient's arguments."""
    arguments = {"urls": ["http://127.0.0.1:9/v1"], "model": "m", "concurrency": 4, **(client or {})}
    return Sampler(ChatClient(**arguments), count, **settings)


def draw(
    server: ScriptedServer, missing: Sequence[int], entry: Entry = ENTRY, kept: Optional[Kept] = None, **more: Any
) -> Kept:
    """What ``keep`` was given while the missing answers were drawn, one request at a time."""
    taken: Kept = [] if kept is None else kept

    async def run() -> None:
        extra = more.pop("extra_body", None)
        async with ChatClient([server.url], "m", 1, max_retries=2, extra_body=extra, sleep=no_sleep) as client:
            sampler = Sampler(client, len(missing), **more)
            for one in sampler.requests(entry, MESSAGES, missing, lambda i, answer: taken.append((i, answer.text))):
                await one

    asyncio.run(run())
    return taken


def as_asked(request: Request) -> Reply:
    """A server that honours ``n``; its texts are numbered through."""
    return completion(*(f"{request.number}.{place}" for place in range(request.body.get("n", 1))))


def asked(server: ScriptedServer, field: str) -> List[Any]:
    """The values of one field in the requests, None where it was not sent."""
    return [chat.body.get(field) for chat in server.chats]


def test_each_answer_is_a_request_without_n_unless_told_otherwise() -> None:
    with ScriptedServer(as_asked) as server:
        assert draw(server, range(3)) == [(0, "0.0"), (1, "1.0"), (2, "2.0")]
    assert ["n" in chat.body for chat in server.chats] == [False] * 3


@pytest.mark.parametrize(
    ("count", "per_request", "n"),
    [(10, 4, [4, 4, 2]), (4, 4, [4]), (5, 4, [4, None]), (3, 8, [3]), (1, 8, [None]), (0, 8, [])],
)
def test_choices_are_asked_for_in_as_few_requests_as_allowed(count: int, per_request: int, n: List[int]) -> None:
    with ScriptedServer(as_asked) as server:
        kept = draw(server, range(count), per_request=per_request)
    assert asked(server, "n") == n
    assert [index for index, _ in kept] == list(range(count))
    assert len({text for _, text in kept}) == count


def test_only_the_missing_are_drawn_and_under_their_own_numbers() -> None:
    with ScriptedServer(as_asked) as server:
        kept = draw(server, [1, 4, 5], per_request=2)
    assert kept == [(1, "0.0"), (4, "0.1"), (5, "1.0")]


def test_a_server_that_ignores_n_is_asked_again_for_the_rest() -> None:
    with ScriptedServer(lambda request: completion(str(request.number))) as server:
        assert draw(server, range(4), per_request=4) == [(0, "0"), (1, "1"), (2, "2"), (3, "3")]
    assert asked(server, "n") == [4, 3, 2, None]


def test_a_server_that_gives_fewer_is_asked_for_what_is_left() -> None:
    with ScriptedServer(lambda request: completion("a", "b")) as server:
        kept = draw(server, range(5), per_request=5)
    assert asked(server, "n") == [5, 3, None]
    assert [index for index, _ in kept] == [0, 1, 2, 3, 4]


def test_choices_that_nobody_asked_for_serve_the_requests_that_are_not_sent_yet() -> None:
    for per_request, requests in ((1, 2), (2, 2), (3, 2)):
        with ScriptedServer(lambda request: completion(*(f"{request.number}.{n}" for n in range(4)))) as server:
            kept = draw(server, range(6), per_request=per_request)
        assert sorted(index for index, _ in kept) == list(range(6))
        assert len({text for _, text in kept}) == 6
        assert len(server.chats) == requests


def test_choices_that_no_index_needs_are_left_out() -> None:
    with ScriptedServer(lambda request: completion("a", "b", "c", "d", "e")) as server:
        assert [index for index, _ in draw(server, range(2), per_request=2)] == [0, 1]
    assert len(server.chats) == 1


def test_a_request_that_waits_asks_only_for_what_others_did_not_bring() -> None:
    with ScriptedServer(
        lambda request: completion("a", "b", "c") if not request.number else as_asked(request)
    ) as server:
        kept: Kept = []

        async def run() -> None:
            async with ChatClient([server.url], "m", 1, sleep=no_sleep) as client:
                sampler = Sampler(client, 5, per_request=2)
                later = [7, 8]
                keep = lambda index, answer: kept.append((index, answer.text))
                await asyncio.gather(*sampler.requests(ENTRY, MESSAGES, [0, 1, 2, 3], keep, later))
                assert later == [7, 8]
                [last] = sampler.requests(ENTRY, MESSAGES, [4], keep, later)
                await last
                assert later == [7, 8]

        asyncio.run(run())
    assert [index for index, _ in kept] == [0, 1, 2, 3, 4]
    assert asked(server, "n") == [2, None, None]


def test_choices_that_nobody_asked_for_serve_what_is_to_be_asked_for_later() -> None:
    later, kept = [7, 8, 9], []
    with ScriptedServer(lambda request: completion("a", "b", "c")) as server:

        async def run() -> None:
            async with ChatClient([server.url], "m", 1, sleep=no_sleep) as client:
                [request] = Sampler(client, 4).requests(
                    ENTRY, MESSAGES, [0], lambda index, answer: kept.append((index, answer.text)), later
                )
                await request

        asyncio.run(run())
    assert (kept, later) == ([(0, "a"), (7, "b"), (8, "c")], [9])


def test_an_empty_choice_is_no_answer_and_is_drawn_again() -> None:
    def script(request: Request) -> Reply:
        return completion("a", "", "c") if request.number == 0 else completion("later")

    with ScriptedServer(script) as server:
        assert draw(server, range(3), per_request=3) == [(0, "a"), (1, "c"), (2, "later")]
    assert asked(server, "n") == [3, None]


def test_at_temperature_zero_choices_are_never_asked_for() -> None:
    with ScriptedServer(as_asked) as server:
        kept = draw(server, range(3), per_request=4, temperature=0)
    assert ["n" in chat.body for chat in server.chats] == [False] * 3
    assert asked(server, "temperature") == [0, 0, 0]
    assert [index for index, _ in kept] == [0, 1, 2]


def test_parameters_are_sent_as_given_and_not_at_all_where_not_given() -> None:
    with ScriptedServer(as_asked) as server:
        draw(server, [0])
        draw(server, [0], temperature=0.7, top_p=0.9, max_tokens=55, extra_body={"top_k": 20})
    given = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 55, "top_k": 20}
    always = {"model": "m", "messages": json.loads(MESSAGES)}
    assert [chat.body for chat in server.chats] == [always, {**always, **given}]


def test_without_a_seed_none_is_sent() -> None:
    with ScriptedServer(as_asked) as server:
        draw(server, range(2))
    assert ["seed" in chat.body for chat in server.chats] == [False, False]


def test_every_candidate_of_every_entry_has_a_seed_of_its_own_that_fits_31_bits() -> None:
    entries = [entry_from_conversation(conversation(f"question {n}?")) for n in range(5)]
    with ScriptedServer(as_asked) as server:
        for entry in entries:
            draw(server, range(6), entry, seed=0)
    seeds = asked(server, "seed")
    assert len(set(seeds)) == 30
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in seeds)


def test_the_same_candidate_has_the_same_seed_in_every_run() -> None:
    with ScriptedServer(as_asked) as server:
        draw(server, range(3), seed=7)
        draw(server, range(3), seed=7)
        draw(server, [2], seed=7)
    seeds = asked(server, "seed")
    assert seeds[:3] == seeds[3:6]
    assert seeds[6] == seeds[2]


def test_another_seed_makes_every_candidates_seed_another_one() -> None:
    with ScriptedServer(as_asked) as server:
        draw(server, range(4), seed=1)
        draw(server, range(4), seed=2)
    assert len(set(asked(server, "seed"))) == 8


def test_a_top_up_never_repeats_the_seed_it_was_short_with() -> None:
    with ScriptedServer(lambda request: completion("the same")) as server:
        draw(server, range(4), per_request=4, seed=3)
    assert len(set(asked(server, "seed"))) == 4


def test_answers_that_came_before_a_failure_are_kept_and_the_failure_names_its_stage() -> None:
    def script(request: Request) -> Reply:
        return completion("a", "b") if request.number == 0 else Reply({"error": {"message": "bad"}}, status=400)

    kept: Kept = []
    with ScriptedServer(script) as server, pytest.raises(RequestFailed) as failure:
        draw(server, range(4), kept=kept, per_request=4)
    assert kept == [(0, "a"), (1, "b")]
    assert (failure.value.stage, failure.value.status) == ("sample", 400)
    assert len(server.chats) == 2


@pytest.mark.parametrize("reply", [Reply("no", status=500), Reply("<html>"), completion("", " \n"), completion()])
def test_what_is_no_completion_is_never_an_answer(reply: Reply) -> None:
    kept: Kept = []
    with ScriptedServer(lambda _: reply) as server, pytest.raises(RequestFailed) as failure:
        draw(server, [0], kept=kept)
    assert kept == []
    assert failure.value.stage == "sample"
    assert len(server.chats) == 3  # max_retries is 2


def test_a_refusal_of_every_request_is_no_failure_of_this_entry() -> None:
    with ScriptedServer(lambda _: Reply("who?", status=401)) as server, pytest.raises(ServerRefused):
        draw(server, [0])
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    ("finish", "drawn_with", "max_tokens", "stands"),
    [
        ("stop", 100, 200, True),
        ("stop", None, None, True),
        (None, 100, 200, True),
        ("tool_calls", 100, 200, True),
        ("length", 100, 100, True),
        ("length", 100, 50, True),
        ("length", None, 50, True),
        ("length", None, None, True),
        ("length", 100, 101, False),
        ("length", 100, None, False),
    ],
)
def test_only_an_answer_cut_by_a_smaller_limit_is_drawn_again(
    finish: Optional[str], drawn_with: Optional[int], max_tokens: Optional[int], stands: bool
) -> None:
    assert an_idle_sampler(max_tokens=max_tokens).usable(Answer("text", finish), drawn_with) is stands


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"temperature": 0},
        {"top_p": 0.5},
        {"seed": 1},
        {"seed": 0},
        {"system_prompt": "Be brief."},
        {"client": {"model": "another"}},
        {"client": {"extra_body": {"top_k": 20}}},
    ],
)
def test_what_makes_an_answer_changes_the_fingerprint(change: Dict[str, Any]) -> None:
    assert an_idle_sampler(**change).settings_id != an_idle_sampler().settings_id


@pytest.mark.parametrize(
    "change",
    [
        {"count": 99},
        {"per_request": 8},
        {"max_tokens": 9},
        {"client": {"urls": ["https://elsewhere/v1", "http://127.0.0.1:8/v1"]}},
        {"client": {"concurrency": 99}},
        {"client": {"max_retries": 0}},
        {"client": {"request_timeout": 1}},
        {"client": {"api_key": "secret"}},
        {"client": {"extra_body": {}}},
    ],
)
def test_what_does_not_make_an_answer_leaves_the_fingerprint(change: Dict[str, Any]) -> None:
    assert an_idle_sampler(**change).settings_id == an_idle_sampler().settings_id


def test_the_order_of_extra_body_does_not_matter() -> None:
    bodies: List[Dict[str, Any]] = [{"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}]
    one, other = (an_idle_sampler(client={"extra_body": body}).settings_id for body in bodies)
    assert one == other
