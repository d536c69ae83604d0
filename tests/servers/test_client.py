"""ChatClient: slots, time-outs, retries, outages, refusals, and what is sent."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Any, Awaitable, Callable

import pytest

from common.errors import RequestFailed, Retryable, ServerGone, ServerRefused
from common.records import Answer
from common.servers.client import ChatClient
from common.servers.rate_limit import RateLimit
from tests.scripted_server import Reply, Request, Script, ScriptedServer, completion

MESSAGES = json.dumps([{"role": "user", "content": "2+2?"}]).encode()


class Naps:
    """A sleep that takes no time and remembers what it was asked for."""

    def __init__(self, meanwhile: Callable[[], None] | None = None) -> None:
        self.asked: list[float] = []
        self._meanwhile = meanwhile

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if self._meanwhile is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._meanwhile)
        await asyncio.sleep(0)


def ask(server_url: str, work: Callable[[ChatClient], Awaitable[Any]] | None = None, **options: Any) -> Any:
    """Runs ``work`` (default: one completion) with a client for the server."""

    async def session() -> Any:
        options.setdefault("sleep", Naps())
        async with ChatClient([server_url], "model", **{"concurrency": 4, **options}) as client:
            return await (work(client) if work else client.complete(MESSAGES, {}))

    return asyncio.run(session())


async def one_by_one(client: ChatClient, count: int, entries: int = 1000) -> list[str]:
    """Sends requests of some entries, one after another; the errors of those that failed."""
    failed = []
    for number in range(count):
        try:
            await client.complete(MESSAGES, {}, entry_id=f"entry {number % entries}")
        except RequestFailed as error:
            failed.append(str(error))
    return failed


def failing_first(times: int, bad: Reply) -> Script:
    """``bad`` for the first requests, then the answer "4"."""
    return lambda request: bad if request.number < times else completion("4")


BAD_REPLIES = {
    "408": Reply({"error": "slow"}, status=408),
    "409": Reply({"error": "conflict"}, status=409),
    "425": Reply({"error": "early"}, status=425),
    "429": Reply({"error": {"message": "too many"}}, status=429),
    "500": Reply("oops", status=500),
    "503": Reply("<html>busy</html>", status=503),
    "dropped": Reply(drop=True),
    "html with 200": Reply("<html>hello</html>"),
    "empty body": Reply(b""),
    "truncated json": Reply('{"choices": [{"mess'),
    "error with 200": Reply({"error": {"message": "upstream"}}),
    "no choices": Reply({"choices": []}),
    "choices null": Reply({"choices": None}),
    "choices of strings": Reply({"choices": ["4"]}),
    "message null": Reply({"choices": [{"message": None}]}),
    "a list": Reply("[]"),
    "a number as content": completion(4),  # type: ignore[arg-type]
    "empty text": completion(""),
    "blank text": completion(" \n"),
    "null text": completion(None),
    "aborted": completion("par", finish="abort"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_failure_that_may_pass_is_tried_again_and_never_becomes_an_answer(name: str) -> None:
    with ScriptedServer(failing_first(2, BAD_REPLIES[name])) as server:
        assert [answer.text for answer in ask(server.url)] == ["4"]
        assert len(server.chats) == 3


def test_tries_end_after_max_retries() -> None:
    with ScriptedServer(lambda _: Reply({"error": {"message": "busy"}}, status=503)) as server:
        with pytest.raises(RequestFailed, match="503 busy"):
            ask(server.url, max_retries=2)
        assert len(server.chats) == 3


def test_a_reply_that_takes_too_long_is_tried_again() -> None:
    script: Script = lambda request: completion("4", delay=30 if request.number == 0 else 0)
    with ScriptedServer(script) as server:
        assert ask(server.url, request_timeout=0.2)[0].text == "4"


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_bad_request_is_sent_once_and_its_message_kept(status: int) -> None:
    with ScriptedServer(lambda _: Reply({"error": {"message": "prompt too long"}}, status=status)) as server:
        with pytest.raises(RequestFailed, match=f"{status} prompt too long") as caught:
            ask(server.url)
        assert caught.value.status == status
        assert len(server.chats) == 1


@pytest.mark.parametrize("status", [301, 401, 402, 403, 404])
def test_what_would_fail_for_every_request_stops_the_run(status: int) -> None:
    with ScriptedServer(lambda _: Reply({"error": "Unauthorized"}, status=status)) as server:
        with pytest.raises(ServerRefused, match="Unauthorized"):
            ask(server.url)
        assert len(server.chats) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 429])
def test_a_spent_account_stops_the_run_even_after_an_answer(status: int) -> None:
    spent = Reply({"error": {"message": "no more", "code": "insufficient_quota"}}, status=status)
    with ScriptedServer(lambda request: spent if request.number else completion("4")) as server:
        with pytest.raises(ServerRefused, match="credit"):
            ask(server.url, lambda client: one_by_one(client, 9))
        assert len(server.chats) == 2


def test_retry_after_is_obeyed_and_a_little_more_is_waited() -> None:
    naps = Naps()
    with ScriptedServer(failing_first(1, Reply("", status=429, headers={"Retry-After": "17"}))) as server:
        ask(server.url, sleep=naps)
    (wait,) = naps.asked
    assert 17 < wait < 19


def test_waits_without_retry_after_are_random_and_bounded() -> None:
    naps = Naps()
    with ScriptedServer(failing_first(8, Reply("", status=500))) as server:
        ask(server.url, sleep=naps, max_retries=8)
    assert len(set(naps.asked)) == 8
    assert all(0 <= wait <= min(60, 2**number) for number, wait in enumerate(naps.asked))


def test_no_more_than_concurrency_requests_are_in_flight() -> None:
    async def many(client: ChatClient) -> None:
        await asyncio.gather(*(client.complete(MESSAGES, {}) for _ in range(60)))

    with ScriptedServer(lambda request: completion("4", delay=0.002 * (request.number % 7))) as server:
        ask(server.url, many, concurrency=5)
        assert server.peak == 5
        assert len(server.chats) == 60


def test_a_request_that_waits_to_be_tried_again_holds_no_slot() -> None:
    """One slot, one request asleep: another one gets through meanwhile."""
    order: list[str] = []

    async def both(client: ChatClient) -> None:
        async def one(name: str) -> None:
            await client.complete(MESSAGES, {"user": name})
            order.append(name)

        first = asyncio.ensure_future(one("first"))
        await asleep.wait()
        await one("second")
        woken.set()
        await first

    async def session(url: str) -> None:
        async with ChatClient([url], "model", concurrency=1, sleep=sleep) as client:
            await both(client)

    async def sleep(_: float) -> None:
        asleep.set()
        await woken.wait()

    with ScriptedServer(failing_first(1, Reply("", status=503))) as server:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        asleep, woken = asyncio.Event(), asyncio.Event()
        loop.run_until_complete(session(server.url))
        loop.close()
        asyncio.set_event_loop(None)
    assert order == ["second", "first"]


def test_a_server_that_never_answered_stops_the_run_at_once_and_is_named() -> None:
    server = ScriptedServer(lambda _: completion("4"))
    with server:
        pass  # its port is free now
    naps = Naps()
    with pytest.raises(ServerGone, match=f"cannot reach {server.url}: Connection refused"):
        ask(server.url, sleep=naps)
    assert naps.asked == []


def test_a_restarted_server_costs_no_try() -> None:
    server = ScriptedServer(lambda _: completion("4"))
    server.start()
    naps = Naps(lambda: server.start() if len(naps.asked) == 3 else None)

    async def around_a_restart(client: ChatClient) -> list[list[Answer]]:
        before = await client.complete(MESSAGES, {})
        await asyncio.get_running_loop().run_in_executor(None, server.stop)
        return [before, *await asyncio.gather(*(client.complete(MESSAGES, {}) for _ in range(20)))]

    try:
        replies = ask(server.url, around_a_restart, sleep=naps, max_retries=5)
    finally:
        server.stop()
    assert [reply[0].text for reply in replies] == ["4"] * 21
    assert len(server.chats) == 21


def test_a_server_that_stays_away_stops_the_run_after_max_retries_probes() -> None:
    server = ScriptedServer(lambda _: completion("4"))
    server.start()
    naps = Naps()

    async def around_the_end(client: ChatClient) -> None:
        await client.complete(MESSAGES, {})
        await asyncio.get_running_loop().run_in_executor(None, server.stop)
        results = await asyncio.gather(*(client.complete(MESSAGES, {}) for _ in range(9)), return_exceptions=True)
        assert all(isinstance(result, ServerGone) for result in results), results
        raise results[0]

    with pytest.raises(ServerGone, match="did not come back"):
        ask(server.url, around_the_end, sleep=naps, max_retries=3)
    assert [wait for wait in naps.asked if wait >= 2 and wait == int(wait)] == [2, 4, 8]


SERVER_FAULTS = ["500", "503", "dropped", "html with 200", "truncated json as a page"]
BAD_REPLIES["truncated json as a page"] = Reply("[{")


@pytest.mark.parametrize("name", SERVER_FAULTS)
def test_ten_requests_given_up_in_a_row_stop_the_run(name: str) -> None:
    with ScriptedServer(lambda _: BAD_REPLIES[name]) as server:
        with pytest.raises(ServerGone, match="10 requests in a row"):
            ask(server.url, lambda client: one_by_one(client, 20), max_retries=0)
        assert len(server.chats) == 10


@pytest.mark.parametrize("name", ["empty text", "null text", "withheld", "error with 200", "aborted"])
def test_a_withheld_answer_is_never_a_fault_of_the_server(name: str) -> None:
    bad = {**BAD_REPLIES, "withheld": completion(None, finish="content_filter")}[name]
    with ScriptedServer(lambda request: bad if request.number else completion("4")) as server:
        failures = ask(server.url, lambda client: one_by_one(client, 50), max_retries=0)
    assert len(failures) == 49


def test_one_poisoned_entry_does_not_stop_the_run() -> None:
    with ScriptedServer(lambda _: Reply("", status=500)) as server:
        failures = ask(server.url, lambda client: one_by_one(client, 40, entries=2), max_retries=0)
    assert len(failures) == 40


def test_a_success_between_failures_lets_the_run_go_on() -> None:
    script: Script = lambda request: completion("4") if request.number % 5 == 4 else Reply("", status=500)
    with ScriptedServer(script) as server:
        assert len(ask(server.url, lambda client: one_by_one(client, 30), max_retries=0)) == 24


def test_a_seeded_request_that_came_back_empty_is_asked_with_another_seed() -> None:
    with ScriptedServer(failing_first(2, completion(""))) as server:
        ask(server.url, lambda client: client.complete(MESSAGES, {"seed": 5}))
        assert [request.body["seed"] for request in server.chats] == [5, 6, 7]


def test_a_seeded_request_that_failed_is_sent_again_as_it_was() -> None:
    with ScriptedServer(failing_first(2, Reply("", status=500))) as server:
        ask(server.url, lambda client: client.complete(MESSAGES, {"seed": 5}))
        assert [request.body["seed"] for request in server.chats] == [5, 5, 5]


def test_the_request_holds_model_messages_parameters_and_extra_body() -> None:
    extra = {"top_k": 5, "temperature": None}
    with ScriptedServer(lambda _: completion("4")) as server:
        ask(
            server.url,
            lambda client: client.complete(MESSAGES, {"temperature": 0.5, "n": None, "seed": 1}),
            extra_body=extra,
        )
        sent = server.chats[0].body
    assert sent == {"model": "model", "messages": json.loads(MESSAGES), "top_k": 5, "seed": 1}


def test_the_key_is_sent_as_a_bearer_token_and_cut_out_of_what_the_server_says() -> None:
    with ScriptedServer(lambda _: Reply({"error": {"message": "bad key sk-secret"}}, status=401)) as server:
        with pytest.raises(ServerRefused) as caught:
            ask(server.url, api_key="sk-secret")
        assert server.chats[0].headers["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(caught.value)


def test_room_is_there_until_as_many_wait_as_may_be_in_flight() -> None:
    async def fill(client: ChatClient) -> list[bool]:
        seen = []
        tasks = []
        for _ in range(9):
            tasks.append(asyncio.ensure_future(client.complete(MESSAGES, {})))
            await asyncio.sleep(0)
            waiting = asyncio.ensure_future(client.room())
            await asyncio.sleep(0)
            seen.append(waiting.done())
            waiting.cancel()
        await asyncio.gather(*tasks)
        await client.room()
        return seen

    with ScriptedServer(lambda _: completion("4", delay=0.05)) as server:
        assert ask(server.url, fill, concurrency=3) == [True] * 5 + [False] * 4


def test_a_key_echoed_in_a_reply_that_is_no_completion_is_cut_out() -> None:
    echo: Script = lambda request: Reply({"echo": request.headers["Authorization"]})
    with ScriptedServer(echo) as server, pytest.raises(Retryable) as caught:
        ask(server.url, api_key="sk-secret", max_retries=0)
    assert "echo" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_key_at_the_end_of_a_long_error_does_not_leak_in_part() -> None:
    cut: Script = lambda _: Reply({"error": "x" * 295 + "sk-secret"}, status=400)
    with ScriptedServer(cut) as server, pytest.raises(RequestFailed) as caught:
        ask(server.url, api_key="sk-secret")
    assert "sk-" not in str(caught.value)


def test_a_request_of_megabytes_is_sent_whole() -> None:
    text = "x" * (3 << 20)
    with ScriptedServer(lambda _: completion("4")) as server:
        messages = json.dumps([{"role": "user", "content": text}]).encode()
        ask(server.url, lambda client: client.complete(messages, {}))
        assert server.chats[0].question == text


def test_a_client_that_was_pickled_for_another_process_works_there() -> None:
    async def elsewhere(url: str) -> list[Answer]:
        sent = pickle.dumps(ChatClient([url], "model", 4, max_retries=2, rate_limit=RateLimit(600, 600)))
        async with pickle.loads(sent) as client:
            answers: list[Answer] = await client.complete(MESSAGES, {})
            return answers

    with ScriptedServer(lambda _: completion("4")) as server:
        assert asyncio.run(elsewhere(server.url))[0].text == "4"


def test_a_pause_that_a_server_asks_for_is_not_a_try() -> None:
    for busy in (Reply("", status=429), Reply("<html>slow</html>", status=429, headers={"Retry-After": "2"})):
        with ScriptedServer(failing_first(9, busy)) as server:
            assert ask(server.url, max_retries=0)[0].text == "4"
            assert len(server.chats) == 10


@pytest.mark.parametrize("status", [503, 529])
def test_an_overload_that_names_its_end_is_not_a_try(status: int) -> None:
    with ScriptedServer(failing_first(4, Reply("", status=status, headers={"Retry-After": "2"}))) as server:
        assert ask(server.url, max_retries=0)[0].text == "4"


def test_a_wish_of_zero_seconds_does_not_replace_the_growing_wait() -> None:
    naps = Naps()
    with ScriptedServer(failing_first(12, Reply("", status=429, headers={"Retry-After": "0"}))) as server:
        ask(server.url, sleep=naps)
    assert sum(naps.asked) > 30
    assert len(set(naps.asked)) == len(naps.asked)


def test_all_requests_wait_for_a_window_together_and_go_on_when_it_opens() -> None:
    """20 requests per window: the client's sleep is what opens the next one."""
    used = [0]

    def window(request: Request) -> Reply:
        used[0] += 1
        return completion("4") if used[0] <= 20 else Reply({"error": "Please try again in 30s"}, status=429)

    def opens() -> None:
        used[0] = 0

    async def many(client: ChatClient) -> None:
        await asyncio.gather(*(client.complete(MESSAGES, {}, entry_id=f"{number}") for number in range(100)))

    naps = Naps(opens)
    with ScriptedServer(window) as server:
        ask(server.url, many, sleep=naps, max_retries=0, concurrency=8)
        assert len(server.chats) < 100 + 5 * 8
    # a request that was in flight when its window opened may use up some of the next
    assert 4 <= sum(wait >= 30 for wait in naps.asked) <= 6
    assert all(wait <= 33 for wait in naps.asked)


