"""Connection: what goes over HTTP, and what its failures become."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable

import pytest

from common.errors import Retryable, Unreachable
from common.servers.connection import LARGEST_REPLY, Connection, HttpReply
from tests.scripted_server import Reply, ScriptedServer, completion

BODY = [b'{"messages": [{"role": "user", "content": "2+2?"}]}']


def connected(url: str, work: Callable[[Connection], Awaitable[Any]], api_key: str | None = None) -> Any:
    """Runs ``work`` with a connection to the server."""

    async def session() -> Any:
        connection = Connection(url, api_key)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(session())


def post(url: str, body: list[bytes] = BODY) -> HttpReply:
    reply = connected(url, lambda connection: connection.post_chat(body))
    assert isinstance(reply, HttpReply)
    return reply


def test_a_reply_is_its_status_headers_and_body() -> None:
    with ScriptedServer(lambda _: Reply("busy", status=503, headers={"Retry-After": "3"})) as server:
        status, headers, body = post(server.url)
    assert (status, headers["Retry-After"], body) == (503, "3", b"busy")


def test_the_pieces_of_a_body_are_sent_in_order() -> None:
    with ScriptedServer(lambda _: completion("4")) as server:
        post(server.url, [b'{"messages": [{"role": "user",', b' "content": "', b"x" * (3 << 20), b'"}]}'])
        assert server.chats[0].question == "x" * (3 << 20)


def test_the_query_of_the_base_url_is_sent() -> None:
    with ScriptedServer(lambda _: completion("4")) as server:
        assert post(f"{server.url}?api-version=1").status == 200
        assert server.chats[0].path == "/v1/chat/completions"


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with ScriptedServer(lambda _: completion("4")) as server:
        pass
    with pytest.raises(Unreachable, match=f"cannot reach {server.url}: Connection refused"):
        post(server.url)


@pytest.mark.parametrize(
    "reply", [Reply(drop=True), Reply(b"x" * 100, cut_after=50), Reply(b"x" * (LARGEST_REPLY + 1))]
)
def test_a_reply_that_breaks_off_or_is_too_large_may_be_tried_again(reply: Reply) -> None:
    with ScriptedServer(lambda _: reply) as server, pytest.raises(Retryable):
        post(server.url)


def test_a_server_without_metrics_has_an_empty_page_and_one_that_is_away_has_none() -> None:
    with ScriptedServer(lambda _: completion("4")) as server:
        assert connected(server.url, lambda connection: connection.metrics()) == ""
        assert connected(server.url, lambda connection: connection.is_back()) is True
    assert connected(server.url, lambda connection: connection.metrics()) is None
    assert connected(server.url, lambda connection: connection.is_back()) is False


def test_a_local_server_is_reached_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with ScriptedServer(lambda _: completion("4")) as server:
        assert post(server.url).status == 200


def test_another_host_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="Connection refused"):
        post("http://model.example/v1")
