"""Whose fault a refusal is: the prompt's, or that of the key, the model or the fields, which every request shares."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.errors import RequestFailed, ServerRefused
from common.servers.client import ChatClient
from common.servers.refusals import ENTRIES, FEW, MANY
from tests.scripted_server import Reply, Request, Script, ScriptedServer, completion
from tests.servers.test_client import MESSAGES, Naps


def refusal(status: int) -> Reply:
    return completion(None, finish="content_filter") if status == 200 else Reply({"error": "refused"}, status)


def play(scripts: list[Script], entries: list[str], concurrency: int = 4, before: bool = False) -> Any:
    """What came of a request of each entry (an answer's text, or a status), or the error that stopped the run; and
    how many requests each server got."""

    async def session(urls: list[str]) -> list[Any]:
        client = ChatClient(urls, "model", concurrency, max_retries=0, sleep=Naps())
        client.answered_before = before
        async with client:
            requests = [client.complete(MESSAGES, {"user": entry}, entry_id=entry) for entry in entries]
            ended = await asyncio.gather(*requests, return_exceptions=True)
        if any(isinstance(one, ServerRefused) for one in ended):
            return [one for one in ended if isinstance(one, ServerRefused)][:1]
        return [one.status if isinstance(one, RequestFailed) else one[0].text for one in ended]

    servers = [ScriptedServer(script) for script in scripts]
    for server in servers:
        server.start()
    try:
        return asyncio.run(session([server.url for server in servers])), [len(server.chats) for server in servers]
    finally:
        for server in servers:
            server.stop()


def refusing(status: int, *bad: str, delay: float = 0.0) -> Script:
    """Refuses the named entries, at once, and answers the others."""

    def script(request: Request) -> Reply:
        return refusal(status) if request.body["user"] in bad else completion("4", delay=delay)

    return script


def names(count: int, each: int = 1) -> list[str]:
    return [f"entry {number}" for number in range(count) for _ in range(each)]


@pytest.mark.parametrize("status", [200, 400, 402, 403, 404, 422])
@pytest.mark.parametrize("place", [0, 1, 7])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_one_refused_prompt_fails_alone_wherever_it_stands(status: int, place: int, concurrency: int) -> None:
    ended, _ = play([refusing(status, f"entry {place}")], names(8), concurrency)
    assert ended == ["4"] * place + [status] + ["4"] * (7 - place)


@pytest.mark.parametrize("status", [400, 403])
def test_refusals_that_are_faster_than_the_first_answers_do_not_stop_the_run(status: int) -> None:
    bad = names(20, 4)
    ended, _ = play([refusing(status, *bad, delay=0.1)], [*bad, *(f"good {n}" for n in range(30))], concurrency=100)
    assert ended == [status] * 80 + ["4"] * 30


@pytest.mark.parametrize("status", [402, 403, 404])
def test_a_model_that_refuses_everything_stops_the_run_after_a_few(status: int) -> None:
    (error,), (asked,) = play([lambda _: refusal(status)], names(50))
    assert f"{status} refused (" in str(error)
    assert asked <= FEW + 4


@pytest.mark.parametrize("status", [200, 400, 405, 422])
def test_requests_that_are_all_refused_alike_stop_the_run_after_a_few_tens(status: int) -> None:
    (error,), (asked,) = play([lambda _: refusal(status)], names(50, 4))
    assert "requests ended like this" in str(error)
    assert MANY <= asked <= MANY + 4


def test_many_refusals_of_few_entries_stop_nothing() -> None:
    ended, _ = play([lambda _: refusal(400)], names(ENTRIES - 1, 30))
    assert ended == [400] * 30 * (ENTRIES - 1)


def test_refusals_of_different_kinds_stop_nothing() -> None:
    mixed: Script = lambda request: refusal(400 if request.number % 20 else 422)
    ended, _ = play([mixed], names(60), concurrency=1)
    assert set(ended) == {400, 422}


@pytest.mark.parametrize("status", [200, 400, 403])
def test_what_is_left_of_an_earlier_run_fails_alone(status: int) -> None:
    ended, _ = play([lambda _: refusal(status)], names(40), before=True)
    assert ended == [status] * 40


def test_a_server_without_the_model_sends_its_requests_to_the_one_that_has_it() -> None:
    ended, (asked, answered) = play([lambda _: refusal(404), lambda _: completion("4")], names(60))
    assert ended == ["4"] * 60
    assert asked <= FEW + 2
    assert answered == 60


def test_a_refused_tentative_request_tells_nothing() -> None:
    async def session(url: str) -> None:
        async with ChatClient([url], "model", 8, max_retries=0, sleep=Naps()) as client:
            tentative = [client.complete(MESSAGES, {}, entry_id=name, tentative=True) for name in names(60)]
            for error in await asyncio.gather(*tentative, return_exceptions=True):
                assert isinstance(error, RequestFailed)

    with ScriptedServer(lambda _: refusal(400)) as server:
        asyncio.run(session(server.url))
