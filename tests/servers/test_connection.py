"""Connection: what goes over HTTP, and what its failures become."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import Any, Awaitable, Callable

import pytest

from common.errors import Retryable, Unreachable
from common.servers.connection import LARGEST_ERROR, LARGEST_REPLY, SPARE, Connection, HttpReply
from tests.scripted_server import Reply, Request, ScriptedServer, completion, turns

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


def test_a_base_url_without_a_version_is_mended_after_a_404_and_before_anything_is_paid(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(request: Request) -> Reply:
        return completion("4") if request.path.startswith("/v1/") else Reply('{"detail":"Not Found"}', status=404)

    async def twice(connection: Connection) -> list[int]:
        return [(await connection.post_chat(BODY)).status for _ in range(2)]

    with ScriptedServer(script) as server:
        assert connected(f"http://127.0.0.1:{server.port}?k=1", twice) == [200, 200]
        assert [chat.path for chat in server.chats] == ["/chat/completions", *["/v1/chat/completions"] * 2]
    root = f"http://127.0.0.1:{server.port}"
    assert [record.getMessage() for record in caplog.records] == [
        f"{root}?k=1: 404 at /chat/completions, so {root}/v1?k=1 is used"
    ]


@pytest.mark.parametrize(("base", "posts"), [("/v1", 1), ("/v1beta/openai", 1), ("", 2), ("/api", 2)])
def test_a_404_everywhere_is_the_servers_own_reply(base: str, posts: int) -> None:
    with ScriptedServer(lambda request: Reply(request.path, status=404)) as server:
        reply = post(f"http://127.0.0.1:{server.port}{base}")
        assert (reply.status, reply.body.decode()) == (404, f"{base}/chat/completions")
        assert len(server.chats) == posts


def test_a_base_url_without_a_version_that_works_is_used_as_it_is() -> None:
    with ScriptedServer(lambda _: completion("4")) as server:
        assert post(f"http://127.0.0.1:{server.port}/openai").status == 200
        assert [chat.path for chat in server.chats] == ["/openai/chat/completions"]


def test_a_compressed_reply_is_unpacked_and_a_bomb_is_not() -> None:
    packed = {"Content-Encoding": "gzip"}
    good = completion("4").body
    with ScriptedServer(lambda _: Reply(gzip.compress(json.dumps(good).encode()), headers=packed)) as server:
        assert json.loads(post(server.url).body) == good
    bomb = gzip.compress(bytes(LARGEST_REPLY // 10)) * 11
    with ScriptedServer(lambda _: Reply(bomb, headers=packed)) as server, pytest.raises(Retryable, match="100 MB"):
        post(server.url)
    with ScriptedServer(lambda _: Reply(bomb, headers=packed, status=400)) as server:
        assert len(post(server.url).body) == LARGEST_ERROR
    other = Reply(b"x" * 10, headers={"Content-Encoding": "br"})
    with ScriptedServer(lambda _: other) as server, pytest.raises(Retryable, match="in the encoding 'br'"):
        post(server.url)


def test_only_the_beginning_of_a_long_error_is_read() -> None:
    with ScriptedServer(lambda _: Reply(b"x" * (8 << 20), status=500)) as server:
        assert post(server.url).body == b"x" * LARGEST_ERROR


async def raw_server(replies: Callable[[int, asyncio.StreamWriter], Awaitable[None]]) -> asyncio.AbstractServer:
    """A server that reads requests, and lets ``replies`` write what it wants to each, by its number."""
    number = iter(range(10_000))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
                await replies(next(number), writer)

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def http(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def posted_one_by_one(replies: Callable[[int, asyncio.StreamWriter], Awaitable[None]], count: int) -> list[bytes]:
    """The bodies of the replies to requests that are sent one after another; an error is its message."""

    async def session() -> list[bytes]:
        server = await raw_server(replies)
        connection = Connection(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "sk-very-secret")
        bodies = []
        for _ in range(count):
            try:
                bodies.append((await connection.post_chat(BODY)).body)
            except Retryable as error:
                bodies.append(str(error).encode())
            await asyncio.sleep(0)
        await connection.close()
        server.close()
        await turns(3)  # the server sees that the connection is closed
        return bodies

    return asyncio.run(session())


def test_a_second_reply_is_never_taken_for_the_reply_to_the_next_request(caplog: pytest.LogCaptureFixture) -> None:
    async def twice(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"%d" % number))
        if number % 5 == 1:
            await asyncio.sleep(0.0005)
            writer.write(http(b"stray"))

    assert posted_one_by_one(twice, 40) == [b"%d" % number for number in range(40)]
    assert [record.getMessage().partition(" sent ")[2][:36] for record in caplog.records] == [
        "more than one reply to a request: th"
    ]


def test_connections_are_used_again_and_few_are_open() -> None:
    writers = set()

    async def replies(number: int, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        writer.write(http(b"4"))

    assert posted_one_by_one(replies, 30) == [b"4"] * 30
    assert len(writers) <= 1 + SPARE


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 2x0 Bearer sk-very-secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header sk-very-secret\r\n\r\n",
        http(b"4", b"HTTP/1.1 200 OK\r\nX: " + b"sk-very-secret" * 10_000),
        b"sk-very-secret\r\n\r\n",
    ],
)
def test_a_reply_that_is_not_http_is_one_line_without_the_key(reply: bytes) -> None:
    async def replies(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        writer.close()

    [said] = posted_one_by_one(replies, 1)
    assert b"a reply that is not HTTP: " in said
    assert b"secret" not in said


def test_a_long_header_does_not_cost_the_reply() -> None:
    async def replies(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"4", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 30_000))

    assert posted_one_by_one(replies, 2) == [b"4", b"4"]


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
    with pytest.raises(Unreachable, match=r"through the proxy http://127\.0\.0\.1:9: Conn") as caught:
        post("http://model.example/v1")
    assert caught.value.advice == "is the proxy right?"