def test_a_server_that_asks_for_a_pause_sends_its_requests_to_the_others_at_once() -> None:
    async def many(client: ChatClient) -> list[str]:
        await asyncio.gather(*(client.complete(MESSAGES, {}, entry_id=f"{number}") for number in range(40)))
        return [server.url for server in client.pool.servers if not server.is_open]

    refusing: Script = lambda _: Reply("", status=429, headers={"Retry-After": "900"})
    with ScriptedServer(refusing) as busy, ScriptedServer(lambda _: completion("4")) as well:

        async def session() -> list[str]:
            async with ChatClient([busy.url, well.url], "model", 8, sleep=asyncio.sleep, max_retries=0) as client:
                return await many(client)

        assert asyncio.run(session()) == [busy.url]
        assert len(busy.chats) <= 4
        assert len(well.chats) == 40


def test_a_pause_beyond_the_longest_wait_ends_the_run() -> None:
    naps = Naps()
    with ScriptedServer(lambda _: Reply("daily limit", status=429, headers={"Retry-After": "86400"})) as server:
        with pytest.raises(
            ServerGone, match="429 daily limit; it asks for a wait of 86400 s, and --longest_wait is 600"
        ):
            ask(server.url, sleep=naps, longest_wait=600)
        assert len(server.chats) == 1


