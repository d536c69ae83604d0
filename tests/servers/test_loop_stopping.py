"""Loops of a client's answers: stopped by the server where it can, else by leaving its stream."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any, Dict, Iterable, Iterator, List, Optional

import pytest

from common.errors import RequestFailed
from common.records import Answer
from common.servers.client import ChatClient
from common.servers.known_servers import STOP_LOOPS
from common.servers.loops import LEAST
from tests.scripted_server import Reply, Request, ScriptedServer, completion, event, streamed

MESSAGES = json.dumps([{"role": "user", "content": "2+2?"}]).encode()
LOOP = "No, wait. "
USAGE = ["include_usage", "continuous_usage_stats"]


def schema(request: Iterable[str], options: Iterable[str]) -> Dict[str, Any]:
    """What /openapi.json tells of a server that knows these fields of a request, and these options of a stream."""
    fields = {"ChatCompletionRequest": request, "StreamOptions": options}
    return {"components": {"schemas": {name: {"properties": dict.fromkeys(keys)} for name, keys in fields.items()}}}


async def no_sleep(_: float) -> None:
    """Waits between tries, for tests that must not wait."""


def ask(server: ScriptedServer, count: int = 1, client: Optional[ChatClient] = None, **fields: Any) -> List[Answer]:
    """The answers to ``count`` requests, one after another."""
    asker = client or ChatClient([server.url], "m", 2, max_retries=2, sleep=no_sleep)
    asker.stops_loops = True

    async def session() -> List[Answer]:
        async with asker:
            return [one for _ in range(count) for one in await asker.complete(MESSAGES, fields)]

    return asyncio.run(session())


def sent(server: ScriptedServer) -> List[Dict[str, Any]]:
    """What each request held beside its messages and its model."""
    return [{k: v for k, v in chat.body.items() if k not in ("messages", "model")} for chat in server.chats]


def was_left(server: ScriptedServer, times: int) -> bool:
    """Whether so many streams were left; the server, which has a thread of its own, may notice it a little later."""
    for _ in range(1000):
        if server.left == times:
            return True
        time.sleep(0.01)
    return False


def looping(_: Request) -> Reply:
    return Reply(pieces=streamed(itertools.repeat(LOOP)))


def test_the_connection_is_closed_once_the_answer_loops() -> None:
    with ScriptedServer(looping) as server:
        client = ChatClient([server.url], "m", 1)
        answers = ask(server, 2, client, max_tokens=32_000)
        assert was_left(server, 2)
        assert server.asked_for_schema == 1
        assert sent(server) == 2 * [{"max_tokens": 32_000, "stream": True, "stream_options": {"include_usage": True}}]
    tokens = LEAST // len(LOOP)
    assert answers == 2 * [Answer(LOOP * tokens, "repetition", usage={"completion_tokens": tokens, "estimated": True})]
    traffic = client.traffic
    assert (traffic.loops, traffic.loop_tokens, traffic.tokens) == (2, 2 * tokens, 2 * tokens)
    assert traffic.loop_room == 2 * (32_000 - tokens)


def test_whole_answers_are_streamed_and_counted_as_they_were() -> None:
    with ScriptedServer(lambda _: Reply(pieces=streamed(["It is ", "4."], tokens=9))) as server:
        client = ChatClient([server.url], "m", 1)
        [answer] = ask(server, 1, client)
        assert server.left == 0
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    assert answer == Answer("It is 4.", "stop", usage=usage)
    assert (client.traffic.tokens, client.traffic.prompt_tokens, client.traffic.uncounted) == (9, 5, 0)


def test_a_closed_stream_has_the_prompt_tokens_of_a_whole_one() -> None:
    replies = [lambda _: Reply(pieces=streamed("4")), looping, looping]
    with ScriptedServer(lambda request: replies[request.number](request)) as server:
        client = ChatClient([server.url], "m", 1)
        first, second, third = ask(server, 3, client)
    tokens = LEAST // len(LOOP)
    expected = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens, "estimated": True}
    assert "estimated" not in (first.usage or {})
    assert second.usage == third.usage == expected
    assert client.traffic.prompt_tokens == 15


def test_a_server_that_finds_loops_itself_is_not_asked_to_stream() -> None:
    reasoning = completion("", finish="repetition", reasoning=LOOP)
    with ScriptedServer(
        lambda request: reasoning if request.number else completion(LOOP, finish="repetition")
    ) as server:
        server.schema = schema(STOP_LOOPS, USAGE)
        text, thoughts = ask(server, 2)
        assert sent(server) == 2 * [STOP_LOOPS]
    assert (text.text, text.finish_reason) == (LOOP, "repetition")
    assert (thoughts.text, thoughts.reasoning, thoughts.finish_reason) == ("", LOOP, "repetition")


def test_the_users_own_thresholds_are_kept() -> None:
    own = {"repetition_detection": {"max_pattern_size": 9, "min_count": 3}}
    with ScriptedServer(lambda _: completion("4")) as server:
        server.schema = schema(STOP_LOOPS, USAGE)
        ask(server, client=ChatClient([server.url], "m", 1, extra_body=own))
        assert sent(server) == [own]


def test_a_server_that_would_ignore_the_field_is_streamed_with_a_count_in_each_chunk() -> None:
    with ScriptedServer(looping) as server:
        server.schema = schema(["messages"], USAGE)
        ask(server)
        assert sent(server) == [{"stream": True, "stream_options": dict.fromkeys(USAGE, True)}]


def test_a_server_that_refuses_to_count_is_streamed_without() -> None:
    def script(request: Request) -> Reply:
        if "stream_options" in request.body:
            return Reply({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}, status=422)
        return Reply(pieces=streamed("4"))

    with ScriptedServer(script) as server:
        answers = ask(server, 2)
        assert [set(one) for one in sent(server)] == [{"stream", "stream_options"}, {"stream"}, {"stream"}]
    assert [one.text for one in answers] == ["4", "4"]


def test_a_server_that_refuses_to_stream_is_asked_for_whole_replies(caplog: pytest.LogCaptureFixture) -> None:
    def script(request: Request) -> Reply:
        return Reply("Streaming is off", status=400) if request.body.get("stream") else completion("4")

    with ScriptedServer(script) as server:
        assert [one.text for one in ask(server, 3)] == ["4"] * 3
        assert ["stream" in one for one in sent(server)] == [True, False, False, False]
        assert caplog.messages == [f"{server.url} does not stream its replies: --stop_loops stops none of its loops"]


def test_a_server_that_ignores_stream_gives_whole_replies(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(lambda _: completion("4", "5")) as server:
        assert [one.text for one in ask(server, 2, n=2)] == ["4", "5"] * 2
    assert len(caplog.messages) == 1


def test_a_refusal_that_is_not_about_streams_stands() -> None:
    refusal = Reply({"error": {"message": "the prompt 'upstream' is too long"}}, status=400)
    with ScriptedServer(lambda request: refusal if request.number < 2 else Reply(pieces=streamed("4"))) as server:
        client = ChatClient([server.url], "m", 1, sleep=no_sleep)
        client.answered_before = True
        with pytest.raises(RequestFailed, match="is too long"):
            ask(server, 1, client)
        assert [one.text for one in ask(server, 1, client)] == ["4"]


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_stream_that_breaks_off_is_tried_again(is_reset: bool) -> None:
    def script(request: Request) -> Reply:
        return Reply(pieces=streamed("4") if request.number == 2 else [event({"content": "half"})], drop=is_reset)

    with ScriptedServer(script) as server:
        assert [one.text for one in ask(server)] == ["4"]
        assert len(server.chats) == 3


def test_a_stream_that_always_breaks_off_fails() -> None:
    with ScriptedServer(lambda _: Reply(pieces=[event({"content": "half"})])) as server:
        with pytest.raises(RequestFailed, match="the stream ended before the answer did"):
            ask(server)
        assert len(server.chats) == 3


def test_choices_that_ended_are_kept_and_the_connection_is_closed_when_the_others_loop() -> None:
    pieces = itertools.chain(
        [event({"content": "4"}, {"content": ""}), event({}, finish="stop")],
        (event(choices=[{"index": 1, "delta": {"content": LOOP}}]) for _ in itertools.count()),
    )
    with ScriptedServer(lambda _: Reply(pieces=pieces)) as server:
        whole, looped = ask(server, n=2)
        assert was_left(server, 1)
    assert (whole.text, whole.finish_reason) == ("4", "stop")
    assert (len(looped.text), looped.finish_reason) == (LEAST, "repetition")


def test_a_server_that_ignores_n_is_left_at_its_only_loop_once_it_is_known() -> None:
    with ScriptedServer(lambda request: looping(request) if request.number else Reply(pieces=streamed("4"))) as server:
        whole, *looped = ask(server, 3, n=2)
        assert was_left(server, 2)
    assert (whole.text, [one.finish_reason for one in looped]) == ("4", ["repetition"] * 2)


def test_a_long_stream_is_read_in_larger_pieces() -> None:
    """After two seconds, pieces gather before each read."""
    words = [f"{number} " for number in range(1250)]

    def slowly(pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            time.sleep(0.002)
            yield piece

    def script(request: Request) -> Reply:
        return looping(request) if request.number else Reply(pieces=slowly(streamed(words)))

    with ScriptedServer(script) as server:
        whole, looped = ask(server, 2)
        assert was_left(server, 1)
    assert (whole.text, whole.finish_reason) == ("".join(words), "stop")
    assert looped.finish_reason == "repetition"