def test_refusals_that_never_end_stop_the_run_after_the_longest_wait() -> None:
    naps = Naps()
    with ScriptedServer(lambda _: Reply("busy", status=429)) as server, pytest.raises(
        ServerGone, match="still refuses"
    ):
        ask(server.url, sleep=naps, longest_wait=100)
    assert 100 < sum(naps.asked) < 1000


def test_one_request_that_is_refused_for_ever_fails_alone() -> None:
    poisoned: Script = lambda r: Reply("busy", status=429) if r.body.get("user") == "bad" else completion("4")

    async def both(client: ChatClient) -> list[Any]:
        bad = asyncio.ensure_future(client.complete(MESSAGES, {"user": "bad"}))
        while not bad.done():
            await client.complete(MESSAGES, {})
        return await asyncio.gather(bad, return_exceptions=True)

    with ScriptedServer(poisoned) as server:
        (error,) = ask(server.url, both, longest_wait=50)
    assert isinstance(error, RequestFailed)
    assert error.status == 429


def test_the_next_try_of_a_request_comes_before_the_first_tries_of_others() -> None:
    async def work(client: ChatClient) -> None:
        await asyncio.gather(*(client.complete(MESSAGES, {"user": f"{number}"}) for number in range(9)))

    with ScriptedServer(failing_first(1, Reply("", status=500))) as server:
        ask(server.url, work, concurrency=1)
        order = [request.body["user"] for request in server.chats]
    assert order.index("0", 1) < 4


def test_a_server_that_refuses_for_now_may_be_asked_less_and_is_not_taken_out() -> None:
    async def refused(client: ChatClient) -> tuple[int, bool]:
        await client.complete(MESSAGES, {})
        (server,) = client.pool.servers
        return server.limit, server.up

    with ScriptedServer(failing_first(5, Reply("", status=429))) as server:
        limit, up = ask(server.url, refused, concurrency=None, max_retries=5)
    assert limit < 8
    assert up


def test_another_path_beside_the_version_is_posted_to_with_the_same_tries() -> None:
    def posts(request: Request) -> Reply:
        return [Reply("busy", status=503), Reply({"other": 1}), Reply({"data": 4, "n": 2})][min(request.number, 2)]

    def read(data: bytes) -> Any:
        value = json.loads(data)
        return value["data"], {"prompt_tokens": value["n"]}

    with ScriptedServer(lambda _: completion("4"), posts=posts) as server:
        result = ask(server.url, lambda client: client.post("classify", {"input": "x", "model": None}, read))
        assert result == (4, {"prompt_tokens": 2})
        assert [(one.path, one.body) for one in server.posted] == [("/classify", {"input": "x"})] * 3


def test_a_tentative_refusal_is_raised_at_once() -> None:
    with ScriptedServer(lambda _: completion("4")) as server, pytest.raises(RequestFailed) as caught:
        ask(server.url, lambda client: client.post("classify", {}, lambda data: (data, None), tentative=(404,)))
    assert str(caught.value) == f"{server.url[:-3]}/classify: 404 Not Found"
